package affinity

import (
	"slices"

	"github.com/remora-proxy/remora/internal/fields"
	"github.com/remora-proxy/remora/internal/problem"
	"github.com/remora-proxy/remora/internal/route"
	"github.com/remora-proxy/remora/internal/session"
)

// Request is a front door's view of a request.
type Request struct {
	route.Request
	BodyState BodyState
	Body      *fields.Scanner // closed without error when BodyState is BodyRead

	// Among restricts the request to the endpoints with these addresses (ip:port); nil: to none in particular. A session that is
	// live elsewhere stays there: see Engine.Decide.
	Among map[string]struct{}

	Patience Patience // whether Decide may wait for a shared store

	plannedBy *view // whose Plan said what Body has: the configuration may change while a body arrives
}

// BodyState says what the front door did with the body.
type BodyState uint8

// The states of a body.
const (
	BodyNotRead  BodyState = iota // there was none, or Plan did not ask for it
	BodyRead                      // read to its end
	BodyTooLarge                  // longer than Plan.MaxBody: not read
)

// Plan says whether the body has to be read before the request can be decided.
type Plan struct {
	Spec    *fields.Spec // nil: it has not
	MaxBody int          // bytes
	Problem problem.Problem
	// Cookie says that the decision may have a SetCookie. It is told where the body has to be read, for front doors that must know it
	// before.
	Cookie bool
}

// SessionState is what a decision says of the session.
type SessionState uint8

// The session states.
const (
	SessionNone     SessionState = iota // the request has no key, or the table is full
	SessionNew                          // this request began the session
	SessionExisting                     // the session was live
	SessionMoved                        // the session was live and its endpoint is gone or was given up
)

func (s SessionState) String() string {
	return [...]string{"none", "new", "existing", "moved"}[s]
}

// Decision is where a request goes and why. A front door keeps one for reuse.
type Decision struct {
	Problem   problem.Problem // when not zero, the front door answers with it and nothing else is set
	Rule      *route.Rule
	Passed    bool // the proxy answers by itself, as Rule.ByProxy says: there is no Service, Endpoint or session
	Service   *Service
	Endpoint  *Endpoint
	Session   SessionState
	Promoted  []route.Header // headers to set in place of all fields of that name that the client sent
	SetCookie string         // value of a Set-Cookie field to add to the response; empty: none

	// Sent is for the front door to set once any byte of the request may have reached the endpoint. When it is not set at
	// Release, the endpoint knows nothing of a session that began or moved here, and its next request will say so.
	Sent bool

	// Patience is whether Move may wait for a shared store: as the request said to Decide, unless the front door sets it.
	Patience Patience
	// Waits says that Decide or Move would have had to wait, and had to do so with NoWait. It has changed nothing: it is to be called once
	// more, with another patience. After Decide nothing else is set and nothing is to be released, after Move all is as before.
	Waits bool

	limits limits
	key    session.Key
	held   bool // the session key has a hold of this decision
	open   bool // Endpoint counts this decision as in flight
}

// limits are what a request may not use of a service.
type limits struct {
	tried []*Endpoint         // that could not be connected to
	among map[string]struct{} // Request.Among
}

// allow reports whether the request may use an endpoint.
func (l *limits) allow(ep *Endpoint) bool { return l.within(ep) && !slices.Contains(l.tried, ep) }

// within reports whether an endpoint is among those that the request is restricted to.
func (l *limits) within(ep *Endpoint) bool {
	if l.among == nil {
		return true
	}
	_, ok := l.among[ep.Addr]
	return ok
}
