// Package cli is the commands of the remora program: flags, help, what is printed, and the exit status. It parses and prints;
// what a command does is in package app and in the packages below it. It knows neither how a decision is made nor how bytes
// are moved.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// The exit statuses of every command.
const (
	exitOK     = 0
	exitFailed = 1 // the command was understood and failed: an invalid configuration, a gateway that does not answer, …
	exitUsage  = 2 // the command line was not understood
)

// Env is what a command has of the process that it runs in.
type Env struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	Getenv         func(string) string
	// Notify makes signals arrive on the returned channel.
	Notify func(...os.Signal) <-chan os.Signal
	// Terminal says that Stderr is one, so that people read what is logged.
	Terminal bool
}

// Process is the environment of this process.
func Process() Env {
	info, err := os.Stderr.Stat()
	return Env{
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr, Getenv: os.Getenv,
		Notify: func(sig ...os.Signal) <-chan os.Signal {
			ch := make(chan os.Signal, 4)
			signal.Notify(ch, sig...)
			return ch
		},
		Terminal: err == nil && info.Mode()&os.ModeCharDevice != 0,
	}
}

// Main runs the command that args name and returns its exit status.
func Main(version string, args []string, env Env) int {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	root := newRoot(version, env)
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return exitOK
	}
	var failed *failure
	if errors.As(err, &failed) {
		if failed.err != nil {
			fmt.Fprintf(env.Stderr, "remora: %v\n", failed.err)
		}
		return exitFailed
	}
	fmt.Fprintf(env.Stderr, "remora: %v\nSee '%s --help'.\n", err, cmd.CommandPath())
	return exitUsage
}

// failure is an error of a command that was understood. Any other error that cobra returns is about the command line.
type failure struct{ err error }

func (f *failure) Error() string { return f.err.Error() }

func (f *failure) Unwrap() error { return f.err }

// runs makes a command's RunE from a function whose errors are failures unless they are made by usagef.
func runs(f func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		err := f(cmd, args)
		if usage := (*usageError)(nil); err == nil || errors.As(err, &usage) {
			return err
		}
		return &failure{err}
	}
}

// usageError is an error about the command line that shows only when the command runs.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

func newRoot(version string, env Env) *cobra.Command {
	root := &cobra.Command{
		Use:   "remora",
		Short: "Route by a field, stick by a field",
		Long: `Remora is an HTTP gateway for stateful services. It routes a request by a field of its JSON body or by a header, and keeps
each user on one replica while the user comes back within the idle time, through scale-out, scale-in and restarts. It is
configured with Istio's own objects, or those of the Gateway API.

Exit status of all commands: 0 success; 1 the command failed; 2 the command line is wrong.`,
		Version:                    version,
		SilenceErrors:              true,
		SilenceUsage:               true,
		SuggestionsMinimumDistance: 2,
		RunE:                       func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		Args:                       noCommand,
	}
	root.SetIn(env.Stdin)
	root.SetOut(env.Stdout)
	root.SetErr(env.Stderr)
	root.SetFlagErrorFunc(suggestFlags)
	root.SetVersionTemplate("remora {{.Version}}\n")
	root.AddCommand(
		newServe(version, env),
		newExtproc(version, env),
		newBackend(env),
		newValidate(version, env),
		newExplain(version, env),
		newGenerate(env),
		newStatus(version, env),
		newSessions(version, env),
		newDemo(env),
		newVersion(version, env),
	)
	return root
}

var (
	unknownFlag = regexp.MustCompile(`^unknown flag: --(\S+)`)
	flagName    = regexp.MustCompile(`--([a-z][a-z-]*)`)
)

// suggestFlags adds the flag that may have been meant, found by the rule that cobra has for commands.
func suggestFlags(cmd *cobra.Command, err error) error {
	m := unknownFlag.FindStringSubmatch(err.Error())
	if m == nil {
		return err
	}
	var names cobra.Command
	names.SuggestionsMinimumDistance = 2
	for _, f := range flagName.FindAllStringSubmatch(cmd.Flags().FlagUsages(), -1) {
		if cmd.Flags().Lookup(f[1]) != nil {
			names.AddCommand(&cobra.Command{Use: f[1], Run: func(*cobra.Command, []string) {}})
		}
	}
	suggestions := names.SuggestionsFor(m[1])
	if len(suggestions) == 0 {
		return err
	}
	return fmt.Errorf("%w; did you mean --%s?", err, strings.Join(suggestions, " or --"))
}

// noCommand refuses an argument where a command is expected, and says which may have been meant.
func noCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return usagef("there is no command %q; did you mean %s?", args[0], strings.Join(near, " or "))
	}
	return usagef("there is no command %q", args[0])
}

// noArgs refuses arguments. Most often one is a path without its -f.
func noArgs(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return nil
	case cmd.Flags().Lookup("filename") != nil:
		return usagef("%s takes no argument; write -f %s if that is the configuration", cmd.Name(), args[0])
	}
	return usagef("%s takes no argument, and there is %q", cmd.Name(), args[0])
}

// required refuses to run a command without a flag. what is what the flag gives.
func required(cmd *cobra.Command, flag, what string) {
	before := cmd.PreRunE
	cmd.PreRunE = func(cmd *cobra.Command, args []string) error {
		if before != nil {
			if err := before(cmd, args); err != nil {
				return err
			}
		}
		f := cmd.Flags().Lookup(flag)
		switch {
		case f.Changed:
			return nil
		case f.Shorthand != "":
			return usagef("give %s with -%s", what, f.Shorthand)
		}
		return usagef("give %s with --%s", what, flag)
	}
}

// interruptible gives a context that ends with SIGINT or SIGTERM, for commands that wait for an answer.
func interruptible(ctx context.Context, env Env) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	signals := env.Notify(os.Interrupt, syscall.SIGTERM)
	go func() {
		select {
		case <-signals:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

func newVersion(version string, env Env) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArgs,
		Run:   func(*cobra.Command, []string) { fmt.Fprintf(env.Stdout, "remora %s\n", version) },
	}
}
