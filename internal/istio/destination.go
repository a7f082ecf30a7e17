package istio

import (
	"fmt"
	"slices"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/remora-proxy/remora/internal/affinity"
)

// routedService is one of config.Services while it is made.
type routedService struct {
	service  *service // nil: there is none of that name
	remedy   string   // where the service is missing
	gateways []string // through which requests come to it, as policies name them
}

func (s *routedService) reachedThrough(gateway string) {
	if !slices.Contains(s.gateways, gateway) {
		s.gateways = append(s.gateways, gateway)
	}
}

// service finds or makes the service of a destination, and gives its index. port is that of the Gateway's server.
func (c *compiler) service(o vsObject, field string, d *networking.Destination, port uint16) int {
	host := strings.ToLower(fullHost(d.GetHost(), o.Value.Namespace))
	s := c.registry.services[host]
	// As istiod does it: without a port, the only one of the service, else that of the listener.
	switch {
	case d.GetPort() != nil:
		port = uint16(d.GetPort().GetNumber())
	case s != nil && len(s.ports) == 1:
		port = s.ports[0].number
	}
	name := fmt.Sprintf("%s:%d", host, port)
	if d.GetSubset() != "" {
		name += "/" + d.GetSubset()
	}
	sc := affinity.ServiceConfig{Name: name, Host: host, Port: port, Subset: d.GetSubset(), Source: position(o, field)}
	if d.GetPort() == nil && s != nil && s.port(port) == nil {
		return c.missing(sc, s, fmt.Sprintf("no port is given, and %s has %s", s.name, s.portList()), "write destination.port.number")
	}
	return c.indexOf(sc, s)
}

// indexOf finds or adds a service of the configuration, of which its name and place are known.
func (c *compiler) indexOf(sc affinity.ServiceConfig, s *service) int {
	if i, is := c.index[sc.Name]; is {
		return i
	}
	if s == nil {
		return c.missing(sc, nil, "there is no service "+sc.Host, c.registry.instead(sc.Host))
	}
	remedy := c.describe(&sc, s)
	return c.include(sc, &routedService{service: s, remedy: remedy})
}

// missing is indexOf for a service that cannot be used, and why.
func (c *compiler) missing(sc affinity.ServiceConfig, s *service, why, remedy string) int {
	if i, is := c.index[sc.Name]; is {
		return i
	}
	sc.Missing = why
	return c.include(sc, &routedService{service: s, remedy: remedy})
}

func (c *compiler) include(sc affinity.ServiceConfig, r *routedService) int {
	i := len(c.config.Services)
	c.index[sc.Name] = i
	c.config.Services = append(c.config.Services, sc)
	c.routed = append(c.routed, r)
	return i
}

// warnMissing tells of a destination that gets requests and cannot serve them.
func (c *compiler) warnMissing(o objectAt, field string, index int) {
	sc, r := &c.config.Services[index], c.routed[index]
	switch {
	case sc.Missing != "":
		c.warnUnserved(o, field, sc.Missing+": requests get 503", r.remedy)
	case len(sc.Endpoints) == 0 && !r.service.byDNS && !c.noSlices:
		c.warnUnserved(o, field, fmt.Sprintf("%s has no endpoint for %s: requests get 503", r.service.name, sc.Name),
			"give the Service an EndpointSlice, the ServiceEntry endpoints, or correct the labels of the subset")
	}
}

// describe fills in what the service's DestinationRule and its endpoints say. Where they make it Missing, it says what to do.
func (c *compiler) describe(sc *affinity.ServiceConfig, s *service) (remedy string) {
	sc.Source = s.pos.String()
	port := s.port(sc.Port)
	if port == nil {
		sc.Missing = fmt.Sprintf("%s has no port %d (it has %s)", s.name, sc.Port, s.portList())
		return "write a port of the Service, which need not be that of its replicas, or add this one to it"
	}
	if sc.HTTP2 = port.http2; sc.HTTP2 {
		c.warnAt(s.object, port.field, fmt.Sprintf("port %d is for HTTP/2 or gRPC, and remora serve sends requests to it in HTTP/1.1", sc.Port), "")
	}
	var wanted *subset
	rule := c.rules.find(s, c.namespace)
	if rule != nil && sc.Subset != "" {
		wanted = rule.subset(sc.Subset)
	}
	if sc.Subset != "" && wanted == nil {
		sc.Missing = fmt.Sprintf("no DestinationRule defines the subset %s of %s", sc.Subset, s.host)
		return rule.subsetInstead(sc.Subset)
	}
	if wanted != nil {
		sc.Source = wanted.source
	}
	if rule != nil {
		sc.LoadBalancer, sc.Key = balance(rule.loadBalancer(sc.Port, wanted))
	}
	for _, e := range s.endpoints {
		if e.port == port.name && (wanted == nil || c.inSubset(wanted, &e)) {
			sc.Endpoints = append(sc.Endpoints, e.EndpointConfig)
		}
	}
	sc.Endpoints = sortEndpoints(sc.Endpoints)
	return ""
}

// inSubset reports whether an endpoint belongs to a subset. A pod that is not known yet belongs to none, not even to one that asks for
// no label: its labels are about to come, and an endpoint must not be in the subset of another version for as long.
func (c *compiler) inSubset(wanted *subset, e *endpoint) bool {
	if e.pod == "" {
		return subsetOf(wanted.labels, e.labels)
	}
	labels, known := c.set.PodLabels(e.pod)
	return known && subsetOf(wanted.labels, labels)
}

// subsetOf reports whether an endpoint has all labels that a subset asks for.
func subsetOf(wanted, labels map[string]string) bool {
	for k, v := range wanted {
		if has, is := labels[k]; !is || has != v {
			return false
		}
	}
	return true
}

// finishServices fills in what the AffinityPolicies say, when it is known through which gateways each service is reached.
func (c *compiler) finishServices() {
	for i := range c.config.Services {
		c.policies.apply(&c.config.Services[i], c.routed[i])
	}
}
