package istio

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/remora-proxy/remora/internal/diag"
	"github.com/remora-proxy/remora/internal/resource"
	"github.com/remora-proxy/remora/internal/route"
)

type vsObject = resource.Object[*networkingv1.VirtualService]

// virtualService is one VirtualService that is bound to a Gateway.
type virtualService struct {
	object   vsObject
	hosts    []string // full names in lower case
	gateways []string // namespace/name
	reached  []string // those of the gateways that have a host in common with it
	rules    []*rule
}

// rule is one element of spec.http.
type rule struct {
	object vsObject // where it stands: the VirtualService, or its delegate
	in     *networking.HTTPRoute
	field  string // spec.http[0]
	source string // file:line
	// alternatives are the matches. A rule without any has one that matches everything and has no Match.
	alternatives []*alternative
}

// The fields of a rule with an answer that a proxy gives by itself.
const (
	redirect       = "redirect"
	directResponse = "directResponse"
)

// byProxy is the field of the rule with the answer that a proxy gives by itself; empty where there is none.
func (r *rule) byProxy() string {
	switch {
	case r.in.GetRedirect() != nil:
		return redirect
	case r.in.GetDirectResponse() != nil:
		return directResponse
	}
	return ""
}

// alternative is one way in which a request can get to a rule.
type alternative struct {
	rule   *rule
	object vsObject     // where field stands: the rule's, or what delegates to it
	match  *route.Match // nil: the rule has no matches
	in     *networking.HTTPMatchRequest
	field  string // spec.http[0].match[1], or the rule's
	pos    diag.Position
	// everything: it fits every request that comes to its gateways and port.
	everything bool
	key        string   // the same for alternatives that fit the same requests because they say the same
	gateways   []string // full names; empty: all of the VirtualService's
	used       bool     // it became part of some port's rules
}

// at tells where an alternative stands.
func (a *alternative) at() string { return a.object.Name() + " " + a.field }

// bindsGateway reports whether a VirtualService is for more than sidecars.
func bindsGateway(spec *networking.VirtualService) bool {
	return slices.ContainsFunc(spec.Gateways, func(g string) bool { return g != meshGateway })
}

// readVirtualServices reads those that are bound to a Gateway of the set, in the order in which their rules come.
func (c *compiler) readVirtualServices(gateways []*gateway) []*virtualService {
	known := map[string]bool{}
	for _, g := range gateways {
		known[g.name] = true
	}
	var own, named, all []*virtualService // by how they are exported, as istiod collects them
	for _, o := range byAge(c.set.VirtualServices) {
		spec := &o.Value.Spec
		if isDelegate(spec) {
			c.checkDelegate(o)
			continue
		}
		if !bindsGateway(spec) {
			c.warnAt(o, "spec.gateways", "the VirtualService is for sidecars only (mesh) and serves no request here", "add the Gateway to spec.gateways")
			continue
		}
		if !visible(spec.ExportTo, o.Value.Namespace, c.namespace) {
			c.warnUnserved(o, "spec.exportTo", "the VirtualService is not exported to "+c.namespace+", the namespace that the gateway counts as being in: it serves no request",
				`leave exportTo away, or add "*"`)
			continue
		}
		vs := c.readVirtualService(o, known)
		switch {
		case len(spec.ExportTo) == 0 || slices.Contains(spec.ExportTo, "*"):
			all = append(all, vs)
		case o.Value.Namespace == c.namespace:
			own = append(own, vs)
		default:
			named = append(named, vs)
		}
	}
	out := slices.Concat(own, named, all)
	for _, vs := range out {
		for _, g := range vs.gateways {
			if list := c.bound[g]; len(list) == 0 || list[len(list)-1] != vs { // it may name a Gateway twice
				c.bound[g] = append(list, vs)
			}
		}
	}
	for _, g := range gateways {
		if len(c.bound[g.name]) == 0 {
			c.warnUnserved(g.object, "metadata.name", "no VirtualService is bound to the Gateway: every request gets 404", "add it to the gateways of a VirtualService")
		}
	}
	return out
}

func (c *compiler) readVirtualService(o vsObject, known map[string]bool) *virtualService {
	spec := &o.Value.Spec
	vs := &virtualService{object: o}
	for i, name := range spec.Gateways {
		if name == meshGateway {
			continue
		}
		full := fullGateway(name, o.Value.Namespace)
		vs.gateways = append(vs.gateways, full)
		if !known[full] {
			remedy := "a name without namespace/ is one in the VirtualService's own namespace"
			if near := diag.NearestObject(full, slices.Sorted(maps.Keys(known))); near != "" {
				remedy = "did you mean " + near + "?"
			}
			c.warnUnserved(o, fmt.Sprintf("spec.gateways[%d]", i), "there is no Gateway "+full, remedy)
		}
	}
	c.readHosts(vs)
	if len(spec.Http) == 0 && !(c.proxied && len(spec.Tls)+len(spec.Tcp) > 0) {
		c.errorAt(o, "spec.http", "the VirtualService has no rules", "add a route under spec.http")
	}
	for i, http := range spec.Http {
		if field := fmt.Sprintf("spec.http[%d]", i); http.GetDelegate() != nil {
			vs.rules = append(vs.rules, c.readDelegated(o, field, http)...)
		} else {
			vs.rules = append(vs.rules, c.readRule(o, field, http))
		}
	}
	return vs
}

func (c *compiler) readHosts(vs *virtualService) {
	o := vs.object
	for i, host := range o.Value.Spec.Hosts {
		field := fmt.Sprintf("spec.hosts[%d]", i)
		if wrong := checkHost(host); wrong != "" && !isAddress(host) {
			c.errorAt(o, field, wrong, "a host is a name, *.suffix or *")
			continue
		}
		full := strings.ToLower(fullHost(host, o.Value.Namespace))
		for j, other := range vs.hosts {
			if within(full, other) || within(other, full) {
				c.errorAt(o, field, fmt.Sprintf("the host %s is covered twice, here and by %s", host, o.Value.Spec.Hosts[j]), "remove one of them")
			}
		}
		vs.hosts = append(vs.hosts, full)
	}
}

func (c *compiler) readRule(o vsObject, field string, in *networking.HTTPRoute) *rule {
	r := &rule{object: o, in: in, field: field, source: position(o, field)}
	c.checkDestinations(o, r)
	c.checkForwarding(o, field, in)
	var matches []placedMatch
	for i, m := range in.GetMatch() {
		matches = append(matches, placedMatch{o, fmt.Sprintf("%s.match[%d]", field, i), m})
	}
	c.readMatches(r, matches)
	return r
}

// placedMatch is a match and where it stands.
type placedMatch struct {
	object vsObject
	field  string
	in     *networking.HTTPMatchRequest
}

// readMatches gives a rule its alternatives.
func (c *compiler) readMatches(r *rule, matches []placedMatch) {
	if len(matches) == 0 {
		r.alternatives = []*alternative{{rule: r, object: r.object, field: r.field, pos: r.object.Where.Locate(r.field), everything: true, key: matchesEverything}}
	}
	for _, m := range matches {
		a := c.readMatch(m.object, m.field, m.in)
		a.rule = r
		r.alternatives = append(r.alternatives, a)
	}
}

// checkDestinations checks what can be said of a rule's destinations without looking them up.
func (c *compiler) checkDestinations(o vsObject, r *rule) {
	if r.byProxy() != "" && !c.proxied {
		return // refused already
	}
	if by := r.byProxy(); by != "" {
		if len(r.in.GetRoute()) > 0 || by == redirect && r.in.GetDirectResponse() != nil {
			c.errorAt(o, r.field, "the rule has more than one of route, redirect and directResponse", "give each a rule of its own")
		}
		return
	}
	if len(r.in.GetRoute()) == 0 {
		c.errorAt(o, r.field, "the rule has no destination", "add route: with a destination")
		return
	}
	var total int64
	for i, d := range r.in.GetRoute() {
		field := fmt.Sprintf("%s.route[%d]", r.field, i)
		dest := d.GetDestination()
		total += int64(d.GetWeight())
		switch wrong := checkHost(dest.GetHost()); {
		case dest == nil:
			c.errorAt(o, field, "destination is missing", "name the service under destination.host")
		case dest.Host == "*":
			c.errorAt(o, field+".destination.host", "* is no destination", "name the service")
		case wrong != "":
			c.errorAt(o, field+".destination.host", wrong, "a short name is one in the VirtualService's namespace, a full one is name.namespace.svc.cluster.local")
		}
		if d.GetWeight() < 0 {
			c.errorAt(o, field+".weight", fmt.Sprintf("weight %d is negative", d.GetWeight()), "")
		}
		if n := dest.GetPort().GetNumber(); dest.GetPort() != nil && (n == 0 || n > 65535) {
			c.errorAt(o, field+".destination.port.number", fmt.Sprintf("port %d is not in 1 to 65535", n), "")
		}
	}
	if len(r.in.Route) > 1 && total == 0 {
		c.errorAt(o, r.field+".route", "the weights of the destinations are all 0", "give each destination its share, for example 50 and 50")
	}
	if total > 1<<32-1 {
		c.errorAt(o, r.field+".route", fmt.Sprintf("the weights of the destinations sum up to %d, more than %d", total, uint32(1<<32-1)), "use smaller ones: only their ratio counts")
	}
}

// warnUnusedRules tells of VirtualServices and of matches that no request can get to.
func (c *compiler) warnUnusedRules(list []*virtualService, gateways []*gateway) {
	for _, vs := range list {
		for _, g := range gateways {
			if !g.refused && slices.Contains(vs.gateways, g.name) && !slices.Contains(vs.reached, g.name) {
				c.warnUnserved(vs.object, "spec.hosts", "none of the hosts is among those of Gateway "+g.name,
					"a host of the VirtualService must be a host of a server or fit its wildcard, and the server's namespace/ must be the VirtualService's")
			}
		}
		if len(vs.reached) == 0 {
			continue
		}
		used := map[string]bool{} // several rules may share a delegate: one of them is enough
		for _, r := range vs.rules {
			for _, a := range r.alternatives {
				used[a.at()] = used[a.at()] || a.used
			}
		}
		for _, r := range vs.rules {
			for _, a := range r.alternatives {
				if !used[a.at()] {
					c.warnAt(a.object, a.field, "no request through a Gateway of the VirtualService can fit the match", "look at its port, gateways, sourceLabels and sourceNamespace; mesh is not served here")
				}
			}
		}
	}
}
