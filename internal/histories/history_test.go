package histories

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

const gateways = 3

// call is one call of a user. Times are since the run began, by the monotonic clock.
type call struct {
	user    string
	client  int // one of those that call for the user at a time
	gateway int
	life    int // of the gateway: counts its processes, from 0
	start   time.Duration
	end     time.Duration

	replica string // the process that answered; empty: the call failed
	session string // what it was told: new, existing, moved; empty: it is not known
	visits  uint64 // of the user that it remembers
	failure string
}

func (c *call) String() string {
	out := fmt.Sprintf("%8.3f – %8.3f s, gateway %d", c.start.Seconds(), c.end.Seconds(), c.gateway)
	if c.life > 0 {
		out += fmt.Sprintf(" (started again, %d)", c.life)
	}
	if c.replica == "" {
		return out + ": failed: " + c.failure
	}
	return fmt.Sprintf("%s: %s, %s, visit %d", out, c.replica, cmp.Or(c.session, "?"), c.visits)
}

// outage is a time in which a gateway may have had to decide alone.
type outage struct {
	gateway int
	from    time.Duration // before the fault
	back    time.Duration // when the fault was taken back
	told    time.Duration // when the gateway had told all to the store, and the last of its calls had failed: from there on it has no excuse to be alone
	until   time.Duration // when the others had heard of it, too
	missed  time.Duration // since when the store had missed everything that it was told before the fault; 0: it had not
}

func (o *outage) String() string {
	text := fmt.Sprintf("gateway %d alone from %.3f s, back at %.3f s, agreeing from %.3f s", o.gateway, o.from.Seconds(), o.back.Seconds(), o.until.Seconds())
	if o.missed != 0 {
		text += fmt.Sprintf(", at a store that has missed everything since %.3f s", o.missed.Seconds())
	}
	return text
}

// history is what happened in a run.
type history struct {
	calls   []*call
	unsent  []*call // calls that met no gateway
	outages []*outage
	deaths  map[string]time.Duration  // of replicas: when the kill began
	kills   [gateways][]time.Duration // of gateways: the same

	// What gateways say of themselves, which excuses nothing.
	admissions []admission
	shared     [gateways]time.Duration // when each last said that it shares its sessions, and has told all
	complaints []complaint

	stalls []stall
	ended  time.Duration // when the users were told to stop
}

// byUser are the calls of each user, in the order of their beginnings.
func (h *history) byUser() map[string][]*call {
	out := map[string][]*call{}
	for _, c := range h.calls {
		out[c.user] = append(out[c.user], c)
	}
	for _, calls := range out {
		slices.SortStableFunc(calls, func(a, b *call) int { return cmp.Compare(a.start, b.start) })
	}
	return out
}

// describe is a user's history, for people.
func (h *history) describe(calls []*call) string {
	var b strings.Builder
	for _, c := range calls {
		fmt.Fprintln(&b, c)
	}
	for _, o := range h.outages {
		fmt.Fprintln(&b, o)
	}
	for replica, at := range h.deaths {
		fmt.Fprintf(&b, "%s killed at %.3f s\n", replica, at.Seconds())
	}
	for g, kills := range h.kills {
		for _, at := range kills {
			fmt.Fprintf(&b, "gateway %d killed at %.3f s\n", g, at.Seconds())
		}
	}
	return b.String()
}

// away is the outage of its gateway that a call falls into; nil: none does.
func (h *history) away(c *call) *outage {
	for _, o := range h.outages {
		if o.gateway == c.gateway && c.end >= o.from && c.start < o.until {
			return o
		}
	}
	return nil
}

// dead reports whether a replica may have been dead when a call was decided.
func (h *history) dead(replica string, c *call) bool {
	return h.died(replica, c.end)
}

// anyDead reports whether some replica may have been dead by the end of a call.
func (h *history) anyDead(c *call) bool {
	for replica := range h.deaths {
		if h.dead(replica, c) {
			return true
		}
	}
	return false
}

// failures are how many calls failed, and why: the gateway's answer, or what became of the connection.
func (h *history) failures() map[string]int {
	out := map[string]int{}
	for _, c := range h.calls {
		if c.replica == "" {
			out[c.failure]++
		}
	}
	return out
}
