package generate

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3" // what a Cluster has inside
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/remora-proxy/remora/internal/affinity"
)

// cluster is what clusters.yaml is filled with.
type cluster struct {
	Name string
	clusterKind
	Endpoints []envoyEndpoint
}

// clusterKind is what clusters have in common.
type clusterKind struct {
	Type         string
	LoadBalancer string
	HTTP2        bool
}

// clusters are the services that can be used, as Envoy's clusters: a YAML sequence, empty where there are none.
func clusters(c *affinity.Config, eds bool, names map[netip.Addr]string) (string, error) {
	var list []cluster
	for i := range c.Services {
		s := &c.Services[i]
		if s.Missing != "" {
			continue // Remora answers for it
		}
		k := cluster{Name: s.Name, clusterKind: clusterKind{"STATIC", loadBalancer(s), s.HTTP2}}
		if eds {
			k.Type = "EDS"
		} else {
			var err error
			if k.Endpoints, err = envoyEndpoints(s, names); err != nil {
				return "", err
			}
			if slices.ContainsFunc(k.Endpoints, envoyEndpoint.isName) {
				k.Type = "STRICT_DNS"
			}
		}
		list = append(list, k)
	}
	slices.SortFunc(list, func(a, b cluster) int { return strings.Compare(a.Name, b.Name) })
	return render("clusters.yaml", list), nil
}

func (e envoyEndpoint) isName() bool {
	_, err := netip.ParseAddr(e.Host)
	return e.Path == "" && err != nil
}

// envoyEndpoints are the endpoints of a service, each address once: Envoy does not tell incarnations apart.
func envoyEndpoints(s *affinity.ServiceConfig, names map[netip.Addr]string) ([]envoyEndpoint, error) {
	var out []envoyEndpoint
	for _, in := range s.Endpoints {
		e, err := parseEndpoint(in.Addr)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.Name, err)
		}
		if addr, err := netip.ParseAddr(e.Host); err == nil && names[addr] != "" {
			e.Host = names[addr]
		}
		e.Weight, e.Draining = in.Weight, in.State == affinity.Draining
		at := slices.IndexFunc(out, func(o envoyEndpoint) bool { return o.Host == e.Host && o.Port == e.Port })
		switch {
		case at < 0:
			out = append(out, e)
		case out[at].Draining:
			out[at] = e
		}
	}
	return out, nil
}

// loadBalancer is how Envoy chooses where Remora's choice cannot be reached.
func loadBalancer(s *affinity.ServiceConfig) string {
	switch {
	case s.Key.Kind != affinity.NoKey:
		return "RING_HASH"
	case s.LoadBalancer == affinity.RoundRobin:
		return "ROUND_ROBIN"
	case s.LoadBalancer == affinity.Random:
		return "RANDOM"
	}
	return "LEAST_REQUEST"
}

// Discovery is the services of c as an Envoy that was configured with EnvoyOptions.XDS asks for them: its clusters, which are those
// that the static configuration would have, and their endpoints.
func Discovery(c *affinity.Config) (all []*clusterv3.Cluster, endpoints []*endpointv3.ClusterLoadAssignment, err error) {
	alike := map[clusterKind]*clusterv3.Cluster{} // clusters differ in little but their names
	for i := range c.Services {
		s := &c.Services[i]
		if s.Missing != "" {
			continue
		}
		kind := clusterKind{"EDS", loadBalancer(s), s.HTTP2}
		if alike[kind] == nil {
			if alike[kind], err = kind.message(); err != nil {
				return nil, nil, err
			}
		}
		k := proto.CloneOf(alike[kind])
		k.Name = s.Name
		all = append(all, k)
		e, err := loadAssignment(s)
		if err != nil {
			return nil, nil, err
		}
		endpoints = append(endpoints, e)
	}
	return all, endpoints, nil
}

// message is clusters.yaml as a message.
func (k clusterKind) message() (*clusterv3.Cluster, error) {
	var list []any
	if err := yaml.Unmarshal([]byte(render("clusters.yaml", []cluster{{clusterKind: k}})), &list); err != nil {
		return nil, err
	}
	text, err := json.Marshal(list[0])
	if err != nil {
		return nil, err
	}
	m := &clusterv3.Cluster{}
	if err := protojson.Unmarshal(text, m); err != nil {
		return nil, fmt.Errorf("clusters.yaml: %w", err)
	}
	return m, nil
}

// loadAssignment is the endpoints of a service.
func loadAssignment(s *affinity.ServiceConfig) (*endpointv3.ClusterLoadAssignment, error) {
	list, err := envoyEndpoints(s, nil)
	if err != nil {
		return nil, err
	}
	group := &endpointv3.LocalityLbEndpoints{}
	for _, e := range list {
		lb := &endpointv3.LbEndpoint{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
			Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
				Address: e.Host, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(e.Port)},
			}}},
		}}}
		if e.Weight > 0 {
			lb.LoadBalancingWeight = wrapperspb.UInt32(e.Weight)
		}
		if e.Draining {
			lb.HealthStatus = corev3.HealthStatus_DRAINING
		}
		group.LbEndpoints = append(group.LbEndpoints, lb)
	}
	return &endpointv3.ClusterLoadAssignment{ClusterName: s.Name, Endpoints: []*endpointv3.LocalityLbEndpoints{group}}, nil
}
