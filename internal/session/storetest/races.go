package storetest

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/remora-proxy/remora/internal/session"
)

// atOnce runs f in n goroutines that start together, and waits for them.
func atOnce(n int, f func(i int)) {
	var wg sync.WaitGroup
	begin := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-begin
			f(i)
		})
	}
	close(begin)
	wg.Wait()
}

var raceSpecs = []spec{
	{"of many that bind a key at once exactly one is first, and all agree", func(t *testing.T, s *store) {
		const rounds, racers = 100, 8
		for range rounds {
			k := key()
			var first atomic.Int32
			var owners [racers]session.EndpointID
			atOnce(racers, func(i int) {
				ep, outcome := s.Bind(k, session.EndpointID(1+i), start, idle)
				if outcome == session.Bound {
					first.Add(1)
				}
				owners[i] = ep
			})
			for _, ep := range owners {
				if ep == 0 || ep != owners[0] || first.Load() != 1 {
					t.Fatalf("%d were first; the owners are %v", first.Load(), owners)
				}
			}
			s.wantSession(k, after(10*idle), session.Entry{Endpoint: owners[0], LastSeen: start, Holds: racers})
			s.releaseAll(k, racers, start)
		}
		s.sweepAll(after(2 * idle))
		s.wantStored()
	}},
	{"of many that bind an expired key at once exactly one is first", func(t *testing.T, s *store) {
		const rounds, racers = 100, 8
		for range rounds {
			k := key()
			s.bind(k, 50, start)
			var first atomic.Int32
			atOnce(racers, func(i int) {
				if _, outcome := s.Bind(k, session.EndpointID(1+i), after(idle), idle); outcome == session.Bound {
					first.Add(1)
				}
			})
			if first.Load() != 1 {
				t.Fatalf("%d were first", first.Load())
			}
			s.releaseAll(k, racers, after(idle))
		}
		s.sweepAll(after(2 * idle))
		s.wantStored()
	}},
	{"of many that move a session at once exactly one moves it, and all learn where it is", func(t *testing.T, s *store) {
		const rounds, racers = 100, 8
		for range rounds {
			k := key()
			s.bindHeld(k, 50, start)
			var movers atomic.Int32
			var owners [racers]session.EndpointID
			atOnce(racers, func(i int) {
				ep, moved := s.Move(k, 50, session.EndpointID(1+i), start, idle)
				if moved {
					movers.Add(1)
				}
				owners[i] = ep
			})
			for _, ep := range owners {
				if ep == 50 || ep != owners[0] || movers.Load() != 1 {
					t.Fatalf("%d moved it; the owners are %v", movers.Load(), owners)
				}
			}
			s.Release(k, start)
		}
		s.sweepAll(after(2 * idle))
		s.wantStored()
	}},
	{"holds that come and go on all sides add up", func(_ *testing.T, s *store) {
		const keys, workers, turns = 5, 4, 500
		ks := make([]session.Key, keys)
		for i := range ks {
			ks[i] = key()
			s.bindHeld(ks[i], 7, start)
		}
		atOnce(workers, func(w int) {
			for turn := range turns {
				k := ks[(w+turn)%keys]
				if _, ok := s.Acquire(k, start, idle); ok {
					s.Release(k, start)
				}
			}
		})
		for _, k := range ks {
			s.wantSession(k, start, session.Entry{Endpoint: 7, LastSeen: start, Holds: 1})
		}
	}},
	{"sweeps, ranges and requests at once lose no held session", func(_ *testing.T, s *store) {
		held := make([]session.Key, 50)
		for i := range held {
			held[i] = key()
			s.bindHeld(held[i], 7, start)
		}
		done := make(chan struct{})
		var background sync.WaitGroup
		background.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				s.sweepAll(after(2 * idle))
				s.Range(func(e session.Entry) bool { return e.Endpoint != 0 })
			}
		})
		atOnce(3, func(w int) {
			ep := session.EndpointID(10 + w)
			for range 500 {
				k := key()
				s.Bind(k, ep, start, idle)
				s.Move(k, ep, ep+10, start, idle)
				s.Release(k, start)
			}
		})
		close(done)
		background.Wait()
		s.sweepAll(after(2 * idle))
		want := make([]session.Entry, len(held))
		for i, k := range held {
			want[i] = session.Entry{Key: k, Endpoint: 7, LastSeen: start, Holds: 1}
		}
		s.wantStored(want...)
	}},
}
