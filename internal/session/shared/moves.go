package shared

import (
	"sync"
	"time"

	"github.com/remora-proxy/remora/internal/session"
)

// A store may fail over to a replica that has missed a move. So long it is remembered where sessions were moved from, and of so many.
const (
	moveMemory = time.Minute
	maxMoves   = 1 << 16
)

// moves remembers the owners that sessions were moved from lately.
type moves struct {
	mu sync.Mutex
	m  map[session.Key]lateMove
}

type lateMove struct {
	from Identity
	at   session.Instant
}

// add remembers a move. Where there is no room, those that are old go; if there are none, it is not remembered.
func (m *moves) add(k session.Key, from Identity, now session.Instant) {
	if from == 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.m == nil {
		m.m = make(map[session.Key]lateMove)
	}
	if _, there := m.m[k]; !there && len(m.m) >= maxMoves {
		return
	}
	m.m[k] = lateMove{from, now}
}

// take returns the moves that are remembered, and forgets all.
func (m *moves) take(now session.Instant) map[session.Key]lateMove {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := m.m
	m.m = nil
	for k, late := range all {
		if now >= late.at.Add(moveMemory) {
			delete(all, k)
		}
	}
	return all
}

// expire forgets what is old.
func (m *moves) expire(now session.Instant) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for k, late := range m.m {
		if now >= late.at.Add(moveMemory) {
			delete(m.m, k)
		}
	}
}
