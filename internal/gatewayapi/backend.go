package gatewayapi

import (
	"fmt"
	"slices"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/remora-proxy/remora/internal/route"
)

// maxWeight is the largest weight that the API allows.
const maxWeight = 1_000_000

// checkBackends checks what can be said of a rule's backendRefs without looking them up.
func (c *compiler) checkBackends(o routeObject, r *rule) {
	refs := r.in.BackendRefs
	switch {
	case r.byProxy != "" && len(refs) > 0:
		c.errorAt(o, r.field+".backendRefs", "the rule has backendRefs and a filter that answers by itself ("+r.byProxy+")", "give each a rule of its own")
		return
	case r.byProxy == "" && len(refs) == 0 && len(r.in.Filters) > 0 && !c.proxied:
		return // refused already
	case r.byProxy == "" && len(refs) == 0:
		c.errorAt(o, r.field, "the rule has no backendRefs", "name a Service and its port")
		return
	}
	total := int64(0)
	for i := range refs {
		ref, field := &refs[i], fmt.Sprintf("%s.backendRefs[%d]", r.field, i)
		total += int64(weightOf(ref))
		group, kind := defaulted(ref.Group, ""), defaulted(ref.Kind, "Service")
		switch {
		case group != "" || kind != "Service":
			c.errorAt(o, field, fmt.Sprintf("a backend of kind %s (group %q) is not supported", kind, group), "name a Service (no group)")
		case ref.Name == "":
			c.errorAt(o, field+".name", "the backend has no name", "name a Service")
		case ref.Port == nil:
			c.errorAt(o, field+".port", "the Service's port is missing", "write port: with its number")
		case *ref.Port < 1 || *ref.Port > 65535:
			c.errorAt(o, field+".port", fmt.Sprintf("port %d is not in 1 to 65535", *ref.Port), "")
		}
		if w := weightOf(ref); w < 0 || w > maxWeight {
			c.errorAt(o, field+".weight", fmt.Sprintf("weight %d is not in 0 to %d", w, maxWeight), "only their ratio counts")
		}
	}
	if r.byProxy == "" && total == 0 {
		c.errorAt(o, r.field+".backendRefs", "the weights of the backends are all 0: no request could be served", "give one a weight, or remove the rule: what no rule matches gets 404")
	}
}

func weightOf(ref *gatewayv1.HTTPBackendRef) int32 {
	if ref.Weight == nil {
		return 1
	}
	return *ref.Weight
}

// destinationsOf looks up the backends of a rule. Those with the weight 0 get no new session, but users who have a live one there (the weight
// was another before) keep it.
func (c *compiler) destinationsOf(o routeObject, r *rule) []route.Destination {
	if r.looked {
		return r.destinations
	}
	r.looked = true
	for i := range r.in.BackendRefs {
		ref, field := &r.in.BackendRefs[i], fmt.Sprintf("%s.backendRefs[%d]", r.field, i)
		if defaulted(ref.Kind, "Service") != "Service" || ref.Port == nil {
			continue // refused already
		}
		weight := weightOf(ref)
		service := c.serviceOf(o, field, ref)
		if weight > 0 {
			c.into.WarnMissing(o, field, service)
		}
		r.destinations = append(r.destinations, route.Destination{Service: service, Weight: uint32(max(weight, 0))})
	}
	return r.destinations
}

// serviceOf is the index of a backend's service.
func (c *compiler) serviceOf(o routeObject, field string, ref *gatewayv1.HTTPBackendRef) int {
	own := o.Value.Namespace
	namespace := string(defaulted(ref.Namespace, gatewayv1.Namespace(own)))
	port, at := uint16(*ref.Port), o.Where.Locate(field)
	if namespace != own && !c.granted(own, namespace, string(ref.Name)) {
		return c.into.Refused(namespace, string(ref.Name), port, own,
			fmt.Sprintf("no ReferenceGrant in namespace %s lets HTTPRoutes of namespace %s lead to it", namespace, own),
			fmt.Sprintf("write a ReferenceGrant in namespace %s, from HTTPRoute (group %s) of namespace %s to Service (no group), or name a Service of the HTTPRoute's own", namespace, gatewayv1.GroupName, own), at)
	}
	return c.into.Service(namespace, string(ref.Name), port, at)
}

// granted reports whether a ReferenceGrant lets HTTPRoutes of a namespace lead to a Service in another.
func (c *compiler) granted(from, namespace, service string) bool {
	for _, g := range c.set.ReferenceGrants {
		if g.Value.Namespace == namespace &&
			slices.ContainsFunc(g.Value.Spec.From, func(f gatewayv1.ReferenceGrantFrom) bool {
				return f.Group == gatewayv1.GroupName && f.Kind == "HTTPRoute" && string(f.Namespace) == from
			}) &&
			slices.ContainsFunc(g.Value.Spec.To, func(t gatewayv1.ReferenceGrantTo) bool {
				return t.Group == "" && t.Kind == "Service" && (t.Name == nil || string(*t.Name) == service)
			}) {
			return true
		}
	}
	return false
}

// checkGrants refuses ReferenceGrants that say nothing.
func (c *compiler) checkGrants() {
	for _, g := range c.set.ReferenceGrants {
		if len(g.Value.Spec.From) == 0 {
			c.errorAt(g, "spec.from", "the ReferenceGrant trusts nobody", "name group, kind and namespace of what may refer")
		}
		if len(g.Value.Spec.To) == 0 {
			c.errorAt(g, "spec.to", "the ReferenceGrant allows nothing", "name group and kind of what may be referred to")
		}
	}
}
