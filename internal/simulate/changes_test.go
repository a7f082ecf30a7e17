package simulate

import "github.com/remora-proxy/remora/internal/session/shared"

// change is what becomes of the replicas.
func (s *sim) change(e event) {
	w := &s.world
	switch e.kind {
	case evWorld:
		if s.now < s.until {
			s.queue.push(s.now+s.chance.between(1, 2*s.profile.changeEvery), evWorld, 0, 0)
			s.begin(s.chance.pick(s.profile.changes[:]))
		}
		return
	case evEnd:
		w.replicas[e.a].alive = false
		w.replicas[e.a].listed = false
		s.trace.add(s.now, "%r ends", int64(e.a))
	case evUnlist:
		w.replicas[e.a].listed = false
		if slot := slotOf(e.a); e.b != 0 && w.current[slot] == e.a && !w.begin(slot) {
			return
		}
	case evList:
		w.replicas[e.a].listed = w.replicas[e.a].alive && w.current[slotOf(e.a)] == e.a
	case evRevive:
		if w.current[slotOf(e.a)] == e.a && w.replicas[e.a].listed {
			w.replicas[e.a].alive = true
			s.trace.add(s.now, "%r is started again", int64(e.a))
		}
		return
	default:
		panic("simulate: an event of no kind")
	}
	s.publish()
}

// begin begins a change.
func (s *sim) begin(what int) {
	w := &s.world
	slot := s.chance.below(maxSlots)
	r := w.current[slot]
	there := r != 0 && w.replicas[r].listed && w.replicas[r].alive
	spare := there && (w.replicas[r].draining || w.ready() > 1)
	switch {
	case what == chAdd:
		if r != 0 && (w.replicas[r].listed || w.replicas[r].alive) || !w.begin(slot) {
			return
		}
		s.publish()
	case what == chRemove && spare:
		w.replicas[r].draining = true
		s.queue.push(s.now+s.chance.between(200, drainDeadline+1000), evEnd, r, 0)
		s.publish()
	case what == chKill && spare, what == chReplace && there:
		w.replicas[r].alive = false
		after := int32(0)
		if what == chReplace {
			after = 1
		}
		s.queue.push(s.now+s.chance.between(10, 1500), evUnlist, r, after)
	case what == chBlip && spare && !w.replicas[r].draining:
		w.replicas[r].listed = false
		s.queue.push(s.now+s.chance.between(1, 1500), evList, r, 0)
		s.publish()
	case what == chCrash && there:
		w.replicas[r].alive = false
		s.queue.push(s.now+s.chance.between(1, 1000), evRevive, r, 0)
	case what == chRollout:
		s.rollout()
	case what == chDrain && spare, what == chUndrain && there:
		s.operateDrain(r, what == chDrain)
	case what == chMove:
		u := int32(s.chance.below(len(s.users)))
		if g := s.gateways[s.chance.below(len(s.gateways))]; !g.dead && g.ran >= 0 && s.chance.oneIn(2) {
			s.trace.add(s.now, "g%d: an operator moves user %d", int64(g.number), int64(u))
			s.co.start(job{kind: jobOperate, gateway: g, n: u})
		}
	default:
		return
	}
	s.count.world[what]++
	if there {
		s.trace.add(s.now, worldNames[what]+": %r", int64(r))
	}
}

// rollout replaces all replicas, one after the other.
func (s *sim) rollout() {
	at := s.now
	for _, r := range s.world.current {
		if r == 0 || !s.world.replicas[r].listed || s.world.replicas[r].draining {
			continue
		}
		s.world.replicas[r].draining = s.world.ready() > 1
		at += s.chance.between(100, 800)
		s.queue.push(at, evUnlist, r, 1)
	}
	s.publish()
}

// publish tells all gateways of the replicas, each when it hears.
func (s *sim) publish() {
	if !s.world.publish() {
		return
	}
	n := int32(len(s.world.versions) - 1)
	s.trace.add(s.now, "configuration %d", int64(n))
	for _, g := range s.gateways {
		s.queue.push(s.now+s.chance.between(0, s.profile.configLag), evConfig, int32(g.id), n)
	}
}

// operateDrain is `remora drain` at one gateway, which tells the others.
func (s *sim) operateDrain(r int32, on bool) {
	g := s.gateways[s.chance.below(len(s.gateways))]
	if g.dead || !g.knows[r].listed {
		return
	}
	g.drain(r, on)
	for _, other := range s.gateways {
		if other != g {
			s.tell(other, shared.News{Kind: shared.Drain, From: g.id, Endpoint: [2]string{addresses[slotOf(r)], incarnations[r%maxLives]}, On: on})
		}
	}
}

// operate is `remora sessions move`.
func (s *sim) operate(g *gateway, u int32) {
	r := s.world.current[s.chance.below(maxSlots)]
	if r == 0 || !g.knows[r].listed {
		return
	}
	g.sessions[u].untold = true // from before the store is asked: a renewal may be faster than the answer
	s.rules.asked[u]++          // it may have learnt of a session whose first request waits still
	_, err := g.engine.MoveSession(serviceName, userNames[u], addresses[slotOf(r)], g.clock())
	if err == nil && !g.dead {
		m := &g.sessions[u]
		m.unsent, m.untold, m.owner, m.step = true, true, r, s.step
		s.rules.seen[u] = s.now
		s.rules.owned[u][r] = s.now
		s.trace.add(s.now, "g%d: an operator moved user %d to %r", int64(g.number), int64(u), int64(r))
	}
}
