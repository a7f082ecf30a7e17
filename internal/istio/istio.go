// Package istio compiles the users' Istio objects (Gateway, VirtualService, DestinationRule, ServiceEntry), the Kubernetes
// objects that they refer to (Service, EndpointSlice), and AffinityPolicies, into the decision core's configuration. It does
// what istiod and Envoy do together for an ingress gateway: where Istio's documentation leaves room, what they were seen to do
// decides (testdata/observed). What is valid Istio but not supported is refused with its place and name, never ignored.
//
// It reads no file and asks no cluster or DNS: objects come in as a resource.Set and known addresses through Options.
//
// How Remora takes part in a mesh that it is not in:
//
//   - It serves every Gateway, whatever its selector says, and counts as a workload of Options.Namespace without labels:
//     what exportTo keeps from that namespace is not seen, and sourceLabels never fit.
//   - Ports are those of the Gateways' servers. All Gateways on one port are served together.
//   - Several VirtualServices for one host are merged: the oldest first (creationTimestamp), among equally old ones in the
//     order of name.namespace, and what matches everything last. Files seldom have a creationTimestamp, so that the
//     order of files and documents does not matter.
//   - A delegate's rules take the place of the rule that delegates to them, within what that one matches (delegate.go).
//   - There is no ring: consistentHash says where the key is, the session table and placement do the rest.
package istio

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"google.golang.org/protobuf/proto"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/diag"
	"github.com/remora-proxy/remora/internal/resource"
	"github.com/remora-proxy/remora/internal/route"
)

// The namespaces of an Istio that was installed with its defaults.
const (
	DefaultNamespace = "istio-system" // of the ingress gateway
	rootNamespace    = "istio-system" // its DestinationRules apply to services that have no other
)

// Options say what cannot be read from the objects.
type Options struct {
	// Namespace is the one that the gateway counts as being in. Empty: DefaultNamespace.
	Namespace string
	// Addresses gives the addresses that are known now of one of DNSNames. nil: none are known yet.
	Addresses func(name string) []netip.Addr
	// NoSlices says that the set is not where the EndpointSlices are: Services without endpoints are no finding.
	NoSlices bool
	// Proxied says that a proxy forwards the requests by its own reading of the same objects, as Istio's does: what only says how
	// that is done is accepted, and servers for TLS and HTTP/2 are served.
	Proxied bool
	// DrainingLabelled says that requests go through an Envoy of Istio's, which has draining endpoints only of Services with the label
	// DrainingLabel. Those of others count as gone.
	DrainingLabelled bool
}

// DrainingLabel is the label that, with any value but an empty one, makes istiod keep the endpoints of a Service that terminate in Envoy, as draining
// (Istio 1.32; pilot/pkg/xds/endpoints: endpoint_builder.go). Its other use, a cookie, needs PILOT_ENABLE_PERSISTENT_SESSION_FILTER.
const DrainingLabel = "istio.io/persistent-session"

// KeepsDraining reports whether a Service with these labels has DrainingLabel.
func KeepsDraining(labels map[string]string) bool { return labels[DrainingLabel] != "" }

// Compile makes the configuration of the set. When the list has errors, the configuration must not be used.
func Compile(set *resource.Set, o Options) (affinity.Config, diag.List) {
	return Begin(set, o).Finish()
}

// Compilation is a Compile between its two halves, where the routes of another API can be added: they lead to the same services, and the same
// policies apply to them.
type Compilation struct{ c *compiler }

// Begin reads the set and compiles Istio's own routes.
func Begin(set *resource.Set, o Options) Compilation {
	c := &compiler{
		set: set, namespace: cmp.Or(o.Namespace, DefaultNamespace), addresses: o.Addresses, noSlices: o.NoSlices, proxied: o.Proxied, drainingLabelled: o.DrainingLabelled,
		said: map[diag.Diagnostic]struct{}{}, index: map[string]int{}, bound: map[string][]*virtualService{},
	}
	c.refuseUnsupported()
	c.registry = c.readServices()
	c.delegates = NewDelegates(set)
	c.rules = c.readDestinationRules()
	c.policies = c.readPolicies()
	gateways := c.readGateways()
	virtualServices := c.readVirtualServices(gateways)
	for _, p := range portsOf(gateways) {
		c.config.Routes.Listeners = append(c.config.Routes.Listeners, c.compilePort(p))
		c.config.Listeners = append(c.config.Listeners, c.policies.listener(p.number, gatewaysOf(p)))
	}
	c.warnUnusedRules(virtualServices, gateways)
	return Compilation{c}
}

// Finish completes the services with what the policies say.
func (b Compilation) Finish() (affinity.Config, diag.List) {
	c := b.c
	slices.SortFunc(c.config.Routes.Listeners, func(a, b route.Listener) int { return cmp.Compare(a.Port, b.Port) })
	slices.SortFunc(c.config.Listeners, func(a, b affinity.Listener) int { return cmp.Compare(a.Port, b.Port) })
	c.finishServices()
	c.warnWithoutSessions()
	c.warnUnusedDestinationRules()
	c.diags.Sort()
	return c.config, c.diags
}

// compiler is the state of one Compile.
type compiler struct {
	set       *resource.Set
	namespace string
	addresses func(string) []netip.Addr
	noSlices  bool
	proxied   bool

	drainingLabelled bool

	registry  *registry
	delegates *Delegates
	rules     *ruleIndex
	policies  *policies
	bound     map[string][]*virtualService // by Gateway, in the order of their rules

	config affinity.Config
	routed []*routedService // parallel to config.Services
	index  map[string]int   // of config.Services, by name

	diags diag.List
	said  map[diag.Diagnostic]struct{} // a finding that several ports or hosts lead to is told once
}

func (c *compiler) add(d diag.Diagnostic) {
	if _, is := c.said[d]; !is {
		c.said[d] = struct{}{}
		c.diags.Add(d)
	}
}

// objectAt is what all kinds of resource.Object have in common here.
type objectAt interface {
	At(s diag.Severity, field, what, remedy string) diag.Diagnostic
}

func (c *compiler) errorAt(o objectAt, field, what, remedy string) {
	c.add(o.At(diag.Error, field, what, remedy))
}

// conflictAt is errorAt for what is right by itself and excludes another object.
func (c *compiler) conflictAt(o objectAt, field, what, remedy string) {
	d := o.At(diag.Error, field, what, remedy)
	d.Conflict = true
	c.add(d)
}

func (c *compiler) warnAt(o objectAt, field, what, remedy string) {
	c.add(o.At(diag.Warning, field, what, remedy))
}

// warnUnserved is warnAt for what leaves requests without a route or a replica.
func (c *compiler) warnUnserved(o objectAt, field, what, remedy string) {
	d := o.At(diag.Warning, field, what, remedy)
	d.Unserved = true
	c.add(d)
}

// position is the place of a field, for explain.
func position[T metav1.Object](o resource.Object[T], field string) string {
	return o.Where.Locate(field).String()
}

// byAge is a copy of objects in the order in which Istio takes them into account.
func byAge[T metav1.Object](objects []resource.Object[T]) []resource.Object[T] {
	sorted := slices.Clone(objects)
	slices.SortStableFunc(sorted, func(a, b resource.Object[T]) int {
		at, bt := a.Value.GetCreationTimestamp(), b.Value.GetCreationTimestamp()
		return cmp.Or(at.Compare(bt.Time),
			cmp.Compare(a.Value.GetName()+"."+a.Value.GetNamespace(), b.Value.GetName()+"."+b.Value.GetNamespace()))
	})
	return sorted
}

// ProxiedRemedy is what else can be done about what Options.Proxied accepts, after the remedy without it.
const ProxiedRemedy = "; or, where Istio's Envoy forwards the requests, give --istio (validate, explain, extproc)"

// refuseUnsupported reports every field that is set and that nothing here reads.
func (c *compiler) refuseUnsupported() {
	refuse := func(o objectAt, m proto.Message) {
		for _, f := range unsupported(m, c.proxied) {
			remedy := "remove it: Remora refuses what it would have to ignore"
			if f.byProxy {
				remedy += ProxiedRemedy
			}
			c.errorAt(o, f.path, fmt.Sprintf("%s is not supported", f.name), remedy)
		}
	}
	for _, o := range c.set.Gateways {
		refuse(o, &o.Value.Spec)
	}
	for _, o := range c.set.VirtualServices {
		// One that is for sidecars only has no effect here, whatever it says.
		if bindsGateway(&o.Value.Spec) || isDelegate(&o.Value.Spec) {
			refuse(o, &o.Value.Spec)
		}
	}
	for _, o := range c.set.DestinationRules {
		refuse(o, &o.Value.Spec)
	}
	for _, o := range c.set.ServiceEntries {
		refuse(o, &o.Value.Spec)
	}
}
