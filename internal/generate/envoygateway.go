package generate

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/diag"
	"github.com/remora-proxy/remora/internal/extproc"
	"github.com/remora-proxy/remora/internal/resource"
	"github.com/remora-proxy/remora/internal/route"
)

// EnvoyGatewayOptions say what the objects do not. All fields but Gateway and FailOpen must be set.
type EnvoyGatewayOptions struct {
	Gateway          string // the Gateway that is to ask Remora; empty: all Gateways of the set
	GatewayNamespace string // its own
	Namespace        string // of the processor
	Image            string // of the processor
	Replicas         int    // of the processor
	Store            Store  // of the processors
	FailOpen         bool   // without a processor, requests go on by the routes alone; otherwise they fail
	MessageTimeout   time.Duration
}

// EnvoyGateway writes the objects that make Gateways of Envoy Gateway ask Remora: documents of YAML that kubectl can apply. The set must have
// passed CheckEnvoyGateway without errors, and c be what it was compiled to.
func EnvoyGateway(set *resource.Set, c *affinity.Config, o EnvoyGatewayOptions) string {
	targets := targetsOf(set, &o)
	data := struct {
		deployment
		MessageTimeout             string
		FailOpen                   bool
		Objects                    []string // the user's own
		Policies                   []string // AffinityPolicies, by name
		Targets                    []target
		SetsCookies, SourceAddress bool
		HashHeader, EndpointHeader string
		Dropped                    []string
	}{
		deployment: newDeployment(o.Namespace, o.Image, o.Replicas, o.Store), FailOpen: o.FailOpen,
		MessageTimeout: fmt.Sprintf("%dms", o.MessageTimeout.Milliseconds()), // the API takes no fractions
		Objects:        objectsOf(set, targets), Targets: targets,
		SetsCookies:   usesKey(c, func(k affinity.Key) bool { return k.SetTTL }),
		SourceAddress: usesKey(c, func(k affinity.Key) bool { return k.Kind == affinity.SourceIPKey }),
		HashHeader:    commonHeader(c), EndpointHeader: extproc.EndpointHeader, Dropped: between(c),
	}
	data.GatewayPort = portOf(c)
	for _, p := range set.AffinityPolicies {
		data.Policies = append(data.Policies, p.Value.Namespace+"/"+p.Value.Name)
	}
	return render("envoygateway.yaml", &data) + "\n"
}

// target is the Gateways of one namespace that are to ask.
type target struct {
	Namespace string
	Gateways  []string
}

// targetsOf lists the Gateways that are to ask, in the order of their names.
func targetsOf(set *resource.Set, o *EnvoyGatewayOptions) []target {
	if o.Gateway != "" {
		return []target{{o.GatewayNamespace, []string{o.Gateway}}}
	}
	var out []target
	for _, g := range set.APIGateways {
		i := slices.IndexFunc(out, func(t target) bool { return t.Namespace == g.Value.Namespace })
		if i < 0 {
			i = len(out)
			out = append(out, target{Namespace: g.Value.Namespace})
		}
		out[i].Gateways = append(out[i].Gateways, g.Value.Name)
	}
	for _, t := range out {
		slices.Sort(t.Gateways)
	}
	slices.SortFunc(out, func(a, b target) int { return strings.Compare(a.Namespace, b.Namespace) })
	return out
}

// has reports whether a Gateway is among the targets.
func (t target) has(namespace, name string) bool {
	return t.Namespace == namespace && slices.Contains(t.Gateways, name)
}

// CheckEnvoyGateway says what in a set that compiles would not work, or not as it may be expected to, behind Envoy Gateway. c is what the
// set was compiled to. With an error among the findings, EnvoyGateway must not be called.
func CheckEnvoyGateway(set *resource.Set, c *affinity.Config, o EnvoyGatewayOptions) diag.List {
	var found diag.List
	targets := targetsOf(set, &o)
	switch {
	case len(targets) == 0:
		found.Add(diag.Diagnostic{Severity: diag.Error, What: "there is no Gateway of the Gateway API", Remedy: "give the file with the Gateway and its HTTPRoutes too, or name the Gateway with --gateway"})
	case len(set.APIGateways) == 0 || len(set.HTTPRoutes) == 0:
		found.Add(diag.Diagnostic{
			Severity: diag.Warning, Unserved: true, What: "there is no HTTPRoute: Envoy Gateway routes by the HTTPRoutes of its Gateway, and knows no VirtualService",
			Remedy: "write HTTPRoutes that match on the promoted headers and lead to the same Services and ports, and give them to Remora in place of the VirtualServices",
		})
	case !slices.ContainsFunc(set.APIGateways, func(g resource.Object[*gatewayv1.Gateway]) bool {
		return isTarget(targets, g.Value.Namespace, g.Value.Name)
	}):
		found.Add(diag.Diagnostic{Severity: diag.Error, What: fmt.Sprintf("there is no Gateway %s/%s of the Gateway API", o.GatewayNamespace, o.Gateway), Remedy: "correct --gateway and --gateway-namespace, or leave --gateway away for all Gateways"})
	}
	for _, g := range set.Gateways {
		found.Add(g.At(diag.Warning, "spec.servers", "the Gateway is Istio's, and Envoy Gateway does not know it", "write a Gateway and HTTPRoutes of the Gateway API"))
	}
	if a, b := differingPorts(c); a != b {
		found.Add(diag.Diagnostic{
			Severity: diag.Error, What: fmt.Sprintf("the routes of port %d are others than those of port %d, and behind Envoy Gateway Remora cannot see which port a request came in through", a, b),
			Remedy: "attach the same HTTPRoutes to the listeners of both (a port whose HTTPRoutes only redirect does not count), or run a processor for each Gateway with --gateway",
		})
	}
	return found
}

func isTarget(targets []target, namespace, name string) bool {
	return slices.ContainsFunc(targets, func(t target) bool { return t.has(namespace, name) })
}

// decides reports whether any rule of a port leads to a service. Where Envoy answers every request by itself, it does not matter what was decided.
func decides(l *route.Listener) bool {
	return slices.ContainsFunc(l.Hosts, func(h route.VirtualHost) bool {
		return slices.ContainsFunc(h.Rules, func(r route.Rule) bool { return len(r.Destinations) > 0 })
	})
}

// differingPorts gives two ports whose requests are decided by different rules, or the same port twice.
func differingPorts(c *affinity.Config) (a, b uint16) {
	var first *route.Listener
	for i := range c.Routes.Listeners {
		l := &c.Routes.Listeners[i]
		switch {
		case !decides(l):
		case first == nil:
			first = l
		case !alike(c, first, l):
			return l.Port, first.Port
		}
	}
	return 0, 0
}

// alike reports whether two ports have the same rules for the same hosts, and the same promotions.
func alike(c *affinity.Config, a, b *route.Listener) bool {
	promotions := func(port uint16) affinity.Listener {
		i := slices.IndexFunc(c.Listeners, func(l affinity.Listener) bool { return l.Port == port })
		if i < 0 {
			return affinity.Listener{}
		}
		return affinity.Listener{Promote: c.Listeners[i].Promote, MaxBody: c.Listeners[i].MaxBody}
	}
	return reflect.DeepEqual(a.Hosts, b.Hosts) && reflect.DeepEqual(promotions(a.Port), promotions(b.Port))
}

// portOf is the port by whose rules requests are decided.
func portOf(c *affinity.Config) uint16 {
	for i := range c.Routes.Listeners {
		if decides(&c.Routes.Listeners[i]) {
			return c.Routes.Listeners[i].Port
		}
	}
	return 80
}

// between lists the headers between Remora, Envoy and the replicas, which a client may not set.
func between(c *affinity.Config) []string {
	names := []string{extproc.EndpointHeader, extproc.ServiceHeader}
	if len(c.Services) == 0 {
		names = append(names, affinity.DefaultSessionHeader)
	}
	for i := range c.Services {
		if name := c.Services[i].SessionHeader; !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names[2:])
	return names
}

// commonHeader is the header that all sessions stick by; empty where there is none such.
func commonHeader(c *affinity.Config) string {
	name := ""
	for i := range c.Services {
		switch key := c.Services[i].Key; {
		case key.Kind == affinity.NoKey:
		case key.Kind != affinity.HeaderKey, name != "" && name != key.Name:
			return ""
		default:
			name = key.Name
		}
	}
	return name
}
