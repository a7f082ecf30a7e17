package config

import (
	"encoding/json"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/remora-proxy/remora/api/v1alpha1"
	"github.com/remora-proxy/remora/internal/diag"
	"github.com/remora-proxy/remora/internal/resource"
)

// loadBytes loads one file that is in memory.
func loadBytes(name string, data []byte) (*resource.Set, diag.List) {
	ld := newLoad()
	ld.file(file{path: name, data: data})
	return ld.set, ld.report.done()
}

// FuzzLoad: whatever the bytes are, loading them ends without a panic, and every finding is at a line of the file. An object
// that is accepted is complete, and is accepted again, as the same, when it is written as JSON.
func FuzzLoad(f *testing.F) {
	for _, seed := range fuzzSeeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		set, list := loadBytes("f.yaml", data)
		lines := breaks(data) + 1
		for _, d := range list {
			if d.Pos.File != "f.yaml" && d.Pos != (diag.Position{}) || d.Pos.Line < 0 || d.Pos.Line > lines {
				t.Errorf("%v is not in the file, which has %d lines", d, lines)
			}
			if strings.ContainsAny(d.String(), "\n\x00") {
				t.Errorf("%q is not one line", d.String())
			}
		}
		if list.HasErrors() {
			return
		}
		for _, o := range set.Gateways {
			again(t, o, func(s *resource.Set) []resource.Object[*networkingv1.Gateway] { return s.Gateways }, func(a, b *networkingv1.Gateway) bool { return proto.Equal(&a.Spec, &b.Spec) })
		}
		for _, o := range set.VirtualServices {
			again(t, o, func(s *resource.Set) []resource.Object[*networkingv1.VirtualService] { return s.VirtualServices }, func(a, b *networkingv1.VirtualService) bool { return proto.Equal(&a.Spec, &b.Spec) })
		}
		for _, o := range set.DestinationRules {
			again(t, o, func(s *resource.Set) []resource.Object[*networkingv1.DestinationRule] { return s.DestinationRules }, func(a, b *networkingv1.DestinationRule) bool { return proto.Equal(&a.Spec, &b.Spec) })
		}
		for _, o := range set.ServiceEntries {
			again(t, o, func(s *resource.Set) []resource.Object[*networkingv1.ServiceEntry] { return s.ServiceEntries }, func(a, b *networkingv1.ServiceEntry) bool { return proto.Equal(&a.Spec, &b.Spec) })
		}
		for _, o := range set.Services {
			again(t, o, func(s *resource.Set) []resource.Object[*corev1.Service] { return s.Services }, sameJSON)
		}
		for _, o := range set.EndpointSlices {
			again(t, o, func(s *resource.Set) []resource.Object[*discoveryv1.EndpointSlice] { return s.EndpointSlices }, sameJSON)
		}
		for _, o := range set.AffinityPolicies {
			if o.Value.Spec.TargetRefs != nil { // else it is written as null, which is refused
				again(t, o, func(s *resource.Set) []resource.Object[*v1alpha1.AffinityPolicy] { return s.AffinityPolicies }, sameJSON)
			}
		}
	})
}

// again writes an object as JSON and loads that.
func again[T metav1.Object](t *testing.T, o resource.Object[T], in func(*resource.Set) []resource.Object[T], equal func(a, b T) bool) {
	t.Helper()
	if o.Value.GetName() == "" || o.Value.GetNamespace() == "" {
		t.Errorf("%s is accepted without a name or namespace", o.Name())
	}
	written, err := json.Marshal(o.Value)
	if err != nil {
		return // a value that the type can hold and cannot write, such as a time in the year 10000
	}
	set, list := loadBytes("again.yaml", written)
	if list.HasErrors() {
		t.Fatalf("%s is not accepted again: %v\n%s", o.Name(), list, written)
	}
	if got := in(set); len(got) != 1 || !equal(got[0].Value, o.Value) {
		t.Errorf("%s is another one when it is written and read again: %s", o.Name(), written)
	}
}

func sameJSON[T any](a, b T) bool {
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	return string(x) == string(y)
}

// FuzzLocate: every value of a document is found at its line by its path, and no path leads out of the file.
func FuzzLocate(f *testing.F) {
	for _, seed := range fuzzSeeds {
		f.Add([]byte(seed), "spec.http[0].match[1].headers[x-user].exact")
	}
	f.Add([]byte("a: [1, {b: c}]\n"), "a[7].b")
	f.Add([]byte("a: {'x]': 1, 'y.z': {'': 2}}\n"), "a[x]].b[")
	f.Fuzz(func(t *testing.T, data []byte, field string) {
		parse("f.yaml", data, &reporter{}, func(d *node) {
			l := newLocator("f.yaml", d)
			if p := l.Locate(field); p.File != "f.yaml" || p.Line < 1 || p.Line > breaks(data)+1 {
				t.Errorf("%q is at %v", field, p)
			}
			walk(d, nil, func(path []step, n *node) {
				if p := l.Locate(render(path)); p.Line != int(n.at) {
					t.Errorf("%s is at %v, want line %d", render(path), p, n.at)
				}
			})
		})
	})
}

// walk visits all values whose path is unambiguous.
func walk(n *node, path []step, visit func([]step, *node)) {
	visit(path, n)
	for i := range n.kids {
		kid := &n.kids[i]
		s := step{index: i}
		if n.kind == mapping {
			s = step{name: kid.key, key: strings.ContainsAny(kid.key, ".[") || kid.key == ""}
			if strings.Contains(kid.key, "]") || len(path) == 0 && kid.key == "" {
				continue
			}
		}
		walk(kid, append(path, s), visit)
	}
}

var fuzzSeeds = []string{
	"", "\n", "---\n---\n", "a", "- a\n- b: {c: d}\n", "\t", "{", "\"\\ud800\"", "a: &a [*a]", "? a\n: b\n", "%YAML 1.1\n---\na: b\n", "a: b\n...\nc: d\n",
	"apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{port: 80, targetPort: http}]}\n",
	"apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: a, labels: {kubernetes.io/service-name: a}}\naddressType: IPv4\nports: [{port: 8080}]\nendpoints:\n- addresses: [10.0.0.1]\n  conditions: {ready: true}\n",
	"apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: a}\nspec:\n  servers:\n  - port: {number: 80, name: http, protocol: HTTP}\n    hosts: [\"*\"]\n",
	"apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec:\n  hosts: [a]\n  http:\n  - match:\n    - uri: {prefix: /a}\n      headers: {x-user: {exact: a}}\n    route:\n    - destination: {host: a, port: {number: 80}}\n      weight: 1\n    timeout: 1m\n    retries: {attempts: 3}\n",
	"apiVersion: networking.istio.io/v1beta1\nkind: DestinationRule\nmetadata: {name: a}\nspec:\n  host: a\n  trafficPolicy: {loadBalancer: {consistentHash: {httpCookie: {name: a, ttl: 1.5s}}}}\n",
	"apiVersion: networking.istio.io/v1alpha3\nkind: ServiceEntry\nmetadata: {name: a}\nspec: {hosts: [a.example], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS, endpoints: [{address: b.example}]}\n",
	"apiVersion: remora.dev/v1alpha1\nkind: AffinityPolicy\nmetadata: {name: a}\nspec: {targetRefs: [{kind: Gateway, name: a}], promote: [{field: a, header: b}], idleTimeout: 90s, maxBody: 64Ki, key: {cookie: c}}\n",
	"apiVersion: v1\nkind: List\nitems:\n- &a {apiVersion: v1, kind: Service, metadata: {name: a}}\n- {<<: *a, metadata: {name: b}}\n- apiVersion: v2\n",
	"apiVersion: apps/v1\r\nkind: Deployment\r\nmetadata: {name: a}\r",
}
