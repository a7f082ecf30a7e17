package shared

import (
	"maps"
	"sync"
	"time"

	"github.com/remora-proxy/remora/internal/session"
)

// A session may be on an endpoint that this gateway's configuration does not have yet. The first request that meets it waits for
// unknownPatience; then the endpoint is taken for one that has gone, and for unknownMemory no other request waits for it.
const (
	unknownPatience = time.Second
	unknownPause    = 50 * time.Millisecond
	unknownMemory   = 10 * time.Second
)

// maxUnknown bounds the endpoints that are remembered: over it, all are forgotten, and waited for once more.
const maxUnknown = 1024

// unknown is the endpoints that sessions were met at and that this gateway does not know: since when.
type unknown struct {
	mu  sync.Mutex
	met map[Identity]session.Instant
}

// patience is until when an endpoint is waited for.
func (u *unknown) patience(owner Identity, now session.Instant) session.Instant {
	u.mu.Lock()
	defer u.mu.Unlock()
	met, ok := u.met[owner]
	if !ok || now >= met.Add(unknownMemory) {
		maps.DeleteFunc(u.met, func(_ Identity, met session.Instant) bool { return now >= met.Add(unknownMemory) })
		if u.met == nil || len(u.met) >= maxUnknown {
			u.met = make(map[Identity]session.Instant)
		}
		met = now
		u.met[owner] = met
	}
	return met.Add(unknownPatience)
}
