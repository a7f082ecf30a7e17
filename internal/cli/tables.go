package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/remora-proxy/remora/internal/admin"
	"github.com/remora-proxy/remora/internal/affinity"
)

// answers of the gateways of a cluster, as JSON.
type answersOf[T any] struct {
	Gateways []answer[T] `json:"gateways"`
}

// printEndpoints prints the replicas that a gateway has, or with labelled, those that each of several has, and their sums.
func printEndpoints(env Env, output outputFlag, labelled bool, answers []answer[admin.Endpoints]) error {
	switch {
	case output == "json" && labelled:
		return printJSON(env.Stdout, answersOf[admin.Endpoints]{answers})
	case output == "json":
		return printJSON(env.Stdout, answers[0].Answer)
	}
	var rows [][]string
	add := func(gateway string, eps []affinity.EndpointView) {
		for _, ep := range eps {
			rows = append(rows, []string{gateway, ep.Service, ep.Addr, cmp.Or(ep.Name, "-"), ep.State, strconv.Itoa(ep.Live), strconv.Itoa(ep.Held)})
		}
	}
	var all []admin.Endpoints
	for _, a := range answers {
		if a.Answer != nil {
			add(a.Gateway, a.Answer.Endpoints)
			all = append(all, *a.Answer)
		}
	}
	if len(all) > 1 {
		add("all", sumEndpoints(all))
	}
	return labelledTable(env, labelled, "GATEWAY SERVICE ENDPOINT NAME STATE LIVE HELD", rows)
}

// labelledTable prints a table whose first column, the gateway, is left out where only one was asked.
func labelledTable(env Env, labelled bool, heading string, rows [][]string) error {
	if !labelled {
		_, heading, _ = strings.Cut(heading, " ")
		for i := range rows {
			rows[i] = rows[i][1:]
		}
	}
	return table(env.Stdout, heading, rows)
}

// sumEndpoints puts together what several gateways have of the same replicas. States that differ are all named. Gateways that share a store
// count the same sessions, each at a moment of its own: the most counts.
func sumEndpoints(all []admin.Endpoints) []affinity.EndpointView {
	type name struct{ service, addr, incarnation string }
	at := map[name]int{}
	states := map[name][]string{}
	live := map[name]map[string]int{} // by the store, or the number of the gateway that has none
	sums := []affinity.EndpointView{}
	for n, answer := range all {
		store := cmp.Or(answer.Store, strconv.Itoa(n))
		for _, ep := range answer.Endpoints {
			id := name{ep.Service, ep.Addr, ep.Incarnation}
			if live[id] == nil {
				live[id] = map[string]int{}
			}
			live[id][store] = max(live[id][store], ep.Live)
			states[id] = append(states[id], ep.State)
			i, known := at[id]
			if !known {
				at[id] = len(sums)
				sums = append(sums, ep)
				continue
			}
			s := &sums[i]
			s.Held, s.InFlight = s.Held+ep.Held, s.InFlight+ep.InFlight
			if s.DrainingSince.IsZero() || !ep.DrainingSince.IsZero() && ep.DrainingSince.Before(s.DrainingSince) {
				s.DrainingSince = ep.DrainingSince
			}
			if ep.DrainEnds.After(s.DrainEnds) {
				s.DrainEnds = ep.DrainEnds
			}
		}
	}
	for i := range sums {
		id := name{sums[i].Service, sums[i].Addr, sums[i].Incarnation}
		slices.Sort(states[id])
		sums[i].State, sums[i].Live = strings.Join(slices.Compact(states[id]), "/"), 0
		for _, n := range live[id] {
			sums[i].Live += n
		}
	}
	slices.SortStableFunc(sums, func(a, b affinity.EndpointView) int {
		return cmp.Or(strings.Compare(a.Service, b.Service), strings.Compare(a.Addr, b.Addr))
	})
	return sums
}

// printSessions prints the session that a gateway has of a user, or with labelled, those that each of several has.
func printSessions(env Env, output outputFlag, labelled bool, answers []answer[affinity.SessionView]) error {
	switch {
	case output == "json" && labelled:
		return printJSON(env.Stdout, answersOf[affinity.SessionView]{answers})
	case output == "json":
		return printJSON(env.Stdout, answers[0].Answer)
	}
	var rows [][]string
	var notes []string
	for _, a := range answers {
		view := a.Answer
		if view == nil {
			continue
		}
		expires := "held" // its idle time has not begun
		if !view.Expires.IsZero() {
			expires = view.Expires.Local().Format(time.RFC3339)
		}
		rows = append(rows, []string{
			a.Gateway, view.Service, view.Endpoint, cmp.Or(view.Name, "-"), view.State, view.LastSeen.Local().Format(time.RFC3339),
			strconv.Itoa(view.Holds), expires,
		})
		if view.Diverted != nil {
			notes = append(notes, "diverted "+diverted(view.Diverted))
		}
	}
	err := labelledTable(env, labelled, "GATEWAY SERVICE ENDPOINT NAME STATE LAST-SEEN IN-FLIGHT EXPIRES", rows)
	for _, note := range notes {
		fmt.Fprintln(env.Stdout, note)
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
