package simulate

// healWithin is how long it takes at most, once nothing fails any more, until every gateway has found that out and has told the store all.
const healWithin = 4*1000 + recovery + 2*interval

// settle ends a schedule: everything is healed, users go on for a while and then stop, and what gateways and store have is compared. At last
// all sessions end, and nothing may be left.
func (s *sim) settle() {
	s.trace.add(s.now, "all is healed")
	s.healed = true
	d := &s.depot
	d.stoppedUntil, d.slowUntil, d.hushedUntil, d.fullUntil = 0, 0, 0, 0
	calm := *s.profile
	calm.losesCall, calm.losesAnswer, calm.losesNews, calm.shuffles = 0, 0, 0, false
	calm.slowest = min(calm.slowest, 30)
	s.profile = &calm
	for n, g := range s.gateways {
		g.cutUntil = 0
		if g.dead {
			s.restart(int32(n))
		}
	}
	if s.profile.faultEvery > 0 {
		s.advance(healWithin)
	} else {
		s.advance(s.profile.configLag)
	}
	s.rules.answered()
	for _, g := range s.gateways {
		if st := g.store.Status(); s.ok() && (st.Down || st.Telling || !g.well()) {
			s.rules.breaks(ruleConvergence, "g%d has not got over the faults: %+v", g.number, st)
		}
	}
	s.advance(1000)
	s.quiet = true
	for _, g := range s.gateways { // one that missed the news of a move hears of it with its next renewal
		for u := range s.users {
			if e, live := g.table.Peek(userKeys[u], g.clock(), duration(idle)); s.ok() && live && e.Holds == 0 {
				s.ask(int32(u), g, 0)
			}
		}
	}
	s.advance(tellWithin)
	if s.ok() {
		s.rules.converged()
		s.rules.counted()
	}
	s.over = true
	s.advance(idle + max(idle, answerWithin))
	for _, g := range s.gateways {
		g.engine.SweepAll(g.clock())
	}
	if s.ok() {
		s.rules.ended()
	}
}

func (s *sim) ok() bool { return s.rules.broken == nil }

// advance lets time pass.
func (s *sim) advance(d millis) {
	until := s.now + d
	for s.ok() && len(s.queue.heap) > 0 && s.queue.heap[0].at <= until {
		s.next()
	}
	s.now = until
}

// countWithin is how long it takes at most until all gateways have heard what one of them counted.
const countWithin = 2*1000 + 2*interval

// live is how many sessions each replica has, by the store. `more` is how much longer than they live they count.
func (ru *rules) live(more millis) (n [maxReplicas]int) {
	for u := range ru.sim.users {
		if b := ru.sim.depot.binding(userKeys[u]); millis(b.Until)+more > ru.sim.now {
			n[byIdentity[uint64(b.Owner)]]++
		}
	}
	return n
}

// answered: whoever waits for an answer gets one in time.
func (ru *rules) answered() {
	s := ru.sim
	for wait := range 2 {
		for _, c := range s.co.all {
			if !c.busy || c.job.kind != jobDecide && c.job.kind != jobMove {
				continue
			}
			if wait == 0 {
				s.advance(answerWithin)
				break
			}
			if r := s.requests[c.job.n]; s.now-r.began > answerWithin {
				ru.breaks(ruleAnswer, "user %d waits at g%d for %d ms", r.user, r.g.number, s.now-r.began)
			}
		}
	}
}

// converged: every gateway has its sessions where the store has them.
func (ru *rules) converged() {
	s := ru.sim
	for _, g := range s.gateways {
		if st := g.store.Status(); st.Undecided != 0 {
			ru.breaks(ruleConvergence, "g%d has not told the store all: %+v", g.number, st)
		}
		for u := range s.users {
			e, live := g.store.Peek(userKeys[u], g.clock(), duration(idle-slack))
			if !live {
				continue
			}
			here, b := g.engine.Identity(e.Endpoint), s.depot.binding(userKeys[u])
			if inUse := e.Holds > 0 || g.clock() < e.LastSeen.Add(duration(tellWithin)); inUse && s.depot.lives(b) && !g.knows[byIdentity[uint64(b.Owner)]].listed {
				continue // a request in flight, and an owner that this gateway cannot follow to: it gives the session up when that has ended
			}
			if there := uint64(b.Owner); here != there || !s.depot.lives(b) {
				ru.breaks(ruleConvergence, "g%d has user %d at %s, and the store at %s for %d ms", g.number, u, ru.name(byIdentity[here]),
					ru.name(byIdentity[there]), millis(b.Until)-s.now)
			}
		}
	}
}

// counted: every gateway comes to know how many sessions each replica has, give or take those that end meanwhile. It counts its own sessions
// as they are and those of the others as they were: so it may be mistaken for a moment when it has lost sight of one that it has in
// common with another.
func (ru *rules) counted() {
	s := ru.sim
	most := ru.live(2 * interval)
	var right [maxGateways][maxReplicas]bool
	for range 2 * countWithin / interval {
		s.advance(interval)
		least, wrong := ru.live(0), false
		for i, g := range s.gateways {
			for _, r := range s.world.versions[g.ran].replicas {
				if r == 0 || right[i][r] {
					continue
				}
				n := g.store.Live(g.engine.EndpointOf(identities[r]))
				right[i][r] = n >= least[r] && n <= most[r]
				wrong = wrong || !right[i][r]
			}
		}
		if !wrong || !s.ok() {
			return
		}
	}
	ru.breaks(ruleCounters, "gateways do not come to know how many sessions replicas have")
}

// ended: when all sessions have ended, nothing is left of them.
func (ru *rules) ended() {
	s := ru.sim
	if s.open != 0 {
		ru.breaks(ruleAnswer, "%d requests have no end", s.open)
	}
	if n := len(s.co.all) - len(s.co.idle); n > 1 { // one may be flushing
		for _, c := range s.co.all {
			if c.busy && c.job.kind != jobFlush {
				ru.breaks(ruleAnswer, "something waits for ever")
			}
		}
	}
	for _, g := range s.gateways {
		if n := g.table.Len(); n != 0 {
			ru.breaks(ruleCounters, "g%d has %d sessions after all have ended", g.number, n)
		}
		for _, ep := range g.engine.EndpointStats(g.clock()) {
			own := g.table.Live(g.engine.EndpointOf(identities[byEndpoint[[2]string{ep.Addr, ep.Incarnation}]]))
			if own != 0 || ep.InFlight != 0 {
				ru.breaks(ruleCounters, "g%d counts %d sessions and %d requests at %s after all have ended", g.number, own, ep.InFlight, ep.Addr)
			}
		}
	}
	for u := range s.users {
		if b := s.depot.binding(userKeys[u]); s.depot.lives(b) {
			ru.breaks(ruleExpired, "the store has user %d still", u)
		}
	}
}
