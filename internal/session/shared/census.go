package shared

import (
	"sync/atomic"
	"time"

	"github.com/remora-proxy/remora/internal/session"
)

// census is how many live sessions each endpoint has. One of the gateways walks through the store, part by part, and tells all what it
// counted; each adds what it knows better, its own sessions, as they are now.
type census struct {
	others atomic.Pointer[map[session.EndpointID]int] // as of the last Totals
	total  atomic.Int64
	heard  atomic.Int64 // session.Instant of those Totals
	pass   pass
}

// pass is one walk through the store. Only Count uses it.
type pass struct {
	parts   int // in which the store is walked
	next    int
	tries   int // to count the next part
	counted map[Identity]int
}

// lastTry is how often it is tried to count a part. One that cannot be counted (a bucket of somebody else's) is left out.
const lastTry = 3

// A walk takes leastWalk, or as long as the store needs to count all sessions with some hundredths of its time: sessionsASecond. It asks the
// store some thousand times however few there are, which is why it is not faster.
const (
	leastWalk       = 5 * time.Second
	sessionsASecond = 50_000
)

// Count counts a part of the store's sessions if this gateway is the one to do so, and tells the others when it has been through. To be
// called every Options.Interval, by one goroutine.
func (s *Store) Count(now session.Instant) {
	p := &s.census.pass
	if s.link.down() {
		return
	}
	lead, err := s.remote.Lead(now, leadFor.Milliseconds())
	s.link.heard(now, err)
	if err != nil || !lead {
		p.next, p.tries, p.counted = 0, 0, nil
		return
	}
	if p.counted == nil {
		p.counted = make(map[Identity]int)
	}
	for range s.partsAtOnce() {
		found, err := s.remote.Count(now, p.next, p.parts)
		s.link.heard(now, err)
		if p.tries++; err != nil && p.tries < lastTry {
			return
		}
		p.tries = 0
		for owner, n := range found {
			p.counted[owner] += n
		}
		if p.next++; p.next == p.parts {
			s.link.heard(now, s.remote.Announce(News{Kind: Totals, From: s.o.Gateway, Counted: p.counted}))
			p.next, p.counted = 0, nil
			return
		}
	}
}

// walk is how long it takes to count all sessions once.
func (c *census) walk() time.Duration {
	return max(leastWalk, time.Duration(c.total.Load())*time.Second/sessionsASecond)
}

// severalWalks is of how many walks nothing must have been heard before what was counted is taken for old.
const severalWalks = 3

// fresh reports whether what was heard is of one of the last walks: else nobody counts any more, or nothing has been heard yet.
func (c *census) fresh(now session.Instant) bool {
	heard := session.Instant(c.heard.Load())
	return heard != 0 && now < heard.Add(severalWalks*c.walk())
}

// partsAtOnce is how many parts one call of Count visits.
func (s *Store) partsAtOnce() int {
	return max(1, int(float64(s.census.pass.parts)*s.o.Interval.Seconds()/s.census.walk().Seconds()))
}

// hear takes what was counted.
func (c *census) hear(counted map[Identity]int, s *Store, now session.Instant) {
	others, total := make(map[session.EndpointID]int), 0
	for owner, n := range counted {
		total += n
		if ep := s.endpoint(owner); ep != 0 {
			if n -= s.Table.Live(ep); n > 0 {
				others[ep] = n
			}
		}
	}
	c.total.Store(int64(total))
	c.heard.Store(int64(now))
	c.others.Store(&others)
}

// elsewhere is how many sessions an endpoint has that this gateway does not. What was counted so long ago that those have ended, and that several more
// walks should have been heard of, says nothing any more: the store is away, or nobody counts.
func (s *Store) elsewhere(ep session.EndpointID) int {
	c := &s.census
	others := c.others.Load()
	if others == nil {
		return 0
	}
	n := (*others)[ep]
	if n > 0 && s.latest.Load() >= c.heard.Load()+max(s.idleOf(ep), severalWalks*c.walk()).Milliseconds() {
		return 0
	}
	return n
}
