package affinity

import (
	"math"
	"slices"

	"github.com/remora-proxy/remora/internal/problem"
	"github.com/remora-proxy/remora/internal/route"
	"github.com/remora-proxy/remora/internal/session"
)

// claimTries bounds how often a decision begins again because another one changed the session under its hands.
const claimTries = 4

// Decide decides a request. Unless dec.Problem is set, the request is held until Release. It may overwrite req.Headers where
// the body's fields win.
//
// A request with req.Among whose session is live on another endpoint, which serves it, makes a detour: it goes to an endpoint
// within req.Among that the key alone chooses, is told SessionMoved, for the user's state is elsewhere, and holds the session,
// which stays where it is.
func (e *Engine) Decide(req *Request, dec *Decision, now session.Instant) {
	*dec = Decision{Promoted: dec.Promoted[:0], limits: limits{tried: dec.limits.tried[:0], among: req.Among}, Patience: req.Patience}
	planned := req.plannedBy
	if req.plannedBy = nil; planned == nil {
		e.decide(e.view.Load(), req, dec, now)
	} else if e.decide(planned, req, dec, now); dec.Waits {
		req.plannedBy = planned
	}
}

func (e *Engine) decide(v *view, req *Request, dec *Decision, now session.Instant) {
	if dec.Problem = promote(v.listener(req.Port), req, dec); !dec.Problem.IsZero() {
		return
	}
	var found route.Result
	if !v.table.Lookup(&req.Request, &found) {
		dec.Problem = noRoute(v, req, &found)
		return
	}
	dec.Rule = found.Rule
	if dec.Passed = found.Rule.ByProxy != ""; dec.Passed {
		e.passed.Add(1)
		return
	}
	if dec.Service, dec.Waits = e.destination(v, found.Rule, &req.Request, req.Patience, now); dec.Waits {
		return
	}
	if e.bind(req, dec, now); dec.Waits {
		return
	}
	if !dec.Problem.IsZero() {
		dec.Service.stats.refused.Add(1)
		return
	}
	dec.Service.stats.decisions[dec.Session].Add(1)
	dec.Endpoint.inFlight.Add(1)
	dec.open = true
}

// bind finds the session's endpoint, or one for a request without a session.
func (e *Engine) bind(req *Request, dec *Decision, now session.Instant) {
	svc := dec.Service
	if svc.Missing != "" {
		dec.Problem = problem.Problem{Code: problem.ServiceUnknown, Detail: svc.Missing}
		return
	}
	user, cookie, prob := e.userKey(svc, &req.Request)
	if dec.Problem = prob; !prob.IsZero() {
		return
	}
	if user == "" {
		if svc.WithoutKey == Reject && svc.Key.Kind != NoKey {
			dec.Problem = noKey(svc)
			return
		}
		e.balance(dec, now)
		return
	}
	dec.SetCookie = cookie
	dec.key = svc.sessionKey(user)
	e.claim(dec, req.Patience, now)
}

// claim takes hold of the session dec.key: the live one, or a new one on the endpoint that placement proposes.
func (e *Engine) claim(dec *Decision, p Patience, now session.Instant) {
	svc := dec.Service
	for range claimTries {
		id, live := e.store.Acquire(dec.key, now, svc.IdleTimeout)
		if !live {
			r := e.reach(p)
			if dec.Waits = r.waits; dec.Waits {
				return
			}
			ep := svc.place(e.store, uint64(dec.key), &dec.limits, e.bound(svc, r), now)
			if ep == nil {
				// One that lives on another gateway may be at an endpoint that serves it and takes no new one.
				if _, found := e.find(dec.key, now, svc.IdleTimeout, r.asks); found {
					continue
				}
				dec.Problem = noEndpoint(svc, &dec.limits)
				return
			}
			owner, outcome := r.store.Bind(dec.key, ep.id, now, svc.IdleTimeout)
			switch outcome {
			case session.Bound, session.Rebound: // Rebound: its endpoint is one that only other gateways know
				if e.begin(dec, ep, outcome, p, now) {
					return
				}
				continue
			case session.Full:
				dec.Endpoint, dec.Session = ep, SessionNone
				svc.stats.full.Add(1)
				return
			case session.Existing: // another request of the same user was first
				id = owner
			}
		}
		dec.held = true
		if e.stay(dec, id, now) || e.rebind(dec, id, p, now) {
			return
		}
	}
	if dec.Problem.IsZero() {
		dec.Problem = noEndpoint(svc, &dec.limits) // others kept changing the session: the client may try again
	}
}

// begin decides for the endpoint of a session that has just been bound to it. It reports false when the caller has to begin again. A session that was Rebound
// may have waited a second for that, in which the endpoint was drained, or went: then it moves on.
func (e *Engine) begin(dec *Decision, ep *Endpoint, outcome session.Outcome, p Patience, now session.Instant) bool {
	dec.Endpoint, dec.Session, dec.held = ep, SessionMoved, true
	if outcome == session.Bound {
		e.told.drop(dec.key)
		dec.Session = SessionNew
	}
	e.trails.drop(dec.key)
	if outcome == session.Bound || ep.placeable(now) {
		return true
	}
	e.unsaid(dec.Service, dec.key, ep.id, dec.Session, now)
	dec.Endpoint = nil
	return e.rebind(dec, ep.id, p, now)
}

// stay decides for the endpoint with the id, to which the held session dec.key is bound, or for a detour. It reports false when
// the session has to move.
func (e *Engine) stay(dec *Decision, id session.EndpointID, now session.Instant) bool {
	svc := dec.Service
	ep := e.owner(svc, id)
	if ep == nil || !ep.serves(now) || slices.Contains(dec.limits.tried, ep) {
		return false
	}
	if dec.limits.within(ep) {
		dec.Endpoint, dec.Session = ep, e.told.take(dec.key, ep.id)
		return true
	}
	// No load bound: sessions on a detour are not counted, and with one their requests would go now here, now there.
	if dec.Endpoint = svc.place(e.store, uint64(dec.key), &dec.limits, math.Inf(1), now); dec.Endpoint == nil {
		e.giveUp(dec, now)
		return true
	}
	if dec.Session = SessionMoved; e.told.peek(dec.key, id) == SessionNew {
		dec.Session = SessionNew // no endpoint has seen this session yet
	}
	return true
}

// giveUp ends the hold of a decision that finds no endpoint.
func (e *Engine) giveUp(dec *Decision, now session.Instant) {
	e.store.Release(dec.key, now)
	dec.held = false
	dec.Problem = noEndpoint(dec.Service, &dec.limits)
}

// rebind moves the held session dec.key away from the endpoint with the id from. It reports whether dec is decided: with an
// endpoint, or with no hold and a problem, when there is no other endpoint, or Waits. Otherwise the session ended meanwhile: its hold is
// gone, and the caller begins again.
func (e *Engine) rebind(dec *Decision, from session.EndpointID, p Patience, now session.Instant) bool {
	svc := dec.Service
	for range claimTries {
		r := e.reach(p)
		if dec.Waits = r.waits; dec.Waits {
			e.store.Release(dec.key, now)
			dec.held = false
			return true
		}
		ep := e.successor(svc, from, &dec.limits, now)
		if ep == nil {
			ep = svc.place(e.store, uint64(dec.key), &dec.limits, e.bound(svc, r), now)
		}
		if ep == nil {
			e.giveUp(dec, now)
			return true
		}
		owner, moved := r.store.Move(dec.key, from, ep.id, now, svc.IdleTimeout)
		if moved {
			e.trails.drop(dec.key)
			if dec.Endpoint, dec.Session = ep, SessionMoved; e.told.drop(dec.key) == SessionNew {
				dec.Session = SessionNew // no endpoint has seen this session yet
			}
			return true
		}
		if owner == 0 {
			dec.held = false
			return false
		}
		// Another request moved it first, and its decision tells the backend.
		if e.stay(dec, owner, now) {
			return true
		}
		from = owner
	}
	e.store.Release(dec.key, now)
	dec.held = false
	return false
}

// successor is the next life of the endpoint with the id from, where it has one that may be used. Its former sessions go there before
// anywhere else: it may have been away for its readiness probe alone, and have their state still.
func (e *Engine) successor(svc *Service, from session.EndpointID, l *limits, now session.Instant) *Endpoint {
	ep := e.owner(svc, from)
	if ep == nil || ep.next.Load() == nil {
		return nil
	}
	if ep = ep.latest(); !ep.serves(now) || !l.allow(ep) {
		return nil
	}
	return ep
}

// owner is the endpoint with an id, when it is one of the service's.
func (e *Engine) owner(svc *Service, id session.EndpointID) *Endpoint {
	if ep := e.endpoints.get(id); ep != nil && ep.Service == svc.Name {
		return ep
	}
	return nil
}

// balance finds an endpoint for a request without a session.
func (e *Engine) balance(dec *Decision, now session.Instant) {
	dec.Session = SessionNone
	if dec.Endpoint = dec.Service.spread(e.ticket.Add(1), &dec.limits, now); dec.Endpoint == nil {
		dec.Problem = noEndpoint(dec.Service, &dec.limits)
	}
}

// Stands reports whether dec.Endpoint still serves: since Decide a configuration may have taken it away, or its drain deadline has passed.
// A front door asks before it tries again to reach it, and calls Move if not: what listens there next may be another life of it.
func (e *Engine) Stands(dec *Decision, now session.Instant) bool { return dec.Endpoint.serves(now) }

// Connected says that a new connection to dec.Endpoint was established: it is healthy.
func (e *Engine) Connected(dec *Decision) { dec.Endpoint.connected() }

// Move gives up on dec.Endpoint, which could not be connected to after the front door's retries, or does not stand any more: the
// endpoint is unhealthy for a while and dec goes to another one that was not tried yet (dec.Session becomes SessionMoved for a session that was live before), or has a
// Problem, and nothing to release, when none is left.
func (e *Engine) Move(dec *Decision, now session.Instant) {
	if !dec.open {
		return
	}
	p := dec.Patience
	if dec.Waits = dec.held && e.reach(p).waits; dec.Waits {
		return
	}
	if p == NoWait {
		p = Alone // the store does not answer; should it be back in a moment, it is too late to wait for it
	}
	svc, failed, was := dec.Service, dec.Endpoint, dec.Session
	failed.eject(now)
	failed.inFlight.Add(-1)
	dec.Endpoint, dec.open = nil, false
	dec.limits.tried = append(dec.limits.tried, failed)
	if dec.held {
		e.unsaid(svc, dec.key, failed.id, was, now)
	}
	switch {
	case !dec.held:
		e.balance(dec, now)
	case !e.rebind(dec, failed.id, p, now):
		e.claim(dec, p, now)
	}
	if !dec.Problem.IsZero() {
		svc.stats.refused.Add(1)
		return
	}
	svc.stats.movedAway.Add(1)
	dec.Endpoint.inFlight.Add(1)
	dec.open = true
}

// Substitutes appends to the endpoints that a proxy may try, in this order, when dec.Endpoint cannot be reached: at most n, those that Move
// would go to. dec must be open. The session goes to one of them only when Served says that it was used.
func (e *Engine) Substitutes(to []*Endpoint, dec *Decision, n int, now session.Instant) []*Endpoint {
	var tried [8]*Endpoint
	l := limits{tried: append(append(tried[:0], dec.limits.tried...), dec.Endpoint), among: dec.limits.among}
	key, bound := uint64(dec.key), e.bound(dec.Service, e.reach(dec.Patience))
	if dec.Session == SessionNone {
		key, bound = mix(e.ticket.Add(1)), math.Inf(1)
	}
	for range n {
		ep := dec.Service.place(e.store, key, &l, bound, now)
		if ep == nil {
			break
		}
		to, l.tried = append(to, ep), append(l.tried, ep)
	}
	return to
}

// unsaid remembers what the endpoint of a decision that did not reach it has yet to hear.
func (e *Engine) unsaid(svc *Service, key session.Key, ep session.EndpointID, state SessionState, now session.Instant) {
	if state != SessionNew && state != SessionMoved {
		return
	}
	if entry, live := e.store.Peek(key, now, svc.IdleTimeout); live && entry.Endpoint == ep {
		e.told.add(key, ep, state)
	}
}

// Release ends the hold of a decision. It must be called exactly once for every Decide, after the response has ended; after a
// decision with a Problem, or one that is Passed, it does nothing.
func (e *Engine) Release(dec *Decision, now session.Instant) {
	if !dec.open {
		return
	}
	dec.open = false
	dec.Endpoint.inFlight.Add(-1)
	if dec.held {
		dec.held = false
		if !dec.Sent {
			e.unsaid(dec.Service, dec.key, dec.Endpoint.id, dec.Session, now)
		}
		e.store.Release(dec.key, now)
	}
}
