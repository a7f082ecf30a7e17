// Package gatewayapi compiles the routes of the Gateway API (gateway.networking.k8s.io): Gateway, HTTPRoute and ReferenceGrant
// become the decision core's route table, by the matching and the precedence that the API's documentation demands. Where that leaves room, what
// Envoy Gateway does decides, so that Remora behind it comes to the same service as its Envoy. What is valid and not supported is refused
// with its place and name, never ignored.
//
// It reads no file and asks no cluster: objects come in as a resource.Set. It knows neither where endpoints come from nor what policies say:
// what its routes lead to is behind the interface Services.
//
// How Remora takes part:
//
//   - It serves every Gateway, whatever its gatewayClassName, and writes no status.
//   - Gateways on one port are served together, each with its own listeners and routes: a request gets the rules of all of them that
//     fit its host, in the order of precedence.
//   - Of a Gateway's listeners on one port, the one whose hostname fits a request best has it, and the routes of no other are tried. The
//     same holds for the hostnames of routes: the most specific one that fits has the request, as in Envoy's virtual hosts.
//   - A path match by regular expression comes after Exact and before PathPrefix ones, the longer expression first.
package gatewayapi

import (
	"cmp"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/remora-proxy/remora/internal/diag"
	"github.com/remora-proxy/remora/internal/resource"
	"github.com/remora-proxy/remora/internal/route"
)

// Options say what cannot be read from the objects.
type Options struct {
	// Proxied says that a proxy forwards the requests by its own reading of the same objects, as Envoy Gateway's does: what only says
	// how that is done is accepted, and listeners for TLS are served.
	Proxied bool
}

// Services is the rest of the configuration: what routes lead to, and what policies say of the Gateways.
type Services interface {
	// Service gives the index of a port of a Service. at is the place that leads there.
	Service(namespace, name string, port uint16, at diag.Position) int
	// Refused gives the index of a service that answers 503 in the place of one that a namespace may not use.
	Refused(namespace, name string, port uint16, by, why, remedy string, at diag.Position) int
	// WarnMissing warns when a service that gets requests cannot serve them.
	WarnMissing(o resource.Object[*gatewayv1.HTTPRoute], field string, service int)
	// Reached notes that requests come to a service through the Gateway of a name.
	Reached(service int, gateway string)
	// PortOwner is what listens on a port already, and where that is said; empty where nothing does.
	PortOwner(port uint16) (name string, at diag.Position)
	// Listen takes the routes of a port, and the Gateways that listen there.
	Listen(routes route.Listener, gateways []resource.Object[*gatewayv1.Gateway])
	// Add takes a finding.
	Add(d diag.Diagnostic)
}

// The objects as they were written.
type (
	gatewayObject = resource.Object[*gatewayv1.Gateway]
	routeObject   = resource.Object[*gatewayv1.HTTPRoute]
)

// Compile adds the routes of the set to a configuration. When it has reported an error, the configuration must not be used.
func Compile(set *resource.Set, o Options, into Services) {
	c := &compiler{set: set, proxied: o.Proxied, into: into}
	c.checkGrants()
	c.readGateways()
	for i, object := range byAge(set.HTTPRoutes) {
		r := c.readRoute(object)
		r.order = i
		c.attach(r)
	}
	for _, g := range c.gateways {
		c.warnUnattached(g)
	}
	c.compilePorts()
}

// compiler is the state of one Compile.
type compiler struct {
	set      *resource.Set
	proxied  bool
	into     Services
	gateways []*gateway
}

// objectAt is what all kinds of resource.Object have in common here.
type objectAt interface {
	At(s diag.Severity, field, what, remedy string) diag.Diagnostic
}

func (c *compiler) errorAt(o objectAt, field, what, remedy string) {
	c.into.Add(o.At(diag.Error, field, what, remedy))
}

// warnUnserved is warnAt for what leaves requests without a route.
func (c *compiler) warnUnserved(o objectAt, field, what, remedy string) {
	d := o.At(diag.Warning, field, what, remedy)
	d.Unserved = true
	c.into.Add(d)
}

func (c *compiler) warnAt(o objectAt, field, what, remedy string) {
	c.into.Add(o.At(diag.Warning, field, what, remedy))
}

// byAge is a copy of objects in the API's order: the oldest first, equally old ones by namespace/name. Files seldom have a
// creationTimestamp.
func byAge[T metav1.Object](objects []resource.Object[T]) []resource.Object[T] {
	sorted := slices.Clone(objects)
	slices.SortStableFunc(sorted, func(a, b resource.Object[T]) int {
		at, bt := a.Value.GetCreationTimestamp(), b.Value.GetCreationTimestamp()
		return cmp.Or(at.Compare(bt.Time), cmp.Compare(nameOf(a.Value), nameOf(b.Value)))
	})
	return sorted
}

func nameOf(o metav1.Object) string { return o.GetNamespace() + "/" + o.GetName() }
