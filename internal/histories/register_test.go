package histories

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// The times of the sessions that are run, and how sharply they are judged: gateways, users and the store share a machine that may be busy.
const (
	idleTime = 3 * time.Second
	interval = 250 * time.Millisecond // the gateways' default
	grace    = 2 * interval           // for which a session lives longer at gateways that did not see the user last

	earlySlack = time.Second     // a session may end so much before its time where the last renewal was not sent, or late
	lateSlack  = 3 * time.Second // a gateway may end a call so much after its user had the answer
	unsentTime = time.Second     // what a gateway saw within this time before it was lost may not have been sent
)

// anyone is an owner that is not known: a call that failed may have chosen it.
const anyone = "?"

// own is what a gateway's own table has of the session.
type own struct {
	owner string // empty: nothing
	life  int
	alone bool // it was chosen alone
	// The session was seen here at this time at least: and the others know; and they know only from agreed on.
	told, solo, agreed time.Duration
}

// register is the session of one user.
type register struct {
	owner   string        // by the store; empty: there is none
	former  string        // from which the session moved to it; empty: it began there
	claimed time.Duration // the end of the call that chose it
	latest  time.Duration // the latest time at which anyone may have seen it
	at      [gateways]own

	// Gateways have decided alone.
	split       bool
	splitFrom   time.Duration // since when
	back, until time.Duration // from `back` to `until` the owners that were chosen may replace each other; then there is one
}

// judged is what the register makes of a call.
type judged struct {
	next    register
	refused string // why the call cannot be; empty: it can
}

func refuse(format string, args ...any) judged { return judged{refused: fmt.Sprintf(format, args...)} }

// step is the rule: what a call does to the register.
func (h *history) step(r register, c *call) judged {
	out := h.away(c)
	if o := h.undone(r, c); o != nil {
		r = r.parted(o)
	}
	if c.replica == "" {
		return judged{next: h.unknown(r, c, out)}
	}
	if at, died := h.deaths[c.replica]; died && at+lateSlack < c.start {
		return refuse("%s was dead", c.replica)
	}
	switch {
	case out != nil:
		return h.alone(r, c, out)
	case r.split && c.start >= r.until:
		return h.settle(r, c)
	case r.split && c.end >= r.back && h.chosen(r, c.replica):
		return judged{next: h.seen(r, c, false)}
	case r.split && c.end >= r.back && c.session == "moved" && h.chosenDead(r, c):
		r.owner, r.claimed = c.replica, c.end
		return judged{next: h.seen(r, c, false)}
	}
	return h.agreed(r, c)
}

// agreed is a call through a gateway that reaches the store.
func (h *history) agreed(r register, c *call) judged {
	sure, ended := h.surelyLive(r, c), h.surelyEnded(r, c)
	switch {
	case r.owner == anyone:
	case r.split && c.replica != r.owner && (!sure || h.dead(r.owner, c)) && h.chosen(r, c.replica):
		// The gateway that chose did not hear that the store had taken its claim, but it had.
	case r.owner == "" || ended && c.replica != r.owner:
		// The first claim may have chosen a replica that was dead, and another call may have moved the session on. One of which its gateway heard
		// nothing may have chosen a replica that died before the gateway used another one.
		if c.session == "existing" && !(r.split && h.died(c.replica, r.latest)) && !h.begunElsewhere(c) || c.session == "moved" && !h.anyDead(c) {
			return refuse("it was told %q of a session that had not begun", c.session)
		}
	case c.replica == r.owner:
		if c.session == "new" && sure {
			return refuse("it was told %q again", c.session)
		}
		if c.session == "existing" && ended {
			return refuse("the session had ended")
		}
		if c.session == "moved" && !h.anyDead(c) {
			return refuse("it was told %q of a session that was there", c.session)
		}
	case h.dead(r.owner, c):
		if c.session == "existing" || c.session == "new" && sure && !h.movedOn(c, r.owner) {
			return refuse("it was told %q when the session had to move", c.session)
		}
	case sure:
		return refuse("the session is on %s", r.owner)
	default:
		if c.session == "existing" || c.session == "moved" && !h.anyDead(c) {
			return refuse("it was told %q, and the session, if it lived, was on %s", c.session, r.owner)
		}
	}
	if r.owner != c.replica {
		r = h.elsewhere(r, c)
		r = h.left(r, c, ended)
		r.owner, r.claimed = c.replica, c.end
	}
	return judged{next: h.seen(r, c, false)}
}

// died reports whether a replica was killed by a time.
func (h *history) died(replica string, by time.Duration) bool {
	at, died := h.deaths[replica]
	return died && at <= by
}

// movedOn reports whether a call may have begun the session on a replica, and moved it from there: that was killed while the call was under way.
func (h *history) movedOn(c *call, from string) bool {
	at, died := h.deaths[from]
	return c.session == "new" && c.replica != from && died && c.start <= at && at <= c.end
}

// begunElsewhere reports whether another call of the user, at the same time, may have begun the session where this one was answered, and moved it on.
func (h *history) begunElsewhere(c *call) bool {
	return slices.ContainsFunc(h.calls, func(other *call) bool {
		return other.user == c.user && other.start <= c.end && c.start <= other.end && h.movedOn(other, c.replica)
	})
}

// left is the register when its owner gives the session up by a call, and not because the session had ended.
func (h *history) left(r register, c *call, ended bool) register {
	if r.owner == anyone {
		return r
	}
	r.former = ""
	if h.dead(r.owner, c) && !ended {
		r.former = r.owner
	}
	return r
}

// undone is the outage after which the store may have the session where it was before its last move, of which it has not heard; nil: there is none.
func (h *history) undone(r register, c *call) *outage {
	for _, o := range h.outages {
		if r.former != "" && o.missed != 0 && r.claimed >= o.missed && r.claimed < o.until && c.end >= o.from {
			return o
		}
	}
	return nil
}

// elsewhere is the register when a session begins anew, or moves, by a call: another gateway that is alone may have it still, where only that one
// saw it.
func (h *history) elsewhere(r register, c *call) register {
	for g := range r.at {
		o := &r.at[g]
		if g == c.gateway && o.life == c.life || o.owner == "" || o.owner == c.replica || o.agreed <= c.start || o.solo+idleTime+lateSlack <= c.start {
			continue
		}
		o.alone = true
		for _, out := range h.outages {
			if out.gateway == g && out.until == o.agreed {
				r = r.parted(out)
			}
		}
	}
	return r
}

// alone is a call through a gateway that may not reach the store.
func (h *history) alone(r register, c *call, out *outage) judged {
	mine := r.at[c.gateway]
	knew := mine.life == c.life && mine.owner != "" && mine.owner != anyone && c.end < max(mine.told, mine.solo)+idleTime
	if r.split && c.start >= r.until && knew && h.chosen(r, c.replica) {
		// All had agreed before this outage began, on what the gateway has.
		claimed := r.until
		r = r.merge(c.replica)
		r.owner, r.claimed, mine = c.replica, claimed, r.at[c.gateway]
	}
	switch {
	case c.replica == r.owner && c.session != "new" && !h.surelyEnded(r, c):
		return judged{next: h.seen(r, c, false)}
	case c.end >= out.back && (h.chosen(r, c.replica) || c.session == "moved" && h.chosenDead(r, c)):
	case knew && mine.owner != "" && mine.owner != c.replica && !h.dead(mine.owner, c):
		return refuse("this gateway knew the session, on %s", mine.owner)
	}
	return judged{next: h.seen(r.parted(out), c, true)}
}

// differs reports whether a call was answered by one of several replicas that gateways hold for the session's.
func (r *register) differs(c *call) bool {
	other := func(owner string) bool { return owner != "" && owner != anyone && owner != c.replica }
	return r.split && c.replica != "" && (other(r.owner) || slices.ContainsFunc(r.at[:], func(o own) bool { return o.alone && other(o.owner) }))
}

// parted is the register after a gateway has decided alone.
func (r register) parted(out *outage) register {
	if !r.split {
		r.split, r.splitFrom, r.back = true, out.from, out.back
	}
	r.splitFrom, r.back, r.until = min(r.splitFrom, out.from), min(r.back, out.back), max(r.until, out.until)
	return r
}

// chosen reports whether a gateway has chosen a replica, or has heard of another's choice.
func (h *history) chosen(r register, replica string) bool {
	if r.owner == replica || r.owner == anyone || r.split && r.former == replica {
		return true
	}
	return slices.ContainsFunc(r.at[:], func(o own) bool { return (o.alone || r.split) && (o.owner == replica || o.owner == anyone) })
}

// chosenDead reports whether a replica that was chosen may have died, so that the session, led there, moves on.
func (h *history) chosenDead(r register, c *call) bool {
	return h.dead(r.owner, c) || r.split && (h.dead(r.former, c) || slices.ContainsFunc(r.at[:], func(o own) bool { return h.dead(o.owner, c) }))
}

// settle is the first call after all gateways agree again.
func (h *history) settle(r register, c *call) judged {
	if r.lived(h) && !h.dead(r.owner, c) && h.undone(r, c) == nil {
		r = r.merge(r.owner)
		return h.agreed(r, c)
	}
	owner := c.replica
	if !h.chosen(r, c.replica) && (h.undone(r, c) == nil || !h.dead(r.former, c)) {
		live := ""
		for g := range r.at {
			if o := &r.at[g]; o.owner != "" && o.owner != anyone && h.trusted(g, o) && c.end < max(o.told, o.solo)+idleTime-earlySlack && !h.dead(o.owner, c) {
				live = o.owner
			}
		}
		if live != "" {
			return refuse("after the outage it has to be on a replica that was chosen, such as %s", live)
		}
		owner = anyone
	}
	r = r.merge(owner)
	r.owner = anyone // what it is told of the session depends on who has told the store first
	return h.agreed(r, c)
}

// lived reports whether the owner from before the outage was there all the time at a gateway that told the store of it.
func (r *register) lived(h *history) bool {
	if r.owner == "" || r.owner == anyone || r.claimed >= r.splitFrom {
		return false
	}
	for g := range r.at {
		if o := &r.at[g]; o.owner == r.owner && !o.alone && h.trusted(g, o) && max(o.told, o.solo)+idleTime-earlySlack > r.until {
			return true
		}
	}
	return false
}

// merge ends a split: what other owners were seen does not count.
func (r register) merge(owner string) register {
	for g := range r.at {
		if r.at[g].owner != owner {
			r.at[g] = own{}
		}
		r.at[g].alone = false
	}
	r.former, r.split, r.splitFrom, r.back, r.until = "", false, 0, 0, 0
	return r
}

// seen is the register after the call's replica has answered through its gateway, which may have chosen it alone.
func (h *history) seen(r register, c *call, alone bool) register {
	mine := &r.at[c.gateway]
	if mine.owner != c.replica || mine.life != c.life {
		*mine = own{owner: c.replica, life: c.life}
	}
	mine.alone = alone || mine.alone && r.split
	if until := h.unsentUntil(c); until == 0 {
		mine.told = max(mine.told, c.start)
	} else {
		mine.solo, mine.agreed = max(mine.solo, c.start), max(mine.agreed, until)
	}
	r.latest = max(r.latest, h.released(c))
	return r
}

// unsentUntil is the end of an outage for which what a call did may have stayed with its gateway; 0: there is none.
func (h *history) unsentUntil(c *call) (until time.Duration) {
	for _, o := range h.outages {
		if o.gateway == c.gateway && c.end+unsentTime >= o.from && c.start < o.until {
			until = max(until, o.until)
		}
	}
	return until
}

// released is the latest time at which the gateway had done with a call.
func (h *history) released(c *call) time.Duration {
	at := c.end
	for _, o := range h.outages {
		if o.gateway == c.gateway && c.end+lateSlack >= o.from && c.start < o.until {
			at = max(at, o.until)
		}
	}
	return at
}

// unknown is the register after a call that may have been carried out, or not: with all that it may have done.
func (h *history) unknown(r register, c *call, out *outage) register {
	r.latest = max(r.latest, h.released(c))
	switch sure := h.surelyLive(r, c); {
	case out != nil:
		mine := &r.at[c.gateway]
		if mine.life != c.life || mine.owner == "" || c.end >= max(mine.told, mine.solo)+idleTime-earlySlack || h.dead(mine.owner, c) {
			*mine = own{owner: anyone, life: c.life, alone: true}
			r = r.parted(out)
		}
	case !sure || h.dead(r.owner, c):
		r = h.left(r, c, false)
		r.owner, r.claimed = anyone, c.end
	}
	return r
}

// surelyLive reports whether the session must live until the end of a call at its gateway.
func (h *history) surelyLive(r register, c *call) bool {
	if r.owner == "" || r.owner == anyone {
		return false
	}
	for g := range r.at {
		o := &r.at[g]
		if o.owner != r.owner {
			continue
		}
		seen := o.told
		if o.agreed <= c.start || g == c.gateway && o.life == c.life {
			seen = max(seen, o.solo)
		}
		if h.trusted(g, o) && c.end < seen+idleTime-earlySlack {
			return true
		}
	}
	return false
}

// trusted reports whether the gateway that saw the session has lived to say so.
func (h *history) trusted(g int, o *own) bool {
	if o.life == len(h.kills[g]) {
		return true
	}
	at := h.kills[g][o.life]
	return at >= max(o.told, o.solo)+unsentTime && at >= o.agreed
}

// surelyEnded reports whether the session cannot be live any more at the beginning of a call.
func (h *history) surelyEnded(r register, c *call) bool {
	return r.owner != "" && c.start > r.latest+idleTime+grace+lateSlack
}

func (r register) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s", r.owner)
	for g, o := range r.at {
		if o.owner != "" && o.owner != r.owner {
			fmt.Fprintf(&b, ", gateway %d: %s", g, o.owner)
		}
	}
	if r.split {
		b.WriteString(" (split)")
	}
	return b.String()
}
