package cli

import (
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/net/http/httpguts"

	"github.com/remora-proxy/remora/internal/app"
	"github.com/remora-proxy/remora/internal/certificate"
	"github.com/remora-proxy/remora/internal/extproc"
	"github.com/remora-proxy/remora/internal/istio"
)

// defaultProcessor is where Envoys connect to by default.
const defaultProcessor = "127.0.0.1:9002"

// defaultEndpointDelay is the --endpoint-delay where there is a processor. Under Istio, Envoy was seen to know an endpoint 80 to 114 ms
// after it was written to the API server.
const defaultEndpointDelay = time.Second

// maxProcessorRequests bounds --max-requests: each request in flight takes memory for its stream.
const maxProcessorRequests = 1 << 20

const extprocLong = `Run the external processor for Envoy from YAML, or from the objects of a Kubernetes cluster.

Envoy moves the bytes and asks here, by gRPC (envoy.service.ext_proc.v3), where each request goes; the decisions are the
gateway's. 'remora generate' prints how the Envoy is to be configured: a complete configuration of one, or what a gateway of Istio's
or of Envoy Gateway needs; docs/envoy.md says why. 'remora serve --extproc' runs the gateway beside it, on the same sessions.

PATH, --kubernetes, reloading, sessions and signals are as with remora serve. On SIGTERM Envoys are told to connect elsewhere, and requests
in flight keep their sessions until they end, for at most --shutdown-timeout.

Without TLS, keep the address to this machine or to a network where everybody is trusted. With --tls-cert and --tls-key Envoys
connect by TLS 1.3 or 1.2, and with --tls-client-ca they need a certificate of their own. The files are read again when they
change and on SIGHUP; what cannot be used is refused, and the certificate stays as it was.`

func newExtproc(version string, env Env) *cobra.Command {
	o := app.Options{Version: version, Stdin: env.Stdin, Processor: &app.Processor{}, EndpointDelay: defaultEndpointDelay}
	var flags programFlags
	cmd := &cobra.Command{
		Use:   "extproc {-f PATH… | --kubernetes}",
		Short: "Decide for Envoy, as its external processor",
		Long:  extprocLong,
		Example: `  remora extproc -f examples/hit-backend
  remora extproc -f /etc/remora --listen 0.0.0.0:9002 --session-file /var/lib/remora/sessions
  remora extproc -f /etc/remora --listen unix:/run/remora/extproc.sock
  remora extproc -f /etc/remora --listen 0.0.0.0:9002 --tls-cert /tls/tls.crt --tls-key /tls/tls.key --tls-client-ca /tls/ca.crt`,
		Args: noArgs,
	}
	processor := processorFlags{listenFlag: "listen"}
	cmd.Flags().StringArrayVar(&processor.listen, processor.listenFlag, []string{defaultProcessor}, "ip:port or unix:/path[?mode=0660] that Envoy connects to; repeatable")
	processor.add(cmd, o.Processor)
	addProxied(cmd, &o.Processor.Proxied)
	start := addProgram(cmd, &o, &flags, env)
	cmd.RunE = runs(func(cmd *cobra.Command, _ []string) error {
		if err := processor.apply(o.Processor); err != nil {
			return err
		}
		return start(cmd)
	})
	return cmd
}

// processorFlags are the flags of the processor that are not fields of app.Processor as they stand. Where the processor runs beside the
// gateway, its flags begin with a prefix.
type processorFlags struct {
	listenFlag, prefix string
	listen             []string
	format             string
	draining           func(*bool) error
	names              []string // of those that add has added
}

// named is the name of a flag.
func (pf *processorFlags) named(name string) string {
	name = pf.prefix + name
	pf.names = append(pf.names, name)
	return name
}

// add adds the flags that a processor has wherever it runs.
func (pf *processorFlags) add(cmd *cobra.Command, p *app.Processor) {
	f := cmd.Flags()
	f.Uint16Var(&p.Config.Port, pf.named("gateway-port"), 80, "port of the Gateway's server that Envoy's requests belong to, where the filter's gRPC metadata x-remora-port does not say")
	f.StringVar(&p.Config.EndpointHeader, pf.named("endpoint-header"), extproc.EndpointHeader, "header that tells Envoy the endpoint, in lower case: the one that its filter stateful_session reads")
	f.StringVar(&pf.format, pf.named("endpoint-format"), "base64", "how the header of --"+pf.prefix+"endpoint-header says the endpoint: base64 of ip:port, for Envoy's filter stateful_session, or plain, for its load balancing policy override_host")
	pf.draining = addDraining(cmd, pf.named("draining"))
	f.StringVar(&p.TLS.Cert, pf.named("tls-cert"), "", "PEM file with the certificate that Envoys are shown, and those between it and its authority (default: no TLS)")
	f.StringVar(&p.TLS.Key, pf.named("tls-key"), "", "PEM file with the certificate's private key")
	f.StringVar(&p.TLS.ClientCA, pf.named("tls-client-ca"), "", "PEM file with the authorities of Envoys' certificates, which then are required")
	f.IntVar(&p.Config.MaxRequests, pf.named("max-requests"), 65536, "requests of Envoys in flight; more get 503")
}

// apply checks the flags and sets what follows from them.
func (pf *processorFlags) apply(p *app.Processor) error {
	seen := map[string]bool{}
	for _, text := range pf.listen {
		a, err := app.ParseAddress(text)
		switch {
		case err != nil:
			return usagef("--%s %v", pf.listenFlag, err)
		case seen[a.String()] && a.IsFixed():
			return usagef("--%s %s is there twice; give it once", pf.listenFlag, text)
		}
		seen[a.String()] = true
		p.Listen = append(p.Listen, a)
	}
	if err := oneOf(pf.prefix+"endpoint-format", pf.format, "base64", "plain"); err != nil {
		return err
	}
	p.Config.PlainEndpoint = pf.format == "plain"
	if err := pf.draining(&p.DrainingLabelled); err != nil {
		return err
	}
	if err := pf.checkTLS(p.TLS); err != nil {
		return err
	}
	switch c := &p.Config; {
	case c.Port == 0:
		return usagef("--%sgateway-port 0 is not a port of 1 to 65535", pf.prefix)
	case c.MaxRequests < 1 || c.MaxRequests > maxProcessorRequests:
		return usagef("--%smax-requests %d is not in 1 to %d", pf.prefix, c.MaxRequests, maxProcessorRequests)
	case !httpguts.ValidHeaderFieldName(c.EndpointHeader) || c.EndpointHeader != strings.ToLower(c.EndpointHeader):
		return usagef("--%sendpoint-header %q is not the name of a header in lower case; give one like %s", pf.prefix, c.EndpointHeader, extproc.EndpointHeader)
	}
	return nil
}

// addDraining adds the flag that says which draining replicas Envoy has. set checks it, and says whether they are only those of
// Services with a label.
func addDraining(cmd *cobra.Command, name string) (set func(labelled *bool) error) {
	value := cmd.Flags().String(name, "always", "which draining replicas Envoy has, so that they keep their sessions: always, or labelled: as under Istio, those of Services with the label "+istio.DrainingLabel)
	return func(labelled *bool) error {
		*labelled = *value == "labelled"
		return oneOf(name, *value, "always", "labelled")
	}
}

// checkTLS checks that the TLS files are all there.
func (pf *processorFlags) checkTLS(f certificate.Files) error {
	switch {
	case f.Cert == "" && f.Key != "":
		return usagef("--%stls-key is there without --%[1]stls-cert; a key and its certificate belong together", pf.prefix)
	case f.Cert != "" && f.Key == "":
		return usagef("--%stls-cert is there without --%[1]stls-key; a certificate and its key belong together", pf.prefix)
	case f.Cert == "" && f.ClientCA != "":
		return usagef("--%stls-client-ca is there without --%[1]stls-cert and --%[1]stls-key; without TLS no client can show a certificate", pf.prefix)
	}
	return nil
}

// applyBeside gives the program a processor beside its gateway where the flags ask for one.
func (pf *processorFlags) applyBeside(cmd *cobra.Command, o *app.Options, p *app.Processor) error {
	if len(pf.listen) > 0 {
		o.Processor = p
		if !cmd.Flags().Changed("endpoint-delay") {
			o.EndpointDelay = defaultEndpointDelay
		}
		return pf.apply(p)
	}
	for _, name := range pf.names {
		if cmd.Flags().Changed(name) {
			return usagef("--%s is about the processor for Envoy, and there is none; add --%s %s, or leave it away", name, pf.listenFlag, defaultProcessor)
		}
	}
	return nil
}
