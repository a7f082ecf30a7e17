package istio

import (
	"fmt"
	"strings"

	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/diag"
	"github.com/remora-proxy/remora/internal/resource"
	"github.com/remora-proxy/remora/internal/route"
)

// Add reports a finding. One that is there already is not added again.
func (b Compilation) Add(d diag.Diagnostic) { b.c.add(d) }

// Service gives the index of a port of a Kubernetes Service. at is the place that leads there.
func (b Compilation) Service(namespace, name string, port uint16, at diag.Position) int {
	host := strings.ToLower(name + "." + namespace + "." + clusterDomain)
	return b.c.indexOf(affinity.ServiceConfig{Name: fmt.Sprintf("%s:%d", host, port), Host: host, Port: port, Source: at.String()}, b.c.registry.services[host])
}

// Refused gives the index of a service that stands for one that routes of a namespace may not lead to: its requests get 503.
func (b Compilation) Refused(namespace, name string, port uint16, by, why, remedy string, at diag.Position) int {
	host := strings.ToLower(name + "." + namespace + "." + clusterDomain)
	return b.c.missing(affinity.ServiceConfig{Name: fmt.Sprintf("%s:%d, not for %s", host, port, by), Host: host, Port: port, Source: at.String()}, nil, why, remedy)
}

// WarnMissing tells of a service that a field of a route sends requests to, and that cannot serve them.
func (b Compilation) WarnMissing(o resource.Object[*gatewayv1.HTTPRoute], field string, service int) {
	b.c.warnMissing(o, field, service)
}

// Reached notes that requests come to a service through a Gateway, by the name of the object.
func (b Compilation) Reached(service int, gateway string) {
	b.c.routed[service].reachedThrough(gateway)
}

// PortOwner is the Gateway of Istio's that listens on a port, and where it says so; empty where there is none.
func (b Compilation) PortOwner(port uint16) (name string, at diag.Position) {
	for _, g := range byAge(b.c.set.Gateways) {
		for i, s := range g.Value.Spec.Servers {
			if s.GetPort().GetNumber() == uint32(port) && (!b.c.proxied || ServesHTTP(s)) {
				return g.Name(), g.Where.Locate(fmt.Sprintf("spec.servers[%d].port", i))
			}
		}
	}
	return "", diag.Position{}
}

// Listen adds the routes of a port that no Gateway of Istio's listens on. The Gateways that do are given in their order.
func (b Compilation) Listen(routes route.Listener, gateways []resource.Object[*gatewayv1.Gateway]) {
	c := b.c
	c.config.Routes.Listeners = append(c.config.Routes.Listeners, routes)
	on := make([]listening, len(gateways))
	for i, g := range gateways {
		on[i] = listening{g.Name(), g, "spec.listeners"}
	}
	c.config.Listeners = append(c.config.Listeners, c.policies.listener(routes.Port, on))
}
