package istio

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/resource"
)

// readSlices gives the Services their endpoints. The labels of an EndpointSlice count as those of its endpoints that are no pods, and
// of all in a set without pods.
func (c *compiler) readSlices(r *registry) {
	for _, o := range c.set.EndpointSlices {
		name := o.Value.Labels[discoveryv1.LabelServiceName]
		if name == "" {
			c.warnAt(o, "metadata.labels", "the EndpointSlice belongs to no Service", "add the label "+discoveryv1.LabelServiceName+" with the name of the Service")
			continue
		}
		s := r.services[name+"."+o.Value.Namespace+"."+clusterDomain]
		if s == nil {
			c.warnAt(o, "metadata.labels["+discoveryv1.LabelServiceName+"]", "there is no Service "+o.Value.Namespace+"/"+name, "")
			continue
		}
		if o.Value.AddressType == discoveryv1.AddressTypeFQDN {
			c.errorAt(o, "addressType", "address type FQDN is not supported", "write a ServiceEntry with resolution: DNS")
			continue
		}
		for i, p := range o.Value.Ports {
			port := ""
			if p.Name != nil {
				port = *p.Name
			}
			field := fmt.Sprintf("ports[%d]", i)
			switch {
			case p.Port == nil || *p.Port < 1 || *p.Port > 65535:
				c.errorAt(o, field+".port", "the port has no number in 1 to 65535", "")
			case !slices.ContainsFunc(s.ports, func(sp servicePort) bool { return sp.name == port }):
				c.warnAt(o, field, fmt.Sprintf("%s has no port named %q", s.name, port), "the names of the EndpointSlice's and the Service's ports must agree; without a name write none in both")
			default:
				c.readSlice(s, o, port, uint16(*p.Port))
			}
		}
	}
}

// readSlice adds the endpoints of one port.
func (c *compiler) readSlice(s *service, o resource.Object[*discoveryv1.EndpointSlice], port string, number uint16) {
	for i, e := range o.Value.Endpoints {
		field := fmt.Sprintf("endpoints[%d]", i)
		if len(e.Addresses) != 1 {
			c.errorAt(o, field+".addresses", fmt.Sprintf("the endpoint has %d addresses", len(e.Addresses)), "an endpoint is one replica with one address: write one for each replica")
			continue
		}
		addr, err := netip.ParseAddr(e.Addresses[0])
		if err != nil {
			c.errorAt(o, field+".addresses[0]", fmt.Sprintf("%q is not an IP address", e.Addresses[0]), "")
			continue
		}
		state, there := stateOf(e.Conditions)
		if !there || state == affinity.Draining && !c.reachesDraining(s, e.Conditions) {
			continue
		}
		ep := endpoint{
			EndpointConfig: affinity.EndpointConfig{Addr: netip.AddrPortFrom(addr.Unmap(), number).String(), State: state},
			port:           port, labels: o.Value.Labels,
		}
		if e.TargetRef != nil {
			ep.Name, ep.Incarnation = e.TargetRef.Name, string(e.TargetRef.UID)
			if c.set.PodLabels != nil && e.TargetRef.Kind == "Pod" {
				ep.pod = e.TargetRef.UID
			}
		}
		s.endpoints = append(s.endpoints, ep)
	}
}

// stateOf reads the conditions of an endpoint as the EndpointSlice API says: ready and serving count as true when they are
// not there. One that serves without being ready is draining. there is false for one that does not serve at all.
func stateOf(e discoveryv1.EndpointConditions) (state affinity.EndpointState, there bool) {
	if e.Ready == nil || *e.Ready {
		return affinity.Ready, true
	}
	return affinity.Draining, e.Serving == nil || *e.Serving
}

// reachesDraining reports whether Envoy has an endpoint that is draining, and tells when it lacks one only for want of a label. istiod
// keeps those that terminate (not there counts as true).
func (c *compiler) reachesDraining(s *service, e discoveryv1.EndpointConditions) bool {
	switch {
	case !c.drainingLabelled:
		return true
	case e.Terminating != nil && !*e.Terminating:
		return false
	case !s.labelled:
		c.warnAt(s.object, "metadata.labels", "replicas of the Service are draining, which Istio takes from Envoy at once: their users' sessions move",
			"add the label "+DrainingLabel+" with the value remora, for example, and Envoy keeps them until they end")
	}
	return s.labelled
}

// sortEndpoints puts endpoints in an order that does not depend on that of the objects, and leaves each (address,
// incarnation) once: ready where one of several says so.
func sortEndpoints(list []affinity.EndpointConfig) []affinity.EndpointConfig {
	slices.SortFunc(list, func(a, b affinity.EndpointConfig) int {
		return cmp.Or(cmp.Compare(a.Addr, b.Addr), cmp.Compare(a.Incarnation, b.Incarnation), cmp.Compare(a.State, b.State))
	})
	return slices.CompactFunc(list, func(a, b affinity.EndpointConfig) bool {
		return a.Addr == b.Addr && a.Incarnation == b.Incarnation
	})
}
