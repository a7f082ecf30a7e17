package istio

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// supported lists, by message, the fields that this package reads. Whatever else is set in an object is refused, so that a
// field that the API gains later is refused as well.
var supported = map[protoreflect.FullName][]protoreflect.Name{
	"istio.networking.v1alpha3.Gateway":                                          {"servers", "selector"},
	"istio.networking.v1alpha3.Server":                                           {"port", "hosts", "name"},
	"istio.networking.v1alpha3.Port":                                             {"number", "protocol", "name"},
	"istio.networking.v1alpha3.VirtualService":                                   {"hosts", "gateways", "http", "export_to"},
	"istio.networking.v1alpha3.HTTPRoute":                                        {"name", "match", "route", "delegate"},
	"istio.networking.v1alpha3.Delegate":                                         {"name", "namespace"},
	"istio.networking.v1alpha3.HTTPMatchRequest":                                 {"name", "uri", "scheme", "method", "authority", "headers", "port", "source_labels", "gateways", "query_params", "ignore_uri_case", "without_headers", "source_namespace"},
	"istio.networking.v1alpha3.StringMatch":                                      {"exact", "prefix", "regex"},
	"istio.networking.v1alpha3.HTTPRouteDestination":                             {"destination", "weight"},
	"istio.networking.v1alpha3.Destination":                                      {"host", "subset", "port"},
	"istio.networking.v1alpha3.PortSelector":                                     {"number"},
	"istio.networking.v1alpha3.DestinationRule":                                  {"host", "traffic_policy", "subsets", "export_to"},
	"istio.networking.v1alpha3.Subset":                                           {"name", "labels", "traffic_policy"},
	"istio.networking.v1alpha3.TrafficPolicy":                                    {"load_balancer", "port_level_settings"},
	"istio.networking.v1alpha3.TrafficPolicy.PortTrafficPolicy":                  {"port", "load_balancer"},
	"istio.networking.v1alpha3.LoadBalancerSettings":                             {"simple", "consistent_hash"},
	"istio.networking.v1alpha3.LoadBalancerSettings.ConsistentHashLB":            {"http_header_name", "http_cookie", "use_source_ip", "http_query_parameter_name", "minimum_ring_size", "ring_hash", "maglev"},
	"istio.networking.v1alpha3.LoadBalancerSettings.ConsistentHashLB.HTTPCookie": {"name", "path", "ttl"},
	"istio.networking.v1alpha3.LoadBalancerSettings.ConsistentHashLB.RingHash":   {"minimum_ring_size"},
	"istio.networking.v1alpha3.LoadBalancerSettings.ConsistentHashLB.MagLev":     {"table_size"},
	"istio.networking.v1alpha3.ServiceEntry":                                     {"hosts", "addresses", "ports", "location", "resolution", "endpoints", "export_to"},
	"istio.networking.v1alpha3.ServicePort":                                      {"number", "protocol", "name", "target_port"},
	"istio.networking.v1alpha3.WorkloadEntry":                                    {"address", "ports", "labels", "weight"},
	"google.protobuf.Duration":                                                   {"seconds", "nanos"},
}

// proxied lists further fields, whatever is in them, that a proxy carries out by itself when it reads the same objects: they say how
// a request is forwarded, and not to which service and endpoint.
var proxied = map[protoreflect.FullName][]protoreflect.Name{
	"istio.networking.v1alpha3.Server":                          {"tls", "bind"},
	"istio.networking.v1alpha3.VirtualService":                  {"tls", "tcp"}, // of requests that are not HTTP
	"istio.networking.v1alpha3.HTTPRoute":                       {"redirect", "direct_response", "timeout", "retries", "rewrite", "headers", "fault", "cors_policy", "mirror", "mirrors", "mirror_percentage", "mirror_percent"},
	"istio.networking.v1alpha3.HTTPRouteDestination":            {"headers"},
	"istio.networking.v1alpha3.TrafficPolicy":                   {"connection_pool", "outlier_detection", "tls", "tunnel", "proxy_protocol", "retry_budget"},
	"istio.networking.v1alpha3.TrafficPolicy.PortTrafficPolicy": {"connection_pool", "outlier_detection", "tls"},
	"istio.networking.v1alpha3.LoadBalancerSettings":            {"locality_lb_setting", "warmup", "warmup_duration_secs"},
	"istio.networking.v1alpha3.ServiceEntry":                    {"subject_alt_names"},
}

// foundField is a field that is set and not supported.
type foundField struct {
	path    string // spec.http[0].fault
	name    string // fault
	byProxy bool   // in proxied
}

// unsupported lists the fields of an object's spec that are set and not in supported, in the order of their paths. byProxy leaves out
// those in proxied.
func unsupported(spec proto.Message, byProxy bool) []foundField {
	w := walker{path: []string{"spec"}, byProxy: byProxy}
	w.message(spec.ProtoReflect())
	slices.SortFunc(w.found, func(a, b foundField) int { return strings.Compare(a.path, b.path) })
	return w.found
}

type walker struct {
	path    []string // pieces: "spec", ".http", "[0]"
	byProxy bool
	found   []foundField
}

// at visits what is one piece further down.
func (w *walker) at(piece string, visit func()) {
	w.path = append(w.path, piece)
	visit()
	w.path = w.path[:len(w.path)-1]
}

func (w *walker) message(m protoreflect.Message) {
	name := m.Descriptor().FullName()
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		w.at("."+f.JSONName(), func() {
			switch {
			case slices.Contains(supported[name], f.Name()):
				w.value(f, v)
			default:
				if byProxy := slices.Contains(proxied[name], f.Name()); !byProxy || !w.byProxy {
					w.found = append(w.found, foundField{strings.Join(w.path, ""), f.JSONName(), byProxy})
				}
			}
		})
		return true
	})
}

func (w *walker) value(f protoreflect.FieldDescriptor, v protoreflect.Value) {
	switch {
	case f.IsMap():
		if f.MapValue().Message() != nil {
			v.Map().Range(func(k protoreflect.MapKey, v protoreflect.Value) bool {
				w.at("["+k.String()+"]", func() { w.message(v.Message()) })
				return true
			})
		}
	case f.Message() == nil:
	case f.IsList():
		for i := range v.List().Len() {
			w.at(fmt.Sprintf("[%d]", i), func() { w.message(v.List().Get(i).Message()) })
		}
	default:
		w.message(v.Message())
	}
}
