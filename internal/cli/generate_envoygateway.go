package cli

import (
	"io"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/remora-proxy/remora/internal/app"
	"github.com/remora-proxy/remora/internal/config"
	"github.com/remora-proxy/remora/internal/generate"
)

const generateEnvoyGatewayLong = `Write the policies that make a Gateway of Envoy Gateway ask Remora: an EnvoyExtensionPolicy, a BackendTrafficPolicy and a
ClientTrafficPolicy, all for the Gateway that --gateway names.

PATH is what Remora itself is configured with. It reads no HTTPRoutes yet, and writes none: the routes of the Gateway are your own,
match on the headers that Remora promotes, and have to lead to the same services as Remora's VirtualServices. The processor is a Service
of yours in the Gateway's namespace, with port 9002: remora extproc --endpoint-format plain.`

func newGenerateEnvoyGateway(env Env) *cobra.Command {
	var files []string
	var o generate.EnvoyGatewayOptions
	cmd := &cobra.Command{
		Use:     "envoy-gateway -f PATH… --gateway NAME",
		Short:   "Write the policies that make a Gateway of Envoy Gateway ask Remora",
		Long:    generateEnvoyGatewayLong,
		Example: "  remora generate envoy-gateway -f examples/hit-backend --gateway eg | kubectl apply -f -",
		Args:    noArgs,
	}
	addFiles(cmd, &files)
	f := cmd.Flags()
	f.StringVar(&o.Gateway, "gateway", "", "name of the Gateway (gateway.networking.k8s.io)")
	f.StringVar(&o.Namespace, "namespace", "default", "namespace of the Gateway")
	f.StringVar(&o.Service, "service", "remora", "name of the processor's Service, in the Gateway's namespace; its port is 9002")
	f.BoolVar(&o.FailOpen, "fail-open", false, "without a processor, let requests go on by the routes alone (default: they fail)")
	f.DurationVar(&o.MessageTimeout, "message-timeout", time.Second, "time for an answer of the processor, 10ms to 1m")
	required(cmd, "filename", "the configuration")
	required(cmd, "gateway", "the Gateway")
	cmd.RunE = runs(func(*cobra.Command, []string) error {
		for _, name := range []struct{ flag, value string }{{"gateway", o.Gateway}, {"namespace", o.Namespace}, {"service", o.Service}} {
			if wrong := validation.IsDNS1123Subdomain(name.value); len(wrong) > 0 {
				return usagef("--%s %q is not a name: use lower case letters, digits and '-'", name.flag, name.value)
			}
		}
		if o.MessageTimeout < 10*time.Millisecond || o.MessageTimeout > time.Minute {
			return usagef("--message-timeout %s is not in 10ms to 1m", o.MessageTimeout)
		}
		loaded := app.LoadWith(files, env.Stdin, config.Options{NoSlices: true})
		printDiagnostics(env.Stderr, loaded.Diagnostics)
		if loaded.Diagnostics.HasErrors() {
			return errInvalid
		}
		_, err := io.WriteString(env.Stdout, generate.EnvoyGateway(loaded.Config, o))
		return err
	})
	return cmd
}
