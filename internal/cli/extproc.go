package cli

import (
	"net/netip"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/net/http/httpguts"

	"github.com/remora-proxy/remora/internal/app"
	"github.com/remora-proxy/remora/internal/extproc"
)

// defaultProcessor is where Envoys connect to by default.
const defaultProcessor = "127.0.0.1:9002"

// maxProcessorRequests bounds --max-requests: each request in flight takes memory for its stream.
const maxProcessorRequests = 1 << 20

const extprocLong = `Run the external processor for Envoy from YAML.

Envoy moves the bytes and asks here, by gRPC (envoy.service.ext_proc.v3), where each request goes; the decisions are the
gateway's. The filter sends the request's headers and its buffered body, and nothing of the response; docs/envoy.md has a
complete configuration of an Envoy.

PATH, reloading, sessions and signals are as with remora serve. On SIGTERM Envoys are told to connect elsewhere, and requests
in flight keep their sessions until they end, for at most --shutdown-timeout. There is no TLS yet: keep the address to this
machine, or to a network where everybody is trusted.`

func newExtproc(version string, env Env) *cobra.Command {
	o := app.Options{Version: version, Stdin: env.Stdin}
	var listen string
	var flags programFlags
	cmd := &cobra.Command{
		Use:   "extproc -f PATH…",
		Short: "Decide for Envoy, as its external processor",
		Long:  extprocLong,
		Example: `  remora extproc -f examples/hit-backend
  remora extproc -f /etc/remora --listen 0.0.0.0:9002 --session-file /var/lib/remora/sessions`,
		Args: noArgs,
	}
	f := cmd.Flags()
	f.StringVar(&listen, "listen", defaultProcessor, "ip:port that Envoy connects to")
	f.Uint16Var(&o.ExtProc.Port, "gateway-port", 80, "port of the Gateway's server that requests belong to, where the filter's gRPC metadata x-remora-port does not say")
	f.StringVar(&o.ExtProc.EndpointHeader, "endpoint-header", extproc.EndpointHeader, "header that tells Envoy the endpoint, in lower case: the one that its filter stateful_session reads")
	f.IntVar(&o.ExtProc.MaxRequests, "max-requests", 65536, "requests in flight; more get 503")
	start := addProgram(cmd, &o, &flags, env)
	cmd.RunE = runs(func(cmd *cobra.Command, _ []string) (err error) {
		if o.Processor, err = netip.ParseAddrPort(listen); err != nil {
			return usagef("--listen %q is not ip:port; give one like %s", listen, defaultProcessor)
		}
		if err := checkProcessor(&o.ExtProc); err != nil {
			return err
		}
		return start(cmd)
	})
	return cmd
}

// checkProcessor checks the flags of the processor.
func checkProcessor(c *extproc.Config) error {
	switch {
	case c.Port == 0:
		return usagef("--gateway-port 0 is not a port of 1 to 65535")
	case c.MaxRequests < 1 || c.MaxRequests > maxProcessorRequests:
		return usagef("--max-requests %d is not in 1 to %d", c.MaxRequests, maxProcessorRequests)
	case !httpguts.ValidHeaderFieldName(c.EndpointHeader) || c.EndpointHeader != strings.ToLower(c.EndpointHeader):
		return usagef("--endpoint-header %q is not the name of a header in lower case; give one like %s", c.EndpointHeader, extproc.EndpointHeader)
	}
	return nil
}
