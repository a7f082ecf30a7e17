package generate

import (
	"fmt"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/remora-proxy/remora/api/v1alpha1"
	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/diag"
	"github.com/remora-proxy/remora/internal/istio"
	"github.com/remora-proxy/remora/internal/resource"
)

// CheckIstio says what in a set that compiles would not work, or not as it may be expected to, under Istio with the objects that
// Istio writes. c is what the set was compiled to. With an error among the findings, Istio must not be called.
func CheckIstio(set *resource.Set, c *affinity.Config, o IstioOptions) diag.List {
	k := &istioCheck{set: set, config: c, inForce: inForce(c), delegates: istio.NewDelegates(set), options: o}
	k.gateways()
	k.promotions()
	for _, v := range set.VirtualServices {
		k.virtualService(v)
	}
	k.keys()
	k.services()
	for _, r := range set.DestinationRules {
		k.visibility(r, r.Value.Spec.ExportTo)
	}
	for _, e := range set.ServiceEntries {
		k.visibility(e, e.Value.Spec.ExportTo)
		if e.Value.Spec.Resolution == networking.ServiceEntry_DNS {
			k.add(e.At(diag.Warning, "spec.resolution", "Envoy and Remora each ask DNS for the replicas: while the answers differ, requests go to another replica than the session's",
				"write resolution: STATIC with endpoints, where there is more than one replica"))
		}
	}
	k.found.Sort()
	return k.found
}

type istioCheck struct {
	set       *resource.Set
	config    *affinity.Config
	inForce   map[string]bool // where the rules stand that requests can come to
	delegates *istio.Delegates
	options   IstioOptions
	found     diag.List
}

// inForce lists where the rules stand that requests can come to.
func inForce(c *affinity.Config) map[string]bool {
	at := map[string]bool{}
	for _, l := range c.Routes.Listeners {
		for _, h := range l.Hosts {
			for _, r := range h.Rules {
				at[r.Source] = true
			}
		}
	}
	return at
}

func (k *istioCheck) add(d diag.Diagnostic) { k.found.Add(d) }

// gateways checks what says where the filters go.
func (k *istioCheck) gateways() {
	if len(workloads(k.set)) == 0 {
		const what = "there is no Gateway with a server for HTTP"
		if len(k.set.Gateways) > 0 {
			k.add(k.set.Gateways[0].At(diag.Error, "spec.servers", what, "add a server with protocol: HTTP, or HTTPS where the gateway terminates TLS: of what it passes on, nobody sees the requests"))
		} else {
			k.add(diag.Diagnostic{Severity: diag.Error, What: what, Remedy: "give the files with the Gateways and VirtualServices too: their selectors say which pods are to ask Remora"})
		}
	}
	type use struct {
		gateway  resource.Object[*networkingv1.Gateway]
		workload *workload
		port     uint16
	}
	byPort := map[uint16]use{}
	byListener := map[*workload]map[uint16]uint16{}
	for _, w := range workloads(k.set) {
		byListener[w] = map[uint16]uint16{}
		for _, g := range w.gateways {
			if len(w.labels) == 0 {
				k.add(g.At(diag.Error, "spec.selector", "the Gateway has no selector: it is for the pods of all gateways, and the EnvoyFilter needs to know them",
					"write the labels of the gateway's pods, as istio: ingressgateway"))
			}
			for i, s := range g.Value.Spec.Servers {
				if !istio.ServesHTTP(s) {
					continue
				}
				field, port := fmt.Sprintf("spec.servers[%d].port.number", i), uint16(s.GetPort().GetNumber())
				if other, is := byPort[port]; is && other.workload != w {
					k.add(g.At(diag.Error, field, fmt.Sprintf("%s has port %d too and another selector: Remora serves all Gateways on one port together, and Istio does not", other.gateway.Name(), port),
						"give them different ports, or run a processor for each and write their objects separately"))
				}
				byPort[port] = use{gateway: g, workload: w, port: port}
				listener := k.options.listenerPort(port)
				if other, is := byListener[w][listener]; is && other != port {
					k.add(g.At(diag.Error, field, fmt.Sprintf("the gateway's pods would listen on %d for both port %d and port %d", listener, other, port),
						fmt.Sprintf("say where they listen: --listener-port %d=…, which is the targetPort of the port in the gateway's Service", port)))
				}
				byListener[w][listener] = port
			}
		}
	}
}

// promotions checks whether the body has a say. Whether promoted fields have an effect is no question of Istio's: see package istio.
func (k *istioCheck) promotions() {
	if slices.ContainsFunc(k.set.AffinityPolicies, func(p resource.Object[*v1alpha1.AffinityPolicy]) bool { return len(p.Value.Spec.Promote) > 0 }) {
		return
	}
	const what, remedy = "no AffinityPolicy promotes a field: bodies have no say in anything", "add an AffinityPolicy with spec.promote for the Gateway, if routes or sessions are to follow the body"
	if len(k.set.AffinityPolicies) > 0 {
		k.add(k.set.AffinityPolicies[0].At(diag.Warning, "spec", what, remedy))
	} else {
		k.add(diag.Diagnostic{Severity: diag.Warning, What: what, Remedy: remedy})
	}
}

// virtualService checks what Istio's Envoy would understand in another way than Remora, or do differently.
func (k *istioCheck) virtualService(v resource.Object[*networkingv1.VirtualService]) {
	k.visibility(v, v.Value.Spec.ExportTo)
	k.timeouts(v)
	for i, rule := range v.Value.Spec.Http {
		field := fmt.Sprintf("spec.http[%d]", i)
		for j, m := range rule.GetMatch() {
			if len(m.GetSourceLabels()) > 0 && len(m.GetGateways()) == 0 {
				k.add(v.At(diag.Error, fmt.Sprintf("%s.match[%d].sourceLabels", field, j), "Istio compares it with the labels of the gateway's pods, which Remora does not know: they could come to different services",
					"remove it, or write the match's gateways"))
			}
		}
		if retries := rule.GetRetries(); retries != nil {
			k.retries(v, field+".retries", retries)
		}
		if len(rule.GetRoute()) > 1 {
			k.split(v, field, rule)
		}
		if rule.GetDelegate() == nil {
			continue
		}
		d, why := k.delegates.Find(v, rule.Delegate)
		if why == "" && slices.ContainsFunc(d.Value.Spec.Http, func(r *networking.HTTPRoute) bool { return len(r.GetRoute()) > 1 }) {
			k.split(v, field, rule) // what it says counts for the delegate's rules too
		}
	}
}

// objectAt is what all kinds of resource.Object have in common here.
type objectAt interface {
	At(s diag.Severity, field, what, remedy string) diag.Diagnostic
}

// visibility checks whom an object is exported to, which counts by the gateway's namespace.
func (k *istioCheck) visibility(o objectAt, exportTo []string) {
	if k.options.GatewayNamespace != istio.DefaultNamespace && len(exportTo) > 0 && !slices.Contains(exportTo, "*") {
		k.add(o.At(diag.Error, "spec.exportTo", fmt.Sprintf("Istio looks at it for a gateway in %s, and Remora for one in %s: they could come to different services", k.options.GatewayNamespace, istio.DefaultNamespace),
			`leave exportTo away, or write "*"`))
	}
}

// timeouts tells of rules by which a request to a replica that hangs waits as long as Istio lets a stream rest. Those with weights have a route
// of Remora's own.
func (k *istioCheck) timeouts(v resource.Object[*networkingv1.VirtualService]) {
	var without []string
	for i, rule := range v.Value.Spec.Http {
		field := fmt.Sprintf("spec.http[%d]", i)
		if len(rule.GetRoute()) == 1 && rule.GetTimeout() == nil && rule.GetRetries().GetPerTryTimeout() == nil && k.inForce[v.Where.Locate(field).String()] {
			without = append(without, field)
		}
	}
	if len(without) == 0 {
		return
	}
	what := "has neither timeout nor retries.perTryTimeout"
	if n := len(without); n > 1 {
		what = fmt.Sprintf("has neither timeout nor retries.perTryTimeout, as %d more", n-1)
	}
	k.add(v.At(diag.Warning, without[0], what+": a request to a replica that hangs waits for 5 minutes, where remora serve answers 504 after one",
		"write retries: {attempts: 2, perTryTimeout: 60s, retryOn: \"connect-failure,refused-stream,unavailable\"}; it is the time until the response begins, and cuts no stream"))
}

// retries checks a retry policy that takes the place of Istio's own.
func (k *istioCheck) retries(v resource.Object[*networkingv1.VirtualService], field string, r *networking.HTTPRetry) {
	const cost = "a request to a replica that refuses connections fails, and is not sent to another one"
	switch on := r.GetRetryOn(); {
	case r.GetAttempts() == 0:
		k.add(v.At(diag.Warning, field+".attempts", "without retries, "+cost, "write attempts: 2, or leave retries away"))
	case on != "" && !slices.ContainsFunc(strings.Split(on, ","), func(s string) bool { return strings.TrimSpace(s) == "connect-failure" }):
		k.add(v.At(diag.Warning, field+".retryOn", "without connect-failure, "+cost, "add connect-failure to it"))
	}
}

// split checks a rule with several destinations: Envoy then takes a route of Remora's own, which has nothing of the rule's.
func (k *istioCheck) split(v resource.Object[*networkingv1.VirtualService], field string, rule *networking.HTTPRoute) {
	for _, f := range []struct {
		name string
		set  bool
	}{
		{"timeout", rule.GetTimeout() != nil},
		{"retries", rule.GetRetries() != nil},
		{"rewrite", rule.GetRewrite() != nil},
		{"headers", rule.GetHeaders() != nil},
		{"fault", rule.GetFault() != nil},
		{"corsPolicy", rule.GetCorsPolicy() != nil},
		{"mirror", rule.GetMirror() != nil},
		{"mirrors", len(rule.GetMirrors()) > 0},
	} {
		if f.set {
			k.add(v.At(diag.Error, field+"."+f.name, "the rule, or one that it delegates to, splits requests among services, and sessions keep to one only by a route that does not have this",
				"remove it, or give the rule one destination"))
		}
	}
}

// keys checks that what sessions stick by is something that Istio knows too.
func (k *istioCheck) keys() {
	for i := range k.config.Services {
		s := &k.config.Services[i]
		if s.Missing != "" || s.Key.Kind == affinity.NoKey || k.hashes(s) {
			continue
		}
		if object, found := k.object(s.Host); found {
			k.add(object(diag.Warning, "metadata.name", "without Remora, requests to "+s.Name+" would not stick: its key is in an AffinityPolicy, which Istio does not know",
				"write a DestinationRule with consistentHash for "+s.Host+": it is what is left when the processor is down, or a replica is not known to Envoy yet"))
		}
	}
}

// hashes reports whether a DestinationRule says where the key of a service is.
func (k *istioCheck) hashes(s *affinity.ServiceConfig) bool {
	return s.Key.Source != "" && !slices.ContainsFunc(k.set.AffinityPolicies, func(p resource.Object[*v1alpha1.AffinityPolicy]) bool {
		return p.Where.Locate("spec.key").String() == s.Key.Source
	})
}

// object is how to speak of what defines a host: its Service or ServiceEntry.
func (k *istioCheck) object(host string) (at func(diag.Severity, string, string, string) diag.Diagnostic, found bool) {
	for _, s := range k.set.Services {
		if (serviceName{s.Value.Namespace, s.Value.Name}).host() == host {
			return s.At, true
		}
	}
	for _, e := range k.set.ServiceEntries {
		if slices.ContainsFunc(e.Value.Spec.Hosts, func(h string) bool { return strings.EqualFold(h, host) }) {
			return e.At, true
		}
	}
	return nil, false
}

// services checks the label for draining.
func (k *istioCheck) services() {
	missing := unlabelled(k.set, k.config)
	for _, s := range k.set.Services {
		name := serviceName{s.Value.Namespace, s.Value.Name}
		if !slices.Contains(missing, name) {
			continue
		}
		what := "the Service lacks the label " + istio.DrainingLabel + ": Envoy forgets a replica as soon as it terminates, and its users lose it"
		if _, is := s.Value.Labels[istio.DrainingLabel+"-header"]; is {
			what = "the label " + istio.DrainingLabel + "-header does not keep replicas that terminate in Envoy: their users lose them at once"
		}
		k.add(s.At(diag.Warning, "metadata.labels", what, fmt.Sprintf("kubectl -n %s label service %s %s=remora", name.Namespace, name.Name, istio.DrainingLabel)))
	}
}
