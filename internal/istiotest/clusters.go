package istiotest

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/remora-proxy/remora/internal/istio"
	"github.com/remora-proxy/remora/internal/resource"
)

// target is what becomes a cluster: a port of a Service, or a subset of it.
type target struct {
	service resource.Object[*corev1.Service]
	port    *corev1.ServicePort
	rule    *networkingv1.DestinationRule // nil: none
	subset  *networking.Subset            // nil: all of the service
}

func (t *target) host() string { return hostOf(t.service.Value) }

func hostOf(s *corev1.Service) string { return s.Name + "." + s.Namespace + ".svc.cluster.local" }

func (t *target) name() string {
	return fmt.Sprintf("outbound|%d|%s|%s", t.port.Port, t.subset.GetName(), t.host())
}

// targets lists what a set has, in the order of the Services.
func targets(set *resource.Set) []*target {
	var out []*target
	for _, s := range set.Services {
		var rule *networkingv1.DestinationRule
		for _, r := range set.DestinationRules {
			if fullHost(r.Value.Spec.Host, r.Value.Namespace) == hostOf(s.Value) {
				rule = r.Value
			}
		}
		for i := range s.Value.Spec.Ports {
			t := target{service: s, port: &s.Value.Spec.Ports[i], rule: rule}
			out = append(out, &t)
			if rule == nil {
				continue
			}
			for _, subset := range rule.Spec.Subsets {
				out = append(out, &target{service: s, port: t.port, rule: rule, subset: subset})
			}
		}
	}
	return out
}

func fullHost(host, namespace string) string {
	if strings.Contains(host, ".") {
		return host
	}
	return host + "." + namespace + ".svc.cluster.local"
}

// policy is what the target's DestinationRule says of it.
func (t *target) policy() *networking.TrafficPolicy {
	if t.rule == nil {
		return nil
	}
	if p := t.subset.GetTrafficPolicy(); p != nil {
		return p
	}
	return t.rule.Spec.TrafficPolicy
}

// cluster is what istiod makes of a target.
func (t *target) cluster() (*clusterv3.Cluster, error) {
	const unlimited = math.MaxUint32
	limit := wrapperspb.UInt32(unlimited)
	name := t.name()
	c := &clusterv3.Cluster{
		Name: name, AltStatName: name + ";",
		ClusterDiscoveryType: &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig: &clusterv3.Cluster_EdsClusterConfig{ServiceName: name, EdsConfig: &corev3.ConfigSource{
			ConfigSourceSpecifier: &corev3.ConfigSource_Ads{Ads: &corev3.AggregatedConfigSource{}},
			InitialFetchTimeout:   durationpb.New(0), ResourceApiVersion: corev3.ApiVersion_V3,
		}},
		ConnectTimeout: durationpb.New(10 * time.Second),
		LbPolicy:       clusterv3.Cluster_LEAST_REQUEST,
		CircuitBreakers: &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{
			{MaxConnections: limit, MaxPendingRequests: limit, MaxRequests: limit, MaxRetries: limit},
		}},
		CommonLbConfig: &clusterv3.Cluster_CommonLbConfig{HealthyPanicThreshold: &typev3.Percent{}},
	}
	t.describe(c)
	if istio.KeepsDraining(t.service.Value.Labels) {
		c.CommonLbConfig.OverrideHostStatus = &corev3.HealthStatusSet{Statuses: []corev3.HealthStatus{
			corev3.HealthStatus_HEALTHY, corev3.HealthStatus_DRAINING, corev3.HealthStatus_UNKNOWN, corev3.HealthStatus_DEGRADED,
		}}
	}
	t.applyPolicy(c)
	return c, t.speakHTTP2(c)
}

// describe says of what a cluster was made.
func (t *target) describe(c *clusterv3.Cluster) {
	text := structpb.NewStringValue
	s := t.service.Value
	fields := map[string]*structpb.Value{
		"services": structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{structpb.NewStructValue(&structpb.Struct{
			Fields: map[string]*structpb.Value{"name": text(s.Name), "host": text(t.host()), "namespace": text(s.Namespace)},
		})}}),
	}
	if t.rule != nil {
		fields["config"] = text("/apis/networking.istio.io/v1/namespaces/" + t.rule.Namespace + "/destination-rule/" + t.rule.Name)
	}
	if t.subset != nil {
		fields["subset"] = text(t.subset.GetName())
	}
	c.Metadata = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"istio": {Fields: fields}}}
}

// applyPolicy translates the parts of a traffic policy that the tests' objects have.
func (t *target) applyPolicy(c *clusterv3.Cluster) {
	p := t.policy()
	if p.GetLoadBalancer().GetConsistentHash() != nil {
		c.LbPolicy = clusterv3.Cluster_RING_HASH
		c.LbConfig = &clusterv3.Cluster_RingHashLbConfig_{RingHashLbConfig: &clusterv3.Cluster_RingHashLbConfig{MinimumRingSize: wrapperspb.UInt64(1024)}}
	}
	if d := p.GetConnectionPool().GetTcp().GetConnectTimeout(); d != nil {
		c.ConnectTimeout = durationpb.New(d.AsDuration())
	}
	o := p.GetOutlierDetection()
	if o == nil {
		return
	}
	c.CommonLbConfig.HealthyPanicThreshold.Value = float64(o.GetMinHealthPercent())
	never, always := wrapperspb.UInt32(0), wrapperspb.UInt32(100)
	c.OutlierDetection = &clusterv3.OutlierDetection{
		Consecutive_5Xx: o.GetConsecutive_5XxErrors(), EnforcingConsecutive_5Xx: always,
		Interval: durationpb.New(o.GetInterval().AsDuration()), BaseEjectionTime: durationpb.New(o.GetBaseEjectionTime().AsDuration()),
		MaxEjectionPercent: wrapperspb.UInt32(uint32(o.GetMaxEjectionPercent())), EnforcingSuccessRate: never,
	}
	if o.GetSplitExternalLocalOriginErrors() {
		c.OutlierDetection.SplitExternalLocalOriginErrors = true
		c.OutlierDetection.ConsecutiveLocalOriginFailure = o.GetConsecutiveLocalOriginFailures()
		c.OutlierDetection.EnforcingConsecutiveLocalOriginFailure = always
		c.OutlierDetection.EnforcingLocalOriginSuccessRate = never
	}
}

// speakHTTP2 makes the cluster one of HTTP/2, where the port says so.
func (t *target) speakHTTP2(c *clusterv3.Cluster) error {
	protocol := t.port.Name
	if t.port.AppProtocol != nil {
		protocol = *t.port.AppProtocol
	}
	protocol, _, _ = strings.Cut(protocol, "-")
	if !slices.Contains([]string{"grpc", "http2", "kubernetes.io/h2c"}, protocol) {
		return nil
	}
	options, err := anypb.New(&httpv3.HttpProtocolOptions{
		UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig{
			ProtocolConfig: &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: &corev3.Http2ProtocolOptions{}},
		}},
	})
	c.TypedExtensionProtocolOptions = map[string]*anypb.Any{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options}
	return err
}

// endpoints is what istiod makes of the EndpointSlices of a target.
func (t *target) endpoints(set *resource.Set) *endpointv3.ClusterLoadAssignment {
	a := &endpointv3.ClusterLoadAssignment{
		ClusterName: t.name(), Policy: &endpointv3.ClusterLoadAssignment_Policy{OverprovisioningFactor: wrapperspb.UInt32(140)},
	}
	group := &endpointv3.LocalityLbEndpoints{Locality: &corev3.Locality{}}
	for _, s := range set.EndpointSlices {
		if s.Value.Namespace != t.service.Value.Namespace || s.Value.Labels[discoveryv1.LabelServiceName] != t.service.Value.Name || !t.hasLabels(s.Value.Labels) {
			continue
		}
		for _, p := range s.Value.Ports {
			if p.Name != nil && *p.Name != t.port.Name {
				continue
			}
			for _, e := range s.Value.Endpoints {
				for _, address := range e.Addresses {
					if status := t.status(&e.Conditions); status != corev3.HealthStatus_UNHEALTHY {
						group.LbEndpoints = append(group.LbEndpoints, lbEndpoint(address, uint32(*p.Port), status))
					}
				}
			}
		}
	}
	if len(group.LbEndpoints) > 0 {
		group.LoadBalancingWeight = wrapperspb.UInt32(uint32(len(group.LbEndpoints)))
		a.Endpoints = []*endpointv3.LocalityLbEndpoints{group}
	}
	return a
}

// hasLabels reports whether endpoints belong to the target's subset. The labels of pods stand on the slices of the tests.
func (t *target) hasLabels(labels map[string]string) bool {
	for name, value := range t.subset.GetLabels() {
		if labels[name] != value {
			return false
		}
	}
	return true
}

// status is the health of an endpoint as Envoy is told it. Unhealthy ones are not told of at all. One that drains is told of
// only where the Service has the label.
func (t *target) status(c *discoveryv1.EndpointConditions) corev3.HealthStatus {
	if c.Ready == nil || *c.Ready {
		return corev3.HealthStatus_HEALTHY
	}
	if istio.KeepsDraining(t.service.Value.Labels) && c.Serving != nil && *c.Serving && c.Terminating != nil && *c.Terminating {
		return corev3.HealthStatus_DRAINING
	}
	return corev3.HealthStatus_UNHEALTHY
}

func lbEndpoint(address string, port uint32, status corev3.HealthStatus) *endpointv3.LbEndpoint {
	return &endpointv3.LbEndpoint{
		HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
			Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
				Address: address, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port},
			}}},
			HealthCheckConfig: &endpointv3.Endpoint_HealthCheckConfig{},
		}},
		HealthStatus: status, LoadBalancingWeight: wrapperspb.UInt32(1),
		Metadata: &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{
			"istio": {Fields: map[string]*structpb.Value{"workload": structpb.NewStringValue(";;;;Kubernetes")}},
		}},
	}
}
