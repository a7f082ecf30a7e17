package istiotest

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	networking "istio.io/api/networking/v1alpha3"
)

// connectionManager is the network filter that HTTP filters are in.
const connectionManager = "envoy.filters.network.http_connection_manager"

// patch is an element of an EnvoyFilter's configPatches, of the kinds that Remora writes. It is applied by what Istio documents:
// in the order of the list, to what the patches before it have left, where INSERT_FIRST and INSERT_BEFORE put an element into a
// list and MERGE merges messages as protobuf does. Routes are merged before routes are inserted.
type patch struct {
	applyTo   networking.EnvoyFilter_ApplyTo
	match     *networking.EnvoyFilter_EnvoyConfigObjectMatch
	operation networking.EnvoyFilter_Patch_Operation
	network   *listenerv3.Filter
	filter    *hcmv3.HttpFilter
	listener  *listenerv3.Listener
	route     *routev3.Route
	cluster   *clusterv3.Cluster
}

// readPatch checks a patch and reads its value. What is not written by Remora is an error.
func readPatch(in *networking.EnvoyFilter_EnvoyConfigObjectPatch) (*patch, error) {
	p := &patch{applyTo: in.GetApplyTo(), match: in.GetMatch(), operation: in.GetPatch().GetOperation()}
	if p.match.GetContext() != networking.EnvoyFilter_GATEWAY {
		return nil, fmt.Errorf("context %s: only the gateway is to be patched", p.match.GetContext())
	}
	var value proto.Message
	var operations []networking.EnvoyFilter_Patch_Operation
	switch p.applyTo {
	case networking.EnvoyFilter_NETWORK_FILTER:
		p.network = &listenerv3.Filter{}
		value, operations = p.network, []networking.EnvoyFilter_Patch_Operation{networking.EnvoyFilter_Patch_MERGE}
	case networking.EnvoyFilter_HTTP_FILTER:
		p.filter = &hcmv3.HttpFilter{}
		value, operations = p.filter, []networking.EnvoyFilter_Patch_Operation{
			networking.EnvoyFilter_Patch_INSERT_FIRST, networking.EnvoyFilter_Patch_INSERT_BEFORE, networking.EnvoyFilter_Patch_MERGE,
		}
	case networking.EnvoyFilter_LISTENER:
		p.listener = &listenerv3.Listener{}
		value, operations = p.listener, []networking.EnvoyFilter_Patch_Operation{networking.EnvoyFilter_Patch_MERGE}
	case networking.EnvoyFilter_HTTP_ROUTE:
		p.route = &routev3.Route{}
		value, operations = p.route, []networking.EnvoyFilter_Patch_Operation{networking.EnvoyFilter_Patch_MERGE, networking.EnvoyFilter_Patch_INSERT_FIRST}
	case networking.EnvoyFilter_CLUSTER:
		p.cluster = &clusterv3.Cluster{}
		value, operations = p.cluster, []networking.EnvoyFilter_Patch_Operation{networking.EnvoyFilter_Patch_MERGE}
	default:
		return nil, fmt.Errorf("applyTo %s is not known here", p.applyTo)
	}
	if !slices.Contains(operations, p.operation) {
		return nil, fmt.Errorf("operation %s on %s is not known here", p.operation, p.applyTo)
	}
	text, err := in.GetPatch().GetValue().MarshalJSON()
	if err != nil {
		return nil, err
	}
	if err := protojson.Unmarshal(text, value); err != nil {
		return nil, fmt.Errorf("the value of a patch of %s: %w", p.applyTo, err)
	}
	return p, nil
}

// fitsListener reports whether a patch is for a listener.
func (p *patch) fitsListener(l *listenerv3.Listener) bool {
	m := p.match.GetListener()
	if m.GetName() != "" && m.GetName() != l.GetName() {
		return false
	}
	return m.GetPortNumber() == 0 || m.GetPortNumber() == l.GetAddress().GetSocketAddress().GetPortValue()
}

// patchListener applies the patches to a listener and its HTTP filters.
func patchListener(l *listenerv3.Listener, patches []*patch) error {
	for _, p := range patches {
		if p.applyTo == networking.EnvoyFilter_LISTENER && p.fitsListener(l) {
			proto.Merge(l, p.listener)
		}
	}
	for _, chain := range l.GetFilterChains() {
		for _, f := range chain.GetFilters() {
			if f.GetName() != connectionManager {
				continue
			}
			manager := &hcmv3.HttpConnectionManager{}
			if err := f.GetTypedConfig().UnmarshalTo(manager); err != nil {
				return err
			}
			for _, p := range patches {
				if !p.fitsListener(l) {
					continue
				}
				if err := p.patchManager(manager); err != nil {
					return err
				}
			}
			config, err := anypb.New(manager)
			if err != nil {
				return err
			}
			f.ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: config}
		}
	}
	return nil
}

// patchManager applies the patch to a connection manager, if it is for one.
func (p *patch) patchManager(into *hcmv3.HttpConnectionManager) error {
	if p.network == nil && p.filter == nil {
		return nil
	}
	in := p.match.GetListener().GetFilterChain().GetFilter()
	if in.GetName() != connectionManager {
		return fmt.Errorf("a patch for filters is for the network filter %q", in.GetName())
	}
	switch {
	case p.network != nil:
		return mergeConfig(into, p.network.GetTypedConfig())
	case p.operation == networking.EnvoyFilter_Patch_MERGE:
		for _, f := range into.HttpFilters {
			if f.GetName() == in.GetSubFilter().GetName() && f.GetName() == p.filter.GetName() {
				return p.mergeFilter(f)
			}
		}
		return fmt.Errorf("there is no filter %s to merge with", in.GetSubFilter().GetName())
	}
	return p.insert(into, in)
}

// mergeFilter merges the patch with an HTTP filter.
func (p *patch) mergeFilter(f *hcmv3.HttpFilter) error {
	config, err := f.GetTypedConfig().UnmarshalNew()
	if err != nil {
		return err
	}
	if err := mergeConfig(config, p.filter.GetTypedConfig()); err != nil {
		return err
	}
	merged, err := anypb.New(config)
	if err != nil {
		return err
	}
	f.ConfigType = &hcmv3.HttpFilter_TypedConfig{TypedConfig: merged}
	return nil
}

// mergeConfig merges a patch's configuration of a filter into the filter's.
func mergeConfig(into proto.Message, from *anypb.Any) error {
	config, err := from.UnmarshalNew()
	if err != nil {
		return err
	}
	if a, b := into.ProtoReflect().Descriptor().FullName(), config.ProtoReflect().Descriptor().FullName(); a != b {
		return fmt.Errorf("%s cannot be merged with %s", b, a)
	}
	proto.Merge(into, config)
	return nil
}

// insert puts an HTTP filter into its place. in is what it is put into.
func (p *patch) insert(into *hcmv3.HttpConnectionManager, in *networking.EnvoyFilter_ListenerMatch_FilterMatch) error {
	filter, _ := proto.Clone(p.filter).(*hcmv3.HttpFilter)
	at := 0
	if p.operation == networking.EnvoyFilter_Patch_INSERT_BEFORE {
		if in.GetSubFilter().GetName() == "" {
			return errors.New("INSERT_BEFORE does not say before which filter")
		}
		at = slices.IndexFunc(into.HttpFilters, func(f *hcmv3.HttpFilter) bool { return f.GetName() == in.GetSubFilter().GetName() })
		if at < 0 {
			return fmt.Errorf("there is no filter %s", in.GetSubFilter().GetName())
		}
	} else if in.GetSubFilter() != nil {
		return errors.New("INSERT_FIRST with a subFilter is not known here")
	}
	into.HttpFilters = slices.Insert(into.HttpFilters, at, filter)
	return nil
}

// patchCluster applies the patches to the cluster of a target.
func patchCluster(c *clusterv3.Cluster, t *target, patches []*patch) {
	for _, p := range patches {
		m := p.match.GetCluster()
		if p.cluster != nil && (m.GetName() == "" || m.GetName() == c.GetName()) && (m.GetService() == "" || m.GetService() == t.host()) &&
			(m.GetPortNumber() == 0 || m.GetPortNumber() == uint32(t.port.Port)) && (m.GetSubset() == "" || m.GetSubset() == t.subset.GetName()) {
			proto.Merge(c, p.cluster)
		}
	}
}

// fitsRoutes reports whether a patch is for a gateway's route configuration. Its name is http.PORT, with the port that the
// gateway's pods listen on; portOf gives that of the Gateway's server, which patches name.
func (p *patch) fitsRoutes(c *routev3.RouteConfiguration, portOf func(name string) uint32) bool {
	m := p.match.GetRouteConfiguration()
	if m.GetName() != "" && m.GetName() != c.GetName() {
		return false
	}
	return m.GetPortNumber() == 0 || m.GetPortNumber() == portOf(c.GetName())
}

// fitsRoute reports whether a patch is for a route.
func (p *patch) fitsRoute(r *routev3.Route) bool {
	m := p.match.GetRouteConfiguration().GetVhost().GetRoute()
	if m.GetName() != "" && m.GetName() != r.GetName() {
		return false
	}
	switch m.GetAction() {
	case networking.EnvoyFilter_RouteConfigurationMatch_RouteMatch_ROUTE:
		return r.GetRoute() != nil
	case networking.EnvoyFilter_RouteConfigurationMatch_RouteMatch_REDIRECT:
		return r.GetRedirect() != nil
	case networking.EnvoyFilter_RouteConfigurationMatch_RouteMatch_DIRECT_RESPONSE:
		return r.GetDirectResponse() != nil
	}
	return true
}

// patchRoutes applies the patches to a route configuration.
func patchRoutes(c *routev3.RouteConfiguration, patches []*patch, portOf func(name string) uint32) {
	for _, host := range c.GetVirtualHosts() {
		fits := func(p *patch, operation networking.EnvoyFilter_Patch_Operation) bool {
			name := p.match.GetRouteConfiguration().GetVhost().GetName()
			return p.applyTo == networking.EnvoyFilter_HTTP_ROUTE && p.operation == operation && p.fitsRoutes(c, portOf) &&
				(name == "" || name == host.GetName())
		}
		for _, r := range host.GetRoutes() {
			for _, p := range patches {
				if fits(p, networking.EnvoyFilter_Patch_MERGE) && p.fitsRoute(r) {
					proto.Merge(r, p.route)
				}
			}
		}
		for _, p := range patches {
			if fits(p, networking.EnvoyFilter_Patch_INSERT_FIRST) {
				r, _ := proto.Clone(p.route).(*routev3.Route)
				host.Routes = slices.Insert(host.Routes, 0, r)
			}
		}
	}
}

// selects reports whether an EnvoyFilter is for the gateway's pods.
func selects(f *networking.EnvoyFilter) bool {
	labels := f.GetWorkloadSelector().GetLabels()
	for name, value := range labels {
		if podLabels[name] != value {
			return false
		}
	}
	return len(labels) > 0
}

// podLabels are those of the ingress gateway that istioctl installs.
var podLabels = map[string]string{"app": "istio-ingressgateway", "istio": "ingressgateway"}

// portOf is the port of the Gateway's server that a route configuration is for, by its name: istioctl's ingress gateway listens
// on 8080 for port 80.
func portOf(name string) uint32 {
	var port uint32
	if _, err := fmt.Sscanf(strings.TrimPrefix(name, "http."), "%d", &port); err != nil {
		return 0
	}
	if port == 8080 {
		return 80
	}
	return port
}
