package gatewayapi

import (
	"fmt"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// What to do about a field that is not supported.
const (
	removeIt      = "remove it: Remora refuses what it would have to ignore"
	proxiedRemedy = "; behind Envoy Gateway's Envoy, give --envoy-gateway"
)

// refuseGatewayFields reports the fields of a Gateway that are set and that nothing here reads. spec.gatewayClassName and spec.infrastructure
// say who makes a proxy of it, and how: they concern no request.
func (c *compiler) refuseGatewayFields(o gatewayObject) {
	spec := &o.Value.Spec
	if len(spec.Addresses) > 0 && !c.proxied {
		c.errorAt(o, "spec.addresses", "addresses are not supported", "remove them, and give remora serve --listen"+proxiedRemedy)
	}
	if spec.TLS != nil && !c.proxied {
		c.errorAt(o, "spec.tls", "tls is not supported", removeIt+proxiedRemedy)
	}
	if a := spec.AllowedListeners; a != nil && a.Namespaces != nil && defaulted(a.Namespaces.From, gatewayv1.NamespacesFromNone) != gatewayv1.NamespacesFromNone {
		c.errorAt(o, "spec.allowedListeners", "ListenerSets are not supported", "write the listeners into the Gateway, and remove this")
	}
	if spec.DefaultScope != "" && spec.DefaultScope != gatewayv1.GatewayDefaultScopeNone {
		c.errorAt(o, "spec.defaultScope", "default Gateways are not supported", "name the Gateway in the parentRefs of its HTTPRoutes, and remove this")
	}
}

// answersByProxy is the filter of a rule by which a proxy answers by itself; empty where there is none. Of an extension only the proxy
// knows what it does: where the rule has nothing else, it is taken for an answer.
func (c *compiler) answersByProxy(in *gatewayv1.HTTPRouteRule) string {
	if !c.proxied {
		return ""
	}
	answer := ""
	for i := range in.Filters {
		switch f := &in.Filters[i]; {
		case f.RequestRedirect != nil:
			return "requestRedirect"
		case f.ExtensionRef != nil && len(in.BackendRefs) == 0:
			answer = "extensionRef"
		}
	}
	return answer
}

// refuseRuleFields reports the fields of a rule that are set and that nothing here reads.
func (c *compiler) refuseRuleFields(o routeObject, r *rule) {
	if r.in.SessionPersistence != nil {
		c.errorAt(o, r.field+".sessionPersistence", "sessionPersistence is not supported: a session's key and life are an AffinityPolicy's, and a proxy that keeps one too would break it",
			"remove it, and write an AffinityPolicy for the Service or the Gateway, with key (where the key of a session is) and idleTimeout (how long it lives)")
	}
	if c.proxied {
		return
	}
	if r.in.Timeouts != nil {
		c.errorAt(o, r.field+".timeouts", "timeouts are not supported", removeIt+proxiedRemedy)
	}
	if r.in.Retry != nil {
		c.errorAt(o, r.field+".retry", "retry is not supported", removeIt+proxiedRemedy)
	}
	c.refuseFilters(o, r.field, r.in.Filters)
	for i := range r.in.BackendRefs {
		c.refuseFilters(o, fmt.Sprintf("%s.backendRefs[%d]", r.field, i), r.in.BackendRefs[i].Filters)
	}
}

func (c *compiler) refuseFilters(o routeObject, field string, filters []gatewayv1.HTTPRouteFilter) {
	for i, f := range filters {
		c.errorAt(o, fmt.Sprintf("%s.filters[%d]", field, i), fmt.Sprintf("the filter %s is not supported", f.Type), removeIt+proxiedRemedy)
	}
}
