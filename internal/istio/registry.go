package istio

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/diag"
	"github.com/remora-proxy/remora/internal/resource"
)

// registry is the services that routes can lead to.
type registry struct {
	services map[string]*service // by host name, in lower case
	alike    map[string]string   // a host name by its first label
	beside   map[string][]string // first labels by what follows them
}

// service is a Kubernetes Service, or one host of a ServiceEntry.
type service struct {
	host      string
	namespace string
	object    objectAt
	name      string // "Service shop/cart"
	pos       diag.Position
	ports     []servicePort
	endpoints []endpoint
	byDNS     bool // the endpoints may be known later
	labelled  bool // with DrainingLabel
}

type servicePort struct {
	number uint16
	name   string
	field  string // spec.ports[0]
	http2  bool   // where Istio would speak HTTP/2 to it
}

// endpoint is one replica at one port of its service.
type endpoint struct {
	affinity.EndpointConfig
	port   string            // the name of the service's port
	labels map[string]string // that subsets select by, unless there is a pod
	pod    types.UID         // whose labels they select by; empty: none that a set can know
}

func (s *service) port(number uint16) *servicePort {
	for i := range s.ports {
		if s.ports[i].number == number {
			return &s.ports[i]
		}
	}
	return nil
}

// portList is for messages: "8080 and 9090".
func (s *service) portList() string {
	var numbers []string
	for _, p := range s.ports {
		numbers = append(numbers, fmt.Sprint(p.number))
	}
	return strings.Join(numbers, ", ")
}

// readServices reads the Services with their EndpointSlices, and the ServiceEntries.
func (c *compiler) readServices() *registry {
	r := &registry{services: map[string]*service{}, alike: map[string]string{}, beside: map[string][]string{}}
	for _, o := range byAge(c.set.Services) {
		c.readService(r, o)
	}
	c.readSlices(r)
	for _, o := range byAge(c.set.ServiceEntries) {
		c.readServiceEntry(r, o)
	}
	return r
}

// addService files a service, unless its host is taken.
func (c *compiler) addService(r *registry, field string, s *service) {
	if before := r.services[s.host]; before != nil {
		c.errorAt(s.object, field, fmt.Sprintf("the host %s is also that of %s (%s)", s.host, before.name, before.pos), "put both into one object")
		return
	}
	r.services[s.host] = s
	first, rest, _ := strings.Cut(s.host, ".")
	r.beside[rest] = append(r.beside[rest], first)
	if r.alike[first] == "" {
		r.alike[first] = s.host
	}
}

// maxBeside bounds the services that a misspelt name is compared with.
const maxBeside = 256

// instead is what to do about a host name that is not there: one that begins alike, or differs by a letter or two, may be meant.
func (r *registry) instead(host string) string {
	first, rest, _ := strings.Cut(host, ".")
	if other := r.alike[first]; other != "" && other != host {
		return "did you mean " + other + "?"
	}
	near := r.beside[rest]
	if near := diag.Nearest(first, near[:min(len(near), maxBeside)]); near != "" {
		return "did you mean " + near + "." + rest + "?"
	}
	return "correct the name, or write a Service or ServiceEntry of it"
}

func (c *compiler) readService(r *registry, o resource.Object[*corev1.Service]) {
	s := &service{
		host: o.Value.Name + "." + o.Value.Namespace + "." + clusterDomain, namespace: o.Value.Namespace,
		object: o, name: o.Name(), pos: o.Where.Locate("metadata.name"), labelled: KeepsDraining(o.Value.Labels),
	}
	if o.Value.Spec.Type == corev1.ServiceTypeExternalName {
		c.errorAt(o, "spec.type", "type ExternalName is not supported", "write a ServiceEntry with resolution: DNS")
	}
	for i, p := range o.Value.Spec.Ports {
		if p.Protocol != "" && p.Protocol != corev1.ProtocolTCP {
			continue
		}
		field := fmt.Sprintf("spec.ports[%d]", i)
		if p.Port < 1 || p.Port > 65535 {
			c.errorAt(o, field+".port", fmt.Sprintf("port %d is not in 1 to 65535", p.Port), "")
		}
		if slices.ContainsFunc(s.ports, func(other servicePort) bool { return other.name == p.Name || other.number == uint16(p.Port) }) {
			c.errorAt(o, field, "the number or the name of the port is there twice", "with several ports, each has a name of its own")
		}
		protocol := p.Name
		if p.AppProtocol != nil {
			protocol = strings.TrimPrefix(*p.AppProtocol, "kubernetes.io/")
		}
		s.ports = append(s.ports, servicePort{number: uint16(p.Port), name: p.Name, field: field, http2: speaksHTTP2(protocol)})
	}
	c.addService(r, "metadata.name", s)
}

// speaksHTTP2 reports whether Istio speaks HTTP/2 to a port whose protocol or name begins with this.
func speaksHTTP2(protocol string) bool {
	protocol, _, _ = strings.Cut(strings.ToLower(protocol), "-")
	return protocol == "http2" || protocol == "grpc" || protocol == "h2c"
}

func (c *compiler) readServiceEntry(r *registry, o resource.Object[*networkingv1.ServiceEntry]) {
	spec := &o.Value.Spec
	if !visible(spec.ExportTo, o.Value.Namespace, c.namespace) {
		c.warnAt(o, "spec.exportTo", "the ServiceEntry is not exported to "+c.namespace+", the namespace that the gateway counts as being in", `leave exportTo away, or add "*"`)
		return
	}
	if len(spec.Hosts) == 0 {
		c.errorAt(o, "spec.hosts", "the ServiceEntry has no hosts", "add a host name")
	}
	ports := c.entryPorts(o)
	switch spec.Resolution {
	case networking.ServiceEntry_STATIC, networking.ServiceEntry_DNS:
	default:
		c.errorAt(o, "spec.resolution", fmt.Sprintf("resolution %s is not supported", spec.Resolution), "write STATIC, with endpoints, or DNS")
		return
	}
	for i, host := range spec.Hosts {
		field := fmt.Sprintf("spec.hosts[%d]", i)
		if wrong := checkHost(host); wrong != "" || host == "*" {
			c.errorAt(o, field, cmp.Or(wrong, "* is not allowed here"), "write the name of the service")
			continue
		}
		s := &service{
			host: strings.ToLower(host), namespace: o.Value.Namespace, object: o, name: o.Name(), pos: o.Where.Locate(field), ports: ports,
			byDNS: spec.Resolution == networking.ServiceEntry_DNS,
		}
		s.endpoints = c.entryEndpoints(o, i)
		c.addService(r, field, s)
	}
}

func (c *compiler) entryPorts(o resource.Object[*networkingv1.ServiceEntry]) []servicePort {
	var ports []servicePort
	for i, p := range o.Value.Spec.Ports {
		field := fmt.Sprintf("spec.ports[%d]", i)
		if p.GetNumber() == 0 || p.GetNumber() > 65535 || p.GetTargetPort() > 65535 {
			c.errorAt(o, field, "a port is not in 1 to 65535", "")
		}
		if !label.MatchString(p.GetName()) {
			c.errorAt(o, field+".name", fmt.Sprintf("%q is not the name of a port", p.GetName()), "name it, for example http")
		}
		if slices.ContainsFunc(ports, func(other servicePort) bool {
			return other.name == p.GetName() || other.number == uint16(p.GetNumber())
		}) {
			c.errorAt(o, field, "the number or the name of the port is there twice", "")
		}
		ports = append(ports, servicePort{number: uint16(p.GetNumber()), name: p.GetName(), field: field, http2: speaksHTTP2(p.GetProtocol())})
	}
	if len(ports) == 0 {
		c.errorAt(o, "spec.ports", "the ServiceEntry has no ports", "add a port with number, name and protocol")
	}
	return ports
}

// entryEndpoints are the endpoints of one host of a ServiceEntry: those that it lists, or with resolution DNS and none
// listed, the addresses of the host.
func (c *compiler) entryEndpoints(o resource.Object[*networkingv1.ServiceEntry], host int) []endpoint {
	spec := &o.Value.Spec
	var out []endpoint
	if spec.Resolution == networking.ServiceEntry_DNS && len(spec.Endpoints) == 0 {
		for _, addr := range c.resolve(spec.Hosts[host]) {
			out = append(out, entryEndpoint(spec, &networking.WorkloadEntry{}, addr)...)
		}
		return out
	}
	for i, e := range spec.Endpoints {
		field := fmt.Sprintf("spec.endpoints[%d]", i)
		for _, name := range slices.Sorted(maps.Keys(e.GetPorts())) {
			number := e.GetPorts()[name]
			if !slices.ContainsFunc(spec.Ports, func(p *networking.ServicePort) bool { return p.GetName() == name }) {
				c.errorAt(o, field+".ports["+name+"]", "the ServiceEntry has no port of that name", "")
			}
			if number == 0 || number > 65535 {
				c.errorAt(o, field+".ports["+name+"]", fmt.Sprintf("port %d is not in 1 to 65535", number), "")
			}
		}
		addr, err := netip.ParseAddr(e.GetAddress())
		switch {
		case err == nil:
			out = append(out, entryEndpoint(spec, e, addr)...)
		case spec.Resolution == networking.ServiceEntry_STATIC:
			c.errorAt(o, field+".address", fmt.Sprintf("%q is not an IP address", e.GetAddress()), "with a host name, write resolution: DNS")
		case checkHost(e.GetAddress()) != "":
			c.errorAt(o, field+".address", fmt.Sprintf("%q is neither an IP address nor a host name", e.GetAddress()), "")
		default:
			for _, addr := range c.resolve(e.GetAddress()) {
				out = append(out, entryEndpoint(spec, e, addr)...)
			}
		}
	}
	return out
}

func (c *compiler) resolve(name string) []netip.Addr {
	if c.addresses == nil {
		return nil
	}
	return c.addresses(strings.ToLower(name))
}

// entryEndpoint is an endpoint of a ServiceEntry at each of its ports.
func entryEndpoint(spec *networking.ServiceEntry, e *networking.WorkloadEntry, addr netip.Addr) []endpoint {
	out := make([]endpoint, 0, len(spec.Ports))
	for _, p := range spec.Ports {
		number := cmp.Or(e.GetPorts()[p.GetName()], p.GetTargetPort(), p.GetNumber())
		out = append(out, endpoint{
			EndpointConfig: affinity.EndpointConfig{Addr: netip.AddrPortFrom(addr.Unmap(), uint16(number)).String(), Weight: e.GetWeight()},
			port:           p.GetName(), labels: e.GetLabels(),
		})
	}
	return out
}

// DNSNames lists the names whose addresses the ServiceEntries of a set with resolution DNS need, in lower case, each once.
func DNSNames(set *resource.Set) []string {
	names := map[string]struct{}{}
	for _, o := range set.ServiceEntries {
		spec := &o.Value.Spec
		if spec.Resolution != networking.ServiceEntry_DNS {
			continue
		}
		if len(spec.Endpoints) == 0 {
			for _, host := range spec.Hosts {
				names[strings.ToLower(host)] = struct{}{}
			}
		}
		for _, e := range spec.Endpoints {
			if !isAddress(e.GetAddress()) {
				names[strings.ToLower(e.GetAddress())] = struct{}{}
			}
		}
	}
	return slices.Sorted(maps.Keys(names))
}
