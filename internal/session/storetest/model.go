package storetest

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/session"
)

var modelSpecs = []spec{
	{"any sequence of calls gives what a plain map gives", func(t *testing.T, s *store) {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		m := &model{store: s, rand: rand.New(rand.NewPCG(seed, 0)), now: start, sessions: map[session.Key]session.Entry{}}
		for range 24 {
			m.keys = append(m.keys, key())
		}
		for step := range 2500 {
			m.step()
			if t.Failed() {
				t.Fatalf("at step %d", step)
			}
		}
	}},
}

// model is the naive store: a map, and the contract written down as directly as it can be.
type model struct {
	*store
	rand     *rand.Rand
	now      session.Instant
	keys     []session.Key
	sessions map[session.Key]session.Entry
}

// The keys belong to two services with idle times of their own: endpoints 1-4 and 5-8.
func (m *model) pick() (k session.Key, idle time.Duration, ep, other session.EndpointID) {
	i := m.rand.IntN(len(m.keys))
	service := i % 2
	first := session.EndpointID(1 + 4*service)
	return m.keys[i], idleOf(first), first + session.EndpointID(m.rand.IntN(4)), first + session.EndpointID(m.rand.IntN(4))
}

func idleOf(ep session.EndpointID) time.Duration {
	if ep > 4 {
		return 10 * time.Second
	}
	return idle
}

func (m *model) get(k session.Key, idle time.Duration) (session.Entry, bool) {
	e, ok := m.sessions[k]
	if !ok || e.Holds == 0 && m.now.Time().Sub(e.LastSeen.Time()) >= idle {
		return session.Entry{}, false
	}
	return e, true
}

func (m *model) step() {
	switch m.rand.IntN(10) {
	case 0:
		m.now += session.Instant(m.rand.IntN(20_000))
	case 1, 2, 3:
		m.now += session.Instant(m.rand.IntN(1000))
	}
	k, idle, ep, other := m.pick()
	switch m.rand.IntN(15) {
	case 0, 1, 2:
		m.acquire(k, idle)
	case 3, 4, 5:
		m.bind(k, ep, idle)
	case 6, 7, 8, 9, 10, 11:
		m.release(k, idle)
	case 12:
		m.move(k, ep, other, idle)
	case 13:
		m.peek(k, idle)
	case 14:
		m.compare()
	}
}

func (m *model) acquire(k session.Key, idle time.Duration) {
	want, wantOK := m.get(k, idle)
	if wantOK {
		want.LastSeen, want.Holds = max(want.LastSeen, m.now), want.Holds+1
		m.sessions[k] = want
	}
	if got, ok := m.Acquire(k, m.now, idle); got != want.Endpoint || ok != wantOK {
		m.t.Errorf("Acquire: got %d, %v; want %d, %v", got, ok, want.Endpoint, wantOK)
	}
}

func (m *model) bind(k session.Key, ep session.EndpointID, idle time.Duration) {
	outcome := session.Existing
	want, ok := m.get(k, idle)
	if !ok {
		want, outcome = session.Entry{Key: k, Endpoint: ep}, session.Bound
	}
	want.LastSeen, want.Holds = max(want.LastSeen, m.now), want.Holds+1
	m.sessions[k] = want
	if got, o := m.Bind(k, ep, m.now, idle); got != want.Endpoint || o != outcome {
		m.t.Errorf("Bind: got %d, %d; want %d, %d", got, o, want.Endpoint, outcome)
	}
}

func (m *model) release(k session.Key, idle time.Duration) {
	if e, ok := m.get(k, idle); ok && e.Holds > 0 {
		e.LastSeen, e.Holds = max(e.LastSeen, m.now), e.Holds-1
		m.sessions[k] = e
	}
	m.Release(k, m.now)
}

func (m *model) move(k session.Key, from, to session.EndpointID, idle time.Duration) {
	want, ok := m.get(k, idle)
	moves := ok && want.Endpoint == from
	if moves {
		want.Endpoint = to
		m.sessions[k] = want
	}
	if got, moved := m.Move(k, from, to, m.now, idle); got != want.Endpoint || moved != moves {
		m.t.Errorf("Move: got %d, %v; want %d, %v", got, moved, want.Endpoint, moves)
	}
}

func (m *model) peek(k session.Key, idle time.Duration) {
	want, wantOK := m.get(k, idle)
	if got, ok := m.Peek(k, m.now, idle); got != want || ok != wantOK {
		m.t.Errorf("Peek: got %+v, %v; want %+v, %v", got, ok, want, wantOK)
	}
}

// compare sweeps the store and looks at all that is left.
func (m *model) compare() {
	m.sweep(m.now, idleOf)
	var want []session.Entry
	for k := range m.sessions {
		e, ok := m.get(k, idleOf(m.sessions[k].Endpoint))
		if !ok {
			delete(m.sessions, k)
			continue
		}
		want = append(want, e)
	}
	m.wantStored(want...)
}
