package generate

import (
	"fmt"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/remora-proxy/remora/internal/extproc"
)

// filterOptions are what differs from one Envoy to another. Cluster must be set; a zero field otherwise means what it says.
type filterOptions struct {
	Cluster        string        // Envoy's name of the processor's cluster
	Port           uint16        // of the Gateway's server that the filters' listener stands for; 0: the processor's --gateway-port
	FailOpen       bool          // without a processor, requests go on without a decision; otherwise they get 503
	Strict         bool          // an endpoint that Envoy does not know gets 503; otherwise Envoy's load balancer chooses
	SourceAddress  bool          // some service's key is the client's address
	SessionHeaders []string      // that tell replicas of sessions
	MessageTimeout time.Duration // for one answer of the processor; 0: one second
}

// attemptHeaders are the request headers by which an internal client of Envoy's says how often, when and for how long its request is to be tried
// (Envoy's documentation of the router filter, "HTTP headers (consumed)").
var attemptHeaders = []string{
	"x-envoy-hedge-on-per-try-timeout", "x-envoy-max-retries", "x-envoy-retriable-header-names", "x-envoy-retriable-status-codes",
	"x-envoy-retry-grpc-on", "x-envoy-retry-on", "x-envoy-upstream-rq-per-try-timeout-ms", "x-envoy-upstream-rq-timeout-ms",
}

// filters is filters.yaml: Envoy's HTTP filters for Remora as a YAML sequence, in their order, without the router that has to follow.
func filters(o filterOptions) string {
	if o.MessageTimeout == 0 {
		o.MessageTimeout = time.Second // longer than it takes to find out that a processor has stopped, and to ask another
	}
	return render("filters.yaml", struct {
		filterOptions
		MessageTimeout                              string
		EndpointHeader, ServiceHeader, PortMetadata string
		MetadataNamespace, PickMetadata             string
		RetriesMetadata, PickedHeader               string
		AttemptHeaders                              []string
	}{
		o, seconds(o.MessageTimeout), extproc.EndpointHeader, extproc.ServiceHeader, extproc.PortMetadata,
		extproc.MetadataNamespace, extproc.PickMetadata, extproc.RetriesMetadata, extproc.PickedKey, attemptHeaders,
	})
}

// accessLog is accesslog.yaml: a line of JSON for each request (access_log of a listener), with the members of the gateway's access log
// that Envoy can tell, as a YAML sequence.
func accessLog() string {
	return render("accesslog.yaml", struct{ Namespace, Service, Endpoint, Session string }{
		extproc.MetadataNamespace, extproc.ServiceMetadata, extproc.EndpointMetadata, extproc.SessionMetadata,
	})
}

// httpFilters is filters as nodes: each a mapping with the members "name" and "typed_config", and the comments that say why it is
// there.
func httpFilters(o filterOptions) []*yaml.Node { return sequence(filters(o)) }

// attemptFilters is attempts.yaml: the HTTP filters for each attempt to send a request (upstream_http_filters of the router), as a
// YAML sequence with the codec at its end. They need include_request_attempt_count on the virtual hosts. sessionHeaders are
// the headers that tell replicas of sessions.
func attemptFilters(sessionHeaders []string) string { return render("attempts.yaml", sessionHeaders) }

// sequence is the nodes of a YAML sequence.
func sequence(text string) []*yaml.Node {
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(text), &document); err != nil {
		panic(fmt.Sprintf("generate: %v in\n%s", err, text))
	}
	return document.Content[0].Content
}

// seconds is a duration as JSON has a google.protobuf.Duration: "0.5s".
func seconds(d time.Duration) string {
	return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + "s"
}
