package histories

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// parse reads a history of one user. Times are in seconds. The lines:
//
//	GATEWAY START END REPLICA SESSION [VISIT]   a call; its visit is one more than the one before, where it is not said
//	GATEWAY START END failed                    one that failed
//	outage GATEWAY FROM BACK UNTIL [MISSED]     all was told when it was back
//	killed GATEWAY|REPLICA AT
//	unsent GATEWAY LIFE AT                      a call that met no gateway
//	alone GATEWAY FROM TO                       what a gateway says
//	shares GATEWAY AT                           the same; where it is not said: after all
//	said GATEWAY AT TEXT                        the same
//	stalled FROM TO
//	ended AT
func parse(t *testing.T, text string) *history {
	t.Helper()
	h := &history{deaths: map[string]time.Duration{}, shared: [gateways]time.Duration{time.Hour, time.Hour, time.Hour}}
	visits := map[string]uint64{}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		var a, b, c float64
		var g, life int
		var replica, session string
		at := func(seconds float64) time.Duration { return time.Duration(seconds * float64(time.Second)) }
		switch words := len(strings.Fields(line)); {
		case words == 0:
		case strings.HasPrefix(line, "outage"):
			scan(t, line, "outage %d %g %g %g", &g, &a, &b, &c)
			var missed float64
			if words == 6 {
				scan(t, line, "outage %d %g %g %g %g", &g, &a, &b, &c, &missed)
			}
			h.outages = append(h.outages, &outage{gateway: g, from: at(a), back: at(b), told: at(b), until: at(c), missed: at(missed)})
		case strings.HasPrefix(line, "killed room"):
			scan(t, line, "killed %s %g", &replica, &a)
			h.deaths[replica] = at(a)
		case strings.HasPrefix(line, "killed"):
			scan(t, line, "killed %d %g", &g, &a)
			h.kills[g] = append(h.kills[g], at(a))
		case strings.HasPrefix(line, "unsent"):
			scan(t, line, "unsent %d %d %g", &g, &life, &a)
			h.unsent = append(h.unsent, &call{user: "ann", gateway: g, life: life, start: at(a), end: at(a)})
		case strings.HasPrefix(line, "alone"):
			scan(t, line, "alone %d %g %g", &g, &a, &b)
			h.admissions = append(h.admissions, admission{g, at(a), at(b)})
		case strings.HasPrefix(line, "shares"):
			scan(t, line, "shares %d %g", &g, &a)
			h.shared[g] = at(a)
		case strings.HasPrefix(line, "said"):
			scan(t, line, "said %d %g", &g, &a)
			h.complaints = append(h.complaints, complaint{g, at(a), strings.SplitN(line, " ", 4)[3]})
		case strings.HasPrefix(line, "ended"):
			scan(t, line, "ended %g", &a)
			h.ended = at(a)
		case strings.HasPrefix(line, "stalled"):
			scan(t, line, "stalled %g %g", &a, &b)
			h.stalls = append(h.stalls, stall{at(a), at(b)})
		default:
			scan(t, line, "%d %g %g %s", &g, &a, &b, &replica)
			call := &call{user: "ann", client: len(h.calls), gateway: g, life: len(h.kills[g]), start: at(a), end: at(b)}
			if replica != "failed" {
				scan(t, line, "%d %g %g %s %s", &g, &a, &b, &replica, &session)
				visits[replica]++
				if words == 6 {
					n := uint64(0)
					scan(t, line, "%d %g %g %s %s %d", &g, &a, &b, &replica, &session, &n)
					visits[replica] = n
				}
				call.replica, call.session, call.visits = replica, session, visits[replica]
			}
			h.calls = append(h.calls, call)
		}
	}
	return h
}

func scan(t *testing.T, line, format string, to ...any) {
	t.Helper()
	if _, err := fmt.Sscanf(line, format, to...); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
}
