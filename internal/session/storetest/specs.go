package storetest

import (
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/session"
)

var bindSpecs = []spec{
	{"a key without a session is bound with one hold", func(_ *testing.T, s *store) {
		k := key()
		s.bindHeld(k, 7, start)
		s.wantSession(k, start, session.Entry{Endpoint: 7, LastSeen: start, Holds: 1})
	}},
	{"the first writer wins and the second gets a hold on its session", func(t *testing.T, s *store) {
		k := key()
		s.bindHeld(k, 7, start)
		if ep, outcome := s.Bind(k, 8, after(time.Second), idle); ep != 7 || outcome != session.Existing {
			t.Fatalf("second Bind: got %d, %d; want endpoint 7, Existing", ep, outcome)
		}
		s.wantSession(k, start, session.Entry{Endpoint: 7, LastSeen: after(time.Second), Holds: 2})
	}},
	{"Acquire of a live session renews it and adds a hold", func(_ *testing.T, s *store) {
		k := key()
		s.bind(k, 7, start)
		s.wantAcquired(k, after(59*time.Second), 7)
		s.wantSession(k, after(59*time.Second), session.Entry{Endpoint: 7, LastSeen: after(59 * time.Second), Holds: 1})
	}},
	{"Acquire of a key without a session changes nothing", func(_ *testing.T, s *store) {
		k := key()
		s.wantNotAcquired(k, start)
		s.wantNone(k, start)
		s.wantStored()
	}},
	{"Peek changes nothing", func(_ *testing.T, s *store) {
		k := key()
		s.bind(k, 7, start)
		for range 2 {
			s.wantSession(k, after(30*time.Second), session.Entry{Endpoint: 7, LastSeen: start})
		}
		s.wantNone(k, after(idle))
	}},
	{"keys are independent of each other, neighbours as well as the ends of their range", func(_ *testing.T, s *store) {
		k := key()
		keys := []session.Key{0, 1, 2, 1 << 63, ^session.Key(0), ^session.Key(0) - 1, k, k + 1, k ^ 1<<63}
		for i, k := range keys {
			s.bind(k, session.EndpointID(1+i), start)
		}
		for i, k := range keys {
			s.wantSession(k, start, session.Entry{Endpoint: session.EndpointID(1 + i), LastSeen: start})
		}
		for i, k := range keys {
			s.Move(k, session.EndpointID(1+i), 50, start, idle)
			if moved := s.Live(50); moved != 1+i || s.Len() != len(keys) {
				s.t.Fatalf("Move(%#x): %d of %d sessions have moved; want %d of %d", uint64(k), moved, s.Len(), 1+i, len(keys))
			}
		}
	}},
	{"the largest endpoint id is one like any other", func(_ *testing.T, s *store) {
		k := key()
		s.bindHeld(k, session.MaxEndpoints-1, start)
		s.wantSession(k, start, session.Entry{Endpoint: session.MaxEndpoints - 1, LastSeen: start, Holds: 1})
		if n := s.Live(session.MaxEndpoints - 1); n != 1 {
			s.t.Fatalf("Live: got %d; want 1", n)
		}
	}},
}

var holdSpecs = []spec{
	{"a held session does not expire, however long", func(_ *testing.T, s *store) {
		k := key()
		s.bindHeld(k, 7, start)
		late := after(7 * 24 * time.Hour)
		s.sweepAll(late)
		s.wantSession(k, late, session.Entry{Endpoint: 7, LastSeen: start, Holds: 1})
		s.wantAcquired(k, late, 7)
	}},
	{"the idle time begins when the last hold ends", func(_ *testing.T, s *store) {
		k := key()
		s.bindHeld(k, 7, start)
		s.wantAcquired(k, after(time.Second), 7)
		s.Release(k, after(100*time.Second))
		s.wantSession(k, after(300*time.Second), session.Entry{Endpoint: 7, LastSeen: after(100 * time.Second), Holds: 1})
		s.Release(k, after(300*time.Second))
		s.wantSession(k, after(359_999*time.Millisecond), session.Entry{Endpoint: 7, LastSeen: after(300 * time.Second)})
		s.wantNone(k, after(360*time.Second))
	}},
	{"Release of a session without holds leaves it as it is", func(_ *testing.T, s *store) {
		k := key()
		s.bind(k, 7, start)
		s.Release(k, after(30*time.Second))
		s.wantSession(k, after(30*time.Second), session.Entry{Endpoint: 7, LastSeen: start})
	}},
	{"Release of a key without a session changes nothing", func(_ *testing.T, s *store) {
		k := key()
		s.Release(k, start)
		s.wantStored()
	}},
	{"Release of an expired session does not revive it", func(_ *testing.T, s *store) {
		k := key()
		s.bind(k, 7, start)
		s.Release(k, after(idle))
		s.wantNone(k, after(idle))
	}},
	{"thousands of holds are counted exactly", func(_ *testing.T, s *store) {
		k, other := key(), key()
		s.bind(other, 8, start)
		s.bindHeld(k, 7, start)
		const holds = 2500
		for range holds - 1 {
			s.wantAcquired(k, start, 7)
		}
		for n := holds; n > 0; n-- {
			s.wantSession(k, after(10*idle), session.Entry{Endpoint: 7, LastSeen: start, Holds: n})
			s.Release(k, start)
		}
		s.wantSession(k, start, session.Entry{Endpoint: 7, LastSeen: start})
		s.wantSession(other, start, session.Entry{Endpoint: 8, LastSeen: start})
		s.wantNone(k, after(idle))
	}},
}

var expirySpecs = []spec{
	{"a session is live until its idle time has passed, to the millisecond", func(_ *testing.T, s *store) {
		k := key()
		s.bind(k, 7, start)
		s.wantSession(k, after(idle)-1, session.Entry{Endpoint: 7, LastSeen: start})
		s.wantNone(k, after(idle))
		s.wantNotAcquired(k, after(idle))
		s.wantAcquired(k, after(idle)-1, 7)
	}},
	{"each call judges by the idle time that it is given", func(t *testing.T, s *store) {
		k := key()
		s.bind(k, 7, start)
		now := after(10 * time.Second)
		if _, ok := s.Peek(k, now, 10*time.Second); ok {
			t.Fatal("idle for 10 s with an idle time of 10 s: want no session")
		}
		if _, ok := s.Peek(k, now, 10*time.Second+time.Millisecond); !ok {
			t.Fatal("idle for 10 s with an idle time of 10.001 s: want the session")
		}
	}},
	{"an idle time of zero ends a session with its last hold", func(t *testing.T, s *store) {
		k := key()
		s.bindHeld(k, 7, start)
		if _, ok := s.Peek(k, start, 0); !ok {
			t.Fatal("while held: want the session")
		}
		s.Release(k, start)
		if _, ok := s.Peek(k, start, 0); ok {
			t.Fatal("when released: want no session")
		}
	}},
	{"each request renews, so a session outlives its idle time many times", func(_ *testing.T, s *store) {
		k := key()
		s.bind(k, 7, start)
		for i := 1; i < 50; i++ {
			now := after(time.Duration(i) * (idle - time.Millisecond))
			s.wantAcquired(k, now, 7)
			s.Release(k, now)
		}
	}},
	{"an expired session is bound anew, to any endpoint, swept or not", func(_ *testing.T, s *store) {
		k, swept := key(), key()
		s.bind(k, 7, start)
		s.bind(swept, 7, start)
		s.bindHeld(k, 8, after(idle))
		s.sweepAll(after(idle))
		s.bindHeld(swept, 9, after(idle))
		s.wantStored(
			session.Entry{Key: k, Endpoint: 8, LastSeen: after(idle), Holds: 1},
			session.Entry{Key: swept, Endpoint: 9, LastSeen: after(idle), Holds: 1})
	}},
	{"a session seen after now is live: clocks are set back and goroutines overtake each other", func(_ *testing.T, s *store) {
		k := key()
		s.bind(k, 7, after(time.Hour))
		s.sweepAll(start)
		s.wantSession(k, start, session.Entry{Endpoint: 7, LastSeen: after(time.Hour)})
		s.wantAcquired(k, start, 7)
	}},
	{"a call that was held up does not set back when a session was last seen", func(t *testing.T, s *store) {
		k := key()
		s.bind(k, 7, after(time.Second))
		if owner, outcome := s.Bind(k, 8, start, idle); owner != 7 || outcome != session.Existing {
			t.Fatalf("Bind: got endpoint %d, outcome %d; want the session at 7", owner, outcome)
		}
		s.wantAcquired(k, start, 7)
		s.Release(k, start)
		s.Release(k, start)
		s.wantSession(k, start, session.Entry{Endpoint: 7, LastSeen: after(time.Second)})
	}},
	{"a session may be idle for the longest idle time", func(t *testing.T, s *store) {
		k := key()
		s.bind(k, 7, start)
		if e, ok := s.Peek(k, after(session.MaxIdle)-1, session.MaxIdle); !ok || e.LastSeen != start {
			t.Fatalf("one millisecond before: got %+v, %v", e, ok)
		}
		if _, ok := s.Peek(k, after(session.MaxIdle), session.MaxIdle); ok {
			t.Fatal("after the longest idle time: want no session")
		}
	}},
}

var moveSpecs = []spec{
	{"Move rebinds a session from the endpoint it has, with its holds and its time", func(t *testing.T, s *store) {
		k := key()
		s.bindHeld(k, 7, start)
		s.wantAcquired(k, after(time.Second), 7)
		if ep, moved := s.Move(k, 7, 8, after(2*time.Second), idle); ep != 8 || !moved {
			t.Fatalf("Move: got %d, %v; want 8, true", ep, moved)
		}
		s.wantStored(session.Entry{Key: k, Endpoint: 8, LastSeen: after(time.Second), Holds: 2})
	}},
	{"Move from another endpoint than the session has changes nothing and tells which it has", func(t *testing.T, s *store) {
		k := key()
		s.bind(k, 7, start)
		if ep, moved := s.Move(k, 8, 9, start, idle); ep != 7 || moved {
			t.Fatalf("Move: got %d, %v; want 7, false", ep, moved)
		}
		s.wantStored(session.Entry{Key: k, Endpoint: 7, LastSeen: start})
	}},
	{"Move of a key without a live session changes nothing", func(t *testing.T, s *store) {
		k := key()
		if ep, moved := s.Move(k, 7, 8, start, idle); ep != 0 || moved {
			t.Fatalf("never bound: got %d, %v; want 0, false", ep, moved)
		}
		s.bind(k, 7, start)
		if ep, moved := s.Move(k, 7, 8, after(idle), idle); ep != 0 || moved {
			t.Fatalf("expired: got %d, %v; want 0, false", ep, moved)
		}
		s.sweepAll(after(idle))
		s.wantStored()
	}},
}

var countSpecs = []spec{
	{"an empty store is empty", func(_ *testing.T, s *store) { s.wantStored() }},
	{"sessions are counted by endpoint", func(t *testing.T, s *store) {
		for ep := session.EndpointID(1); ep <= 3; ep++ {
			for range 10 * ep {
				s.bind(key(), ep, start)
			}
		}
		if s.Len() != 60 || s.Live(1) != 10 || s.Live(2) != 20 || s.Live(3) != 30 || s.Live(4) != 0 || s.Live(0) != 0 {
			t.Fatalf("Len %d, Live %d %d %d %d", s.Len(), s.Live(1), s.Live(2), s.Live(3), s.Live(4))
		}
	}},
	{"Sweep removes what has expired and nothing else, by each endpoint's idle time", func(t *testing.T, s *store) {
		young, old, held, patient := key(), key(), key(), key()
		s.bind(old, 1, start)
		s.bindHeld(held, 1, start)
		s.bind(patient, 2, start)
		s.bind(young, 1, start+1)
		removed := s.sweep(after(idle), func(ep session.EndpointID) time.Duration {
			return time.Duration(ep) * idle
		})
		if removed > 1 {
			t.Fatalf("removed %d sessions; want 1, or 0 from a store that sheds them by itself", removed)
		}
		s.wantStored(
			session.Entry{Key: young, Endpoint: 1, LastSeen: start + 1},
			session.Entry{Key: held, Endpoint: 1, LastSeen: start, Holds: 1},
			session.Entry{Key: patient, Endpoint: 2, LastSeen: start})
	}},
	{"the parts of a Sweep cover the store, few or many", func(t *testing.T, s *store) {
		for _, parts := range []int{1, 3, 16, 1000} {
			for range 500 {
				s.bind(key(), 5, start)
			}
			for part := range parts {
				s.Sweep(part, parts, after(idle), func(session.EndpointID) time.Duration { return idle })
			}
			if s.Len() != 0 || s.Live(5) != 0 {
				t.Fatalf("in %d parts: %d sessions are left, %d of the endpoint", parts, s.Len(), s.Live(5))
			}
		}
	}},
	{"Range stops when it is told to", func(t *testing.T, s *store) {
		for range 100 {
			s.bind(key(), 5, start)
		}
		calls := 0
		s.Range(func(session.Entry) bool {
			calls++
			return calls < 10
		})
		if calls != 10 {
			t.Fatalf("f was called %d times; want 10", calls)
		}
	}},
}
