package istio_test

import (
	"fmt"
	"testing"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/diag"
	"github.com/remora-proxy/remora/internal/istio"
	"github.com/remora-proxy/remora/internal/resource"
	"github.com/remora-proxy/remora/internal/route"
)

// nowhere is the place of objects that no file has.
type nowhere struct{}

func (nowhere) Locate(string) diag.Position { return diag.Position{File: "made", Line: 1} }

func made[T metav1.Object](kind string, o T, name string) resource.Object[T] {
	o.SetName(name)
	o.SetNamespace("default")
	return resource.Object[T]{Kind: kind, Value: o, Where: nowhere{}}
}

// manyRoutes is a configuration of n routes: all in one VirtualService, or each in one of its own with a host of its own, to a
// tenth as many services.
func manyRoutes(n int, oneObject bool) *resource.Set {
	set := &resource.Set{}
	gw := &networkingv1.Gateway{}
	gw.Spec.Servers = []*networking.Server{{Port: &networking.Port{Number: 80, Name: "http", Protocol: "HTTP"}, Hosts: []string{"*"}}}
	set.Gateways = append(set.Gateways, made("Gateway", gw, "gw"))
	services := max(1, n/10)
	for i := range services {
		name := fmt.Sprint("backend-", i)
		set.Services = append(set.Services, made("Service", &corev1.Service{Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 8080}}}}, name))
		port := int32(8080)
		slice := made("EndpointSlice", &discoveryv1.EndpointSlice{
			AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Port: &port}},
			Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"127.0.1.1"}}, {Addresses: []string{"127.0.1.2"}}},
		}, name)
		slice.Value.Labels = map[string]string{discoveryv1.LabelServiceName: name}
		set.EndpointSlices = append(set.EndpointSlices, slice)
		dr := &networkingv1.DestinationRule{}
		dr.Spec.Host = name
		dr.Spec.TrafficPolicy = &networking.TrafficPolicy{LoadBalancer: &networking.LoadBalancerSettings{LbPolicy: &networking.LoadBalancerSettings_ConsistentHash{
			ConsistentHash: &networking.LoadBalancerSettings_ConsistentHashLB{HashKey: &networking.LoadBalancerSettings_ConsistentHashLB_HttpHeaderName{HttpHeaderName: "x-user"}},
		}}}
		set.DestinationRules = append(set.DestinationRules, made("DestinationRule", dr, name))
	}
	vs := &networkingv1.VirtualService{}
	add := func(name, host string) {
		vs.Spec.Hosts, vs.Spec.Gateways = []string{host}, []string{"gw"}
		set.VirtualServices = append(set.VirtualServices, made("VirtualService", vs, name))
	}
	for i := range n {
		vs.Spec.Http = append(vs.Spec.Http, &networking.HTTPRoute{
			Match: []*networking.HTTPMatchRequest{{Headers: map[string]*networking.StringMatch{
				"target": {MatchType: &networking.StringMatch_Exact{Exact: fmt.Sprint("t-", i)}},
			}}},
			Route: []*networking.HTTPRouteDestination{{Destination: &networking.Destination{Host: fmt.Sprint("backend-", i%services)}}},
		})
		if !oneObject {
			add(fmt.Sprint("vs-", i), fmt.Sprintf("shop-%d.example.com", i))
			vs = &networkingv1.VirtualService{}
		}
	}
	if oneObject {
		add("vs", "*")
	}
	return set
}

func BenchmarkCompile(b *testing.B) {
	for _, shape := range []struct {
		name string
		one  bool
	}{{"one-virtualservice", true}, {"one-host-each", false}} {
		for _, n := range []int{1000, 10000} {
			b.Run(fmt.Sprintf("%s/%d", shape.name, n), func(b *testing.B) {
				set := manyRoutes(n, shape.one)
				for b.Loop() {
					c, diags := istio.Compile(set, istio.Options{})
					if err := diags.Err(); err != nil {
						b.Fatal(err)
					}
					if _, err := affinity.Compile(c); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func TestTenThousandRoutesAreCompiled(t *testing.T) {
	for _, shape := range []struct {
		routes int
		one    bool
	}{{2000, true}, {10000, false}} {
		c, diags := istio.Compile(manyRoutes(shape.routes, shape.one), istio.Options{})
		if len(diags) != 0 {
			t.Fatal(said(diags))
		}
		table, err := route.New(c.Routes)
		if err != nil {
			t.Fatal(err)
		}
		var res route.Result
		req := route.Request{Port: 80, Path: "/", Authority: "shop-1777.example.com", Headers: []route.Header{{Name: "target", Value: "t-1777"}}}
		if !table.Lookup(&req, &res) || c.Services[res.Rule.Destinations[0].Service].Host != fmt.Sprintf("backend-%d.default.svc.cluster.local", 1777%(shape.routes/10)) {
			t.Errorf("got %+v", res.Rule)
		}
	}
}
