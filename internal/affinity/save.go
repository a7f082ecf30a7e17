package affinity

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/remora-proxy/remora/internal/session"
)

// snapshotStore is a store whose sessions can be written down: session.Table.
type snapshotStore interface {
	Save(w io.Writer, header []byte, describe func(session.EndpointID) (session.EndpointName, bool), now session.Instant,
		idle func(session.EndpointID) time.Duration) (sessions int, err error)
	Load(r io.Reader, accept func(header []byte) error, resolve func(session.EndpointName) session.EndpointID,
		now session.Instant) (session.Loaded, error)
}

var (
	errNoSnapshots = errors.New("the session store keeps no snapshots")
	errOtherKey    = errors.New("the sessions were saved under another hash key than the configured one")
)

// savedHeader is what a snapshot tells besides the sessions. With the hash key in it, a snapshot is a secret.
type savedHeader struct {
	HashKey [2]uint64   `json:"hashKey"`
	Drained [][2]string `json:"drained,omitempty"` // address and incarnation
}

// Save writes the live sessions, the secret under which their keys are hashed, and the operators' drain marks (as many as
// have room) to w. It returns how many sessions it wrote.
func (e *Engine) Save(w io.Writer, now session.Instant) (sessions int, err error) {
	store, ok := e.store.(snapshotStore)
	if !ok {
		return 0, errNoSnapshots
	}
	header, err := e.savedHeader()
	if err != nil {
		return 0, err
	}
	describe := func(id session.EndpointID) (session.EndpointName, bool) {
		ep := e.endpoints.get(id)
		if ep == nil || ep.next.Load() != nil { // nothing would tell the sessions of its former life from those of its present one
			return session.EndpointName{}, false
		}
		return ep.identityName(), true
	}
	return store.Save(w, header, describe, now, e.idleOf)
}

func (e *Engine) savedHeader() ([]byte, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	h := savedHeader{HashKey: e.hashKey, Drained: e.endpoints.drainMarks()}
	for {
		data, err := json.Marshal(h)
		if err != nil || len(data) <= session.MaxHeader {
			return data, err
		}
		h.Drained = h.Drained[:len(h.Drained)/2]
	}
}

// Restore reads what Save wrote, before the first Apply. The engine takes over the snapshot's hash key, unless its own was
// configured: then a snapshot under another one is refused. On an error nothing was restored.
func (e *Engine) Restore(r io.Reader, now session.Instant) (session.Loaded, error) {
	store, ok := e.store.(snapshotStore)
	if !ok {
		return session.Loaded{}, errNoSnapshots
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	var h savedHeader
	accept := func(header []byte) error {
		if err := json.Unmarshal(header, &h); err != nil {
			return fmt.Errorf("the header is not a gateway's: %w", err)
		}
		if e.keyFixed && h.HashKey != e.hashKey {
			return errOtherKey
		}
		return nil
	}
	reg := e.endpoints
	reg.mu.Lock()
	defer reg.mu.Unlock()
	eps := reg.table()
	resolve := func(name session.EndpointName) session.EndpointID {
		ep, grown, err := reg.ensure(eps, name)
		if err != nil {
			return 0
		}
		eps = grown
		return ep.id
	}
	loaded, err := store.Load(r, accept, resolve, now)
	if err != nil {
		return loaded, err
	}
	e.deriveSecrets(h.HashKey)
	for _, mark := range h.Drained {
		reg.drained[mark] = true
	}
	for _, ep := range reg.byName {
		ep.drained.Store(reg.drained[[2]string{ep.Addr, ep.Incarnation}])
		ep.gone(now) // until a configuration has it
	}
	reg.publish(eps)
	return loaded, nil
}
