package cli

import (
	"context"
	"io"
	"os"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/remora-proxy/remora/internal/demo"
)

func newDemo(env Env) *cobra.Command {
	o := demo.Options{Out: env.Stdout, Called: os.Args[0]}
	var noColour bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show the use case on real processes",
		Long: `Show the use case on real processes: start three services with two replicas each and the gateway, send requests, and check that
both rules hold: the field "target" names the service, and a user stays on one replica. Replicas are added, drained and killed, the
gateway is restarted, and an autoscaler takes a service from two replicas to five and back by its CPU, under the users' feet.

Then everything stays up, to be tried by hand, until Ctrl-C. All of it listens on loopback addresses only; no process outlives the
demo, however it ends.

Exit status: 0 when every check held, 1 when one did not or something could not be started.`,
		Example: `  remora demo
  remora demo --once
  remora demo --envoy .cache/envoy-1.40.0/envoy/_bin/envoy
  remora demo --port 18080 --admin-port 19901 --backend-port 18081`,
		Args: noArgs,
	}
	f := cmd.Flags()
	f.BoolVar(&o.Once, "once", false, "end after the tour")
	f.Uint16Var(&o.Port, "port", demo.DefaultPort, "port of the gateway, on 127.0.0.1")
	f.Uint16Var(&o.AdminPort, "admin-port", demo.DefaultAdminPort, "port of the gateway's admin API, on 127.0.0.1")
	f.Uint16Var(&o.BackendPort, "backend-port", demo.DefaultBackendPort, "port of the replicas, which have addresses from 127.0.1.1 on")
	f.StringVar(&o.Envoy, "envoy", "", "executable of an Envoy that takes the gateway's place and asks remora extproc (default: none, the gateway)")
	f.Uint16Var(&o.EnvoyAdminPort, "envoy-admin-port", demo.DefaultEnvoyAdminPort, "port of Envoy's admin API, on 127.0.0.1")
	f.Uint16Var(&o.ProcessorPort, "processor-port", demo.DefaultProcessorPort, "port where Envoy asks remora extproc, on 127.0.0.1")
	f.BoolVar(&noColour, "no-color", false, "plain output (the default where it is not a terminal, and with NO_COLOR)")
	cmd.RunE = runs(func(cmd *cobra.Command, _ []string) (err error) {
		for flag, port := range map[string]uint16{
			"port": o.Port, "admin-port": o.AdminPort, "backend-port": o.BackendPort,
			"envoy-admin-port": o.EnvoyAdminPort, "processor-port": o.ProcessorPort,
		} {
			if port == 0 {
				return usagef("--%s 0: the demo needs ports that are known before it starts; give one of 1 to 65535", flag)
			}
		}
		if o.Program, err = os.Executable(); err != nil {
			return err
		}
		o.Colour = !noColour && env.Getenv("NO_COLOR") == "" && env.Getenv("TERM") != "dumb" && isTerminal(env.Stdout)
		ctx, cancel := context.WithCancel(cmd.Context())
		defer cancel()
		signals := env.Notify(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
		go func() {
			select {
			case <-signals:
				cancel()
			case <-ctx.Done():
			}
		}()
		return demo.Run(ctx, o)
	})
	return cmd
}

// isTerminal reports whether people read what is written to w as it comes.
func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
