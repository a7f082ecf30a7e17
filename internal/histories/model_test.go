package histories

import (
	"strings"
	"testing"
)

func TestTheRulesAllowAndRefuse(t *testing.T) {
	const allowed, refused = true, false
	for _, test := range []struct {
		says    string
		history string
		want    bool
	}{
		{"the first call is told new, later ones existing, through any gateway", `
			0 1.0 1.1 room-a new
			1 1.2 1.3 room-a existing
			2 1.4 1.5 room-a existing`, allowed},
		{"a session is on another replica", `
			0 1.0 1.1 room-a new
			1 1.2 1.3 room-b existing`, refused},
		{"a session begins twice", `
			0 1.0 1.1 room-a new
			1 1.2 1.3 room-a new`, refused},
		{"a session begins twice, on another replica", `
			0 1.0 1.1 room-a new
			1 1.2 1.3 room-b new`, refused},
		{"a session was there before it began", `
			0 1.0 1.1 room-a existing`, refused},
		{"calls at the same time are in either order", `
			0 1.0 1.5 room-a existing
			1 1.1 1.4 room-a new`, allowed},
		{"of calls at the same time two are new", `
			0 1.0 1.5 room-a new
			1 1.1 1.4 room-b new`, refused},
		{"after the idle time it may begin anew, elsewhere", `
			0 1.0 1.1 room-a new
			1 4.2 4.3 room-b new`, allowed},
		{"within the give-or-take it may live on", `
			0 1.0 1.1 room-a new
			1 4.2 4.3 room-a existing`, allowed},
		{"within the give-or-take it is elsewhere, and was there before", `
			0 1.0 1.1 room-a new
			1 4.2 4.3 room-b existing`, refused},
		{"long after the idle time it is still there", `
			0 1.0 1.1 room-a new
			1 8.0 8.1 room-a existing`, refused},
		{"each call makes it live on", `
			0 1.0 1.1 room-a new
			1 2.5 2.6 room-a existing
			2 4.0 4.1 room-a existing
			0 5.5 5.6 room-b new`, refused},
		{"a replica that dies gives the user up once", `
			0 1.0 1.1 room-a new
			killed room-a 1.2
			1 1.3 1.4 room-b moved
			2 1.5 1.6 room-b existing`, allowed},
		{"a replica that dies gives the user up to two others", `
			0 1.0 1.1 room-a new
			killed room-a 1.2
			1 1.3 1.4 room-b moved
			2 1.5 1.6 room-c moved`, refused},
		{"a session moves, and nobody has died", `
			0 1.0 1.1 room-a new
			1 1.3 1.4 room-b moved`, refused},
		{"a session moves before its replica dies", `
			0 1.0 1.1 room-a new
			1 1.3 1.4 room-b moved
			killed room-a 1.5`, refused},
		{"another replica dies, and the session moves", `
			0 1.0 1.1 room-a new
			killed room-c 1.2
			1 1.3 1.4 room-b moved`, refused},
		{"a replica answers when it has been dead for long", `
			0 1.0 1.1 room-a new
			killed room-a 1.2
			0 4.9 5.0 room-a existing`, refused},
		{"a call begins the session, and moves it while it is under way, for the replica dies", `
			2 1.0 2.0 room-b new
			0 1.1 1.4 room-a existing
			killed room-a 1.5
			1 2.1 2.2 room-b existing`, allowed},
		{"not where the replica died before", `
			killed room-a 0.9
			2 1.0 2.0 room-b new
			0 1.1 1.4 room-a existing`, refused},
		{"nor where another one died", `
			2 1.0 2.0 room-b new
			0 1.1 1.4 room-a existing
			killed room-c 1.5`, refused},
		{"nor when the call is over", `
			0 1.1 1.4 room-a existing
			killed room-a 1.5
			2 1.6 2.0 room-b new`, refused},
		{"a call that failed may have begun the session", `
			0 1.0 1.1 failed
			1 1.2 1.3 room-a existing`, allowed},
		{"or not", `
			0 1.0 1.1 failed
			1 1.2 1.3 room-a new`, allowed},
		{"a call that failed has not moved a session", `
			0 1.0 1.1 room-a new
			0 1.2 1.3 failed
			1 1.4 1.5 room-b existing`, refused},
		{"but from a replica that died it may have", `
			0 1.0 1.1 room-a new
			killed room-a 1.2
			0 1.2 1.3 failed
			1 1.4 1.5 room-b existing`, allowed},
		{"a call is counted twice", `
			0 1.0 1.1 room-a new
			1 1.2 1.3 room-a existing 3`, refused},
		{"a call that failed may be counted", `
			0 1.0 1.1 room-a new
			0 1.2 1.3 failed
			1 1.4 1.5 room-a existing 3`, allowed},
		{"a replica has forgotten the user", `
			0 1.0 1.1 room-a new
			1 1.2 1.3 room-a existing 1`, refused},
		{"a gateway that is killed takes no session with it", `
			0 1.0 1.1 room-a new
			1 1.2 1.3 room-a existing
			killed 0 1.4
			1 1.5 1.6 room-b new`, refused},
		{"but the use within the last moments, which it had not said", `
			0 1.0 1.1 room-a new
			0 3.5 3.6 room-a existing
			killed 0 3.7
			1 4.3 4.4 room-b new`, allowed},
		{"a gateway that is alone chooses for a user it has not seen", `
			0 1.0 1.1 room-a new
			outage 1 1.5 2.5 3.5
			1 1.6 1.7 room-b new
			0 1.8 1.9 room-a existing`, allowed},
		{"a gateway that is alone keeps a user it has seen", `
			0 1.0 1.1 room-a new
			1 1.2 1.3 room-a existing
			outage 1 1.5 2.5 3.5
			1 1.6 1.7 room-b new`, refused},
		{"a gateway that is alone keeps to its choice", `
			0 1.0 1.1 room-a new
			outage 1 1.5 2.5 3.5
			1 1.6 1.7 room-b new
			1 1.8 1.9 room-c existing`, refused},
		{"one that is not alone follows no choice of one that is", `
			0 1.0 1.1 room-a new
			outage 1 1.5 2.5 3.5
			1 1.6 1.7 room-b new
			0 1.8 1.9 room-b existing`, refused},
		{"when it is back they may change places", `
			0 1.0 1.1 room-a new
			outage 1 1.5 2.5 3.5
			1 1.6 1.7 room-b new
			1 2.6 2.7 room-a existing
			0 2.8 2.9 room-a existing`, allowed},
		{"but not for a third", `
			0 1.0 1.1 room-a new
			outage 1 1.5 2.5 3.5
			1 1.6 1.7 room-b new
			0 2.6 2.7 room-c existing`, refused},
		{"and then all agree on the session from before", `
			0 1.0 1.1 room-a new
			outage 1 1.5 2.5 3.5
			1 1.6 1.7 room-b new
			0 3.0 3.1 room-a existing
			1 3.6 3.7 room-a existing
			2 3.6 3.7 room-a existing`, allowed},
		{"not on the later claim", `
			0 1.0 1.1 room-a new
			outage 1 1.5 2.5 3.5
			1 1.6 1.7 room-b new
			0 3.0 3.1 room-a existing
			1 3.6 3.7 room-b existing`, refused},
		{"of two choices for a user whom nobody knew either may hold", `
			outage 0 1.0 2.5 3.5
			outage 1 1.0 2.5 3.5
			0 1.5 1.6 room-a new
			1 1.7 1.8 room-b new
			2 3.6 3.7 room-b existing
			0 3.8 3.9 room-b existing`, allowed},
		{"and not both", `
			outage 0 1.0 2.5 3.5
			outage 1 1.0 2.5 3.5
			0 1.5 1.6 room-a new
			1 1.7 1.8 room-b new
			0 3.6 3.7 room-a existing
			1 3.8 3.9 room-b existing`, refused},
		{"nor a third", `
			outage 0 1.0 2.5 3.5
			outage 1 1.0 2.5 3.5
			0 1.9 2.0 room-a new
			1 1.9 2.0 room-b new
			2 3.6 3.7 room-c new`, refused},
		{"a claim of which the gateway heard nothing holds at the others", `
			0 0.9 1.9 room-a new
			outage 0 1.0 2.5 3.5
			1 1.1 1.2 room-a existing`, allowed},
		{"also of a replica that has died before the gateway used another one", `
			outage 0 0.5 2.5 3.5
			0 0.9 2.0 room-b new
			1 1.1 1.2 room-a existing
			killed room-a 1.5`, allowed},
		{"a session that only a gateway saw that is alone ends at the others, and may be found again", `
			0 1.0 1.1 room-a new
			outage 0 1.5 6.5 8.5
			0 2.0 2.1 room-a existing
			0 3.5 3.6 room-a existing
			0 5.0 5.1 room-a existing
			1 6.3 6.4 room-b new
			1 7.0 7.1 room-a existing
			2 8.6 8.7 room-a existing`, allowed},
		{"of two claims the older one leads to a replica that has died meanwhile", `
			outage 2 0.8 1.8 4.8
			2 1.0 1.1 room-a new
			1 1.1 1.2 room-a new
			killed room-a 1.3
			1 1.4 1.5 room-b moved
			1 3.6 3.7 room-c moved
			2 4.0 4.1 room-c existing
			0 4.9 5.0 room-c existing`, allowed},
		{"and not from a replica that is there when nobody was alone", `
			1 1.1 1.2 room-a new
			killed room-a 1.3
			1 1.4 1.5 room-b moved
			1 2.5 2.6 room-c moved`, refused},
		{"two outages in a row", `
			0 1.0 1.1 room-a new
			outage 1 1.5 2.0 3.5
			1 1.6 1.7 room-b new
			0 1.8 1.9 room-a existing
			1 3.3 3.4 room-a existing
			outage 1 3.7 4.5 5.5
			1 3.8 3.9 room-a existing
			1 4.0 4.1 room-b existing`, refused},
		{"the rule holds for users whom the outage did not part", `
			outage 0 1.0 2.5 3.5
			1 1.5 1.6 room-a new
			2 1.7 1.8 room-b existing`, refused},
		{"a store that had missed a move sends the user back to a replica that has died, and so to another one", `
			0 1.0 1.1 room-a new
			killed room-a 1.2
			0 1.5 1.6 room-b moved
			outage 0 1.9 1.9 3.9 1.4
			outage 1 1.9 1.9 3.9 1.4
			0 1.8 1.9 room-b existing
			0 3.0 3.1 room-c moved
			0 3.5 3.6 room-c existing
			1 4.0 4.1 room-c existing`, allowed},
		{"also when the user comes again after that", `
			0 1.0 1.1 room-a new
			killed room-a 1.2
			0 1.5 1.6 room-b moved
			outage 0 1.9 1.9 3.9 1.4
			outage 1 1.9 1.9 3.9 1.4
			0 2.0 2.1 room-b existing
			0 4.0 4.1 room-c moved
			1 4.2 4.3 room-c existing`, allowed},
		{"and no user who had not moved", `
			0 1.0 1.1 room-b new
			killed room-a 1.2
			0 1.5 1.6 room-b existing
			outage 0 1.9 1.9 3.9 1.4
			0 1.8 1.9 room-b existing
			0 3.0 3.1 room-c moved`, refused},
		{"nor one who had moved before it began to miss anything", `
			0 1.0 1.1 room-a new
			killed room-a 1.2
			0 1.3 1.35 room-b moved
			outage 0 1.9 1.9 3.9 1.4
			0 1.8 1.9 room-b existing
			0 3.0 3.1 room-c moved`, refused},
		{"nor at a store that has missed nothing", `
			0 1.0 1.1 room-a new
			killed room-a 1.2
			0 1.5 1.6 room-b moved
			outage 0 1.9 1.9 3.9
			0 1.8 1.9 room-b existing
			0 3.0 3.1 room-c moved`, refused},
		{"nor twice", `
			0 1.0 1.1 room-a new
			killed room-a 1.2
			0 1.5 1.6 room-b moved
			outage 0 1.9 1.9 3.9 1.4
			0 2.0 2.1 room-b existing
			0 4.0 4.1 room-c moved
			0 4.2 4.3 room-b moved`, refused},
		{"a session that began when the store missed it goes on", `
			0 1.5 1.6 room-a new
			outage 0 1.9 1.9 3.9 1.4
			outage 1 1.9 1.9 3.9 1.4
			0 2.5 2.6 room-a existing
			1 4.0 4.1 room-b new`, refused},
		{"alone, too, a replica that dies gives the user up", `
			0 1.0 1.1 room-a new
			1 1.2 1.3 room-a existing
			outage 1 1.5 2.5 3.5
			killed room-a 1.5
			1 1.6 1.7 room-b moved
			0 1.8 1.9 room-c moved
			1 2.0 2.1 room-b existing
			2 3.6 3.7 room-c existing
			1 3.8 3.9 room-c existing`, allowed},
	} {
		t.Run(test.says, func(t *testing.T) {
			h := parse(t, test.history)
			v := h.check()
			if (len(v.refused) == 0) != test.want {
				t.Errorf("refused: %d, want allowed: %v\n%s", len(v.refused), test.want, h.describe(h.calls))
			}
			for _, r := range v.refused {
				if len(r.html) == 0 || !strings.Contains(r.why, "ann") {
					t.Errorf("a refusal without a picture or a reason: %q", r.why)
				}
			}
		})
	}
}
