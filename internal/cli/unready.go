package cli

import (
	"slices"
	"strings"

	"github.com/remora-proxy/remora/internal/affinity"
)

// ready are the states of replicas that are meant for new sessions.
var ready = []string{affinity.Ready.String(), affinity.Warming.String()}

// withoutReady are the services none of whose replicas is ready for new sessions, with what their replicas are instead. Where gateways do not
// agree on a replica, it is enough that one of them holds it ready.
func withoutReady(endpoints []affinity.EndpointView) map[string]map[string]int {
	out := map[string]map[string]int{}
	open := map[string]bool{}
	for _, ep := range endpoints {
		if slices.ContainsFunc(strings.Split(ep.State, "/"), func(state string) bool { return slices.Contains(ready, state) }) {
			open[ep.Service] = true
		}
		if out[ep.Service] == nil {
			out[ep.Service] = map[string]int{}
		}
		out[ep.Service][ep.State]++
	}
	for service := range open {
		delete(out, service)
	}
	return out
}
