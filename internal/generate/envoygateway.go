package generate

import (
	"fmt"
	"time"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/extproc"
)

// EnvoyGatewayOptions are what the policies for Envoy Gateway need beyond Remora's configuration. All but FailOpen must be set.
type EnvoyGatewayOptions struct {
	Gateway        string // the Gateway (Gateway API) that is to ask Remora
	Namespace      string // its own, where the policies have to be
	Service        string // of the processor, in the same namespace
	FailOpen       bool   // without a processor, requests go on by the routes alone; otherwise they fail
	MessageTimeout time.Duration
}

// EnvoyGateway is the policies that make a Gateway of Envoy Gateway ask Remora: documents of YAML that kubectl can apply. It needs no
// routes: those are HTTPRoutes of the user's own.
func EnvoyGateway(c *affinity.Config, o EnvoyGatewayOptions) string {
	data := struct {
		EnvoyGatewayOptions
		MessageTimeout                            string
		Port                                      int
		SetsCookies, SourceAddress                bool
		HashHeader, EndpointHeader, ServiceHeader string
	}{
		o, fmt.Sprintf("%dms", o.MessageTimeout.Milliseconds()), processorPort, // the API takes no fractions
		usesKey(c, func(k affinity.Key) bool { return k.SetTTL }),
		usesKey(c, func(k affinity.Key) bool { return k.Kind == affinity.SourceIPKey }),
		commonHeader(c), extproc.EndpointHeader, extproc.ServiceHeader,
	}
	return render("envoygateway.yaml", data) + "\n"
}

// commonHeader is the header that all sessions stick by; empty where there is none such.
func commonHeader(c *affinity.Config) string {
	name := ""
	for i := range c.Services {
		switch key := c.Services[i].Key; {
		case key.Kind == affinity.NoKey:
		case key.Kind != affinity.HeaderKey, name != "" && name != key.Name:
			return ""
		default:
			name = key.Name
		}
	}
	return name
}
