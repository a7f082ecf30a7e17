package shared

import (
	"errors"
	"slices"
	"time"

	"github.com/remora-proxy/remora/internal/session"
)

// batch is how many sessions one call renews; resyncAtOnce how many one Flush tells again after the store was away, so that others are not
// kept waiting for long.
const (
	batch        = 512
	resyncAtOnce = 8 * batch
)

// Flush sends the renewals that were collected. While the store does not answer it tries whether it does again; then, and when the store
// may have forgotten something, it is told all live sessions, in several calls. To be called every Options.Interval, by one goroutine.
func (s *Store) Flush(now session.Instant) {
	s.see(now)
	s.expireUntold(now)
	if s.idle.Load() == nil || !s.link.due(now) { // before the first Sweep nobody knows which sessions live
		return
	}
	epoch, err := s.remote.Epoch(now)
	v := s.link.tried(now, epoch, err)
	if err != nil {
		return
	}
	s.link.heard(now, nil)
	begun := s.begun.take()
	if v.again {
		s.tellAgain(now, v, begun)
	}
	s.refusal = nil
	defer func() {
		why := s.refusal
		s.stats.refusal.Store(&why)
	}()
	s.renewAgain(s.renewAll(now, s.dirty.take()))
	if s.link.down() {
		return
	}
	next := s.resync.keys[:min(resyncAtOnce, len(s.resync.keys))]
	left, refused := s.renewAll(now, next)
	s.renewAgain(nil, refused)
	if s.resync.keys = append(left, s.resync.keys[len(next):]...); len(s.resync.keys) == 0 {
		s.resync.keys, s.resync.lost = nil, 0
		s.resync.telling.Store(false)
	}
}

// renewAgain has the next Flush renew what this one could not.
func (s *Store) renewAgain(left, refused []session.Key) {
	for _, k := range append(left, refused...) {
		s.dirty.add(k)
	}
}

// tellAgain begins to tell the store the sessions that it may not know: all that live; or, where it is the one that it was, those seen since
// shortly before it was lost, besides those that are still to be told from before. The sessions `begun` have been claimed since the
// store was last known to be this one, or another: they must not be told to be older than they are.
func (s *Store) tellAgain(now session.Instant, v verdict, begun []session.Key) {
	if s.resync.lost == 0 || v.lost != 0 && v.lost < s.resync.lost {
		s.resync.lost = v.lost
	}
	s.resync.telling.Store(true)
	since := v.lost.Add(-Grace(s.o.Interval))
	s.Range(func(e session.Entry) bool {
		_, decided := s.untold.get(e.Key)
		if e.Live(now, s.idleOf(e.Endpoint)) && (v.all || decided || e.Holds > 0 || e.LastSeen >= since) {
			s.resync.keys = append(s.resync.keys, e.Key)
		}
		return true
	})
	slices.Sort(s.resync.keys)
	s.resync.keys = slices.Compact(s.resync.keys)
	if v.all {
		s.resync.keys = slices.DeleteFunc(s.resync.keys, func(k session.Key) bool {
			_, found := slices.BinarySearch(begun, k)
			if found {
				s.dirty.add(k)
			}
			return found
		})
	}
	for range s.untold.shards {
		s.expireUntold(now)
	}
	s.stats.resyncs.Add(1)
}

// expireUntold forgets some of what was decided alone of sessions that have ended.
func (s *Store) expireUntold(now session.Instant) {
	s.untold.expireSome(func(k session.Key) bool {
		_, live := s.liveEntry(k, now)
		return live
	})
}

// liveEntry is the own live session of a key, by the idle time of its endpoint.
func (s *Store) liveEntry(k session.Key, now session.Instant) (session.Entry, bool) {
	e, live := s.Peek(k, now, session.MaxIdle)
	return e, live && e.Live(now, s.idleOf(e.Endpoint))
}

// renewAll renews the sessions of keys. It returns those in calls that failed, and those that the store refused in calls that did not.
func (s *Store) renewAll(now session.Instant, keys []session.Key) (left, refused []session.Key) {
	for part := range slices.Chunk(keys, batch) {
		if s.link.down() {
			left = append(left, part...)
			continue
		}
		if no, ok := s.renew(now, part); ok {
			refused = append(refused, no...)
		} else {
			left = append(left, part...)
		}
	}
	return left, refused
}

// renew is one batch. It returns those that the store refused, and whether it answered.
func (s *Store) renew(now session.Instant, keys []session.Key) (refused []session.Key, ok bool) {
	claims := make([]Claim, 0, len(keys))
	at := make([]standing, 0, len(keys))
	for _, k := range keys {
		d, decided := s.untold.get(k)
		e, live := s.liveEntry(k, now)
		if !live {
			if decided {
				s.untold.told(k, d.serial, 0)
			}
			continue
		}
		// It may have begun since `now`, while the store was asked for its epoch: a claim must not be told to be older than it is.
		c := Claim{Key: k, Owner: s.identity(e.Endpoint), Claimed: max(now, e.LastSeen), Until: e.LastSeen.Add(s.idleOf(e.Endpoint))}
		if c.Owner == 0 {
			continue
		}
		if e.Holds > 0 {
			c.Until = now.Add(s.idleOf(e.Endpoint))
		}
		if s.resync.lost != 0 && e.LastSeen <= now && s.resync.has(k) {
			c.Claimed = s.resync.lost
		}
		if d.claimed != 0 {
			c.Claimed = d.claimed
		}
		if !d.unfit || !s.fit(d.from, now) {
			c.From = d.from
		}
		if !s.serves(e.Endpoint, now) { // its next request moves it: no other gateway's claim is younger
			c.Claimed = c.Until
		}
		claims, at = append(claims, c), append(at, standing{e, d.serial})
	}
	if len(claims) == 0 {
		return nil, true
	}
	found, err := s.remote.Renew(now, claims)
	if len(found) != len(claims) {
		s.link.renewed(now, err)
		return nil, false
	}
	s.link.renewed(now, nil) // at least in part
	if errors.Is(err, ErrFull) {
		err = nil
	} else if err != nil {
		s.refusal = err
	}
	s.stats.renewals.Add(uint64(len(claims)))
	for i, b := range found {
		switch c := &claims[i]; b.Owner {
		case c.Owner:
			s.untold.told(c.Key, at[i].serial, b.Owner)
			if e, live := s.liveEntry(c.Key, now); live && s.identity(e.Endpoint) != b.Owner {
				s.dirty.add(c.Key) // it was moved while this was on its way: the next renewal finds out which of the two came later
			}
		case 0: // where there was no room for it, it is tried again with its next request
			if err != nil {
				refused = append(refused, c.Key)
			}
		default:
			s.follow(c.Key, at[i], b.Owner, now)
		}
	}
	return refused, true
}

// standing is what a renewal that is on its way says of a session.
type standing struct {
	session.Entry
	serial uint64 // of the decision made alone that it tells; 0: none
}

// follow takes over from the store where a session is.
func (s *Store) follow(k session.Key, was standing, owner Identity, now session.Instant) {
	to := s.endpoint(owner)
	switch {
	case to != 0 && (was.serial == 0 || s.fit(owner, now)):
		if _, moved := s.Table.Move(k, was.Endpoint, to, now, session.MaxIdle); moved {
			s.stats.followed.Add(1)
		}
	case was.serial != 0: // a request has decided here, and would have moved the session away from there, as is done now
		if to != 0 || now >= s.unknown.patience(owner, now) {
			s.untold.takes(k, was.serial, owner)
		}
		s.dirty.add(k)
		return
	case s.Drop(was.Entry):
		// Nobody here has decided anything, and this gateway's configuration may lag behind: nothing is taken back. The user's next request asks the
		// store, and waits for the endpoint.
		s.stats.followed.Add(1)
	}
	s.untold.told(k, was.serial, owner)
}

// Hear takes news of the other gateways. They may come late, twice, in another order, or not at all: what they make wrong is corrected
// with the session's next renewal.
func (s *Store) Hear(n News, now session.Instant) {
	switch n.Kind {
	case Totals:
		s.census.hear(n.Counted, s, now)
	case Moved:
		e, live := s.liveEntry(n.Key, now)
		if !live || n.From == s.o.Gateway || s.identity(e.Endpoint) == n.Owner {
			return
		}
		// News may overtake each other, or the answer to a renewal that says what was decided alone; and the endpoint may not be known here
		// yet. The next renewal is to find out, also where no request uses the session.
		s.dirty.add(n.Key)
		to := s.endpoint(n.Owner)
		if _, decided := s.untold.get(n.Key); decided || to == 0 {
			return
		}
		if _, moved := s.Table.Move(n.Key, e.Endpoint, to, now, session.MaxIdle); moved {
			s.stats.followed.Add(1)
		}
	case Drain: // the engine's: see whoever calls Hear
	}
}

// leadFor is for how long a gateway counts for all, unless it says again that it does.
const leadFor = 5 * time.Second
