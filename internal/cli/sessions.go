package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/remora-proxy/remora/internal/admin"
	"github.com/remora-proxy/remora/internal/affinity"
)

func newSessions(version string, env Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sessions",
		Short: "Look at the sessions of running gateways, move them, drain replicas",
		Long: `Look at the sessions of running gateways, move them, drain replicas.

` + gatewaysHelp + `
Where there are several that share a store (--store), each shows the sessions of all, and what is changed in one is changed in all. Without
a store each has sessions of its own: what is shown is that of each, what is changed is changed in each that knows the session or the
replica, and a user who came through two of them has a session in both.

A service is given by its full name ("backend-1.default.svc.cluster.local:8080") or by a
beginning of it that fits no other ("backend-1"); an endpoint by its address (ip:port) or its name.`,
		Example: `  remora sessions ls
  remora sessions get kaleeswaran --service backend-2
  remora sessions move kaleeswaran --service backend-2 --to 127.0.2.2:8080
  remora sessions drain 127.0.2.1:8080 --wait
  remora sessions ls --kubernetes`,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		Args: noCommand,

		SuggestionsMinimumDistance: 2,
	}
	g := addGateways(cmd, version, env)
	cmd.AddCommand(newSessionsLs(env, g), newSessionsGet(env, g), newSessionsMove(env, g), newSessionsDrain(env, g))
	return cmd
}

func newSessionsLs(env Env, g *gatewaysFlags) *cobra.Command {
	var service string
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List services and replicas with their state and live sessions",
		Long: `List services and replicas with their state and live sessions.

LIVE is the sessions bound to the replica that have not expired, with a store those of all gateways; HELD is those with a request in flight at
the gateway that was asked. A replica is
ready; warming (has just appeared, and gets no new session for --endpoint-delay while another is ready); draining (serves its
sessions, gets no new one); or unhealthy (could not be connected to, gets no new session for a while).`,
		Example: "  remora sessions ls --service backend-1\n  remora sessions ls -o json",
		Args:    noArgs,
	}
	output := addOutput(cmd)
	cmd.Flags().StringVar(&service, "service", "", "only this service: its name, or a beginning of it that fits no other")
	cmd.RunE = runs(func(cmd *cobra.Command, _ []string) error {
		return asks(cmd, g, func(ctx context.Context, c *admin.Client) (admin.Endpoints, error) {
			return c.Endpoints(ctx, service)
		}, func(answers []answer[admin.Endpoints]) error {
			return printEndpoints(env, *output, g.several(), answers)
		})
	})
	return cmd
}

func newSessionsGet(env Env, g *gatewaysFlags) *cobra.Command {
	var service string
	cmd := &cobra.Command{
		Use:     "get USER --service SERVICE",
		Short:   "Show a user's live session",
		Long:    "Show a user's live session. Exit status 1 when the user has none.",
		Example: "  remora sessions get kaleeswaran --service backend-2",
		Args:    named("USER"),
	}
	output := addOutput(cmd)
	addService(cmd, &service)
	cmd.RunE = runs(func(cmd *cobra.Command, args []string) error {
		return asks(cmd, g, func(ctx context.Context, c *admin.Client) (affinity.SessionView, error) {
			return c.Session(ctx, admin.SessionRequest{Service: service, User: args[0]})
		}, func(answers []answer[affinity.SessionView]) error {
			return printSessions(env, *output, g.several(), answers)
		})
	})
	return cmd
}

func newSessionsMove(env Env, g *gatewaysFlags) *cobra.Command {
	var service, to string
	cmd := &cobra.Command{
		Use:   "move USER --service SERVICE --to ENDPOINT",
		Short: "Bind a user's live session to another replica",
		Long: `Bind a user's live session to another replica. Requests in flight end where they are; the next one goes to the new replica and
tells it that the session moved. The user's state in the old replica does not come along.`,
		Example: "  remora sessions move kaleeswaran --service backend-2 --to 127.0.2.2:8080",
		Args:    named("USER"),
	}
	output := addOutput(cmd)
	addService(cmd, &service)
	cmd.Flags().StringVar(&to, "to", "", "address (ip:port) or name of the replica (required)")
	required(cmd, "to", "the replica to move the session to")
	cmd.RunE = runs(func(cmd *cobra.Command, args []string) error {
		return asks(cmd, g, func(ctx context.Context, c *admin.Client) (affinity.SessionView, error) {
			moved, err := c.Move(ctx, admin.MoveRequest{Service: service, User: args[0], To: to})
			warnUntold(env, moved.Untold)
			return moved.SessionView, err
		}, func(answers []answer[affinity.SessionView]) error {
			return printSessions(env, *output, g.several(), answers)
		})
	})
	return cmd
}

func newSessionsDrain(env Env, g *gatewaysFlags) *cobra.Command {
	var wait, undo bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "drain ENDPOINT [--wait] | ENDPOINT --undo",
		Short: "Give a replica no new sessions, so that it can be taken away",
		Long: `Give a replica no new sessions, so that it can be taken away. Its sessions stay until they end, or until the drain deadline of
the AffinityPolicy has passed; then they move. With a store (--store) the mark counts at all gateways that share it. Without, it is the
gateway's own, and outlasts a restart only in the session file. A new replica on the same address does not have it.

With --wait and a store, the replica is empty when a count of all gateways' sessions in the store says so, which begins 2 s after the mark was told. While
the store does not answer, nobody knows that: the wait says so, and goes on.`,
		Example: `  remora sessions drain 127.0.2.1:8080 --wait && kill "$PID_OF_THAT_REPLICA"
  remora sessions drain 127.0.2.1:8080 --undo`,
		Args: named("ENDPOINT"),
	}
	cmd.Flags().BoolVar(&wait, "wait", false, "return when the replica has neither a session nor a request")
	cmd.Flags().DurationVar(&timeout, "timeout", 0, "with --wait: give up after this time, with exit status 1 (default: never)")
	cmd.Flags().BoolVar(&undo, "undo", false, "take the mark back: the replica gets new sessions again")
	output := addOutput(cmd)
	cmd.RunE = runs(func(cmd *cobra.Command, args []string) error {
		if wait && undo {
			return usagef("--undo gives the replica new sessions again, so there is nothing to --wait for")
		}
		if cmd.Flags().Changed("timeout") && !wait {
			return usagef("--timeout is the time for --wait, which is not there")
		}
		if timeout < 0 {
			return usagef("--timeout %s is not over 0s", timeout)
		}
		ctx, cancel := interruptible(cmd.Context(), env)
		defer cancel()
		if timeout > 0 {
			ctx, cancel = context.WithTimeoutCause(ctx, timeout, fmt.Errorf("gave up after %s: %s is draining, and not empty yet", timeout, args[0]))
			defer cancel()
		}
		return asks(cmd, g, func(within context.Context, c *admin.Client) (admin.Endpoints, error) {
			// Within a bound of its own: when the time for waiting is up, the mark is there.
			eps, err := c.Drain(within, admin.DrainRequest{Endpoint: args[0], Undo: undo})
			warnUntold(env, eps.Untold)
			if err == nil && !undo {
				err = warnUnready(within, env, c, eps.Endpoints)
			}
			if err != nil || !wait {
				return eps, err
			}
			return untilDrained(ctx, env, c, args[0], eps.Untold != "")
		}, func(answers []answer[admin.Endpoints]) error {
			return printEndpoints(env, *output, g.several(), answers)
		})
	})
	return cmd
}

// warnUntold says that the other gateways have not heard of a change, if there is a reason why.
func warnUntold(env Env, why string) {
	if why != "" {
		fmt.Fprintf(env.Stderr, "the other gateways have not heard of it yet, and will when the store answers: %s\n", why)
	}
}

// warnUnready tells of services that a drain has taken the last ready replica.
func warnUnready(ctx context.Context, env Env, c *admin.Client, drained []affinity.EndpointView) error {
	all, err := c.Endpoints(ctx, "")
	if err != nil {
		return err
	}
	unready := withoutReady(all.Endpoints)
	for _, ep := range drained {
		if _, is := unready[ep.Service]; is {
			delete(unready, ep.Service)
			fmt.Fprintf(env.Stderr, "warning: %s has no ready replica left for new users; add one, or take the mark back with --undo\n", ep.Service)
		}
	}
	return nil
}

// untilDrained waits until a replica is empty, and gives what is at its address then.
func untilDrained(ctx context.Context, env Env, c *admin.Client, endpoint string, untold bool) (admin.Endpoints, error) {
	if err := waitDrained(ctx, env, c, endpoint, untold); err != nil {
		return admin.Endpoints{}, err
	}
	fmt.Fprintf(env.Stderr, "%s is empty\n", endpoint)
	eps, err := c.Endpoints(ctx, "")
	eps.Endpoints = slices.DeleteFunc(eps.Endpoints, func(ep affinity.EndpointView) bool { return ep.Addr != endpoint && ep.Name != endpoint })
	return eps, err
}

// isUnknownEndpoint reports whether the gateway has no such endpoint.
func isUnknownEndpoint(err error) bool {
	var problem *admin.Problem
	return errors.As(err, &problem) && problem.Code == admin.CodeUnknownEndpoint
}

// waitDrained asks the gateway, a bounded time at once, to answer when the endpoint is empty. Where the store is known not to answer, the user hears
// soon what is waited for.
func waitDrained(ctx context.Context, env Env, client *admin.Client, endpoint string, untold bool) error {
	told, unknown := -1, false
	patience := 30 * time.Second
	if untold {
		patience = time.Second
	}
	for ; ; patience = 30 * time.Second {
		left, err := client.WaitDrained(ctx, endpoint, patience)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case isUnknownEndpoint(err):
			return nil // it was there when the wait began: it has left the configuration, and its last request has ended
		case err != nil:
			return err
		case left.Drained:
			return nil
		case left.Unknown != "":
			if !unknown {
				fmt.Fprintf(env.Stderr, "waiting, for other gateways may have sessions on %s: %s\n", endpoint, left.Unknown)
			}
			unknown = true
		case left.Live != told:
			told = left.Live
			fmt.Fprintf(env.Stderr, "%s still has %s and %s in flight\n", endpoint, counted(left.Live, "session"), counted(left.InFlight, "request"))
		}
	}
}

// addService adds --service, which is needed.
func addService(cmd *cobra.Command, service *string) {
	cmd.Flags().StringVar(service, "service", "", "name of the service, or a beginning of it that fits no other (required)")
	required(cmd, "service", "the service")
}

// named checks that there is exactly one argument, and says which is missing.
func named(arg string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch {
		case len(args) == 0:
			return usagef("%s is missing", arg)
		case len(args) > 1:
			return usagef("there is more than one %s", arg)
		}
		return nil
	}
}
