package affinity

import (
	"io"
	"sync/atomic"
	"time"

	"github.com/remora-proxy/remora/internal/problem"
	"github.com/remora-proxy/remora/internal/session"
)

// Engine decides. Its methods may be called from many goroutines at once; a decision for a known session waits for nothing.
type Engine struct {
	snapshot atomic.Pointer[Snapshot]
}

// Options are what an Engine is made of.
type Options struct {
	// HashKey is the secret under which users' keys are hashed. Gateways that share sessions share it.
	HashKey [16]byte
	Store   session.Store
}

// Snapshot is a compiled Config: immutable, swapped whole.
type Snapshot struct{}

// Service is one destination at run time.
type Service struct {
	ServiceConfig
}

// Endpoint is one replica of one service at run time. It outlives snapshots: the same (service, address, incarnation) is the
// same Endpoint.
type Endpoint struct {
	Addr        string
	Incarnation string
	Name        string
	Service     string
}

// New makes an engine with an empty snapshot: every request gets 404 until Apply.
func New(o Options) *Engine { return &Engine{} }

// Compile turns a Config into a Snapshot. The error lists what a package that made the Config should have refused.
func Compile(c Config) (*Snapshot, error) { return &Snapshot{}, nil }

// Apply makes s the configuration from now on. Endpoints that s does not have are gone.
func (e *Engine) Apply(s *Snapshot, now session.Instant) {}

// Plan says whether the body of a request has to be read before Decide.
func (e *Engine) Plan(req *Request) Plan { return Plan{} }

// Decide decides a request. Unless dec.Problem is set, the session is held until Release.
func (e *Engine) Decide(req *Request, dec *Decision, now session.Instant) {
	dec.Problem = problem.Problem{}
}

// Connected says that a new connection to dec.Endpoint was established: it is healthy.
func (e *Engine) Connected(dec *Decision) {}

// Move gives up on dec.Endpoint, which could not be connected to after the front door's retries: the endpoint is unhealthy
// for a while and dec goes to another one (dec.Session becomes Moved for a live session), or has a Problem when none is left.
func (e *Engine) Move(req *Request, dec *Decision, now session.Instant) {}

// Release ends the hold of a decision. It must be called exactly once for every Decide, after the response has ended.
func (e *Engine) Release(dec *Decision, now session.Instant) {}

// Unhealthy reports whether the endpoint is ejected: then one attempt to connect is enough before Move.
func (ep *Endpoint) Unhealthy(now session.Instant) bool { return false }

// Sweep removes expired sessions: a part of the table at each call, so that the whole is visited within a sixteenth of
// the time that the caller calls it in at the rate of interval.
func (e *Engine) Sweep(now session.Instant) {}

// Save writes the sessions to w, Restore reads them back. The order is Restore, then the first Apply.
func (e *Engine) Save(w io.Writer, now session.Instant) error { return nil }

// Restore reads sessions that Save wrote. On an error nothing was restored.
func (e *Engine) Restore(r io.Reader, now session.Instant) (sessions int, err error) { return 0, nil }

// --- what people and tools ask of a running engine ---

// EndpointView is an endpoint as `remora sessions ls` shows it.
type EndpointView struct {
	Service     string        `json:"service"`
	Addr        string        `json:"address"`
	Name        string        `json:"name,omitempty"`
	Incarnation string        `json:"incarnation,omitempty"`
	State       EndpointState `json:"-"`
	StateName   string        `json:"state"`
	Live        int           `json:"liveSessions"`
	Held        int           `json:"heldSessions"`
}

// SessionView is a session as `remora sessions get` shows it.
type SessionView struct {
	Service  string        `json:"service"`
	Endpoint string        `json:"endpoint"`
	Name     string        `json:"name,omitempty"`
	LastSeen time.Time     `json:"lastSeen"`
	Holds    int           `json:"holds"`
	Expires  time.Duration `json:"expiresIn"` // 0 while held
}

// Endpoints lists the endpoints of all services, with exact live counts at now.
func (e *Engine) Endpoints(now session.Instant) []EndpointView { return nil }

// Session shows the live session of a user of a service.
func (e *Engine) Session(service, user string, now session.Instant) (SessionView, bool, error) {
	return SessionView{}, false, nil
}

// MoveSession rebinds the live session of a user to the endpoint at addr.
func (e *Engine) MoveSession(service, user, addr string, now session.Instant) (SessionView, error) {
	return SessionView{}, nil
}

// Drain marks every endpoint at addr as draining, or takes the mark back. It returns how many endpoints there are at addr.
func (e *Engine) Drain(addr string, on bool) int { return 0 }

// Explain runs the whole decision for req without changing anything and says why at each step.
func (e *Engine) Explain(req *Request, now session.Instant) *Trace { return nil }
