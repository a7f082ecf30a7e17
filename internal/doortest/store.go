package doortest

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/session"
)

// Store is a session.Shared that has nobody to share with, and whose answers a test can hold back.
type Store struct {
	*session.Table
	t     *testing.T
	slow  atomic.Bool
	dead  atomic.Bool
	asked chan *Question
}

var _ session.Shared = (*Store)(nil)

// Question is a call of a Store that waits.
type Question struct {
	Call   string // bind, move, find or locate
	answer chan struct{}
}

// Answer lets the call return.
func (q *Question) Answer() { close(q.answer) }

// maxQuestions bounds the calls that wait at a time.
const maxQuestions = 4096

// NewStore makes a Store that answers at once.
func NewStore(t *testing.T) *Store {
	return &Store{Table: session.NewTable(session.Options{}), t: t, asked: make(chan *Question, maxQuestions)}
}

// Slow says whether each call waits from now on until the test answers it.
func (s *Store) Slow(on bool) { s.slow.Store(on) }

// Dead says whether the store does not answer, and is known not to, from now on.
func (s *Store) Dead(on bool) { s.dead.Store(on) }

// Question waits for the next call that waits.
func (s *Store) Question(call string) *Question {
	s.t.Helper()
	select {
	case q := <-s.asked:
		if q.Call != call {
			s.t.Fatalf("the store is asked to %s, want %s", q.Call, call)
		}
		return q
	case <-time.After(patience):
		s.t.Fatalf("the store is not asked to %s", call)
		return nil
	}
}

// AnswerAll answers each call that waits until stop is closed and none waits.
func (s *Store) AnswerAll(stop <-chan struct{}) {
	for {
		select {
		case q := <-s.asked:
			q.Answer()
			continue
		default:
		}
		select {
		case q := <-s.asked:
			q.Answer()
		case <-stop:
			return
		}
	}
}

// Unasked checks that no call waits but those that the test has heard of.
func (s *Store) Unasked() {
	s.t.Helper()
	select {
	case q := <-s.asked:
		s.t.Errorf("the store is asked to %s", q.Call)
	default:
	}
}

func (s *Store) wait(call string) {
	if s.slow.Load() && !s.dead.Load() {
		q := &Question{Call: call, answer: make(chan struct{})}
		s.asked <- q
		<-q.answer
	}
}

// Waits implements session.Shared.
func (s *Store) Waits() bool { return !s.dead.Load() }

// Alone implements session.Shared.
func (s *Store) Alone() session.Store { return s.Table }

// Bind implements session.Store.
func (s *Store) Bind(k session.Key, ep session.EndpointID, now session.Instant, idle time.Duration) (session.EndpointID, session.Outcome) {
	s.wait("bind")
	return s.Table.Bind(k, ep, now, idle)
}

// Move implements session.Store.
func (s *Store) Move(k session.Key, from, to session.EndpointID, now session.Instant, idle time.Duration) (session.EndpointID, bool) {
	s.wait("move")
	return s.Table.Move(k, from, to, now, idle)
}

// Find implements session.Shared.
func (s *Store) Find(k session.Key, now session.Instant, idle time.Duration) (session.Entry, bool) {
	if e, live := s.Peek(k, now, idle); live {
		return e, true
	}
	s.wait("find")
	return s.Peek(k, now, idle)
}

// Locate implements session.Shared. Nobody else has a session.
func (s *Store) Locate(ks []session.Key, _ session.Instant) []bool {
	s.wait("locate")
	return make([]bool, len(ks))
}
