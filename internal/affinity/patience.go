package affinity

import (
	"math"
	"time"

	"github.com/remora-proxy/remora/internal/session"
)

// Patience says what to do where a decision has to ask a store that several gateways share (session.Shared): at the first sight of a user, and
// where a session has to move. A decision for a session that this gateway knows, on an endpoint that serves it, never asks. Without a shared
// store nothing does.
//
// A front door that must not wait decides with NoWait. Where that says that it would have to wait, it asks once more with Wait from a place where
// waiting harms nobody else, or, where too many wait already, with Alone.
type Patience uint8

// The patiences.
const (
	Wait   Patience = iota // ask, and wait for the answer: for a time that the store bounds
	NoWait                 // where it would have to be asked, say so and change nothing
	Alone                  // ask nobody: decide by what this gateway knows, and by the hash alone, in which the gateways agree
)

// reach is how an operation gets at the sessions.
type reach struct {
	store session.Store // to bind and to move with
	asks  bool          // it asks a store outside
	waits bool          // it would have to, and may not
}

// reach is how to go on with a patience now. While the shared store does not answer, all go on alone: then no call of the store that was
// chosen waits, even if the other one is back meanwhile.
func (e *Engine) reach(p Patience) reach {
	switch {
	case e.shared == nil:
		return reach{store: e.store}
	case p == Alone || !e.shared.Waits():
		return reach{store: e.alone}
	}
	return reach{store: e.store, asks: true, waits: p == NoWait}
}

// bound is the load bound for a new session of a service. There is none for a gateway that goes on alone: it does not know the loads of
// the others, and they agree on an endpoint only where nothing but the hash decides.
func (e *Engine) bound(svc *Service, r reach) float64 {
	if e.shared != nil && !r.asks {
		return math.Inf(1)
	}
	return svc.LoadBound
}

// find shows the live session of a key and changes nothing. With asks it asks the shared store where this gateway has none.
func (e *Engine) find(k session.Key, now session.Instant, idle time.Duration, asks bool) (session.Entry, bool) {
	if asks {
		return e.shared.Find(k, now, idle)
	}
	return e.store.Peek(k, now, idle)
}
