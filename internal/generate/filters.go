package generate

import (
	_ "embed"
	"fmt"
	"strconv"
	"strings"
	"text/template"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/remora-proxy/remora/internal/extproc"
)

// filtersText is the HTTP filters, a template of a YAML sequence with the fields of filterOptions.
//
//go:embed filters.yaml
var filtersText string

var filtersTemplate = template.Must(template.New("filters.yaml").Parse(filtersText))

// filterOptions are what differs from one Envoy to another. Cluster must be set; a zero field otherwise means what it says.
type filterOptions struct {
	Cluster        string        // Envoy's name of the processor's cluster
	Port           uint16        // of the Gateway's server that the filters' listener stands for; 0: the processor's --gateway-port
	FailOpen       bool          // without a processor, requests go on without a decision; otherwise they get 503
	Strict         bool          // an endpoint that Envoy does not know gets 503; otherwise Envoy's load balancer chooses
	SetsCookies    bool          // some service has a cookie that Remora sets
	SourceAddress  bool          // some service's key is the client's address
	MessageTimeout time.Duration // for one answer of the processor; 0: one second
}

// httpFilters are Envoy's HTTP filters for Remora, in their order, without the router that has to follow. Each is a mapping with
// the members "name" and "typed_config", and the comments that say why it is there.
func httpFilters(o filterOptions) []*yaml.Node {
	if o.MessageTimeout == 0 {
		o.MessageTimeout = time.Second // longer than it takes to find out that a processor has stopped, and to ask another
	}
	var text strings.Builder
	err := filtersTemplate.Execute(&text, struct {
		filterOptions
		MessageTimeout                              string
		EndpointHeader, ServiceHeader, PortMetadata string
		MetadataNamespace, PickMetadata             string
	}{
		o, seconds(o.MessageTimeout), extproc.EndpointHeader, extproc.ServiceHeader, extproc.PortMetadata,
		extproc.MetadataNamespace, extproc.PickMetadata,
	})
	if err != nil {
		panic(fmt.Sprintf("generate: filters.yaml: %v", err))
	}
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(text.String()), &document); err != nil {
		panic(fmt.Sprintf("generate: filters.yaml: %v\n%s", err, text.String()))
	}
	return document.Content[0].Content
}

// seconds is a duration as JSON has a google.protobuf.Duration: "0.5s".
func seconds(d time.Duration) string {
	return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + "s"
}
