package cli

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/remora-proxy/remora/internal/admin"
	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/diag"
)

// gatewayState is what a gateway tells of itself and of its replicas.
type gatewayState struct {
	Status    admin.Status            `json:"status"`
	Endpoints []affinity.EndpointView `json:"endpoints"`
}

// overview is what `remora status` shows.
type overview struct {
	Gateways  []answer[gatewayState]  `json:"gateways"`
	Services  []serviceState          `json:"services"`  // of all gateways together
	Endpoints []affinity.EndpointView `json:"endpoints"` // of all gateways together
}

// serviceState is the replicas of a service, by state, and its sessions.
type serviceState struct {
	Service  string         `json:"service"`
	States   map[string]int `json:"endpoints"`
	Live     int            `json:"liveSessions"`
	Held     int            `json:"heldSessions"`
	InFlight int            `json:"requestsInFlight"`
}

func newStatus(version string, env Env) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status [--gateway URL | --kubernetes]",
		Short: "Show gateways, services, replicas, live sessions and drains",
		Long: `Show gateways, services, replicas, live sessions and drains.

` + gatewaysHelp + `
Where there are several, numbers of sessions and requests are the sums: a user who came through two of them is counted twice. Of gateways
that share a store (--store), each knows the sessions of all, and LIVE is not added up.

LIVE is the sessions that have not expired, HELD those of them with a request in flight. LIVE of a store is as of the last count, and - until a
gateway has heard of one, some seconds after the start of the first, and while the store answers none. ANSWERS is how many of a store's gateways it answers:
one without its store serves on, and says so in CONCERNS. A drain is over when its replica has
neither a session nor a request; at its END the sessions that are left move.

Exit status: 0 all gateways have answered, are ready, and use the configuration that they were given last, and each service has a ready replica; 1
otherwise.`,
		Example: `  remora status
  remora status --kubernetes --namespace remora-system
  remora status --kubernetes -o json`,
		Args: noArgs,
	}
	g := addGateways(cmd, version, env)
	output := addOutput(cmd)
	cmd.RunE = runs(func(cmd *cobra.Command, _ []string) error {
		ctx, cancel := context.WithTimeout(cmd.Context(), clusterPatience)
		defer cancel()
		all, stop, err := g.targets(ctx, cmd)
		if err != nil {
			return err
		}
		defer stop()
		answers := ask(ctx, all, func(ctx context.Context, c *admin.Client) (s gatewayState, err error) {
			var eps admin.Endpoints
			if s.Status, err = c.Status(ctx); err == nil {
				eps, err = c.Endpoints(ctx, "")
			}
			s.Endpoints = eps.Endpoints
			return s, err
		})
		if err := failed(answers); err != nil && len(answers) == 1 {
			return err
		}
		return newOverview(answers).print(env, *output)
	})
	return cmd
}

func newOverview(answers []answer[gatewayState]) *overview {
	o := &overview{Gateways: answers, Services: []serviceState{}}
	var all []admin.Endpoints
	for _, a := range answers {
		if a.Answer != nil {
			all = append(all, admin.Endpoints{Endpoints: a.Answer.Endpoints, Store: a.Answer.Status.Store.Name()})
		}
	}
	o.Endpoints = sumEndpoints(all)
	for _, ep := range o.Endpoints { // in the order of services
		n := len(o.Services)
		if n == 0 || o.Services[n-1].Service != ep.Service {
			o.Services = append(o.Services, serviceState{Service: ep.Service, States: map[string]int{}})
			n++
		}
		s := &o.Services[n-1]
		s.States[ep.State]++
		s.Live, s.Held, s.InFlight = s.Live+ep.Live, s.Held+ep.Held, s.InFlight+ep.InFlight
	}
	return o
}

// print prints it. The error says which gateways are not as they should be.
func (o *overview) print(env Env, output outputFlag) error {
	problems := o.problems()
	if output == "json" {
		if err := printJSON(env.Stdout, o); err != nil {
			return err
		}
	} else if err := o.printTables(env); err != nil {
		return err
	}
	if len(problems) > 0 {
		return fmt.Errorf("not all is well:\n%s", strings.Join(problems, "\n"))
	}
	return nil
}

// problems are the gateways that do not answer, are not ready, or have refused their configuration, and the services without a ready replica.
func (o *overview) problems() []string {
	var out []string
	for _, a := range o.Gateways {
		switch {
		case a.err != nil:
			out = append(out, fmt.Sprintf("%s: %v", a.Gateway, a.err))
		case !a.Answer.Status.Ready:
			out = append(out, fmt.Sprintf("%s is not ready: %s", a.Gateway, a.Answer.Status.NotReady))
		}
		if a.Answer != nil && refused(&a.Answer.Status) {
			out = append(out, fmt.Sprintf("%s has refused its configuration, and goes on with the one before:", a.Gateway))
			out = append(out, refusals(&a.Answer.Status)...)
		}
	}
	closed := withoutReady(o.Endpoints)
	for _, service := range slices.Sorted(maps.Keys(closed)) {
		out = append(out, fmt.Sprintf("%s has no ready replica: %s", service, inStates(closed[service])))
	}
	return out
}

// refused reports whether the configuration that was loaded last is not in use.
func refused(st *admin.Status) bool {
	return !st.Config.LastLoad.Applied && !st.Config.LastLoad.At.IsZero()
}

// maxRefusals bounds the findings that are printed of a configuration that was refused.
const maxRefusals = 10

// refusals are the errors for which it was.
func refusals(st *admin.Status) []string {
	var out []string
	for _, d := range st.Config.LastLoad.Diagnostics {
		if d.Severity == "error" {
			out = append(out, diag.Diagnostic{Pos: diag.Position{File: d.File, Line: d.Line}, Object: d.Object, Field: d.Field, What: d.What, Remedy: d.Remedy}.String())
		}
	}
	if n := len(out) - maxRefusals; n > 0 {
		out = append(out[:maxRefusals], fmt.Sprintf("and %s more: remora status -o json has them", counted(n, "error")))
	}
	return out
}

func (o *overview) printTables(env Env) error {
	var gateways, services, endpoints, drains [][]string
	var now time.Time // by the gateways' own clocks
	for _, a := range o.Gateways {
		if a.Answer == nil {
			gateways = append(gateways, []string{a.Gateway, "-", "no answer", "-", "-", "-", "-", "-", "-"})
			continue
		}
		live := 0
		for _, ep := range a.Answer.Endpoints {
			live += ep.Live
		}
		st := &a.Answer.Status
		if st.Now.After(now) {
			now = st.Now
		}
		gateways = append(gateways, []string{
			a.Gateway, st.Version, map[bool]string{true: "ready", false: "not ready"}[st.Ready], age(st.Now.Sub(st.StartedAt)),
			strconv.Itoa(st.Config.Routes), strconv.Itoa(st.Config.Services), strconv.Itoa(st.Config.Endpoints), strconv.Itoa(live), concerns(a.Answer),
		})
	}
	if len(o.Gateways) > 1 {
		sessions := 0
		for _, s := range o.Services {
			sessions += s.Live
		}
		gateways = append(gateways, []string{"all", "-", "-", "-", "-", "-", "-", strconv.Itoa(sessions), "-"})
	}
	for _, s := range o.Services {
		services = append(services, []string{s.Service, inStates(s.States), strconv.Itoa(s.Live), strconv.Itoa(s.Held), strconv.Itoa(s.InFlight)})
	}
	for _, ep := range o.Endpoints {
		row := []string{ep.Service, ep.Addr, cmp.Or(ep.Name, "-"), ep.State, strconv.Itoa(ep.Live), strconv.Itoa(ep.Held), strconv.Itoa(ep.InFlight)}
		endpoints = append(endpoints, row)
		if !ep.DrainingSince.IsZero() {
			drains = append(drains, []string{ep.Service, ep.Addr, cmp.Or(ep.Name, "-"), age(now.Sub(ep.DrainingSince)), left(ep.DrainEnds.Sub(now)), strconv.Itoa(ep.Live), strconv.Itoa(ep.InFlight)})
		}
	}
	for _, t := range []struct {
		heading string
		rows    [][]string
	}{
		{"GATEWAY VERSION STATE UP ROUTES SERVICES ENDPOINTS LIVE CONCERNS", gateways},
		{"STORE PREFIX ANSWERS LIVE", o.stores()},
		{"SERVICE ENDPOINTS LIVE HELD IN-FLIGHT", services},
		{"SERVICE ENDPOINT NAME STATE LIVE HELD IN-FLIGHT", endpoints},
		{"DRAINING ENDPOINT NAME FOR END LIVE IN-FLIGHT", drains},
	} {
		if len(t.rows) == 0 {
			continue
		}
		if t.heading[0] != 'G' {
			fmt.Fprintln(env.Stdout)
		}
		if err := table(env.Stdout, t.heading, t.rows); err != nil {
			return err
		}
	}
	return nil
}

// stores are the stores in which the gateways share sessions, and how many of the gateways get an answer.
func (o *overview) stores() (rows [][]string) {
	type state struct {
		url, prefix        string
		gateways, answered int
		live               *int
	}
	states := map[string]*state{}
	for _, a := range o.Gateways {
		if a.Answer == nil || a.Answer.Status.Store == nil {
			continue
		}
		st := a.Answer.Status.Store
		s := states[st.Name()]
		if s == nil {
			s = &state{url: st.URL, prefix: st.Prefix}
			states[st.Name()] = s
		}
		s.gateways++
		if st.Answers {
			s.answered++
		}
		if st.Sessions != nil && (s.live == nil || *s.live < *st.Sessions) {
			s.live = st.Sessions
		}
	}
	for _, s := range states {
		live := "-"
		if s.live != nil {
			live = strconv.Itoa(*s.live)
		}
		rows = append(rows, []string{s.url, s.prefix, fmt.Sprintf("%d of %s", s.answered, counted(s.gateways, "gateway")), live})
	}
	slices.SortFunc(rows, slices.Compare)
	return rows
}

// concerns says shortly what is to be looked at in a gateway's status.
func concerns(state *gatewayState) string {
	st := &state.Status
	var out []string
	if n := len(withoutReady(state.Endpoints)); n > 0 {
		out = append(out, counted(n, "service")+" without a ready replica")
	}
	if refused(st) {
		out = append(out, "configuration refused")
	}
	errs, warnings := 0, 0
	for _, d := range st.Config.LastLoad.Diagnostics {
		if d.Severity == "error" {
			errs++
		} else {
			warnings++
		}
	}
	if errs > 0 {
		out = append(out, counted(errs, "error"))
	}
	if warnings > 0 {
		out = append(out, counted(warnings, "warning"))
	}
	if st.Cluster != nil && !st.Cluster.Watching {
		out = append(out, "cluster not watched")
	}
	if st.Cluster != nil && st.Cluster.StatusError != "" {
		out = append(out, "status not written")
	}
	if st.Degraded != "" {
		out = append(out, st.Degraded)
	}
	if st.Sessions.SaveError != "" {
		out = append(out, "sessions not saved")
	}
	return cmp.Or(strings.Join(out, ", "), "none")
}

// inStates is "2 ready, 1 draining".
func inStates(states map[string]int) string {
	order := []string{"ready", "warming", "draining", "unhealthy"}
	rank := func(state string) int {
		if i := slices.Index(order, state); i >= 0 {
			return i
		}
		return len(order) // gateways do not agree on it
	}
	names := make([]string, 0, len(states))
	for state := range states {
		names = append(names, state)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(rank(a), rank(b)), strings.Compare(a, b)) })
	for i, state := range names {
		names[i] = fmt.Sprintf("%d %s", states[state], state)
	}
	return strings.Join(names, ", ")
}

// age is a duration as kubectl shows it: in its two largest units.
func age(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%dh", int(d.Hours())/24, int(d.Hours())%24)
}

// left is how long it is to the end of a drain.
func left(d time.Duration) string {
	if d <= 0 {
		return "passed"
	}
	return "in " + age(d)
}
