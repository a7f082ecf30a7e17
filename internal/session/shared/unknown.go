package shared

import (
	"sync"
	"time"

	"github.com/remora-proxy/remora/internal/session"
)

// A session may be on an endpoint that this gateway's configuration does not have yet. The first request that meets it waits for
// unknownPatience; then the endpoint is taken for one that has gone, and no other request waits for it for firstMemory, and twice as long each time
// after that, up to lastMemory.
const (
	unknownPatience = time.Second
	unknownPause    = 50 * time.Millisecond
	firstMemory     = 10 * time.Second
	lastMemory      = time.Hour
)

// maxUnknown bounds the endpoints that are remembered: over it the one that was met the longest ago is forgotten.
const maxUnknown = 1024

// unknown is the endpoints that sessions were met at and that this gateway does not know.
type unknown struct {
	mu  sync.Mutex
	met map[Identity]meeting
}

// meeting is when an endpoint was met and waited for, and for how long from then on it is not waited for again.
type meeting struct {
	at     session.Instant
	memory time.Duration
}

// patience is until when an endpoint is waited for.
func (u *unknown) patience(owner Identity, now session.Instant) session.Instant {
	u.mu.Lock()
	defer u.mu.Unlock()
	m, met := u.met[owner]
	if !met {
		u.makeRoom()
		m = meeting{now, firstMemory}
	} else if now >= m.at.Add(m.memory) {
		m = meeting{now, min(2*m.memory, lastMemory)}
	}
	u.met[owner] = m
	return m.at.Add(unknownPatience)
}

func (u *unknown) makeRoom() {
	if u.met == nil {
		u.met = make(map[Identity]meeting)
	}
	if len(u.met) < maxUnknown {
		return
	}
	var oldest Identity
	for owner, m := range u.met {
		if oldest == 0 || m.at < u.met[oldest].at {
			oldest = owner
		}
	}
	delete(u.met, oldest)
}
