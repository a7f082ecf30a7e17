package affinity

import (
	"sync"
	"sync/atomic"

	"github.com/remora-proxy/remora/internal/session"
)

// maxUntold bounds how many sessions wait for the request that tells their endpoint.
const maxUntold = 1 << 16

// untold remembers the sessions whose endpoint does not know yet that it has them: an operator moved them there, or the request
// that placed them never reached it. Their next request there says it. Requests pay one atomic load while there are none.
type untold struct {
	n  atomic.Int64
	mu sync.Mutex
	m  map[session.Key]news
}

// news is what an endpoint has yet to hear of a session.
type news struct {
	endpoint session.EndpointID
	state    SessionState // SessionNew or SessionMoved
}

// add remembers what the endpoint ep has yet to hear of a session. It reports false at the limit.
func (u *untold) add(k session.Key, ep session.EndpointID, state SessionState) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if _, known := u.m[k]; !known && len(u.m) >= maxUntold {
		return false
	}
	if u.m == nil {
		u.m = make(map[session.Key]news)
	}
	u.m[k] = news{ep, state}
	u.n.Store(int64(len(u.m)))
	return true
}

// peek is what the endpoint ep has yet to hear of a session; SessionExisting when it is nothing.
func (u *untold) peek(k session.Key, ep session.EndpointID) SessionState {
	if u.n.Load() == 0 {
		return SessionExisting
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if n, ok := u.m[k]; ok && n.endpoint == ep {
		return n.state
	}
	return SessionExisting
}

// take is peek, and forgets it: it is being told.
func (u *untold) take(k session.Key, ep session.EndpointID) SessionState {
	if u.n.Load() == 0 {
		return SessionExisting
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	n, ok := u.m[k]
	if !ok || n.endpoint != ep {
		return SessionExisting
	}
	u.remove(k)
	return n.state
}

// drop forgets a session, and returns what was still to be told: SessionExisting when it was nothing.
func (u *untold) drop(k session.Key) SessionState {
	if u.n.Load() == 0 {
		return SessionExisting
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	n, ok := u.m[k]
	if !ok {
		return SessionExisting
	}
	u.remove(k)
	return n.state
}

// forget drops the sessions for which over says so.
func (u *untold) forget(over func(session.Key, session.EndpointID) bool) {
	if u.n.Load() == 0 {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for k, n := range u.m {
		if over(k, n.endpoint) {
			u.remove(k)
		}
	}
}

func (u *untold) remove(k session.Key) {
	delete(u.m, k)
	u.n.Store(int64(len(u.m)))
}
