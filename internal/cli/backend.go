package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/remora-proxy/remora/internal/samplebackend"
)

func newBackend(env Env) *cobra.Command {
	var config samplebackend.Config
	var listen string
	cmd := &cobra.Command{
		Use:   "backend --service NAME --listen IP:PORT",
		Short: "Run one replica of the sample service",
		Long: `Run one replica of the sample service: it answers POST /hit-backend with its service's and its own name, the user, the session
state that it was told, and how often this user called this replica. Ctrl-C or SIGTERM lets requests in flight finish.`,
		Example: `  remora backend --service backend-1 --listen 127.0.1.1:8080
  remora backend --service backend-1 --listen 127.0.1.2:8080 --name backend-1-two`,
		Args: noArgs,
	}
	f := cmd.Flags()
	f.StringVar(&config.Service, "service", "", "name of the service (required)")
	f.StringVar(&listen, "listen", "", "address to listen on, ip:port; port 0 takes a free one and prints it (required)")
	f.StringVar(&config.Name, "name", "", "name of the replica (default: the service's name and a random suffix)")
	f.IntVar(&config.MaxUsers, "max-users", samplebackend.DefaultMaxUsers, "users to remember; beyond it those that called least recently are forgotten")
	followParent := addExitOnEOF(cmd)
	required(cmd, "service", "the name of the service")
	required(cmd, "listen", "the address to listen on")
	cmd.RunE = runs(func(cmd *cobra.Command, _ []string) error {
		ctx, cancel := interruptible(cmd.Context(), env)
		defer cancel()
		if *followParent {
			ctx = untilEOF(ctx, env.Stdin)
		}
		l, err := net.Listen("tcp", listen)
		if err != nil {
			return fmt.Errorf("cannot listen on %s: %w; give another address with --listen", listen, cause(err))
		}
		if config.Name == "" {
			config.Name = samplebackend.NewReplicaName(config.Service)
		}
		fmt.Fprintf(env.Stderr, "%s listens on %s\n", config.Name, l.Addr())
		return samplebackend.Run(ctx, config, l)
	})
	return cmd
}

// addExitOnEOF adds the flag by which a program that starts this one takes it along when it ends, however it ends: the kernel
// closes its end of the pipe.
func addExitOnEOF(cmd *cobra.Command) *bool {
	return cmd.Flags().Bool("exit-on-eof", false, "stop, as by SIGTERM, when standard input ends: for programs that start this one")
}

// untilEOF gives a context that ends, at the latest, when in does.
func untilEOF(ctx context.Context, in io.Reader) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		_, _ = io.Copy(io.Discard, in) // an error ends it as EOF does
		cancel()
	}()
	return ctx
}

// cause is what the system said, without the address that the message around it names already.
func cause(err error) error {
	if errno := syscall.Errno(0); errors.As(err, &errno) {
		return errno
	}
	return err
}
