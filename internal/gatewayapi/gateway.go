package gatewayapi

import (
	"fmt"
	"slices"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// gateway is one Gateway.
type gateway struct {
	object    gatewayObject
	listeners []*listener
	refused   bool // some listener is: what follows from that is not told
}

// listener is one of a Gateway's listeners that HTTPRoutes can attach to.
type listener struct {
	gateway  *gateway
	field    string // spec.listeners[0]
	name     string
	port     uint16
	hostname string // a name, "*.suffix" or "*"; in lower case
	from     gatewayv1.FromNamespaces
	closed   bool // to HTTPRoutes
	// domains are what requests are sorted by: each intersection of the listener's hostname with one of a route, with those routes.
	domains map[string][]*httpRoute
}

// readGateways reads the Gateways that can be served, the oldest first.
func (c *compiler) readGateways() {
	for _, o := range byAge(c.set.APIGateways) {
		g := &gateway{object: o}
		c.gateways = append(c.gateways, g)
		c.refuseGatewayFields(o)
		if len(o.Value.Spec.Listeners) == 0 {
			c.errorAt(o, "spec.listeners", "the Gateway has no listener", "add one, with a name, a port and protocol: HTTP")
		}
		for i := range o.Value.Spec.Listeners {
			if l := c.readListener(g, i); l != nil {
				g.listeners = append(g.listeners, l)
			}
		}
	}
}

// readListener reads one listener, or says what is wrong with it and gives nil. It gives nil, too, for one that is not for HTTP where a
// proxy serves it.
func (c *compiler) readListener(g *gateway, i int) *listener {
	o, in := g.object, &g.object.Value.Spec.Listeners[i]
	l := &listener{
		gateway: g, field: fmt.Sprintf("spec.listeners[%d]", i), name: string(in.Name), port: uint16(in.Port), hostname: everyHost,
		from: gatewayv1.NamespacesFromSame, domains: map[string][]*httpRoute{},
	}
	ok := true
	refuse := func(field, what, remedy string) {
		c.errorAt(o, l.field+field, what, remedy)
		ok, g.refused = false, true
	}
	if in.Name == "" {
		refuse(".name", "the listener has no name", "name it, for example http")
	}
	if in.Port < 1 || in.Port > 65535 {
		refuse(".port", fmt.Sprintf("port %d is not in 1 to 65535", in.Port), "")
	}
	for j := range i {
		before := &o.Value.Spec.Listeners[j]
		switch {
		case before.Name == in.Name:
			refuse(".name", fmt.Sprintf("the name %s is that of spec.listeners[%d] too", in.Name, j), "give each listener a name of its own")
		case before.Port == in.Port && hostnameOf(before.Hostname) == hostnameOf(in.Hostname) && speaksHTTP(before.Protocol) && speaksHTTP(in.Protocol):
			refuse("", fmt.Sprintf("the port and the hostname are those of spec.listeners[%d] too", j), "give it another port or hostname")
		}
	}
	served, wrong, remedy := c.servesProtocol(in)
	if wrong != "" {
		refuse(".protocol", wrong, remedy)
	}
	if in.TLS != nil && (in.Protocol == gatewayv1.HTTPProtocolType || in.Protocol == gatewayv1.HTTPSProtocolType && !terminates(in.TLS)) {
		refuse(".tls", fmt.Sprintf("a listener with protocol %s cannot have this", in.Protocol), "for HTTPS write mode: Terminate; for HTTP remove it")
	}
	if l.hostname = hostnameOf(in.Hostname); l.hostname != everyHost {
		if wrong := checkHostname(l.hostname); wrong != "" {
			refuse(".hostname", wrong, hostnameRemedy)
		}
	}
	if !c.readAllowed(l, in.AllowedRoutes) {
		ok, g.refused = false, true
	}
	if !ok || !served {
		return nil
	}
	if owner, at := c.into.PortOwner(l.port); owner != "" {
		refuse(".port", fmt.Sprintf("port %d is that of %s (%s), which is Istio's", l.port, owner, at),
			"Gateways of the two APIs need different ports: change one, or give only one of them to this Remora")
		return nil
	}
	return l
}

// hbone is the protocol of the waypoints of Istio's ambient mesh, which it makes known by Gateways.
const hbone gatewayv1.ProtocolType = "HBONE"

// servesProtocol reports whether HTTPRoutes can attach to a listener of this protocol, and what is wrong with it.
func (c *compiler) servesProtocol(in *gatewayv1.Listener) (serves bool, wrong, remedy string) {
	switch in.Protocol {
	case gatewayv1.HTTPProtocolType:
		return true, "", ""
	case gatewayv1.HTTPSProtocolType:
		if c.proxied {
			return true, "", ""
		}
	case gatewayv1.TLSProtocolType, gatewayv1.TCPProtocolType, gatewayv1.UDPProtocolType, hbone:
		if c.proxied {
			return false, "", ""
		}
	case "":
		return false, "the listener has no protocol", "write protocol: HTTP"
	default:
		return false, fmt.Sprintf("%q is not a protocol that Remora knows", in.Protocol), "write protocol: HTTP"
	}
	return false, fmt.Sprintf("protocol %s is not supported", in.Protocol), "HTTP is; remove the listener or change its protocol" + proxiedRemedy
}

func speaksHTTP(p gatewayv1.ProtocolType) bool {
	return p == gatewayv1.HTTPProtocolType || p == gatewayv1.HTTPSProtocolType
}

func terminates(tls *gatewayv1.ListenerTLSConfig) bool {
	return tls.Mode == nil || *tls.Mode == gatewayv1.TLSModeTerminate
}

// readAllowed reads which routes may attach to a listener.
func (c *compiler) readAllowed(l *listener, in *gatewayv1.AllowedRoutes) (ok bool) {
	if in == nil {
		return true
	}
	ok = true
	field := l.field + ".allowedRoutes"
	if in.Namespaces != nil && in.Namespaces.From != nil {
		l.from = *in.Namespaces.From
	}
	switch l.from {
	case gatewayv1.NamespacesFromSame, gatewayv1.NamespacesFromAll:
	case gatewayv1.NamespacesFromSelector:
		c.errorAt(l.gateway.object, field+".namespaces.from", "Selector is not supported: Remora does not read the labels of namespaces",
			"write All, or Same with a Gateway in the namespace of the routes")
		ok = false
	default:
		c.errorAt(l.gateway.object, field+".namespaces.from", fmt.Sprintf("%q is not a value of from", l.from), "write All or Same")
		ok = false
	}
	if len(in.Kinds) > 0 && !slices.ContainsFunc(in.Kinds, func(k gatewayv1.RouteGroupKind) bool {
		return k.Kind == "HTTPRoute" && (k.Group == nil || *k.Group == gatewayv1.GroupName)
	}) {
		l.closed = true
	}
	return ok
}

// allows reports whether an HTTPRoute of a namespace may attach.
func (l *listener) allows(namespace string) bool {
	return !l.closed && (l.from == gatewayv1.NamespacesFromAll || namespace == l.gateway.object.Value.Namespace)
}

// warnUnattached tells of a Gateway that no route is attached to.
func (c *compiler) warnUnattached(g *gateway) {
	for _, l := range g.listeners {
		if len(l.domains) > 0 {
			return
		}
	}
	if len(g.listeners) > 0 && !g.refused {
		c.warnUnserved(g.object, "metadata.name", "no HTTPRoute is attached to the Gateway: every request gets 404", "name it in the parentRefs of an HTTPRoute")
	}
}
