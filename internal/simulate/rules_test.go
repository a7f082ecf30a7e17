package simulate

import (
	"fmt"

	"github.com/remora-proxy/remora/internal/session/shared"
)

// The rules that every schedule is held to.
const (
	ruleOneOwner    = "a claimed session has one owner"
	ruleCause       = "an owner changes only for a cause"
	ruleExpired     = "no expired claim comes back"
	ruleKept        = "a live session is not given up"
	ruleHeld        = "a held session does not expire"
	ruleLife        = "an incarnation is not mistaken for another"
	ruleDraining    = "what drains gains nothing"
	ruleServes      = "requests go to replicas that serve"
	ruleAnswer      = "every request gets an answer in time"
	ruleCounters    = "counters add up"
	ruleAlone       = "a gateway decides alone only when the store fails it"
	ruleRefused     = "a request is refused only when no replica is ready"
	ruleConvergence = "gateways agree when all is well again"
)

// breach is a rule that was broken.
type breach struct{ rule, text string }

// excuse is what a fault makes unavoidable. Each is as narrow as it can be stated, and counted. In a schedule of a profile without faults none
// but exToldAgain counts.
type excuse uint8

const (
	// The gateway began a session, or went on with one, by itself: no call that it made for the request was answered (or too many requests
	// waited), and it had not seen the session that another gateway had.
	exAlone excuse = iota
	// A session was begun anew that only such gateways had seen within its idle time as were not well: less than `recovery` had passed
	// since a call of theirs had failed, since they had told the store all again, or since the store had lost what it had.
	exUntold
	// The same, where the only gateway that had seen it crashed before it could have told the store, or the store lost it after.
	exCrashed
	// The store's owner of a live session changed in a renewal of a gateway that was not well: of two claims the older won, or it told a
	// move that it had made alone, for a cause.
	exReconciled
	// A gateway that was not well decided for another owner than the store had.
	exStale
	// A gateway gave up an owner that was not in its configuration, after the time for which it waits for one. Without faults that is one
	// that no gateway has in its configuration any more.
	exUnknown
	// A replica was told again, or late, that a session is new: the request that was to tell it never reached it, and that is remembered
	// only by the gateway through which it came.
	exToldAgain
)

var excuseNames = [...]string{
	"decided alone", "not told to the store", "crashed before it was told", "reconciled", "decided out of contact", "replica unknown", "told again",
}

// slack is how much clocks may be mistaken: each gateway about the store's, there and back.
const slack = 4*maxBlur + 4

// tellWithin is how long it takes until the store knows what a well gateway did.
const tellWithin = sweepEvery + interval + 2*timeout

// staleWithin is how long a gateway that did not hear of a move goes on with the owner before, from its next request on.
const staleWithin = tellWithin + interval

// unknownPatience is how long a gateway waits to know an owner.
const unknownPatience = 1 * millisPerSecond

// answerWithin bounds how long a decision takes: it waits for an owner that it does not know with a claim, and again with a move, where others may move
// the session on meanwhile; besides, its calls are a few.
const answerWithin = 3*unknownPatience + 20*timeout

// rules watches a schedule.
type rules struct {
	sim    *sim
	broken *breach
	seen   [maxUsers]millis              // when a user may have been seen last, by anybody
	asked  [maxUsers]int64               // requests so far
	owned  [maxUsers][maxReplicas]millis // when a replica was made, or was, the owner of a user's session; 0: never

	changed  [maxUsers]millis         // when a live session last got another owner
	bindings [maxUsers]shared.Binding // of an operation's sessions, before it
}

func (ru *rules) reset(s *sim) {
	ru.sim, ru.broken = s, nil
	ru.seen, ru.asked = [maxUsers]millis{}, [maxUsers]int64{}
	for u := range ru.seen {
		ru.seen[u], ru.changed[u] = never, never
		ru.owned[u] = [maxReplicas]millis{}
	}
}

// breaks reports a break of a rule. Only the first counts.
func (ru *rules) breaks(rule, format string, args ...any) {
	if ru.broken == nil {
		ru.broken = &breach{rule, fmt.Sprintf(format, args...)}
	}
}

// excuse counts a break that a fault excuses.
func (ru *rules) excuse(rule string, e excuse) {
	ru.sim.count.excused[e]++
	if ru.sim.strict && e != exToldAgain {
		ru.breaks(rule, "without a fault: %s", excuseNames[e])
	}
}

func (ru *rules) name(r int32) string { return ru.sim.world.nameOf(r) }

// asks is a request that begins.
func (ru *rules) asks(r *request) {
	if r.before = ru.seen[r.user]; ru.isHeld(r.user) {
		r.before = ru.sim.now
	}
	ru.asked[r.user]++
	r.asks = ru.asked[r.user]
	ru.seen[r.user] = ru.sim.now
	ru.looksUp(r)
}

// looksUp is a decision or a move that begins: what the gateway has of the session is what it decided last, or what the store had since.
func (ru *rules) looksUp(r *request) {
	s, g, m := ru.sim, r.g, &r.g.sessions[r.user]
	r.had = 0
	e, live := g.table.Peek(userKeys[r.user], g.clock(), duration(idle))
	if !live {
		return
	}
	r.had = byIdentity[g.engine.Identity(e.Endpoint)]
	if r.had == m.owner || byIdentity[uint64(s.depot.binding(userKeys[r.user]).Owner)] == r.had {
		return
	}
	if last := ru.owned[r.user][r.had]; last == 0 {
		ru.breaks(ruleLife, "g%d takes %s for the owner of user %d, which it never was", g.number, ru.name(r.had), r.user)
	} else if m.owner != 0 && last < m.decided-staleWithin {
		ru.breaks(ruleCause, "g%d had user %d at %s, and has it at %s without a cause", g.number, r.user, ru.name(m.owner), ru.name(r.had))
	}
}

// keeps says whether a session must be live at `at`, and not only may be: a gateway has seen it less than its idle time before, and
// told the store, or could have.
func (ru *rules) keeps(u int32, at millis, me *request) (by *gateway, kept bool) {
	s := ru.sim
	for _, g := range s.pool[:s.processes] {
		m := &g.sessions[u]
		seen := m.seen
		if m.owner == 0 || me.first && m.step > me.step { // another request has learnt of this one's claim already
			continue
		}
		if m.holds > 0 {
			seen = at
		}
		if at-seen >= idle-slack {
			continue
		}
		if m.elsewhere && m.holds == 0 {
			ru.excuse(ruleKept, exUnknown)
			continue
		}
		if g.dead {
			if seen <= g.died-tellWithin-recovery && g.trouble < seen-recovery && s.lost < seen {
				return g, true
			}
			ru.excuse(ruleKept, exCrashed)
			continue
		}
		if g.well() || g == me.g { // its own table is enough
			return g, true
		}
		ru.excuse(ruleKept, exUntold)
	}
	return nil, false
}
