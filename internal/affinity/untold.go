package affinity

import (
	"sync"
	"sync/atomic"

	"github.com/remora-proxy/remora/internal/session"
)

// maxUntold bounds how many moved sessions wait for the request that tells their backend.
const maxUntold = 1 << 16

// untold remembers the sessions that an operator moved until their next request, whose backend must hear "moved". Requests pay
// one atomic load for it while there are none.
type untold struct {
	n  atomic.Int64
	mu sync.Mutex
	m  map[session.Key]session.EndpointID
}

// add remembers a session. It reports false at the limit.
func (u *untold) add(k session.Key, ep session.EndpointID) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.m) >= maxUntold {
		return false
	}
	if u.m == nil {
		u.m = make(map[session.Key]session.EndpointID)
	}
	u.m[k] = ep
	u.n.Store(int64(len(u.m)))
	return true
}

// has reports whether a session is remembered.
func (u *untold) has(k session.Key) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	_, ok := u.m[k]
	return ok
}

// take forgets a session and reports whether it was remembered.
func (u *untold) take(k session.Key) bool {
	if u.n.Load() == 0 {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	_, ok := u.m[k]
	delete(u.m, k)
	u.n.Store(int64(len(u.m)))
	return ok
}

// forget drops the sessions for which over says so.
func (u *untold) forget(over func(session.Key, session.EndpointID) bool) {
	if u.n.Load() == 0 {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for k, ep := range u.m {
		if over(k, ep) {
			delete(u.m, k)
		}
	}
	u.n.Store(int64(len(u.m)))
}
