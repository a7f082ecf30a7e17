package istio_test

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/config"
	"github.com/remora-proxy/remora/internal/configtest"
	"github.com/remora-proxy/remora/internal/diag"
	"github.com/remora-proxy/remora/internal/istio"
)

func TestDNSNames(t *testing.T) {
	text, err := os.ReadFile("testdata/golden/service-entries.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"db.example.com", "hidden.example.com", "later.example.com"}
	if got := istio.DNSNames(load(t, string(text))); !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

func TestTheGatewaysNamespaceDecidesWhatItSees(t *testing.T) {
	set := load(t, `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: shop}
spec:
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ["*"]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: vs, namespace: shop}
spec:
  hosts: ["*"]
  gateways: [gw]
  exportTo: ["."]
  http: [{route: [{destination: {host: a}}]}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a, namespace: shop}
spec: {host: a, exportTo: ["."], trafficPolicy: {loadBalancer: {simple: RANDOM}}}
---
apiVersion: v1
kind: Service
metadata: {name: a, namespace: shop}
spec: {ports: [{port: 80}]}
`)
	c, diags := istio.Compile(set, istio.Options{})
	if len(c.Services) != 0 || diags.HasErrors() {
		t.Errorf("from istio-system, what is private to shop is seen:\n%s", configtest.Dump(c, diags))
	}
	c, diags = istio.Compile(set, istio.Options{Namespace: "shop"})
	if len(c.Services) != 1 || c.Services[0].LoadBalancer != affinity.Random {
		t.Errorf("from shop, what is private to it is not seen:\n%s", configtest.Dump(c, diags))
	}
}

// TestDrainingEndpointsAreThereWhereEnvoyHasThem is what istiod was seen to keep in Envoy's endpoints, by the label of the Service.
func TestDrainingEndpointsAreThereWhereEnvoyHasThem(t *testing.T) {
	const objects = `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw}
spec: {servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: vs}
spec: {hosts: ["*"], gateways: [gw], http: [{route: [{destination: {host: a}}]}]}
---
apiVersion: v1
kind: Service
metadata: {name: a, labels: {LABELS}}
spec: {ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: a, labels: {kubernetes.io/service-name: a}}
addressType: IPv4
ports: [{port: 80}]
endpoints:
- {addresses: [192.0.2.1]}
- {addresses: [192.0.2.2], conditions: {ready: false, serving: true, terminating: true}}
- {addresses: [192.0.2.3], conditions: {ready: false, serving: true, terminating: false}}
- {addresses: [192.0.2.4], conditions: {ready: false}}
- {addresses: [192.0.2.5], conditions: {ready: false, serving: false, terminating: true}}
`
	for _, c := range []struct {
		name, labels string
		labelled     bool
		want         []string
		warns        bool
	}{
		{"any Envoy", "", false, []string{"1 ready", "2 draining", "3 draining", "4 draining"}, false},
		{"Istio's, without a label", "", true, []string{"1 ready"}, true},
		{"Istio's, with the label", istio.DrainingLabel + ": any", true, []string{"1 ready", "2 draining", "4 draining"}, false},
		{"Istio's, with an empty label", istio.DrainingLabel + `: ""`, true, []string{"1 ready"}, true},
		{"Istio's, with the label for a header", istio.DrainingLabel + "-header: x-user", true, []string{"1 ready"}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			set := load(t, strings.Replace(objects, "LABELS", c.labels, 1))
			config, diags := istio.Compile(set, istio.Options{DrainingLabelled: c.labelled})
			var got []string
			for _, ep := range config.Services[0].Endpoints {
				got = append(got, strings.TrimSuffix(strings.TrimPrefix(ep.Addr, "192.0.2."), ":80")+" "+ep.State.String())
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("the endpoints are %v, want %v", got, c.want)
			}
			if warned := slices.ContainsFunc(diags, func(d diag.Diagnostic) bool {
				return d.Field == "metadata.labels" && strings.Contains(d.What, "draining")
			}); warned != c.warns || diags.HasErrors() {
				t.Errorf("the findings are %v", diags)
			}
		})
	}
}

// FuzzCompile: whatever can be read can be compiled, with diagnostics at most; what has no error, the core accepts; and the
// order of the files does not matter.
func FuzzCompile(f *testing.F) {
	inputs, err := filepath.Glob("testdata/golden/*.yaml")
	if err != nil || len(inputs) == 0 {
		f.Fatal("no input", err)
	}
	for _, name := range inputs {
		text, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		loader := config.Loader{Paths: []string{config.Stdin}, Stdin: bytes.NewReader(text)}
		set, _, diags := loader.Load()
		if diags.HasErrors() {
			return
		}
		options := istio.Options{Addresses: func(string) []netip.Addr { return []netip.Addr{netip.MustParseAddr("192.0.2.1")} }}
		c, diags := istio.Compile(set, options)
		for _, d := range diags {
			if d.Pos.File == "" || d.What == "" {
				t.Errorf("a finding without place or words: %+v", d)
			}
		}
		if diags.HasErrors() {
			return
		}
		if _, err := affinity.Compile(c); err != nil {
			t.Errorf("the core refuses what was compiled without an error: %v", err)
		}
		first := configtest.Dump(c, nil)
		slices.Reverse(set.VirtualServices)
		slices.Reverse(set.DestinationRules)
		slices.Reverse(set.Services)
		slices.Reverse(set.EndpointSlices)
		c, _ = istio.Compile(set, options)
		if again := configtest.Dump(c, nil); again != first {
			t.Errorf("the order of the objects matters:\n%s\n%s", first, again)
		}
	})
}
