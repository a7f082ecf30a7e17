package affinity_test

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/session"
)

// newStore is small, for the random tests sweep it whole again and again.
func newStore() session.Store { return newTable() }

func newTable() *session.Table { return session.NewTable(session.Options{MaxSessions: 100_000}) }

// outside is what several gateways have in common: the owner of each session, by the identity that they all call it by. Nothing ends there by
// itself.
type outside struct {
	mu    sync.Mutex
	owner map[session.Key]uint64
}

// claim makes an endpoint the owner of a session that has none, or has the owner `from`, and returns the one that it has, and whether it
// did so.
func (o *outside) claim(k session.Key, to, from uint64) (owner uint64, done bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.owner == nil {
		o.owner = make(map[session.Key]uint64)
	}
	if at := o.owner[k]; at != 0 && at != from {
		return at, false
	}
	o.owner[k] = to
	return to, true
}

func (o *outside) get(k session.Key) uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.owner[k]
}

// sharedTable is a session.Shared in the plainest words: a table of its own in front of an outside, of which a test says whether it answers, and
// what is to happen before it does.
type sharedTable struct {
	*session.Table
	engine *affinity.Engine
	out    *outside // nil: other gateways have no sessions
	dead   atomic.Bool
	before func(call string) // when set: called for each question, before the answer
	asked  atomic.Int64
}

var _ session.Shared = (*sharedTable)(nil)

func (s *sharedTable) Waits() bool { return !s.dead.Load() }

func (s *sharedTable) Alone() session.Store { return s.Table }

func (s *sharedTable) ask(call string) {
	if s.asked.Add(1); s.before != nil {
		s.before(call)
	}
}

func (s *sharedTable) Bind(k session.Key, ep session.EndpointID, now session.Instant, idle time.Duration) (session.EndpointID, session.Outcome) {
	if s.dead.Load() {
		return s.Table.Bind(k, ep, now, idle)
	}
	s.ask("bind")
	if s.out == nil {
		return s.Table.Bind(k, ep, now, idle)
	}
	at, isFirst := s.out.claim(k, s.engine.Identity(ep), 0)
	owner := s.engine.EndpointOf(at)
	if owner == 0 { // an endpoint that has gone without this gateway having heard of it
		s.out.claim(k, s.engine.Identity(ep), at)
		s.Table.Bind(k, ep, now, idle)
		return ep, session.Rebound
	}
	owner, outcome := s.Table.Bind(k, owner, now, idle)
	if !isFirst && outcome == session.Bound {
		outcome = session.Existing
	}
	return owner, outcome
}

func (s *sharedTable) Move(k session.Key, from, to session.EndpointID, now session.Instant, idle time.Duration) (session.EndpointID, bool) {
	if s.dead.Load() {
		return s.Table.Move(k, from, to, now, idle)
	}
	s.ask("move")
	if s.out == nil {
		return s.Table.Move(k, from, to, now, idle)
	}
	at, isMoved := s.out.claim(k, s.engine.Identity(to), s.engine.Identity(from))
	owner, moved := s.Table.Move(k, from, s.engine.EndpointOf(at), now, idle)
	return owner, moved && isMoved
}

func (s *sharedTable) Find(k session.Key, now session.Instant, idle time.Duration) (session.Entry, bool) {
	if e, live := s.Peek(k, now, idle); live || s.dead.Load() {
		return e, live
	}
	s.ask("find")
	if s.out == nil || s.out.get(k) == 0 {
		return session.Entry{}, false
	}
	s.Table.Bind(k, s.engine.EndpointOf(s.out.get(k)), now, idle)
	s.Release(k, now)
	return s.Peek(k, now, idle)
}

func (s *sharedTable) Locate(ks []session.Key, _ session.Instant) []bool {
	live := make([]bool, len(ks))
	if s.dead.Load() {
		return live
	}
	s.ask("locate")
	for i, k := range ks {
		live[i] = s.out != nil && s.out.get(k) != 0
	}
	return live
}
