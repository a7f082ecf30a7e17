package simulate

import "github.com/remora-proxy/remora/internal/session"

// What the store and the gateways' tables have, held to the rules.

// moves: a gateway asks the store for a move only for a cause.
func (ru *rules) moves(o *op) {
	s, g := ru.sim, o.g
	if s.co.current.job.kind == jobOperate || g.dead {
		return
	}
	from, to := byIdentity[uint64(o.from)], byIdentity[uint64(o.claims[0].Owner)]
	u, r := byKey[o.claims[0].Key], s.requests[o.request]
	r.moving = true
	s.trace.add(s.now, "g%d: user %d is to move from %r to %r", int64(g.number), int64(u), int64(from), int64(to))
	if m := &g.sessions[u]; from != r.had && from != m.owner {
		m.untold = true // it was moved there while this request waited, and goes on at once
	}
	if !ru.leaves(g, r, from) {
		ru.breaks(ruleCause, "g%d moves user %d from %s to %s without a cause", g.number, u, ru.name(from), ru.name(to))
	}
	if g.knows[from].changed == 0 {
		ru.givesUp(g, from)
	}
	if !g.takes(to) && !r.changed(to) {
		ru.breaks(ruleDraining, "g%d moves user %d to %s, which drains", g.number, u, ru.name(to))
	}
}

// unfit says whether the gateway did not have a replica when it made the call, or knew that it served no more.
func (o *op) unfit(replica int32, now millis) bool {
	k := &o.g.knows[replica]
	return !k.listed || k.changedAt > now-2*timeout || !o.g.serves(replica)
}

// meets remembers when a gateway learnt from the store of owners that it does not know.
func (ru *rules) meets(o *op) {
	for _, b := range o.bindings {
		if k := &o.g.knows[byIdentity[uint64(b.Owner)]]; b.Owner != 0 && k.met == 0 && o.g.engine.EndpointOf(uint64(b.Owner)) == 0 {
			k.met = ru.sim.now
		}
	}
}

// givesUp is an owner that a gateway does not know: for as long as it waits for one. Without faults that is none that another has known for longer
// than configurations take.
func (ru *rules) givesUp(g *gateway, owner int32) {
	s := ru.sim
	if met := g.knows[owner].met; g.engine.EndpointOf(identities[owner]) == 0 && s.now-met < unknownPatience-3*timeout { // it waits from when it began to ask
		ru.breaks(ruleCause, "g%d gives up %s, which it met %d ms ago", g.number, ru.name(owner), s.now-met)
	}
	for _, g := range s.gateways {
		if k := &g.knows[owner]; !s.strict || k.listed && s.now-k.changedAt > s.profile.configLag {
			ru.excuse(ruleCause, exUnknown)
			return
		}
	}
}

// before is an operation that is about to change bindings.
func (ru *rules) before(o *op) {
	for i := range o.claims {
		ru.bindings[i] = ru.sim.depot.binding(o.claims[i].Key)
	}
}

// after looks at what it changed.
func (ru *rules) after(o *op) {
	s := ru.sim
	for i := range o.claims {
		c, was := &o.claims[i], &ru.bindings[i]
		u := byKey[c.Key]
		is := s.depot.binding(c.Key)
		owner := byIdentity[uint64(is.Owner)]
		if owner != 0 {
			ru.owned[u][owner] = s.now
		}
		if millis(was.Until) > s.now+maxBlur && is.Owner != was.Owner {
			from := byIdentity[uint64(was.Owner)]
			ru.changed[u] = s.now
			s.trace.add(s.now, "store: user %d moves from %r to %r, says g%d", int64(u), int64(from), int64(owner), int64(o.g.number))
			switch {
			case o.kind == opRenew && c.From != was.Owner && o.ended&(1<<i) != 0 && millis(was.Claimed) <= s.now+maxBlur: // or no gateway has it at one that serves
				ru.breaks(ruleServes, "a renewal of g%d takes user %d from %s to %s, which does not serve", o.g.number, u, ru.name(from), ru.name(owner))
			case o.kind == opClaim:
				ru.breaks(ruleOneOwner, "a claim of g%d takes user %d from %s to %s", o.g.number, u, ru.name(from), ru.name(owner))
			case o.kind == opMove && (was.Owner != o.from || is.Owner != c.Owner):
				ru.breaks(ruleCause, "a move of g%d from %s takes user %d from %s to %s", o.g.number, ru.name(byIdentity[uint64(o.from)]), u, ru.name(from), ru.name(owner))
			case o.kind == opRenew && o.g.well() && c.From == was.Owner && o.unfit(from, s.now):
				ru.givesUp(o.g, from)
			case o.kind == opRenew && o.g.well():
				ru.breaks(ruleCause, "a renewal of g%d takes user %d from %s to %s", o.g.number, u, ru.name(from), ru.name(owner))
			case o.kind == opRenew:
				ru.excuse(ruleCause, exReconciled)
			}
		} else if is.Owner != was.Owner || o.yes {
			s.trace.add(s.now, "store: user %d begins at %r, says g%d", int64(u), int64(owner), int64(o.g.number))
		} else {
			s.trace.add(s.now, "store: user %d at %r lives %d ms more, says g%d", int64(u), int64(owner), millis(is.Until)-s.now, int64(o.g.number))
		}
		if held := ru.isHeld(u); is.Owner != 0 && !held && millis(is.Until) > ru.seen[u]+idle+slack {
			ru.breaks(ruleExpired, "the store keeps user %d for %d ms more than the idle time since it was seen", u, millis(is.Until)-ru.seen[u]-idle)
		}
	}
}

// isHeld says whether some gateway has requests of a user.
func (ru *rules) isHeld(u int32) bool {
	for _, g := range ru.sim.pool[:ru.sim.processes] {
		if !g.dead && (g.sessions[u].holds > 0 || g.sessions[u].pending > 0) {
			return true
		}
	}
	return false
}

// look holds a gateway and what the store has of its sessions to the rules, after a sweep.
func (ru *rules) look(g *gateway) {
	s := ru.sim
	if g.well() {
		for u := range s.users {
			m := &g.sessions[u]
			b := s.depot.binding(userKeys[u])
			switch {
			case m.owner == 0 || s.depot.lives(b):
			case m.holds > 0 && m.seen < s.now-tellWithin:
				ru.breaks(ruleHeld, "g%d holds user %d at %s, and the store has lost it", g.number, u, ru.name(m.owner))
			case m.holds > 0 || m.seen >= s.now-tellWithin || s.now-m.seen >= idle-slack:
			case m.elsewhere:
				ru.excuse(ruleKept, exUnknown)
			default:
				ru.breaks(ruleKept, "g%d saw user %d %d ms ago, and the store has lost it", g.number, u, s.now-m.seen)
			}
		}
	}
	if s.step%4 == 0 {
		ru.counters(g)
	}
}

// counters: the numbers of a gateway are what a recount gives.
func (ru *rules) counters(g *gateway) {
	var live [256]int
	g.table.Range(func(e session.Entry) bool {
		live[e.Endpoint]++
		u := byKey[e.Key]
		if m := &g.sessions[u]; m.pending == 0 && int32(e.Holds) != m.holds {
			ru.breaks(ruleCounters, "g%d has %d holds of user %d, of %d requests", g.number, e.Holds, u, m.holds)
		}
		return true
	})
	for ep, n := range live {
		if got := g.table.Live(session.EndpointID(ep)); got != n {
			ru.breaks(ruleCounters, "g%d counts %d sessions of endpoint %d, and has %d", g.number, got, ep, n)
		}
	}
	if g.waiting > 0 {
		return
	}
	for _, st := range g.engine.EndpointStats(g.clock()) {
		r := byEndpoint[[2]string{st.Addr, st.Incarnation}]
		if k := &g.knows[r]; k.gone == 0 && st.InFlight != int(g.inFlight[r]) {
			ru.breaks(ruleCounters, "g%d counts %d requests at %s, and has %d", g.number, st.InFlight, ru.name(r), g.inFlight[r])
		}
	}
}
