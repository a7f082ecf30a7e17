package simulate

import (
	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/route"
)

// user is who calls.
type user struct {
	home    int32 // gateway
	roams   bool  // calls through any gateway
	headers [1]route.Header
}

// request is one call of a user, from its decision to its end.
type request struct {
	user   int32
	g      *gateway
	req    affinity.Request
	dec    affinity.Decision
	began  millis // when its decision, or the last move, began
	step   int64  // in which that was
	born   int64  // step in which it came
	length millis
	leaves bool     // the client goes before anything is sent
	waited bool     // a decision was made in a coroutine
	asked  bool     // the store has answered a call that was made for the decision
	failed bool     // such a call failed
	first  bool     // its claim was the first
	fresh  bool     // it was to tell a replica of a new session, and did not reach it
	moving bool     // the store was asked for a move
	had    int32    // owner of the session when the decision began, as the gateway had it; 0: none
	owner  int32    // of the last decision
	tries  int      // replicas that could not be reached
	tried  [3]int32 // which
	asks   int64    // of the user so far, this one included
	before millis   // when the user was last seen before
}

// call begins a request of a user and plans the next.
func (s *sim) call(u int32) {
	if s.quiet {
		return
	}
	usr := &s.users[u]
	s.queue.push(s.now+s.profile.think(s), evUser, u, 0)
	n := usr.home
	if usr.roams || s.chance.oneIn(8) {
		n = int32(s.chance.below(len(s.gateways)))
	}
	for range s.gateways { // a balancer before the gateways knows which are there
		if !s.gateways[n].dead {
			break
		}
		n = (n + 1) % int32(len(s.gateways))
	}
	g := s.gateways[n]
	if g.dead || g.ran < 0 {
		return
	}
	length := s.chance.between(1, 120)
	switch {
	case s.chance.oneIn(10), s.now-s.rules.seen[u] > idle/2 && s.chance.oneIn(3): // in a session's last moments, among others
		length = s.chance.between(500, idle+idle/2)
	case s.chance.oneIn(3):
		length = 0
	}
	s.ask(u, g, length)
}

// ask makes a request and has it decided.
func (s *sim) ask(u int32, g *gateway, length millis) {
	i := s.newRequest()
	r := s.requests[i]
	*r = request{user: u, g: g, dec: r.dec, began: s.now, step: s.step, born: s.step, length: length, leaves: s.chance.oneIn(40)}
	s.count.requests++
	s.open++
	s.rules.asks(r)
	req := &r.req
	*req = affinity.Request{Request: route.Request{Port: 80, Scheme: "http", Method: "GET", Authority: "any", Path: "/", Headers: s.users[u].headers[:]}}
	if req.Patience = affinity.NoWait; s.chance.oneIn(8) {
		req.Patience = affinity.Wait // as a front door that has a thread for each request
	} else if g.engine.Decide(req, &r.dec, g.clock()); !r.dec.Waits {
		s.decided(i)
		return
	}
	s.patiently(i, jobDecide)
}

// patiently lets a request wait for the store, or decide alone where too many wait already.
func (s *sim) patiently(i int32, kind jobKind) {
	r := s.requests[i]
	g := r.g
	g.sessions[r.user].pending++
	r.req.Patience = affinity.Wait
	if g.waiting >= maxWaiting && !s.strict && !s.healed {
		r.req.Patience = affinity.Alone
		g.trouble = s.now // the store hears of it later
		s.count.alone++
	} else {
		r.waited = true
		s.count.waited++
	}
	r.dec.Patience = r.req.Patience
	g.waiting++
	s.co.start(job{kind: kind, gateway: g, n: i})
}

func (s *sim) newRequest() int32 {
	if n := len(s.freeRequests); n > 0 {
		i := s.freeRequests[n-1]
		s.freeRequests = s.freeRequests[:n-1]
		return i
	}
	s.requests = append(s.requests, new(request))
	return int32(len(s.requests) - 1)
}

// await is what a request that waits does in its coroutine.
func (s *sim) await(i int32, kind jobKind) {
	r := s.requests[i]
	g := r.g
	if kind == jobMove {
		g.engine.Move(&r.dec, g.clock())
	} else {
		g.engine.Decide(&r.req, &r.dec, g.clock())
	}
	g.waiting--
	g.sessions[r.user].pending--
	s.decided(i)
}

// decided takes a decision: the request is on its way to its replica, or has its answer.
func (s *sim) decided(i int32) {
	r := s.requests[i]
	if r.g.dead {
		s.end(i)
		return
	}
	s.rules.decided(r)
	if !r.dec.Problem.IsZero() {
		s.count.refused++
		s.end(i)
		return
	}
	s.queue.push(s.now+s.chance.between(0, 3), evConnect, i, 0)
}

// connect is what a front door does with a decision.
func (s *sim) connect(i int32) {
	r := s.requests[i]
	g := r.g
	if g.dead {
		s.end(i)
		return
	}
	if r.leaves {
		s.release(i)
		return
	}
	there := s.world.at(slotOf(r.owner))
	if there == 0 {
		s.count.unreached++
		s.trace.add(s.now, "g%d: user %d does not reach %r", int64(g.number), int64(r.user), int64(r.owner))
		s.move(i)
		return
	}
	s.rules.reaches(r, there)
	g.engine.Connected(&r.dec)
	r.dec.Sent = true
	s.queue.push(s.now+r.length, evDone, i, 0)
}

// move gives a replica up that could not be reached.
func (s *sim) move(i int32) {
	r := s.requests[i]
	g := r.g
	if r.tries == len(r.tried) {
		s.release(i)
		return
	}
	r.tried[r.tries] = r.owner
	r.tries++
	r.began, r.step, r.asked, r.failed, r.first, r.moving, r.waited = s.now, s.step, false, false, false, false, false
	g.inFlight[r.owner]--
	s.rules.looksUp(r)
	if r.dec.Session != affinity.SessionExisting {
		m := &g.sessions[r.user]
		m.unsent, m.untold, r.fresh = true, true, r.dec.Session == affinity.SessionNew
	}
	r.dec.Patience = affinity.NoWait
	if g.engine.Move(&r.dec, g.clock()); !r.dec.Waits {
		s.decided(i)
		return
	}
	s.patiently(i, jobMove)
}

// release ends a request that has a replica.
func (s *sim) release(i int32) {
	r := s.requests[i]
	if !r.g.dead {
		r.g.engine.Release(&r.dec, r.g.clock())
		s.rules.released(r)
	}
	s.end(i)
}

// end is after all that may happen to a request.
func (s *sim) end(i int32) {
	s.open--
	s.freeRequests = append(s.freeRequests, i)
}
