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

	unrenewed int // calls of Renew that failed in a row. Only Flush uses it

	mu    sync.Mutex
	since session.Instant // when it opened
	why   error           // the last failure
	next  session.Instant // when it is tried again
	pause time.Duration   // until then, doubled with each failure
	opens uint64
	epoch uint64
	asked session.Instant // when the store last said that it is of this epoch
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
	if errors.Is(err, ErrBusy) {
		return
	}
	if err == nil || errors.Is(err, ErrFull) {
		if l.good.Load() != int64(now) {
			l.good.Store(int64(now))
		}
		if l.failures.Load() != 0 && !l.down() {
			l.failures.Store(0)
		}
		return
	}
	if l.failures.Add(1) >= tolerated || l.down() {
		l.fail(now, err)
	}
}

// renewed takes the outcome of a renewal. So many that fail in a row open the link, also where other calls succeed between them: a store that
// answers, but for the renewals of sessions, loses them.
func (l *link) renewed(now session.Instant, err error) {
	l.heard(now, err)
	switch {
	case err == nil || errors.Is(err, ErrFull):
		l.unrenewed = 0
	case !errors.Is(err, ErrBusy):
		if l.unrenewed++; l.unrenewed >= tolerated {
			l.fail(now, err)
		}
	}
}

// fail opens the link.
func (l *link) fail(now session.Instant, err error) {
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

// verdict is what a gateway has to tell the store.
type verdict struct {
	again bool            // something: it may have forgotten sessions, or not heard of some
	all   bool            // all sessions: it is of another epoch
	lost  session.Instant // since when it may not know; 0: nothing is known of that
}

// tried takes the outcome of such a try, and the epoch of the store where it answered.
func (l *link) tried(now session.Instant, epoch uint64, err error) (v verdict) {
	if err != nil {
		l.heard(now, err)
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.down() {
			l.pause = min(2*l.pause, lastPause)
			l.next = now.Add(l.pause)
		}
		return v
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.epoch == 0: // a store that this gateway has only met has lost nothing of it
		v = verdict{again: true, all: true}
	case l.epoch != epoch: // calls that succeeded since it was asked may have been answered by either
		v = verdict{again: true, all: true, lost: l.asked}
	case l.down():
		v = verdict{again: true, lost: l.lastGood()}
	}
	l.epoch, l.asked = epoch, now
	l.failures.Store(0)
	l.open.Store(false)
	return v
}

// lastGood is when a call last succeeded; 0: never.
func (l *link) lastGood() session.Instant { return session.Instant(l.good.Load()) }
