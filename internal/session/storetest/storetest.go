// Package storetest is the contract of session.Store as tests: one suite that every store passes. It knows nothing of a
// store but the interface; it gives explicit times, and keys that no other test uses.
package storetest

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/session"
)

// start is the time at which every test begins, and idle the idle time of every session that a test does not say
// otherwise about.
const (
	start = session.Instant(1_800_000_000_000)
	idle  = time.Minute
)

// Run runs the suite. newStore returns an empty store with room for 10,000 sessions, for the test that it is given.
func Run(t *testing.T, newStore func(t *testing.T) session.Store) {
	t.Helper()
	for _, group := range [][]spec{bindSpecs, holdSpecs, expirySpecs, moveSpecs, countSpecs, raceSpecs, modelSpecs} {
		for _, s := range group {
			t.Run(s.sentence, func(t *testing.T) {
				s.check(t, &store{Store: newStore(t), t: t})
			})
		}
	}
}

// spec is one sentence of the contract.
type spec struct {
	sentence string
	check    func(t *testing.T, s *store)
}

// store is the store under test with words for what the tests expect of it.
type store struct {
	session.Store
	t *testing.T
}

func key() session.Key { return session.Key(rand.Uint64()) }

func after(d time.Duration) session.Instant { return start.Add(d) }

// bind binds a new session and releases it, so that it was last seen at now and is not held.
func (s *store) bind(k session.Key, ep session.EndpointID, now session.Instant) {
	s.t.Helper()
	s.bindHeld(k, ep, now)
	s.Release(k, now)
}

func (s *store) bindHeld(k session.Key, ep session.EndpointID, now session.Instant) {
	s.t.Helper()
	if owner, outcome := s.Bind(k, ep, now, idle); owner != ep || outcome != session.Bound {
		s.t.Fatalf("Bind to %d: got endpoint %d, outcome %d; want it bound", ep, owner, outcome)
	}
}

func (s *store) releaseAll(k session.Key, holds int, now session.Instant) {
	for range holds {
		s.Release(k, now)
	}
}

func (s *store) wantSession(k session.Key, now session.Instant, want session.Entry) {
	s.t.Helper()
	want.Key = k
	got, ok := s.Peek(k, now, idle)
	if !ok || got != want {
		s.t.Fatalf("Peek: got %+v, %v; want %+v", got, ok, want)
	}
}

func (s *store) wantNone(k session.Key, now session.Instant) {
	s.t.Helper()
	if got, ok := s.Peek(k, now, idle); ok {
		s.t.Fatalf("Peek: got %+v; want no session", got)
	}
}

func (s *store) wantAcquired(k session.Key, now session.Instant, want session.EndpointID) {
	s.t.Helper()
	if ep, ok := s.Acquire(k, now, idle); !ok || ep != want {
		s.t.Fatalf("Acquire: got %d, %v; want %d", ep, ok, want)
	}
}

func (s *store) wantNotAcquired(k session.Key, now session.Instant) {
	s.t.Helper()
	if ep, ok := s.Acquire(k, now, idle); ok || ep != 0 {
		s.t.Fatalf("Acquire: got %d, %v; want no session", ep, ok)
	}
}

// sweep visits the whole store and returns how many sessions it removed.
func (s *store) sweep(now session.Instant, idle func(session.EndpointID) time.Duration) (removed int) {
	const parts = 16
	for part := range parts {
		removed += s.Sweep(part, parts, now, idle)
	}
	return removed
}

func (s *store) sweepAll(now session.Instant) int {
	return s.sweep(now, func(session.EndpointID) time.Duration { return idle })
}

// wantStored expects exactly these sessions, in any order, and their counts.
func (s *store) wantStored(want ...session.Entry) {
	s.t.Helper()
	var got []session.Entry
	s.Range(func(e session.Entry) bool {
		got = append(got, e)
		return true
	})
	byKey := func(a, b session.Entry) int {
		if a.Key < b.Key {
			return -1
		}
		return 1
	}
	slices.SortFunc(got, byKey)
	slices.SortFunc(want, byKey)
	if !slices.Equal(got, want) {
		s.t.Fatalf("Range: got %+v; want %+v", got, want)
	}
	live := map[session.EndpointID]int{}
	for _, e := range want {
		live[e.Endpoint]++
	}
	if s.Len() != len(want) {
		s.t.Fatalf("Len: got %d; want %d", s.Len(), len(want))
	}
	for ep := range session.EndpointID(100) {
		if s.Live(ep) != live[ep] {
			s.t.Fatalf("Live(%d): got %d; want %d", ep, s.Live(ep), live[ep])
		}
	}
}
