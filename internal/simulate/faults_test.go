package simulate

import (
	"bytes"
)

// fault lets something fail.
func (s *sim) fault() {
	p := s.profile
	if p.faultEvery == 0 || s.now >= s.until {
		return
	}
	s.queue.push(s.now+s.chance.between(1, 2*p.faultEvery), evFault, 0, 0)
	what := s.chance.pick(p.faults[:])
	g := s.gateways[s.chance.below(len(s.gateways))]
	d := &s.depot
	long := s.chance.between(50, 3500)
	s.count.faults[what]++
	s.trace.add(s.now, faultNames[what]+" (g%d), %d ms", int64(g.number), long)
	switch what {
	case faCut:
		g.cutUntil, g.missed = s.now+long, s.now+long
	case faStop:
		d.stoppedUntil, d.refuses = s.now+long, s.chance.oneIn(2)
	case faSlow:
		d.slowUntil = s.now + long
	case faFull:
		d.fullUntil = s.now + long
	case faEmpty:
		d.model.Empty()
		d.forget()
	case faFailover:
		d.model.Restore(d.replica)
		d.forget()
	case faHush:
		d.hushedUntil = s.now + long
	case faCrash, faRestart:
		s.crash(g, what == faRestart)
	case faBlur:
		g.blur = s.chance.between(-p.blur, p.blur)
	}
	if s.chance.oneIn(3) { // a replica of the store catches up
		d.replica = d.model.Clone()
	}
}

// crash ends the process of a gateway; another one is started in its place. One that is only restarted takes its sessions along.
func (s *sim) crash(g *gateway, restart bool) {
	if g.dead {
		return
	}
	g.saved.Reset()
	if restart {
		if _, err := g.engine.Save(&g.saved, g.clock()); err != nil {
			panic(err)
		}
	}
	g.dead, g.died = true, s.now
	for u := range g.sessions {
		if m := &g.sessions[u]; m.holds > 0 || m.pending > 0 {
			m.holds, m.seen, s.rules.seen[u] = 0, s.now, s.now
		}
	}
	s.queue.push(s.now+s.chance.between(20, 2500), evStart, g.number, int32(g.id))
}

// restart starts a gateway again.
func (s *sim) restart(n int32) {
	old := s.gateways[n]
	if !old.dead || s.processes == maxProcesses {
		return
	}
	s.boot(n)
	g := s.gateways[n]
	if old.saved.Len() > 0 {
		if _, err := g.engine.Restore(bytes.NewReader(old.saved.Bytes()), g.clock()); err != nil {
			panic(err)
		}
		g.trouble = s.now // the store may have lost what it is to be told
		for r := range g.knows {
			g.knows[r].marked = old.knows[r].marked
		}
	}
	g.apply(int32(len(s.world.versions) - 1))
	s.trace.add(s.now, "g%d is started again as process %d, with %d sessions", int64(n), int64(g.id), int64(g.table.Len()))
}
