// Package model is the store that gateways share, as a plain map: what shared.Remote promises, written down as directly as it can be. The
// contract suite (package remotetest) compares every Remote with it, and the simulator runs gateways on it.
//
// It has no clock, no goroutine and no I/O: what it does follows from the calls alone, in their order. It knows nothing of networks, which the
// simulator puts around it, but of what can happen to a store: its memory is used up, it is restarted empty, or fails over to a replica
// that lags behind.
package model

import (
	"maps"
	"slices"
	"sync"

	"github.com/remora-proxy/remora/internal/session"
	"github.com/remora-proxy/remora/internal/session/shared"
)

// Store is one store. It is safe for use from many goroutines.
type Store struct {
	grace session.Instant // milliseconds, as LiveAt has it

	mu       sync.Mutex
	clock    session.Instant
	full     bool
	epoch    uint64
	state    State
	gateways []*gateway
}

// State is what a store has: its replica has the State of some moment before.
type State struct {
	sessions    map[session.Key]shared.Binding
	leader      uint32
	leaderUntil session.Instant
}

// New makes an empty store. For `grace` milliseconds a session whose time has passed still lives for the gateways that did not renew it last.
func New(grace session.Instant) *Store {
	return &Store{grace: grace, epoch: 1, state: State{sessions: map[session.Key]shared.Binding{}}}
}

// Gateway is the access of gateway id, which is not 0. deliver is called with what the others, and this gateway, announce: by the goroutine
// that made the call which the news are about, when that call is done, in the order in which the gateways were added.
func (s *Store) Gateway(id uint32, deliver func(shared.News)) shared.Remote {
	g := &gateway{store: s, id: id, deliver: deliver}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gateways = append(s.gateways, g)
	return g
}

// At sets the store's own clock. A call is judged by it when the call's `now` is earlier: it was held up on its way.
func (s *Store) At(now session.Instant) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clock = now
}

// Full says whether the memory is used up.
func (s *Store) Full(full bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.full = full
}

// Empty is a restart of a store that keeps nothing.
func (s *Store) Empty() {
	s.Restore(State{})
}

// Clone is what the store has now: what a replica that lags behind would have later on.
func (s *Store) Clone() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.clone()
}

// Restore is a failover to a replica that has this.
func (s *Store) Restore(state State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = state.clone()
	s.epoch++
}

// Sessions is all that is stored, ended sessions that nobody has met included.
func (s *Store) Sessions() map[session.Key]shared.Binding {
	return s.Clone().sessions
}

// Session is what is stored of one session, which may have ended.
func (s *Store) Session(k session.Key) shared.Binding {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state.sessions[k]
}

func (s State) clone() State {
	s.sessions = maps.Clone(s.sessions)
	if s.sessions == nil {
		s.sessions = map[session.Key]shared.Binding{}
	}
	return s
}

// enter begins a call: it returns the time by which the call is judged.
func (s *Store) enter(now session.Instant) session.Instant {
	s.mu.Lock()
	return max(now, s.clock)
}

// leave ends it, and tells the gateways.
func (s *Store) leave(news []shared.News) {
	gateways := slices.Clone(s.gateways)
	s.mu.Unlock()
	for _, n := range news {
		for _, g := range gateways {
			n.Counted = maps.Clone(n.Counted)
			g.deliver(n)
		}
	}
}
