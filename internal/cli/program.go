package cli

import (
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/remora-proxy/remora/internal/admin"
	"github.com/remora-proxy/remora/internal/app"
	"github.com/remora-proxy/remora/internal/session"
)

// programFlags are the flags of every front door that are not fields of app.Options as they stand.
type programFlags struct {
	admin, metrics      string
	logFormat, logLevel string
	delayNote           string // on the default of --endpoint-delay, where it depends on other flags
}

// addProgram adds the flags that every front door has. start checks them, and runs the front door until it is told to stop.
func addProgram(cmd *cobra.Command, o *app.Options, flags *programFlags, env Env) (start func(*cobra.Command) error) {
	source := addSource(cmd)
	scaleIn := addScaleIn(cmd)
	store := addStore(cmd)
	f := cmd.Flags()
	f.StringVar(&flags.admin, "admin", admin.DefaultAddress, `ip:port of the admin API and the metrics, or "off"`)
	f.StringVar(&flags.metrics, "metrics", "off", `ip:port for monitoring alone: /metrics, /readyz, /healthz and the counts of live sessions, and nothing that changes anything; or "off"`)
	f.StringArrayVar(&o.AdminNames, "admin-host", nil, "host name that the admin API and --metrics answer to besides localhost and IP addresses; repeatable")
	f.BoolVar(&o.Profiles, "pprof", false, "serve Go's profiles on the admin address, under /debug/pprof/")
	f.StringVar(&o.SessionFile, "session-file", "", "file that keeps the sessions through a restart (default: none, a restart forgets them)")
	f.DurationVar(&o.SaveInterval, "session-save-interval", 30*time.Second, "time between two saves of the sessions, 1s to 1h")
	f.IntVar(&o.MaxSessions, "max-sessions", session.DefaultMaxSessions, "sessions to keep, at 24 bytes or less each; beyond it, requests without one are placed by hash and keep none")
	f.StringVar(&o.HashKeyFile, "hash-key-file", "", "file with the secret that users' keys are hashed with, 32 hexadecimal digits (default: made at the first start and kept in the session file)")
	f.DurationVar(&o.EndpointDelay, "endpoint-delay", o.EndpointDelay, "time for which a replica that appears gets no new session while another is ready, as Envoy may not know it yet, 0s to 1m"+flags.delayNote)
	f.DurationVar(&o.ShutdownTimeout, "shutdown-timeout", 20*time.Second, "time for requests in flight to finish after SIGTERM, 0s to 1h")
	f.StringVar(&flags.logFormat, "log-format", "auto", "json, text, or auto: text on a terminal")
	f.StringVar(&flags.logLevel, "log-level", "info", "debug, info, warn or error")
	followParent := addExitOnEOF(cmd)
	return func(cmd *cobra.Command) error {
		if err := source.required(cmd); err != nil {
			return err
		}
		if o.Files = source.files; source.kubernetes {
			o.Cluster = &source.cluster
		}
		if err := scaleIn(cmd, o); err != nil {
			return err
		}
		if err := flags.apply(o, env); err != nil {
			return err
		}
		if err := store.apply(cmd, o, env); err != nil {
			return err
		}
		ctx := cmd.Context()
		if *followParent {
			if slices.Contains(o.Files, "-") {
				return usagef("standard input cannot be both the configuration (-f -) and what --exit-on-eof watches")
			}
			ctx = untilEOF(ctx, env.Stdin)
		}
		env.Notify(syscall.SIGPIPE) // whoever reads the logs may leave: writing to them then is an error, and no reason to end
		o.Stop, o.Reload = env.Notify(os.Interrupt, syscall.SIGTERM), env.Notify(syscall.SIGHUP)
		return app.Serve(ctx, *o)
	}
}

// apply checks the flags and sets what follows from them.
func (f *programFlags) apply(o *app.Options, env Env) (err error) {
	if f.admin != "off" {
		if o.Admin, err = netip.ParseAddrPort(f.admin); err != nil {
			return usagef("--admin %q is neither ip:port nor off; give one like %s", f.admin, admin.DefaultAddress)
		}
	}
	if f.metrics != "off" {
		if o.Metrics, err = netip.ParseAddrPort(f.metrics); err != nil {
			return usagef("--metrics %q is neither ip:port nor off; give one like 0.0.0.0:9090", f.metrics)
		}
		if o.Metrics == o.Admin && o.Metrics.Port() != 0 {
			return usagef("--metrics %s is the address of --admin, which has the metrics as well; give another, or leave it away", o.Metrics)
		}
	}
	if o.SaveInterval < time.Second || o.SaveInterval > time.Hour {
		return usagef("--session-save-interval %s is not in 1s to 1h", o.SaveInterval)
	}
	if o.ShutdownTimeout < 0 || o.ShutdownTimeout > time.Hour {
		return usagef("--shutdown-timeout %s is not in 0s to 1h", o.ShutdownTimeout)
	}
	if o.EndpointDelay < 0 || o.EndpointDelay > time.Minute {
		return usagef("--endpoint-delay %s is not in 0s to 1m", o.EndpointDelay)
	}
	if o.MaxSessions < 1 {
		return usagef("--max-sessions %d is not at least 1", o.MaxSessions)
	}
	o.Log, err = f.logger(env)
	return err
}

// logger makes the program's log, on standard error.
func (f *programFlags) logger(env Env) (*slog.Logger, error) {
	if err := oneOf("log-format", f.logFormat, "auto", "json", "text"); err != nil {
		return nil, err
	}
	var level slog.Level
	if err := oneOf("log-level", f.logLevel, "debug", "info", "warn", "error"); err != nil {
		return nil, err
	}
	if err := level.UnmarshalText([]byte(f.logLevel)); err != nil {
		return nil, usagef("--log-level: %v", err)
	}
	options := &slog.HandlerOptions{Level: level}
	if f.logFormat == "json" || f.logFormat == "auto" && !env.Terminal {
		return slog.New(slog.NewJSONHandler(env.Stderr, options)), nil
	}
	return slog.New(slog.NewTextHandler(env.Stderr, options)), nil
}

func oneOf(flag, value string, allowed ...string) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	return usagef("--%s %q is not one of %s", flag, value, strings.Join(allowed, ", "))
}

// addFiles adds -f, the sources of the configuration.
func addFiles(cmd *cobra.Command, files *[]string) {
	cmd.Flags().StringArrayVarP(files, "filename", "f", nil, "file with the configuration, folder with such files (.yaml, .yml, .json; not those of sub-folders), or - for standard input; repeatable")
}
