package istio

import (
	"fmt"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/remora-proxy/remora/internal/resource"
)

// gateway is one Gateway.
type gateway struct {
	object  resource.Object[*networkingv1.Gateway]
	name    string // namespace/name
	servers []*server
	refused bool // some server is: what follows from that is not told
}

// server is one of a Gateway's servers.
type server struct {
	gateway *gateway
	port    uint16
	exact   map[string][]string // namespaces of VirtualServices by host name; "*": all
	wild    []wildHost
}

type wildHost struct{ namespace, host string }

// port is what listens at one port: servers in the order in which their rules come.
type port struct {
	number  uint16
	servers []*server
}

// readGateways reads the Gateways that can be served, the oldest first.
func (c *compiler) readGateways() []*gateway {
	var out []*gateway
	for _, o := range byAge(c.set.Gateways) {
		g := &gateway{object: o, name: o.Value.Namespace + "/" + o.Value.Name}
		if len(o.Value.Spec.Servers) == 0 {
			c.errorAt(o, "spec.servers", "the Gateway has no server", "add one, with a port and hosts")
		}
		for i, s := range o.Value.Spec.Servers {
			if c.proxied && !ServesHTTP(s) {
				continue
			}
			if s := c.readServer(g, fmt.Sprintf("spec.servers[%d]", i), s); s != nil {
				g.servers = append(g.servers, s)
			} else {
				g.refused = true
			}
		}
		out = append(out, g)
	}
	return out
}

// readServer reads one server, or says what is wrong with it and gives nil.
func (c *compiler) readServer(g *gateway, field string, in *networking.Server) *server {
	o := g.object
	number := in.GetPort().GetNumber()
	protocol := in.GetPort().GetProtocol()
	ok := true
	refuse := func(field, what, remedy string) {
		c.errorAt(o, field, what, remedy)
		ok = false
	}
	if number == 0 || number > 65535 {
		refuse(field+".port.number", fmt.Sprintf("port %d is not in 1 to 65535", number), "")
	}
	switch strings.ToUpper(protocol) {
	case "HTTP":
	case "":
		refuse(field+".port.protocol", "the server has no protocol", "write protocol: HTTP")
	case "HTTPS", "HTTP2", "GRPC", "GRPC-WEB":
		if !c.proxied {
			refuse(field+".port.protocol", fmt.Sprintf("protocol %s is not supported", protocol), "HTTP is; remove the server or change its protocol"+ProxiedRemedy)
		}
	case "TLS", "TCP", "MONGO", "MYSQL", "REDIS":
		refuse(field+".port.protocol", fmt.Sprintf("protocol %s is not supported", protocol), "HTTP is; remove the server or change its protocol")
	default:
		refuse(field+".port.protocol", fmt.Sprintf("%q is not a protocol of Istio's", protocol), "write protocol: HTTP")
	}
	if in.GetPort().GetName() == "" {
		refuse(field+".port.name", "the port has no name", "name it, for example http")
	}
	if len(in.GetHosts()) == 0 {
		refuse(field+".hosts", "the server has no hosts", `add host names, or "*" for all`)
	}
	s := &server{gateway: g, port: uint16(number), exact: map[string][]string{}}
	for i, host := range in.GetHosts() {
		namespace, name, both := strings.Cut(strings.ToLower(host), "/")
		if !both {
			namespace, name = "*", namespace
		}
		if namespace == "." {
			namespace = o.Value.Namespace
		}
		if wrong := checkHost(name); wrong != "" && !isAddress(name) {
			refuse(fmt.Sprintf("%s.hosts[%d]", field, i), wrong, "a host is a name, *.suffix or *, with namespace/ or ./ before it or without")
		}
		if strings.HasPrefix(name, "*") {
			s.wild = append(s.wild, wildHost{namespace, name})
		} else {
			s.exact[name] = append(s.exact[name], namespace)
		}
	}
	if !ok {
		return nil
	}
	return s
}

// ServesHTTP reports whether a proxy sees the requests that come in through a server.
func ServesHTTP(s *networking.Server) bool {
	switch strings.ToUpper(s.GetPort().GetProtocol()) {
	case "TLS", "TCP", "MONGO", "MYSQL", "REDIS":
		return false
	case "HTTPS":
		mode := s.GetTls().GetMode()
		return mode != networking.ServerTLSSettings_PASSTHROUGH && mode != networking.ServerTLSSettings_AUTO_PASSTHROUGH
	}
	return true
}

// portsOf sorts the servers by their ports.
func portsOf(gateways []*gateway) []*port {
	var out []*port
	for _, g := range gateways {
		for _, s := range g.servers {
			i := slices.IndexFunc(out, func(p *port) bool { return p.number == s.port })
			if i < 0 {
				i = len(out)
				out = append(out, &port{number: s.port})
			}
			out[i].servers = append(out[i].servers, s)
		}
	}
	slices.SortFunc(out, func(a, b *port) int { return int(a.number) - int(b.number) })
	return out
}

// hostsOf is the hosts that a VirtualService of a namespace and the server have in common: where one has a name that a
// wildcard of the other covers, it is the name. hosts are in lower case.
func (s *server) hostsOf(namespace string, hosts []string) []string {
	var out []string
	add := func(host string) {
		if !slices.Contains(out, host) {
			out = append(out, host)
		}
	}
	for _, host := range hosts {
		if slices.ContainsFunc(s.exact[host], func(ns string) bool { return ns == "*" || ns == namespace }) {
			add(host)
		}
		for _, w := range s.wild {
			if w.namespace != "*" && w.namespace != namespace {
				continue
			}
			if within(host, w.host) {
				add(host)
			} else if within(w.host, host) {
				add(w.host)
			}
		}
		if !strings.HasPrefix(host, "*") {
			continue
		}
		for name, namespaces := range s.exact {
			if within(name, host) && slices.ContainsFunc(namespaces, func(ns string) bool { return ns == "*" || ns == namespace }) {
				add(name)
			}
		}
	}
	return out
}
