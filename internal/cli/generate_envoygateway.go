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

const generateEnvoyGatewayLong = `Write what Gateways of Envoy Gateway need to ask Remora: the processor's Deployment, Service, ServiceAccount and RBAC; an
EnvoyExtensionPolicy, a BackendTrafficPolicy and a ClientTrafficPolicy for each namespace with Gateways; and the Gateways and their HTTPRoutes and
ReferenceGrants, as they were read. All of it can be applied with kubectl.

PATH is files and folders with the Gateways, HTTPRoutes, Services, ReferenceGrants and AffinityPolicies. Where it has no Gateway of the Gateway API
but Istio's objects, --gateway says which Gateway is to ask; its HTTPRoutes are then for you to write.

--check writes nothing but what would not work with them and how to mend it, one finding a line, as remora validate does.
Without it warnings go to standard error, and an error leaves standard output empty.

Exit status: 0 done, warnings included; 1 an error among the findings, with --check also when no request would come to a replica, and with
--strict a warning; 2 wrong command line.`

func newGenerateEnvoyGateway(env Env) *cobra.Command {
	var files []string
	var o generate.EnvoyGatewayOptions
	cmd := &cobra.Command{
		Use:   "envoy-gateway -f PATH…",
		Short: "Write the objects that make Gateways of Envoy Gateway ask Remora",
		Long:  generateEnvoyGatewayLong,
		Example: `  remora generate envoy-gateway -f examples/hit-backend/gateway-api -f examples/hit-backend/services.yaml | kubectl apply -f -
  remora generate envoy-gateway -f examples/hit-backend --gateway eg --check`,
		Args: noArgs,
	}
	addFiles(cmd, &files)
	required(cmd, "filename", "the configuration")
	f := cmd.Flags()
	check := addCheck(cmd)
	f.StringVar(&o.Gateway, "gateway", "", "name of the Gateway (gateway.networking.k8s.io) that is to ask (default: all those in PATH)")
	f.StringVar(&o.GatewayNamespace, "gateway-namespace", "default", "with --gateway: its namespace")
	f.StringVar(&o.Namespace, "namespace", "remora-system", "namespace of the processor")
	f.StringVar(&o.Image, "image", "remora:latest", "image of the processor")
	addProcessors(cmd, &o.Replicas, &o.Store)
	f.BoolVar(&o.FailOpen, "fail-open", false, "without a processor, let requests go on by the routes alone (default: they get 500)")
	f.DurationVar(&o.MessageTimeout, "message-timeout", time.Second, "time for an answer of the processor, 10ms to 1m")
	cmd.RunE = runs(func(cmd *cobra.Command, _ []string) error {
		if err := checkEnvoyGatewayFlags(cmd, &o); err != nil {
			return err
		}
		loaded := app.LoadWith(files, env.Stdin, config.Options{NoSlices: true, Proxied: true})
		findings := loaded.Diagnostics
		if !findings.HasErrors() {
			findings = append(findings, generate.CheckEnvoyGateway(loaded.Set, loaded.Config, o)...)
			findings.Sort()
		}
		if done, err := check.judge(env, findings, loaded.Config); done {
			return err
		}
		_, err := io.WriteString(env.Stdout, generate.EnvoyGateway(loaded.Set, loaded.Config, o))
		return err
	})
	return cmd
}

// checkEnvoyGatewayFlags checks what the API server would refuse.
func checkEnvoyGatewayFlags(cmd *cobra.Command, o *generate.EnvoyGatewayOptions) error {
	if wrong := validation.IsDNS1123Subdomain(o.Gateway); o.Gateway != "" && len(wrong) > 0 {
		return usagef("--gateway %q is not a name: use lower case letters, digits and '-'", o.Gateway)
	}
	for _, f := range []struct{ flag, value string }{{"namespace", o.Namespace}, {"gateway-namespace", o.GatewayNamespace}} {
		if err := checkNamespace(f.flag, f.value); err != nil {
			return err
		}
	}
	if err := checkStore(cmd, &o.Replicas, o.Store); err != nil {
		return err
	}
	return checkProcessorFlags(o.Image, o.Replicas, o.MessageTimeout)
}
