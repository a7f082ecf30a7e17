package config

import (
	"slices"
	"strings"
	"testing"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/route"
)

// TestTheUseCase: the example says what the use case says, by the names that it gives, and nothing about it is to be remarked.
func TestTheUseCase(t *testing.T) {
	l := Loader{Paths: []string{"../../examples/hit-backend"}}
	set, sources, list := l.Load()
	if len(list) != 0 {
		t.Fatal(list)
	}
	if len(sources.Files) != 6 || sources.Objects != 12 {
		t.Errorf("sources: %+v", sources)
	}

	gw := set.Gateways[0].Value
	if gw.APIVersion != "networking.istio.io/v1alpha3" || gw.Name != "hit-backend-gateway" || gw.Spec.Selector["istio"] != "ingressgateway" || len(gw.Spec.Selector) != 1 {
		t.Errorf("gateway: %v", gw)
	}
	if s := gw.Spec.Servers; len(s) != 1 || s[0].Port.Number != 80 || s[0].Port.Name != "http" || s[0].Port.Protocol != "HTTP" || !slices.Equal(s[0].Hosts, []string{"*"}) {
		t.Errorf("servers: %v", s)
	}

	vs := set.VirtualServices[0].Value
	if vs.APIVersion != "networking.istio.io/v1alpha3" || vs.Name != "hit-backend-virtual-service" || !slices.Equal(vs.Spec.Hosts, []string{"*"}) || !slices.Equal(vs.Spec.Gateways, []string{"hit-backend-gateway"}) {
		t.Errorf("virtual service: %v", vs)
	}
	for i, name := range []string{"backend-2", "backend-1", "backend-3"} {
		want := `match:{headers:{key:"target"value:{exact:"` + name + `"}}}route:{destination:{host:"` + name + `.default.svc.cluster.local"port:{number:8080}}}`
		if got := strings.ReplaceAll(vs.Spec.Http[i].String(), " ", ""); got != want {
			t.Errorf("rule %d: %s, want %s", i, got, want)
		}
	}

	for i, name := range []string{"backend-1", "backend-2", "backend-3"} {
		rule := set.DestinationRules[i].Value
		want := `host:"` + name + `.default.svc.cluster.local"traffic_policy:{load_balancer:{consistent_hash:{http_header_name:"x-user"}}}`
		if got := strings.ReplaceAll(rule.Spec.String(), " ", ""); rule.Name != name || rule.APIVersion != "networking.istio.io/v1alpha3" || got != want {
			t.Errorf("destination rule %s: %s, want %s", rule.Name, got, want)
		}
	}

	compiled, list := Compile(set, Options{})
	if len(list) != 0 {
		t.Fatal(list)
	}
	c := compiled.Config
	if len(c.Listeners) != 1 || c.Listeners[0].Port != 80 || c.Listeners[0].Policy != "AffinityPolicy default/hit-backend" ||
		!slices.Equal(c.Listeners[0].Promote, []affinity.Promotion{{Field: "target", Header: "target"}, {Field: "username", Header: "x-user"}}) {
		t.Errorf("listeners: %+v", c.Listeners)
	}
	if hosts := c.Routes.Listeners[0].Hosts; len(hosts) != 1 || len(hosts[0].Rules) != 3 {
		t.Fatalf("hosts: %+v", hosts)
	}
	for i, name := range []string{"backend-2", "backend-1", "backend-3"} {
		rule := c.Routes.Listeners[0].Hosts[0].Rules[i]
		if h := rule.Matches[0].Headers; len(h) != 1 || h[0].Name != "target" || h[0].Kind != route.Exact || h[0].Value != name {
			t.Errorf("rule %d: %+v", i, rule)
		}
		service := c.Services[rule.Destinations[0].Service]
		if service.Name != name+".default.svc.cluster.local:8080" || service.Key.Kind != affinity.HeaderKey || service.Key.Name != "x-user" || service.IdleTimeout != affinity.DefaultIdleTimeout {
			t.Errorf("service: %+v", service)
		}
		number := name[len(name)-1:]
		for j, e := range service.Endpoints {
			addr := "127.0." + number + "." + string('1'+rune(j)) + ":8080"
			if e.Addr != addr || e.State != affinity.Ready || len(e.Incarnation) != 36 || !strings.HasPrefix(e.Name, name+"-") || len(e.Name) != len(name)+6 {
				t.Errorf("endpoint %d of %s: %+v, want %s", j, name, e, addr)
			}
		}
		if len(service.Endpoints) != 2 {
			t.Errorf("%s has %d endpoints", name, len(service.Endpoints))
		}
	}
}
