package istiotest

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"github.com/remora-proxy/remora/internal/resource"
)

// Mesh is what istiod knows.
type Mesh struct {
	Set        *resource.Set // users' objects; Gateways count as ones of port 80 for all hosts
	Generated  string        // what `remora generate istio` wrote; empty: Remora is not there
	Processors []string      // ip:port of the processors that are in the EndpointSlices
}

// resources is what istiod sends to the gateway.
type resources struct {
	listener  *listenerv3.Listener
	routes    *routev3.RouteConfiguration
	clusters  []*clusterv3.Cluster
	endpoints []*endpointv3.ClusterLoadAssignment
}

// resources makes them. The listener is the dump's.
func (m *Mesh) resources() (*resources, error) {
	g, err := readGenerated(m.Generated)
	if err != nil {
		return nil, err
	}
	d, err := readDump(asIstioMakesIt)
	if err != nil {
		return nil, err
	}
	out := &resources{}
	out.listener, _ = proto.Clone(d.listeners[0]).(*listenerv3.Listener)
	all := targets(m.Set)
	for _, t := range all {
		if err := out.add(t, t.endpoints(m.Set), g.patches); err != nil {
			return nil, err
		}
	}
	for _, t := range targets(g.set) {
		if !slices.Contains(g.referenced, t.host()) {
			return nil, fmt.Errorf("no EnvoyFilter refers to %s: istiod leaves its cluster out", t.host())
		}
		a, err := t.processors(m.Processors)
		if err == nil {
			err = out.add(t, a, g.patches)
		}
		if err != nil {
			return nil, err
		}
	}
	if out.routes, err = routes(m.Set, all); err != nil {
		return nil, err
	}
	if err := patchListener(out.listener, g.patches); err != nil {
		return nil, err
	}
	patchRoutes(out.routes, g.patches, portOf)
	return out, nil
}

func (r *resources) add(t *target, a *endpointv3.ClusterLoadAssignment, patches []*patch) error {
	c, err := t.cluster()
	if err != nil {
		return err
	}
	patchCluster(c, t, patches)
	r.clusters, r.endpoints = append(r.clusters, c), append(r.endpoints, a)
	return nil
}

// processors is the endpoints of the processor's Service.
func (t *target) processors(addrs []string) (*endpointv3.ClusterLoadAssignment, error) {
	a := t.endpoints(&resource.Set{})
	group := &endpointv3.LocalityLbEndpoints{Locality: &corev3.Locality{}}
	for _, addr := range addrs {
		host, number, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		port, err := strconv.ParseUint(number, 10, 16)
		if err != nil {
			return nil, err
		}
		group.LbEndpoints = append(group.LbEndpoints, lbEndpoint(host, uint32(port), corev3.HealthStatus_HEALTHY))
	}
	if len(addrs) > 0 {
		a.Endpoints = []*endpointv3.LocalityLbEndpoints{group}
	}
	return a, nil
}

// onFreePort moves the listener from the gateway's port to one that is free here.
func (r *resources) onFreePort() error {
	address := r.listener.GetAddress().GetSocketAddress()
	if address == nil {
		return errors.New("the listener has no address")
	}
	address.Address, address.PortSpecifier = "127.0.0.1", &corev3.SocketAddress_PortValue{PortValue: 0}
	return nil
}
