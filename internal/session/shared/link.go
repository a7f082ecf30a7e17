package shared

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/remora-proxy/remora/internal/session"
)

// link is what a gateway knows of its way to the store: a circuit breaker (M. Nygard, Release It!, 2nd edition, section 5.2). Calls
// that fail one after the other open it. While it is open no request asks the store; Flush does from time to time, and closes it.
type link struct {
	open     atomic.Bool
	failures atomic.Int32
	good     atomic.Int64 // session.Instant of the last call that succeeded

	mu    sync.Mutex
	since session.Instant // when it opened
	why   error           // the last failure
	next  session.Instant // when it is tried again
	pause time.Duration   // until then, doubled with each failure
	opens uint64
	epoch uint64
}

// So many failures in a row open the link. It is tried again after firstPause, and then twice as late each time up to lastPause.
const (
	tolerated  = 3
	firstPause = 250 * time.Millisecond
	lastPause  = 4 * time.Second
)

func (l *link) down() bool { return l.open.Load() }

// heard takes the outcome of a call.
func (l *link) heard(now session.Instant, err error) {
	if err == nil || errors.Is(err, ErrFull) {
		if l.good.Load() != int64(now) {
			l.good.Store(int64(now))
		}
		if l.failures.Load() != 0 && !l.down() {
			l.failures.Store(0)
		}
		return
	}
	if l.failures.Add(1) < tolerated && !l.down() {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.why = err
	if !l.down() {
		l.since, l.pause, l.next = now, firstPause, now.Add(firstPause)
		l.opens++
		l.open.Store(true)
	}
}

// due reports whether the store is to be tried: always while the link is closed.
func (l *link) due(now session.Instant) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.down() || now >= l.next
}

// tried takes the outcome of such a try, and the epoch of the store where it answered. It reports whether the store may have forgotten
// something, or not heard of something, since it was last in touch.
func (l *link) tried(now session.Instant, epoch uint64, err error) (again bool) {
	if err != nil {
		l.heard(now, err)
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.down() {
			l.pause = min(2*l.pause, lastPause)
			l.next = now.Add(l.pause)
		}
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	again = l.down() || l.epoch != epoch
	l.epoch = epoch
	l.failures.Store(0)
	l.open.Store(false)
	return again
}

// met reports whether the store has ever answered Flush.
func (l *link) met() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.epoch != 0
}

// lastGood is when a call last succeeded; 0: never.
func (l *link) lastGood() session.Instant { return session.Instant(l.good.Load()) }
