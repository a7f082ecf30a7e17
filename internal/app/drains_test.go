package app

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/remora-proxy/remora/internal/session"
	"github.com/remora-proxy/remora/internal/session/shared"
)

// A markStore is a store outside of which only drain marks are asked.
type markStore struct {
	outside
	epoch atomic.Uint64
	marks [][2]string
	looks int
	asked func() // is called when the store has said its marks, before that is heard
}

func (m *markStore) Epoch(session.Instant) (uint64, error) { return m.epoch.Load(), nil }
func (m *markStore) Conflict() error                       { return nil }

func (m *markStore) Announce(n shared.News) error {
	m.marks = slices.DeleteFunc(m.marks, func(mark [2]string) bool { return mark == n.Endpoint })
	if n.On {
		m.marks = append(m.marks, n.Endpoint)
	}
	return nil
}

func (m *markStore) Drained([][2]string) ([][2]string, error) {
	m.looks++
	marks := slices.Clone(m.marks)
	if m.asked != nil {
		m.asked()
	}
	return marks, nil
}

// empty is FLUSHALL.
func (m *markStore) empty() {
	m.marks = nil
	m.epoch.Add(1)
}

// sharingWith is a gateway that shares its sessions in a store, which it has met.
func sharingWith(t *testing.T, m *markStore) *sharing {
	t.Helper()
	p, err := newProgram(Options{Sharing: &Sharing{Interval: time.Minute}, Log: slog.New(slog.DiscardHandler)})
	must(t, err)
	s := p.sharing
	s.outside = m
	s.remote.agreed.Store(true)
	m.epoch.Store(1)
	s.meet(t)
	return s
}

// meet is what Flush begins with.
func (s *sharing) meet(t *testing.T) {
	t.Helper()
	if _, err := s.remote.Epoch(s.p.clock.instant()); err != nil {
		t.Fatal(err)
	}
}

func TestDrainMarksOutlastAStoreThatIsEmptiedWheneverThatIsNoticed(t *testing.T) {
	mark := [2]string{"127.0.0.1:80", "a"}
	for name, looked := range map[string]func(t *testing.T, m *markStore, s *sharing){
		"before a look, which is the first to notice": func(_ *testing.T, m *markStore, s *sharing) {
			m.empty()
			s.lookAtDrains()
		},
		"before a look, after Flush has noticed": func(t *testing.T, m *markStore, s *sharing) {
			m.empty()
			s.meet(t)
			s.lookAtDrains()
		},
		"before a look, and Flush notices while the store is asked": func(t *testing.T, m *markStore, s *sharing) {
			m.asked = func() { s.meet(t) } // under the lock of the marks
			m.empty()
			s.lookAtDrains()
		},
		"while the store is asked, and Flush notices at once": func(t *testing.T, m *markStore, s *sharing) {
			m.asked = func() {
				m.empty()
				s.meet(t)
			}
			s.lookAtDrains()
		},
		"twice, before and while it is asked": func(t *testing.T, m *markStore, s *sharing) {
			m.empty()
			s.meet(t)
			m.asked = func() {
				m.empty()
				s.meet(t)
			}
			s.lookAtDrains()
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := &markStore{}
			s := sharingWith(t, m)
			s.p.engine.SetDrained([][2]string{mark}, s.p.clock.instant())
			must(t, s.drain([][2]string{mark}, true))
			s.lookAtDrains()
			looked(t, m, s)
			m.asked = nil
			for _, when := range []string{"after that look", "after the next", "and the one after that"} {
				if got := s.p.engine.Drained(); !slices.Equal(got, [][2]string{mark}) {
					t.Errorf("%s %q are drained, want %q", when, got, mark)
				}
				s.meet(t)
				s.lookAtDrains()
			}
			if !slices.Equal(m.marks, [][2]string{mark}) {
				t.Errorf("the store has %q, want %q", m.marks, mark)
			}
		})
	}
}

func TestWhatIsDrainedElsewhereIsTakenOver(t *testing.T) {
	m := &markStore{}
	s := sharingWith(t, m)
	m.marks = [][2]string{{"127.0.0.1:80", "a"}}
	s.lookAtDrains()
	if got := s.p.engine.Drained(); !slices.Equal(got, m.marks) {
		t.Errorf("%q are drained, want %q", got, m.marks)
	}
	m.marks = nil
	s.lookAtDrains()
	if got := s.p.engine.Drained(); len(got) != 0 {
		t.Errorf("%q are drained, want none", got)
	}
}

func TestNewsOfDrainsBringOneLookIn100msAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &markStore{}
		s := sharingWith(t, m)
		ctx, cancel := context.WithCancel(t.Context())
		go s.watchDrains(ctx)
		drained := shared.News{Kind: shared.Drain, From: s.gateway + 1, Endpoint: [2]string{"127.0.0.1:80", "a"}, On: true}
		s.hear(drained)
		synctest.Wait()
		if m.looks != 1 {
			t.Errorf("%d looks for the first news, want 1 at once", m.looks)
		}
		for range 999 {
			<-time.After(time.Millisecond) // of the bubble's time
			s.hear(drained)
			synctest.Wait()
		}
		if m.looks != 10 {
			t.Errorf("%d looks for a second full of news, want 10", m.looks)
		}
		cancel()
		synctest.Wait()
	})
}
