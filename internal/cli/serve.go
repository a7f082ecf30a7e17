package cli

import (
	"net/netip"

	"github.com/spf13/cobra"

	"github.com/remora-proxy/remora/internal/app"
	"github.com/remora-proxy/remora/internal/gateway"
)

const serveLong = `Run the gateway from YAML, or from the objects of a Kubernetes cluster.

PATH is a file, a folder whose .yaml, .yml and .json files are read, or - for standard input. The gateway listens on the ports
of the Gateways' servers; for a port below 1024 it listens 8000 higher (80 → 8080, 443 → 8443), as Istio's own ingress gateway
does, unless --port says otherwise. It listens on the loopback interface only, unless --bind says otherwise.

The files are read again when they change and on SIGHUP. What is invalid is refused as a whole: the gateway keeps the
configuration that it has, and says why in its log, its metrics and its status (remora_config_last_reload_successful).

With --kubernetes, the objects come from the cluster and are watched, and the status of AffinityPolicies says what has become of
them: it needs the rights to list and watch the objects and to patch that status, and without the latter it does all else.
With --scale-in it writes to pods as well, so that Kubernetes takes those with the fewest sessions, and needs the rights for that.
It is ready when all are known, and goes on from what it knows while the API server is away. An invalid object does not hold up the
others: its last valid version stays in use, and without one it is left out. docs/kubernetes.md has the rest.

SIGTERM and SIGINT stop the gateway: it takes no new requests, finishes those in flight for at most --shutdown-timeout, and
saves the sessions. A second signal cuts off what is in flight.

With --extproc, Envoys that connect there are answered as by remora extproc, on the same sessions: a user who came through the
one front door is found by the other.

With --session-file, sessions outlast the process: they are saved at the end and every --session-save-interval, which bounds
what a crash can lose. The file holds keyed hashes and their key, but no user's name.`

// serveFlags are the flags of serve alone that are not fields of app.Options as they stand.
type serveFlags struct {
	programFlags
	bind, accessLog string
	ports           []string
}

func newServe(version string, env Env) *cobra.Command {
	o := app.Options{Version: version, Stdin: env.Stdin, Gateway: &gateway.Config{}, AccessLogTo: env.Stdout}
	var flags serveFlags
	var envoy app.Processor
	cmd := &cobra.Command{
		Use:   "serve {-f PATH… | --kubernetes}",
		Short: "Run the gateway",
		Long:  serveLong,
		Example: `  remora serve -f examples/hit-backend
  remora serve -f routes/ -f endpoints.yaml --port 80=9080
  remora serve -f /etc/remora --bind 0.0.0.0 --session-file /var/lib/remora/sessions --access-log json
  remora serve -f examples/hit-backend --extproc 127.0.0.1:9002
  remora serve --kubernetes --namespace shop --bind 0.0.0.0`,
		Args: noArgs,
	}
	f := cmd.Flags()
	f.StringVar(&flags.bind, "bind", "127.0.0.1", "IP address to listen on; 0.0.0.0 or :: for all")
	f.StringSliceVar(&flags.ports, "port", nil, "GATEWAYPORT=PORT: listen on PORT for a Gateway's server with port GATEWAYPORT; repeatable")
	f.StringVar(&flags.accessLog, "access-log", "off", "off, json or text: one line on standard output for each request")
	limits := addLimits(cmd, o.Gateway)
	processor := processorFlags{listenFlag: "extproc", prefix: "extproc-"}
	f.StringArrayVar(&processor.listen, processor.listenFlag, nil, "ip:port or unix:/path[?mode=0660] to listen on for Envoy as well; repeatable (default: none)")
	processor.add(cmd, &envoy)
	flags.delayNote = " (default: 0s, and 1s with --extproc)"
	start := addProgram(cmd, &o, &flags.programFlags, env)
	cmd.RunE = runs(func(cmd *cobra.Command, _ []string) error {
		if err := flags.apply(&o); err != nil {
			return err
		}
		if err := limits.apply(o.Gateway); err != nil {
			return err
		}
		if err := processor.applyBeside(cmd, &o, &envoy); err != nil {
			return err
		}
		return start(cmd)
	})
	return cmd
}

// apply checks the flags that only the gateway has, and sets what follows from them.
func (f *serveFlags) apply(o *app.Options) (err error) {
	if o.Bind, err = netip.ParseAddr(f.bind); err != nil {
		return usagef("--bind %q is not an IP address; give one like 127.0.0.1, 0.0.0.0 or ::", f.bind)
	}
	if o.Ports, err = app.ParsePorts(f.ports); err != nil {
		return usagef("%v", err)
	}
	if err := oneOf("access-log", f.accessLog, "off", "json", "text"); err != nil {
		return err
	}
	if o.AccessLog = f.accessLog; o.AccessLog == "off" {
		o.AccessLog = ""
	}
	return nil
}
