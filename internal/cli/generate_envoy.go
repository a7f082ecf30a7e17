package cli

import (
	"io"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/app"
	"github.com/remora-proxy/remora/internal/generate"
)

const generateEnvoyLong = `Write a complete configuration of an Envoy, ready to run: envoy -c FILE.

Envoy listens where remora serve would: on the ports of the Gateways' servers, for a port below 1024 8000 higher (80 → 8080),
unless --port says otherwise, and on the loopback interface, unless --bind says otherwise. Which hosts, paths and services
there are is for Remora to say: start remora extproc with the same files.

The services and their endpoints stand in the output. With --xds, Envoy asks the processor for them instead and follows every
change while it runs; only what the listeners say (their ports, the cookies that Remora sets, keys that are addresses) then needs a new output.`

// maxResponseTimeout bounds --response-timeout.
const maxResponseTimeout = 24 * time.Hour

// accessLogUsage is the usage of --access-log where Envoy is to write it.
const accessLogUsage = "off or json: one line on Envoy's standard output for each request, with what Remora decided"

// generateEnvoyFlags are the flags that are not fields of generate.EnvoyOptions as they stand.
type generateEnvoyFlags struct {
	files       []string
	bind, admin string
	accessLog   string
	ports       []string
	tls         generate.ProcessorTLS
}

func newGenerateEnvoy(env Env) *cobra.Command {
	var flags generateEnvoyFlags
	var o generate.EnvoyOptions
	cmd := &cobra.Command{
		Use:   "envoy -f PATH…",
		Short: "Write the configuration of an Envoy",
		Long:  generateEnvoyLong,
		Example: `  remora generate envoy -f examples/hit-backend > envoy.yaml
  remora generate envoy -f /etc/remora --bind 0.0.0.0 --processor 10.0.0.5:9002 --processor 10.0.0.6:9002 --xds`,
		Args: noArgs,
	}
	addFiles(cmd, &flags.files)
	f := cmd.Flags()
	f.StringVar(&flags.bind, "bind", "127.0.0.1", "IP address that Envoy listens on; 0.0.0.0 or :: for all")
	f.StringSliceVar(&flags.ports, "port", nil, "GATEWAYPORT=PORT: listen on PORT for a Gateway's server with port GATEWAYPORT; repeatable")
	f.StringVar(&flags.admin, "envoy-admin", "127.0.0.1:19000", `ip:port of Envoy's admin API, or "off"`)
	f.StringArrayVar(&o.Processors, "processor", []string{defaultProcessor}, "HOST:PORT or unix:/path of remora extproc; repeatable")
	f.DurationVar(&o.ResponseTimeout, "response-timeout", time.Minute, "time from a request's last byte to the head of the replica's response; then 504. 0s: no bound")
	f.StringVar(&flags.accessLog, "access-log", "off", accessLogUsage)
	f.BoolVar(&o.XDS, "xds", false, "let Envoy ask the processor for the services and their endpoints")
	f.StringVar(&flags.tls.CA, "processor-ca", "", "file on Envoy's machine with the certificates that the processor's is checked by (default: no TLS)")
	f.StringVar(&flags.tls.Name, "processor-name", "", "DNS name in the processor's certificate")
	f.StringVar(&flags.tls.Certificate, "processor-cert", "", "file on Envoy's machine with the certificate that Envoy shows the processor")
	f.StringVar(&flags.tls.Key, "processor-key", "", "file on Envoy's machine with that certificate's key")
	required(cmd, "filename", "the configuration")
	cmd.RunE = runs(func(*cobra.Command, []string) error {
		bind, ports, err := flags.apply(&o)
		if err != nil {
			return err
		}
		loaded := app.Load(flags.files, env.Stdin)
		printDiagnostics(env.Stderr, loaded.Diagnostics)
		if loaded.Diagnostics.HasErrors() {
			return errInvalid
		}
		printDiagnostics(env.Stderr, ports.Unused(loaded.Ports))
		c, names := loaded.Named()
		o.Names = names
		addresses, err := ports.Addresses(bind, gatewayPorts(c))
		if err != nil {
			return err
		}
		o.Listen = func(gateway uint16) netip.AddrPort { return addresses[gateway] }
		text, err := generate.Envoy(c, o)
		if err != nil {
			return err
		}
		_, err = io.WriteString(env.Stdout, text)
		return err
	})
	return cmd
}

// gatewayPorts are the ports of the Gateways' servers.
func gatewayPorts(c *affinity.Config) []uint16 {
	var out []uint16
	for _, l := range c.Listeners {
		out = append(out, l.Port)
	}
	return out
}

// apply checks the flags and sets what follows from them, but for Listen, which it gives as where to listen.
func (f *generateEnvoyFlags) apply(o *generate.EnvoyOptions) (bind netip.Addr, ports app.Ports, err error) {
	bind, err = netip.ParseAddr(f.bind)
	if err != nil {
		return bind, nil, usagef("--bind %q is not an IP address; give one like 127.0.0.1, 0.0.0.0 or ::", f.bind)
	}
	ports, err = app.ParsePorts(f.ports)
	if err != nil {
		return bind, nil, usagef("%v", err)
	}
	if f.admin != "off" {
		if o.Admin, err = netip.ParseAddrPort(f.admin); err != nil {
			return bind, nil, usagef("--envoy-admin %q is neither ip:port nor off; give one like 127.0.0.1:19000", f.admin)
		}
	}
	if err := oneOf("access-log", f.accessLog, "off", "json"); err != nil {
		return bind, nil, err
	}
	if err := o.CheckProcessors(); err != nil {
		return bind, nil, usagef("--processor: %v", err)
	}
	o.AccessLog = f.accessLog == "json"
	if o.ResponseTimeout < 0 || o.ResponseTimeout > maxResponseTimeout {
		return bind, nil, usagef("--response-timeout %s is not in 0s to %s", o.ResponseTimeout, maxResponseTimeout)
	}
	switch t := f.tls; {
	case t == (generate.ProcessorTLS{}):
		return bind, ports, nil
	case t.CA == "" || t.Name == "":
		return bind, nil, usagef("TLS to the processor needs both --processor-ca and --processor-name")
	case (t.Certificate == "") != (t.Key == ""):
		return bind, nil, usagef("--processor-cert and --processor-key belong together")
	}
	o.TLS = &f.tls
	return bind, ports, nil
}
