package affinity

import (
	"encoding/binary"
	"maps"

	"github.com/remora-proxy/remora/internal/session"
)

// What gateways that share their sessions have in common besides them: the secret under which users' keys are hashed, and what operators
// have drained.

// HashKey is the secret under which users' keys are hashed, as Options.HashKey or a restored snapshot gave it.
func (e *Engine) HashKey() (key [16]byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	binary.LittleEndian.PutUint64(key[:8], e.hashKey[0])
	binary.LittleEndian.PutUint64(key[8:], e.hashKey[1])
	return key
}

// Rekey takes another secret, at any time: from then on no request finds a session that was bound under the former one. The caller may remove
// those at once, or leave them to expire. On an error nothing has changed; it is one of Apply's.
func (e *Engine) Rekey(key [16]byte, now session.Instant) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	former := e.hashKey
	e.hashKey = [2]uint64{binary.LittleEndian.Uint64(key[:8]), binary.LittleEndian.Uint64(key[8:])}
	if err := e.apply(e.view.Load().Snapshot, now); err != nil {
		e.hashKey = former
		return err
	}
	return nil
}

// Drained lists the endpoints that operators drained, by address and incarnation, in a fixed order.
func (e *Engine) Drained() [][2]string { return e.endpoints.drainMarks() }

// DrainedHere lists those of Drained that are of endpoints of the configuration.
func (e *Engine) DrainedHere() [][2]string {
	r := e.endpoints
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.drained) == 0 {
		return nil
	}
	here := make(map[[2]string]bool)
	for name, ep := range r.byName {
		if mark := [2]string{name.Addr, name.Incarnation}; r.drained[mark] && EndpointState(ep.configured.Load()) != Gone {
			here[mark] = true
		}
	}
	return sortedMarks(here)
}

// SetDrained makes marks, by address and incarnation, the endpoints that operators drained, and all others not drained. A mark counts for an
// endpoint that the configuration does not have yet as well.
func (e *Engine) SetDrained(marks [][2]string, now session.Instant) {
	drained := make(map[[2]string]bool, len(marks))
	for _, mark := range marks {
		drained[mark] = true
	}
	r := e.endpoints
	r.mu.Lock()
	defer r.mu.Unlock()
	if maps.Equal(r.drained, drained) {
		return
	}
	r.drained = drained
	for _, ep := range r.byName {
		ep.drained.Store(drained[[2]string{ep.Addr, ep.Incarnation}])
		ep.markDraining(now)
	}
}
