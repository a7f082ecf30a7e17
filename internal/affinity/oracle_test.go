package affinity_test

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/session"
)

// oracle is the rules of sessions in the plainest words: maps, no sharing, no cleverness. It says what a decision must be; for a
// placement it says which endpoints are allowed, for which of them it is does not follow from the rules.
type oracle struct {
	delay     time.Duration // of new endpoints
	begun     bool          // there was a configuration
	alone     bool          // the engine does not ask the store that it shares: there is no load bound
	services  map[string]*oracleService
	endpoints map[epID]*oracleEndpoint
	sessions  map[sessID]*oracleSession
}

type oracleService struct {
	idle  time.Duration
	bound float64
}

type epID struct{ service, addr, incarnation string }

type oracleEndpoint struct {
	configured    affinity.EndpointState
	drained       bool
	drainingSince session.Instant
	goneSince     session.Instant
	warmingUntil  session.Instant
	deadline      time.Duration
	met           bool // a configuration has had it
	life          int  // one more each time it comes back
	ejectedUntil  session.Instant
	failures      int
}

type sessID struct{ service, user string }

type oracleSession struct {
	at       epID
	life     int // of the endpoint
	lastSeen session.Instant
	holds    int
	untold   affinity.SessionState // SessionNew or SessionMoved: what its endpoint has yet to hear; else SessionNone
}

// expectation is what the oracle says of a decision.
type expectation struct {
	state     affinity.SessionState
	endpoint  epID          // exactly this one, unless allowed is set
	allowed   map[epID]bool // one of these
	nothing   bool          // no endpoint: a problem
	detour    bool          // the session stays where it is
	asks      bool          // a store that gateways share has to be asked
	sessionID sessID
}

func newOracle(delay time.Duration) *oracle {
	return &oracle{
		delay:    delay,
		services: map[string]*oracleService{}, endpoints: map[epID]*oracleEndpoint{}, sessions: map[sessID]*oracleSession{},
	}
}

// apply is a new configuration.
func (o *oracle) apply(c affinity.Config, now session.Instant) {
	before := map[epID]bool{} // there until now
	for id, ep := range o.endpoints {
		if ep.configured != affinity.Gone {
			before[id] = true
			ep.configured, ep.goneSince = affinity.Gone, now
		}
	}
	o.services = map[string]*oracleService{}
	for _, sc := range c.Services {
		o.services[sc.Name] = &oracleService{idle: sc.IdleTimeout, bound: sc.LoadBound}
		for _, ec := range sc.Endpoints {
			id := epID{sc.Name, ec.Addr, ec.Incarnation}
			ep := o.endpoints[id]
			if ep == nil {
				ep = &oracleEndpoint{configured: affinity.Gone}
				o.endpoints[id] = ep
			}
			if o.begun && !before[id] {
				ep.warmingUntil = now.Add(o.delay)
			}
			if ep.met && !before[id] {
				ep.life++
				ep.ejectedUntil, ep.failures, ep.drainingSince = 0, 0, 0
			}
			ep.met = true
			ep.configured, ep.deadline = ec.State, sc.DrainDeadline
			ep.clockDrain(now)
		}
	}
	o.begun = true
}

// forget drops endpoints that have been gone for ten minutes and that nothing names any more: one that comes back after that
// is a stranger.
func (o *oracle) forget(now session.Instant, open []openRequest) {
	named := map[epID]bool{}
	for id, s := range o.sessions {
		if o.live(id, now) != nil {
			named[s.at] = true
		}
	}
	for _, r := range open {
		named[epID{r.dec.Service.Name, r.dec.Endpoint.Addr, r.dec.Endpoint.Incarnation}] = true
	}
	for id, ep := range o.endpoints {
		if ep.configured == affinity.Gone && now >= ep.goneSince.Add(10*time.Minute) && !named[id] {
			delete(o.endpoints, id)
		}
	}
}

func (ep *oracleEndpoint) clockDrain(now session.Instant) {
	if !ep.drained && ep.configured != affinity.Draining {
		ep.drainingSince = 0
	} else if ep.drainingSince == 0 {
		ep.drainingSince = now
	}
}

func (ep *oracleEndpoint) serves(now session.Instant) bool {
	return ep.configured != affinity.Gone && (ep.drainingSince == 0 || now < ep.drainingSince.Add(ep.deadline))
}

func (ep *oracleEndpoint) takesNew() bool { return ep.configured == affinity.Ready && !ep.drained }

func (ep *oracleEndpoint) kind(now session.Instant) string {
	switch {
	case now < ep.ejectedUntil:
		return "unhealthy"
	case now < ep.warmingUntil:
		return "warming"
	}
	return "good"
}

func (ep *oracleEndpoint) eject(now session.Instant) {
	if now < ep.ejectedUntil {
		return
	}
	if now >= ep.ejectedUntil.Add(time.Minute) { // a quiet minute: the failures are not in a row
		ep.failures = 0
	}
	ep.ejectedUntil = now.Add(min(10*time.Second, time.Second<<min(ep.failures, 10)))
	ep.failures++
}

// live is the session if it has not ended.
func (o *oracle) live(id sessID, now session.Instant) *oracleSession {
	s := o.sessions[id]
	if s == nil || s.holds == 0 && now.Time().Sub(s.lastSeen.Time()) >= o.services[id.service].idle {
		delete(o.sessions, id)
		return nil
	}
	return s
}

// may is what a request may use: nothing that was tried, and, when among is not nil, these addresses alone.
type may struct {
	tried []epID
	among map[string]struct{}
}

func (m may) use(id epID) bool { return m.within(id) && !slices.Contains(m.tried, id) }

func (m may) within(id epID) bool {
	_, ok := m.among[id.addr]
	return ok || m.among == nil
}

// allowed is where a session of the service may be placed: ready endpoints on which it would not exceed the bound.
func (o *oracle) allowed(service string, m may, bounded bool, now session.Instant) map[epID]bool {
	loads, total := map[epID]int{}, 0
	for _, kind := range []string{"good", "warming", "unhealthy"} { // those only when there are no others
		for id, ep := range o.endpoints {
			if id.service == service && m.use(id) && ep.takesNew() && ep.kind(now) == kind {
				loads[id] = 0
			}
		}
		if len(loads) > 0 {
			break
		}
	}
	for sid, s := range o.sessions {
		if _, ready := loads[s.at]; ready && o.live(sid, now) != nil && !o.former(s) {
			loads[s.at]++
			total++
		}
	}
	bound := int(math.Ceil(o.services[service].bound * float64(total+1) / float64(len(loads))))
	out := map[epID]bool{}
	for id, n := range loads {
		if n+1 <= bound || !bounded {
			out[id] = true
		}
	}
	return out
}

// request is what a request of a user must be decided as. chosen then tells what was decided.
func (o *oracle) request(service, user string, m may, now session.Instant) expectation {
	id := sessID{service, user}
	s := o.live(id, now)
	switch {
	case s == nil:
		return o.placed(affinity.SessionNew, id, m, now)
	case o.former(s) && o.endpoints[s.at].serves(now) && m.use(s.at):
		return expectation{state: s.onTheMove(), endpoint: s.at, sessionID: id, asks: true}
	case o.former(s):
		return o.placed(s.onTheMove(), id, m, now)
	case o.endpoints[s.at].serves(now) && !m.within(s.at):
		return o.goneRound(s, id, m, now)
	case o.endpoints[s.at].serves(now):
		e := expectation{state: affinity.SessionExisting, endpoint: s.at, sessionID: id}
		if s.untold != affinity.SessionNone {
			e.state = s.untold
		}
		return e
	}
	return o.placed(s.onTheMove(), id, m, now)
}

// former reports whether a session's endpoint has been gone since the session was last there: it may be back, without the state.
func (o *oracle) former(s *oracleSession) bool { return s.life != o.endpoints[s.at].life }

// goneRound is a detour: another endpoint for one request.
func (o *oracle) goneRound(s *oracleSession, id sessID, m may, now session.Instant) expectation {
	e := expectation{state: s.onTheMove(), allowed: o.allowed(id.service, m, false, now), sessionID: id, detour: true}
	e.nothing = len(e.allowed) == 0
	return e
}

// onTheMove is what the next endpoint hears of a session that leaves its endpoint: one that no endpoint has heard of is new.
func (s *oracleSession) onTheMove() affinity.SessionState {
	if s.untold == affinity.SessionNew {
		return affinity.SessionNew
	}
	return affinity.SessionMoved
}

// givenUp is what a decision must become after its endpoint could not be connected to.
func (o *oracle) givenUp(was expectation, state affinity.SessionState, m may, now session.Instant) expectation {
	failed := m.tried[len(m.tried)-1]
	o.endpoints[failed].eject(now)
	s := o.sessions[was.sessionID]
	s.unsaid(state, failed, o.endpoints[failed].life)
	s.holds--
	if was.detour {
		e := o.goneRound(s, was.sessionID, m, now)
		e.asks = true // the engine looks whether the session is there still
		return e
	}
	return o.placed(s.onTheMove(), was.sessionID, m, now)
}

// unsaid takes over that a request that would have told an endpoint something did not reach it.
func (s *oracleSession) unsaid(was affinity.SessionState, at epID, life int) {
	if s.at == at && s.life == life && was != affinity.SessionExisting {
		s.untold = was
	}
}

func (o *oracle) placed(state affinity.SessionState, id sessID, m may, now session.Instant) expectation {
	e := expectation{state: state, allowed: o.allowed(id.service, m, !o.alone, now), sessionID: id, asks: true}
	e.nothing = len(e.allowed) == 0
	return e
}

// chosen takes over what the engine decided.
func (o *oracle) chosen(e expectation, at epID, now session.Instant) {
	s := o.sessions[e.sessionID]
	if s == nil {
		s = &oracleSession{}
		o.sessions[e.sessionID] = s
	}
	s.lastSeen = now
	s.holds++
	if !e.detour {
		s.at, s.life, s.untold = at, o.endpoints[at].life, affinity.SessionNone
	}
}

// refused takes over that a live session found no endpoint: it was seen, and stays where it is.
func (o *oracle) refused(e expectation, now session.Instant) {
	if s := o.sessions[e.sessionID]; s != nil {
		s.lastSeen = now
	}
}

// released ends one hold.
func (o *oracle) released(r openRequest, now session.Instant) {
	if s := o.sessions[r.id]; s != nil && s.holds > 0 {
		if !r.dec.Sent {
			s.unsaid(r.dec.Session, epID{r.dec.Service.Name, r.dec.Endpoint.Addr, r.dec.Endpoint.Incarnation}, r.life)
		}
		s.holds--
		s.lastSeen = now
	}
}

// check compares a decision with what it must be.
func (e expectation) check(dec *affinity.Decision) error {
	if e.nothing {
		if dec.Problem.IsZero() {
			return fmt.Errorf("decided %s, but no endpoint may take it", dec.Endpoint.Addr)
		}
		return nil
	}
	if !dec.Problem.IsZero() {
		return fmt.Errorf("problem %s, want state %v", dec.Problem.Code, e.state)
	}
	at := epID{dec.Service.Name, dec.Endpoint.Addr, dec.Endpoint.Incarnation}
	switch {
	case dec.Session != e.state:
		return fmt.Errorf("session %v at %s, want %v", dec.Session, at.addr, e.state)
	case e.allowed != nil && !e.allowed[at]:
		return fmt.Errorf("placed at %v, allowed were %v", at, e.allowed)
	case e.allowed == nil && at != e.endpoint:
		return fmt.Errorf("at %v, want %v", at, e.endpoint)
	}
	return nil
}
