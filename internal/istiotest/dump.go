package istiotest

import (
	"embed"
	"encoding/json"
	"fmt"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	// The messages inside the dumps and the patches.
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/stream/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/common/matching/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/matcher/action/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/grpc_stats/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/stateful_session/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/upstream_codec/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/http/stateful_session/header/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/common_inputs/network/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/input_matchers/metadata/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/request_id/uuid/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// The dumps: of the users' objects alone, and with EnvoyFilters for an external processor and its DestinationRule.
const (
	asIstioMakesIt = "testdata/as-istio-makes-it.json"
	withPatches    = "testdata/with-ext-proc-patches.json"
)

//go:embed testdata/*.json
var dumps embed.FS

// dump is what an istiod sent.
type dump struct {
	listeners []*listenerv3.Listener
	routes    []*routev3.RouteConfiguration
	clusters  []*clusterv3.Cluster
	endpoints []*endpointv3.ClusterLoadAssignment
}

// readDump reads a config_dump of Envoy's admin API, without what its bootstrap configuration had.
func readDump(file string) (*dump, error) {
	text, err := dumps.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var in struct {
		Configs []struct {
			Listeners []struct {
				State struct {
					Listener json.RawMessage `json:"listener"`
				} `json:"active_state"`
			} `json:"dynamic_listeners"`
			Routes []struct {
				Config json.RawMessage `json:"route_config"`
			} `json:"dynamic_route_configs"`
			Clusters []struct {
				Cluster json.RawMessage `json:"cluster"`
			} `json:"dynamic_active_clusters"`
			Endpoints []struct {
				Config json.RawMessage `json:"endpoint_config"`
			} `json:"dynamic_endpoint_configs"`
		} `json:"configs"`
	}
	if err := json.Unmarshal(text, &in); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	d := &dump{}
	for _, c := range in.Configs {
		for _, e := range c.Listeners {
			err = read(err, e.State.Listener, &d.listeners, &listenerv3.Listener{})
		}
		for _, e := range c.Routes {
			err = read(err, e.Config, &d.routes, &routev3.RouteConfiguration{})
		}
		for _, e := range c.Clusters {
			err = read(err, e.Cluster, &d.clusters, &clusterv3.Cluster{})
		}
		for _, e := range c.Endpoints {
			err = read(err, e.Config, &d.endpoints, &endpointv3.ClusterLoadAssignment{})
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return d, nil
}

// read appends a message that stands in a dump as in an Any.
func read[T proto.Message](before error, text json.RawMessage, to *[]T, m T) error {
	if before != nil {
		return before
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil {
		return err
	}
	delete(fields, "@type")
	plain, err := json.Marshal(fields)
	if err != nil {
		return err
	}
	if err := protojson.Unmarshal(plain, m); err != nil {
		return err
	}
	*to = append(*to, m)
	return nil
}
