package gatewayapi

import (
	"fmt"
	"slices"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/remora-proxy/remora/internal/diag"
	"github.com/remora-proxy/remora/internal/route"
)

// httpRoute is one HTTPRoute.
type httpRoute struct {
	object    routeObject
	order     int      // among all, by age and name
	hostnames []string // none: all
	rules     []*rule
}

// rule is one element of spec.rules.
type rule struct {
	in           *gatewayv1.HTTPRouteRule
	field        string // spec.rules[0]
	source       string // file:line
	byProxy      string // see route.Rule
	alternatives []*alternative
	destinations []route.Destination // once they were looked up
	looked       bool
}

// readRoute reads an HTTPRoute, and says what is wrong with it.
func (c *compiler) readRoute(o routeObject) *httpRoute {
	spec := &o.Value.Spec
	r := &httpRoute{object: o}
	if spec.UseDefaultGateways != "" && spec.UseDefaultGateways != gatewayv1.GatewayDefaultScopeNone {
		c.errorAt(o, "spec.useDefaultGateways", "default Gateways are not supported", "name the Gateways in spec.parentRefs")
	}
	for i, h := range spec.Hostnames {
		if wrong := checkHostname(string(h)); wrong != "" {
			c.errorAt(o, fmt.Sprintf("spec.hostnames[%d]", i), wrong, hostnameRemedy)
			continue
		}
		r.hostnames = append(r.hostnames, string(h))
	}
	if len(spec.Rules) == 0 {
		c.errorAt(o, "spec.rules", "the HTTPRoute has no rules", "add one with backendRefs")
	}
	for i := range spec.Rules {
		r.rules = append(r.rules, c.readRule(o, fmt.Sprintf("spec.rules[%d]", i), &spec.Rules[i]))
	}
	return r
}

func (c *compiler) readRule(o routeObject, field string, in *gatewayv1.HTTPRouteRule) *rule {
	r := &rule{in: in, field: field, source: o.Where.Locate(field).String(), byProxy: c.answersByProxy(in)}
	c.refuseRuleFields(o, r)
	c.checkBackends(o, r)
	if len(in.Matches) == 0 {
		r.alternatives = []*alternative{c.readMatch(o, field, &gatewayv1.HTTPRouteMatch{})}
	}
	for i := range in.Matches {
		r.alternatives = append(r.alternatives, c.readMatch(o, fmt.Sprintf("%s.matches[%d]", field, i), &in.Matches[i]))
	}
	for _, a := range r.alternatives {
		a.rule = r
	}
	return r
}

// attach attaches an HTTPRoute to the listeners that its parentRefs name.
func (c *compiler) attach(r *httpRoute) {
	o := r.object
	if len(o.Value.Spec.ParentRefs) == 0 {
		c.warnUnserved(o, "spec.parentRefs", "the HTTPRoute is attached to no Gateway and serves no request", "name a Gateway")
	}
	for i := range o.Value.Spec.ParentRefs {
		ref := &o.Value.Spec.ParentRefs[i]
		field := fmt.Sprintf("spec.parentRefs[%d]", i)
		group, kind := defaulted(ref.Group, gatewayv1.GroupName), defaulted(ref.Kind, "Gateway")
		if group != gatewayv1.GroupName || kind != "Gateway" {
			c.warnAt(o, field, fmt.Sprintf("a parent of kind %s (group %q) is not served here", kind, group), "name a Gateway (group "+gatewayv1.GroupName+")")
			continue
		}
		name := defaulted(ref.Namespace, gatewayv1.Namespace(o.Value.Namespace)) + "/" + gatewayv1.Namespace(ref.Name)
		at := slices.IndexFunc(c.gateways, func(g *gateway) bool { return nameOf(g.object.Value) == string(name) })
		if at < 0 {
			remedy := "a parentRef without a namespace names one in the HTTPRoute's own"
			if near := diag.NearestObject(string(name), c.gatewayNames()); near != "" {
				remedy = "did you mean " + near + "?"
			}
			c.warnUnserved(o, field, fmt.Sprintf("there is no Gateway %s of the Gateway API", name), remedy)
			continue
		}
		c.attachTo(r, field, ref, c.gateways[at])
	}
}

func (c *compiler) gatewayNames() []string {
	names := make([]string, len(c.gateways))
	for i, g := range c.gateways {
		names[i] = nameOf(g.object.Value)
	}
	return names
}

// attachTo attaches an HTTPRoute to listeners of one Gateway, or says why to none.
func (c *compiler) attachTo(r *httpRoute, field string, ref *gatewayv1.ParentReference, g *gateway) {
	listeners := slices.DeleteFunc(slices.Clone(g.listeners), func(l *listener) bool {
		return ref.SectionName != nil && string(*ref.SectionName) != l.name || ref.Port != nil && *ref.Port != gatewayv1.PortNumber(l.port)
	})
	warn := func(what, remedy string) {
		if g.refused {
			return
		}
		c.warnUnserved(r.object, field, what+": the HTTPRoute serves no request there", remedy)
	}
	if len(listeners) == 0 {
		if len(g.object.Value.Spec.Listeners) > 0 {
			warn(fmt.Sprintf("%s has no listener with this sectionName and port that takes HTTPRoutes", g.object.Name()), "its listeners are in spec.listeners")
		}
		return
	}
	namespace := r.object.Value.Namespace
	open := slices.DeleteFunc(listeners, func(l *listener) bool { return !l.allows(namespace) })
	if len(open) == 0 {
		warn(fmt.Sprintf("no listener of %s allows HTTPRoutes of namespace %s", g.object.Name(), namespace),
			"allow them with allowedRoutes.namespaces.from: All in the listener, or move the HTTPRoute to the Gateway's namespace")
		return
	}
	fits, attached := false, false
	for _, l := range open {
		for _, domain := range r.domains(l) {
			fits = true
			if g.isOthers(domain, l) {
				continue
			}
			attached = true
			if !slices.Contains(l.domains[domain], r) {
				l.domains[domain] = append(l.domains[domain], r)
			}
		}
	}
	switch {
	case !fits:
		warn(fmt.Sprintf("none of the hostnames is within those of the listeners of %s", g.object.Name()), "a hostname must be a listener's, or fit its wildcard")
	case !attached:
		warn("requests for the hostnames go to another listener of "+g.object.Name()+", whose hostname fits them better", "name that one in sectionName, or none")
	}
}

// domains are the hostnames that an HTTPRoute and a listener have in common.
func (r *httpRoute) domains(l *listener) []string {
	if len(r.hostnames) == 0 {
		return []string{l.hostname}
	}
	var out []string
	for _, h := range r.hostnames {
		if both := intersection(h, l.hostname); both != "" && !slices.Contains(out, both) {
			out = append(out, both)
		}
	}
	return out
}

// isOthers reports whether requests for a domain within a listener's hostname go to another listener of the Gateway at the same port, which is
// more specific.
func (g *gateway) isOthers(domain string, l *listener) bool {
	return slices.ContainsFunc(g.listeners, func(other *listener) bool {
		return other.port == l.port && other.hostname != l.hostname && within(domain, other.hostname) && within(other.hostname, l.hostname)
	})
}

// defaulted is what an optional field says, or its default.
func defaulted[T ~string](in *T, otherwise T) T {
	if in == nil {
		return otherwise
	}
	return *in
}
