package app

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/remora-proxy/remora/internal/session"
	"github.com/remora-proxy/remora/internal/session/shared"
)

const (
	// markSettle is how long after a drain mark was told the others have it, also those that missed the news and look at markInterval.
	markSettle = 2 * markInterval
	// awaySettle is how long after the store was away, and this gateway has told it all its sessions, the others have as well: they try it again
	// 4 s after the last failure at the latest, and tell it some 20,000 sessions a second.
	awaySettle = 10 * time.Second

	recountPause = 5 * time.Second // from one count to the next, where sessions were found
	recountRetry = time.Second     // after one that failed
	recountTries = 3               // of each part
	recountShare = 4               // after a part that took t, the store has recountShare·t for others
)

var (
	errNotCounted = errors.New("the sessions of all gateways are being counted")
	errStoreAway  = errors.New("the store does not answer")
	errStoreLost  = errors.New("the store was emptied or restarted while its sessions were counted")
)

// recount counts all sessions of the store for whoever has to know that a replica has none left. The totals that gateways tell each other do not
// say that: their count may have begun before the replica was drained, parts of it may have failed, and at first there are none.
type recount struct {
	told atomic.Int64 // session.Instant when a drain mark was last told, or heard of
	away atomic.Int64 // session.Instant when the store last was away, or was being told all sessions; 0: not since the start

	mu      sync.Mutex
	running bool
	began   session.Instant // of the last count that came to its end; 0: none has
	counted map[shared.Identity]int
	next    session.Instant // before which no other one begins
	err     error           // why the last one failed; nil: it did not
}

// left is how many sessions all gateways together have at the endpoints of an address, name or incarnation, by a count of the whole store that
// began after `since`, and when the drain marks had come to all gateways. It waits for nothing: the error says why that is not known yet. Somebody who asks again
// will hear of it, since a count begins where one is needed.
func (s *sharing) left(endpoint string, since session.Instant) (sessions int, err error) {
	if !s.remote.agreed.Load() || !s.store.Waits() {
		return 0, errStoreAway
	}
	if s.drains.waiting() {
		return 0, errors.New("the store has not been told of a drain yet")
	}
	c, now := &s.recount, s.p.clock.instant()
	since = max(since, session.Instant(c.told.Load()).Add(markSettle))
	if away := session.Instant(c.away.Load()); away != 0 {
		since = max(since, away.Add(awaySettle))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.began != 0 && c.began >= since
	if known {
		for _, identity := range s.p.engine.Identities(endpoint) {
			sessions += c.counted[shared.Identity(identity)]
		}
	}
	if (!known || sessions > 0) && !c.running && now >= since && now >= c.next {
		c.running = true
		go s.countAll(now)
	}
	switch {
	case known:
		return sessions, nil
	case c.err != nil:
		return 0, c.err
	}
	return 0, errNotCounted
}

// countAll counts, and keeps what it has found.
func (s *sharing) countAll(now session.Instant) {
	counted, err := s.countParts(now)
	c := &s.recount
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running, c.err = false, err
	if err != nil {
		c.next = s.p.clock.instant().Add(recountRetry)
		return
	}
	c.began, c.counted, c.next = now, counted, s.p.clock.instant().Add(recountPause)
}

// countParts counts the sessions of all parts of the store. No part may be missing, and the store must be the same one from the beginning to the end.
func (s *sharing) countParts(now session.Instant) (map[shared.Identity]int, error) {
	before := s.remote.epoch.Load()
	all := map[shared.Identity]int{}
	for part := range countParts {
		var found map[shared.Identity]int
		for tries := 1; ; tries++ {
			began := time.Now()
			var err error
			found, err = s.remote.Count(now, part, countParts)
			took := time.Since(began)
			if err == nil {
				s.pause(recountShare * took)
				break
			}
			if tries == recountTries {
				return nil, err
			}
			s.pause(recountRetry)
		}
		for owner, n := range found {
			all[owner] += n
		}
	}
	epoch, err := s.outside.Epoch(s.p.clock.instant())
	if err == nil && (epoch != before || s.remote.epoch.Load() != before) {
		err = errStoreLost
	}
	return all, err
}

// watchAway notes when the store is away, or has to be told all sessions. flush calls it after each Flush; resyncs is what it returned before.
func (c *recount) watchAway(st shared.Status, resyncs uint64, now session.Instant) uint64 {
	if st.Down || st.Telling || st.Resyncs != resyncs {
		c.away.Store(int64(now))
	}
	return st.Resyncs
}

// empty reports whether no gateway has a session at the endpoints of an incarnation, by a count that began within the given time.
func (s *sharing) empty(incarnation string, within time.Duration) bool {
	if s == nil {
		return true
	}
	n, err := s.left(incarnation, s.p.clock.instant().Add(-within))
	return err == nil && n == 0
}
