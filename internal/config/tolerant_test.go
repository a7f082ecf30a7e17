package config

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/remora-proxy/remora/internal/diag"
	"github.com/remora-proxy/remora/internal/resource"
)

// The objects of the scripts below, as an API server would give them.
const (
	aGateway = `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: front, namespace: shop, creationTimestamp: "2026-01-01T00:00:00Z"}
spec: {servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]}
`
	aRoute = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: NAME, namespace: shop, creationTimestamp: "2026-01-01T00:00:00Z"}
spec: {hosts: [HOST], gateways: [front], http: [{route: [{destination: {host: cart}}]}]}
`
	aPolicy = `
apiVersion: remora.dev/v1alpha1
kind: AffinityPolicy
metadata: {name: NAME, namespace: shop, creationTimestamp: TIME}
spec: {targetRefs: [{group: networking.istio.io, kind: Gateway, name: front}], idleTimeout: IDLE}
`
)

func virtualService(name, host string) string {
	return strings.NewReplacer("NAME", name, "HOST", host).Replace(aRoute)
}

func policy(name, created, idle string) string {
	return strings.NewReplacer("NAME", name, "TIME", created, "IDLE", idle).Replace(aPolicy)
}

func faulty(object string) string { // a fault is what Remora would have to ignore
	return strings.Replace(object, "http: [{", "http: [{fault: {abort: {httpStatus: 500, percentage: {value: 100}}}, ", 1)
}

func unknownField(object string) string {
	return strings.Replace(object, "spec: {", "spec: {nonsense: 1, ", 1)
}

func TestOneBrokenObjectDoesNotFreezeTheOthers(t *testing.T) {
	old, young := policy("old", "2026-01-01T00:00:00Z", "30s"), policy("young", "2026-02-01T00:00:00Z", "40s")
	type step struct {
		what    string
		objects []string
		hosts   string // that are served
		refused int
		finding string // a part of the only error; "" for none
	}
	for name, steps := range map[string][]step{
		"an object that has never been valid is left out": {
			{"broken from the start", []string{aGateway, virtualService("a", "a.com"), faulty(virtualService("b", "b.com"))}, "a.com", 1, "VirtualService shop/b: spec.http[0].fault: fault is not supported; remove it: Remora refuses what it would have to ignore; or, where Istio's Envoy forwards the requests, give --istio (validate, explain, extproc); until then the object is left out"},
			{"mended", []string{aGateway, virtualService("a", "a.com"), virtualService("b", "b.com")}, "a.com b.com", 0, ""},
		},
		"the last valid version stands in for an invalid one": {
			{"valid", []string{aGateway, virtualService("a", "a.com"), virtualService("b", "b.com")}, "a.com b.com", 0, ""},
			{"broken, and another one changed", []string{aGateway, virtualService("a", "new.com"), faulty(virtualService("b", "other.com"))}, "b.com new.com", 1, "until then its last valid version is used"},
			{"still broken", []string{aGateway, virtualService("a", "new.com"), faulty(virtualService("b", "other.com"))}, "b.com new.com", 1, "until then its last valid version is used"},
			{"deleted", []string{aGateway, virtualService("a", "new.com")}, "new.com", 0, ""},
			{"broken under the same name", []string{aGateway, virtualService("a", "new.com"), faulty(virtualService("b", "b.com"))}, "new.com", 1, "until then the object is left out"},
		},
		"also when it cannot be decoded": {
			{"valid", []string{aGateway, virtualService("a", "a.com")}, "a.com", 0, ""},
			{"unknown field", []string{aGateway, unknownField(virtualService("a", "b.com"))}, "a.com", 1, `VirtualService shop/a: spec.nonsense: unknown field "nonsense"`},
		},
		"of two objects that exclude each other the older is used": {
			{"the younger comes first", []string{aGateway, virtualService("a", "a.com"), young}, "a.com idle=40s", 0, ""},
			{"the older joins it, and was never in use", []string{aGateway, virtualService("a", "a.com"), young, old}, "a.com idle=30s", 1, "AffinityPolicy shop/young: spec.idleTimeout: AffinityPolicy shop/old sets it"},
			{"the older goes", []string{aGateway, virtualService("a", "a.com"), young}, "a.com idle=40s", 0, ""},
		},
		"a Gateway that goes takes no other object with it": {
			{"broken Gateway", []string{unknownField(aGateway), virtualService("a", "a.com")}, "", 1, "Gateway shop/front: spec.nonsense: unknown field"},
			{"mended", []string{aGateway, virtualService("a", "a.com")}, "a.com", 0, ""},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var tolerant Tolerant
			for _, s := range steps {
				set, found := decodeAll(t, s.objects...)
				result, diagnostics := tolerant.Compile(set, found, Options{})
				if result.Compiled == nil {
					t.Fatalf("%s: no configuration: %v", s.what, diagnostics)
				}
				if got := served(result.Compiled); got != s.hosts {
					t.Errorf("%s: serves %q, want %q", s.what, got, s.hosts)
				}
				if result.Refused != s.refused {
					t.Errorf("%s: %d objects are refused, want %d", s.what, result.Refused, s.refused)
				}
				errors, _ := split(diagnostics)
				switch {
				case s.finding == "" && len(errors) > 0:
					t.Errorf("%s: %v", s.what, errors)
				case s.finding != "" && (len(errors) != 1 || !strings.Contains(errors[0].String(), s.finding)):
					t.Errorf("%s: the errors are\n%v\nwant one with\n%s", s.what, errors, s.finding)
				}
			}
		})
	}
}

func TestAnErrorAboutNoObjectGivesNoConfiguration(t *testing.T) {
	set, found := decodeAll(t, aGateway, virtualService("a", "a.com"))
	found.Add(diag.Diagnostic{Severity: diag.Error, What: "too much of everything"})
	var tolerant Tolerant
	result, diagnostics := tolerant.Compile(set, found, Options{})
	if result.Compiled != nil || !diagnostics.HasErrors() {
		t.Errorf("got a configuration with %v", diagnostics)
	}
}

func TestEveryBrokenObjectIsLeftOutHoweverManyThereAre(t *testing.T) {
	objects := []string{aGateway, virtualService("valid", "valid.com")}
	const broken = 3 * MaxDiagnostics
	for i := range broken {
		objects = append(objects, faulty(virtualService(fmt.Sprintf("broken-%d", i), fmt.Sprintf("host-%d.com", i))))
	}
	set, found := decodeAll(t, objects...)
	var tolerant Tolerant
	result, diagnostics := tolerant.Compile(set, found, Options{})
	if result.Compiled == nil || served(result.Compiled) != "valid.com" || result.Refused != broken {
		t.Fatalf("refused %d of %d: %v", result.Refused, broken, diagnostics)
	}
	if len(diagnostics) > MaxDiagnostics+3 {
		t.Errorf("%d findings are listed", len(diagnostics))
	}
}

// served names the hosts that have routes and, when it is not the default, the idle timeout of the service.
func served(c *Compiled) string {
	var names []string
	for _, l := range c.Config.Routes.Listeners {
		for _, h := range l.Hosts {
			names = append(names, h.Domains...)
		}
	}
	slices.Sort(names)
	for i := range c.Config.Services {
		if idle := c.Config.Services[i].IdleTimeout; idle.Seconds() != 60 {
			names = append(names, "idle="+idle.String())
		}
	}
	return strings.Join(names, " ")
}

// decodeAll reads objects as a cluster's source does.
func decodeAll(t *testing.T, texts ...string) (*resource.Set, diag.List) {
	t.Helper()
	set, found := &resource.Set{}, diag.List(nil)
	for _, text := range texts {
		data, err := yaml.ToJSON([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		var object map[string]any
		if err := utiljson.Unmarshal(data, &object); err != nil {
			t.Fatal(err)
		}
		one, wrong := Decode(object)
		set.Append(one)
		found = append(found, wrong...)
	}
	return set, found
}
