package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/remora-proxy/remora/internal/admin"
	"github.com/remora-proxy/remora/internal/affinity"
)

// gatewayFlag is --gateway, by which every command that speaks with a running gateway finds it.
type gatewayFlag struct {
	url string
	env Env
}

// gatewayVariable is the environment variable that stands for --gateway.
const gatewayVariable = "REMORA_GATEWAY"

func addGateway(cmd *cobra.Command, env Env, usage string) *gatewayFlag {
	g := &gatewayFlag{env: env}
	cmd.PersistentFlags().StringVar(&g.url, "gateway", "", usage)
	return g
}

// given reports whether a gateway was named at all.
func (g *gatewayFlag) given() bool { return g.url != "" || g.env.Getenv(gatewayVariable) != "" }

// client is the client of the gateway's admin API.
func (g *gatewayFlag) client() (*admin.Client, error) {
	url := cmp.Or(g.url, g.env.Getenv(gatewayVariable), "http://"+admin.DefaultAddress)
	c, err := admin.NewClient(url)
	if err != nil {
		return nil, usagef("%v", err)
	}
	return c, nil
}

// advise adds to an error of the API what the person at the terminal can do about it.
func advise(err error) error {
	if unreachable := (*admin.UnreachableError)(nil); errors.As(err, &unreachable) {
		return fmt.Errorf("%w\nIs 'remora serve' running there, and not with --admin off? Give the URL of its admin API with --gateway or in %s", err, gatewayVariable)
	}
	return err
}

func newSessions(env Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sessions",
		Short: "Look at the sessions of a running gateway, move them, drain replicas",
		Long: `Look at the sessions of a running gateway, move them, drain replicas.

The gateway is asked through its admin API: http://` + admin.DefaultAddress + ` unless --gateway or the variable
` + gatewayVariable + ` says otherwise. A service is given by its full name ("backend-1.default.svc.cluster.local:8080") or by a
beginning of it that fits no other ("backend-1"); an endpoint by its address (ip:port) or its name.`,
		Example: `  remora sessions ls
  remora sessions get kaleeswaran --service backend-2
  remora sessions move kaleeswaran --service backend-2 --to 127.0.2.2:8080
  remora sessions drain 127.0.2.1:8080 --wait`,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		Args: noCommand,

		SuggestionsMinimumDistance: 2,
	}
	g := addGateway(cmd, env, "URL of the gateway's admin API (default http://"+admin.DefaultAddress+", or $"+gatewayVariable+")")
	cmd.AddCommand(newSessionsLs(env, g), newSessionsGet(env, g), newSessionsMove(env, g), newSessionsDrain(env, g))
	return cmd
}

func newSessionsLs(env Env, g *gatewayFlag) *cobra.Command {
	var service string
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List services and replicas with their state and live sessions",
		Long: `List services and replicas with their state and live sessions.

LIVE is the sessions bound to the replica that have not expired, HELD those of them with a request in flight. A replica is
ready; warming (has just appeared, and gets no new session for --endpoint-delay while another is ready); draining (serves its
sessions, gets no new one); or unhealthy (could not be connected to, gets no new session for a while).`,
		Example: "  remora sessions ls --service backend-1\n  remora sessions ls -o json",
		Args:    noArgs,
	}
	output := addOutput(cmd)
	cmd.Flags().StringVar(&service, "service", "", "only this service: its name, or a beginning of it that fits no other")
	cmd.RunE = runs(func(cmd *cobra.Command, _ []string) error {
		client, err := g.client()
		if err != nil {
			return err
		}
		eps, err := client.Endpoints(cmd.Context(), service)
		if err != nil {
			return advise(err)
		}
		if *output == "json" {
			return printJSON(env.Stdout, admin.Endpoints{Endpoints: eps})
		}
		return printEndpoints(env, eps)
	})
	return cmd
}

func printEndpoints(env Env, eps []affinity.EndpointView) error {
	rows := make([][]string, len(eps))
	for i, ep := range eps {
		rows[i] = []string{ep.Service, ep.Addr, cmp.Or(ep.Name, "-"), ep.State, strconv.Itoa(ep.Live), strconv.Itoa(ep.Held)}
	}
	return table(env.Stdout, "SERVICE ENDPOINT NAME STATE LIVE HELD", rows)
}

func newSessionsGet(env Env, g *gatewayFlag) *cobra.Command {
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
		client, err := g.client()
		if err != nil {
			return err
		}
		view, err := client.Session(cmd.Context(), admin.SessionRequest{Service: service, User: args[0]})
		if err != nil {
			return advise(err)
		}
		return printSession(env, *output, view)
	})
	return cmd
}

func newSessionsMove(env Env, g *gatewayFlag) *cobra.Command {
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
		client, err := g.client()
		if err != nil {
			return err
		}
		view, err := client.Move(cmd.Context(), admin.MoveRequest{Service: service, User: args[0], To: to})
		if err != nil {
			return advise(err)
		}
		return printSession(env, *output, view)
	})
	return cmd
}

func printSession(env Env, output outputFlag, view affinity.SessionView) error {
	if output == "json" {
		return printJSON(env.Stdout, view)
	}
	expires := "held" // its idle time has not begun
	if !view.Expires.IsZero() {
		expires = view.Expires.Local().Format(time.RFC3339)
	}
	err := table(env.Stdout, "SERVICE ENDPOINT NAME STATE LAST-SEEN IN-FLIGHT EXPIRES", [][]string{{
		view.Service, view.Endpoint, cmp.Or(view.Name, "-"), view.State, view.LastSeen.Local().Format(time.RFC3339),
		strconv.Itoa(view.Holds), expires,
	}})
	if err == nil && view.Diverted != nil {
		_, err = fmt.Fprintf(env.Stdout, "diverted %s\n", diverted(view.Diverted))
	}
	return err
}

// diverted says how a session came to its endpoint.
func diverted(d *affinity.Diverted) string {
	why := "Envoy did not use it: it did not know it, or held it unhealthy"
	if d.Why == affinity.Retry.String() {
		why = "it failed, and Envoy tried another one"
	}
	return fmt.Sprintf("from %s at %s (%s): %s", d.From, d.At.Local().Format(time.RFC3339), d.Why, why)
}

func newSessionsDrain(env Env, g *gatewayFlag) *cobra.Command {
	var wait, undo bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "drain ENDPOINT [--wait] | ENDPOINT --undo",
		Short: "Give a replica no new sessions, so that it can be taken away",
		Long: `Give a replica no new sessions, so that it can be taken away. Its sessions stay until they end, or until the drain deadline of
the AffinityPolicy has passed; then they move. The mark is the gateway's own: it outlasts a restart only in the session file,
and a new replica on the same address does not have it.`,
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
		client, err := g.client()
		if err != nil {
			return err
		}
		ctx, cancel := interruptible(cmd.Context(), env)
		defer cancel()
		if timeout > 0 {
			ctx, cancel = context.WithTimeoutCause(ctx, timeout, fmt.Errorf("gave up after %s: %s is draining, and not empty yet", timeout, args[0]))
			defer cancel()
		}
		// Within a bound of its own: when the time for waiting is up, the mark is there.
		eps, err := client.Drain(cmd.Context(), admin.DrainRequest{Endpoint: args[0], Undo: undo})
		if err != nil {
			return advise(err)
		}
		if wait {
			if err := waitDrained(ctx, env, client, args[0]); err != nil {
				return err
			}
			fmt.Fprintf(env.Stderr, "%s is empty\n", args[0])
			if eps, err = client.Endpoints(ctx, ""); err != nil {
				return advise(err)
			}
			eps = slices.DeleteFunc(eps, func(ep affinity.EndpointView) bool { return ep.Addr != args[0] && ep.Name != args[0] })
		}
		if *output == "json" {
			return printJSON(env.Stdout, admin.Endpoints{Endpoints: eps})
		}
		return printEndpoints(env, eps)
	})
	return cmd
}

// isUnknownEndpoint reports whether the gateway has no such endpoint.
func isUnknownEndpoint(err error) bool {
	var problem *admin.Problem
	return errors.As(err, &problem) && problem.Code == admin.CodeUnknownEndpoint
}

// waitDrained asks the gateway, a bounded time at once, to answer when the endpoint is empty.
func waitDrained(ctx context.Context, env Env, client *admin.Client, endpoint string) error {
	told := -1
	for {
		left, err := client.WaitDrained(ctx, endpoint, 30*time.Second)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case isUnknownEndpoint(err):
			return nil // it was there when the wait began: it has left the configuration, and its last request has ended
		case err != nil:
			return advise(err)
		case left.Drained:
			return nil
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
