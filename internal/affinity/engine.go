package affinity

import (
	"encoding/binary"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dchest/siphash"

	"github.com/remora-proxy/remora/internal/session"
)

// sweepParts is how many calls of Sweep visit the whole table once.
const sweepParts = 32

// Options are what an Engine is made of.
type Options struct {
	// HashKey is the secret under which users' keys are hashed. Gateways that share sessions share it.
	HashKey [16]byte
	// HashKeyFixed says that the key was configured: Restore refuses sessions that were saved under another one. Otherwise
	// Restore takes over the key of what it reads.
	HashKeyFixed bool
	// Nonce is a number that is another one at each start: the cookies that the engine sets never come twice.
	Nonce uint64
	// Store holds the sessions. One that is a session.Shared holds those of several gateways: see Patience.
	Store session.Store
	// EndpointDelay is for how long an endpoint that was not there from the first configuration on, or comes back, is Warming: for a
	// front door whose proxy hears of endpoints by another way, and later. The sessions that it has already are served meanwhile.
	EndpointDelay time.Duration
}

// Engine decides. Its methods may be called from many goroutines at once; a decision for a known session waits for nothing, and none does but
// for a shared store: see Patience.
type Engine struct {
	store     session.Store
	shared    session.Shared // store, if it is one
	alone     session.Store  // shared.Alone
	endpoints *registry
	view      atomic.Pointer[view]
	ticket    atomic.Uint64 // varies choices that have no key
	passed    atomic.Uint64 // decisions that were Passed
	delay     time.Duration // Options.EndpointDelay
	told      untold
	trails    trails

	mu           sync.Mutex // Apply, Restore, Sweep
	configured   bool       // there was an Apply
	hashKey      [2]uint64
	cookieSecret [2]uint64
	keyFixed     bool
	stats        map[string]*serviceStats // by service name
	sweepPart    int
	idle         func(session.EndpointID) time.Duration // idleOf, made once
}

// view is a snapshot bound to the engine's endpoints: what decisions are made from.
type view struct {
	*Snapshot
	services []*Service
	byName   map[string]*Service
	split    [2]uint64 // the secret for the choices among the destinations of a split
}

// Service is one destination at run time, as of one snapshot.
type Service struct {
	ServiceConfig
	keyHash   [2]uint64 // the secret for the keys of this service's sessions
	endpoints []*Endpoint
	stats     *serviceStats
}

// New makes an engine with an empty snapshot: every request gets 404 until Apply.
func New(o Options) *Engine {
	e := &Engine{store: o.Store, endpoints: newRegistry(), keyFixed: o.HashKeyFixed, delay: o.EndpointDelay, stats: make(map[string]*serviceStats)}
	if shared, ok := o.Store.(session.Shared); ok {
		e.shared, e.alone = shared, shared.Alone()
	}
	e.idle = e.idleOf
	e.deriveSecrets([2]uint64{binary.LittleEndian.Uint64(o.HashKey[:8]), binary.LittleEndian.Uint64(o.HashKey[8:])})
	e.ticket.Store(mix(o.Nonce))
	empty, err := Compile(Config{})
	if err == nil {
		err = e.apply(empty, 0)
	}
	if err != nil {
		panic("affinity: the empty configuration does not compile: " + err.Error())
	}
	return e
}

// deriveSecrets takes a hash key, from which the engine's other secrets follow: a view has those that gateways with one hash key agree on.
func (e *Engine) deriveSecrets(hashKey [2]uint64) {
	e.hashKey = hashKey
	e.cookieSecret[0], e.cookieSecret[1] = siphash.Hash128(e.hashKey[0], e.hashKey[1], []byte("\x00cookie"))
}

// Apply makes s the configuration from now on. Endpoints that s does not have are gone. It fails only when endpoint ids have
// run out; then the configuration stays as it was.
func (e *Engine) Apply(s *Snapshot, now session.Instant) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	err := e.apply(s, now)
	e.configured = e.configured || err == nil
	return err
}

func (e *Engine) apply(s *Snapshot, now session.Instant) error {
	r := e.endpoints
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.hasRoom(s.services) {
		return errTooManyEndpoints
	}
	v := &view{Snapshot: s, services: make([]*Service, len(s.services)), byName: make(map[string]*Service, len(s.services))}
	v.split[0], v.split[1] = siphash.Hash128(e.hashKey[0], e.hashKey[1], []byte("\x00split"))
	eps := r.table()
	known := make(map[*Endpoint]bool)
	for i := range s.services {
		sc := &s.services[i]
		svc := &Service{ServiceConfig: *sc, stats: e.statsOf(sc.Name), endpoints: make([]*Endpoint, 0, len(sc.Endpoints))}
		svc.keyHash[0], svc.keyHash[1] = siphash.Hash128(e.hashKey[0], e.hashKey[1], []byte(sc.Name))
		for _, ec := range sc.Endpoints {
			ep, grown, err := r.ensure(eps, endpointName{Service: sc.Name, Addr: ec.Addr, Incarnation: ec.Incarnation})
			if err != nil {
				return err
			}
			eps = grown
			known[ep] = true
			svc.endpoints = append(svc.endpoints, ep)
		}
		v.services[i], v.byName[sc.Name] = svc, svc
	}
	warm := now
	if e.configured {
		warm = now.Add(e.delay)
	}
	r.publish(eps)                   // before a session can be bound to one that is new
	for _, svc := range v.services { // nothing can fail from here on
		for i, ep := range svc.endpoints {
			ep.configure(svc.Endpoints[i], &svc.ServiceConfig, now, warm)
		}
	}
	for _, ep := range r.byName {
		if !known[ep] {
			ep.gone(now)
		}
	}
	for _, ep := range eps { // the sessions of those that are not there any more, or were restored, live as long as all others of the service
		if ep == nil || known[ep] {
			continue
		}
		if svc := v.byName[ep.Service]; svc != nil {
			ep.idle.Store(int64(svc.IdleTimeout))
		}
	}
	e.view.Store(v)
	maps.DeleteFunc(e.stats, func(service string, _ *serviceStats) bool { return v.byName[service] == nil })
	return nil
}

func (e *Engine) statsOf(service string) *serviceStats {
	st, ok := e.stats[service]
	if !ok {
		st = new(serviceStats)
		e.stats[service] = st
	}
	return st
}

// Sweep removes expired sessions: one part of the table at each call, the whole in 32 calls. Called every 100 ms, the live
// counts of endpoints lag by at most 3.2 s.
func (e *Engine) Sweep(now session.Instant) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.store.Sweep(e.sweepPart, sweepParts, now, e.idle)
	if e.sweepPart = (e.sweepPart + 1) % sweepParts; e.sweepPart == 0 {
		e.endpoints.reap(now, e.store.Live)
		left := func(k session.Key, ep session.EndpointID) bool {
			entry, live := e.store.Peek(k, now, e.idleOf(ep))
			return !live || entry.Endpoint != ep
		}
		e.told.forget(left)
		e.trails.forget(left)
	}
}

// SweepAll removes every session that has expired at now.
func (e *Engine) SweepAll(now session.Instant) {
	for range sweepParts {
		e.Sweep(now)
	}
}

// idleOf is the idle time of an endpoint's sessions.
func (e *Engine) idleOf(id session.EndpointID) time.Duration {
	if ep := e.endpoints.get(id); ep != nil {
		return time.Duration(ep.idle.Load())
	}
	return 0 // nobody's: swept at once
}

// sessionKey hashes a user's key for a service.
func (s *Service) sessionKey(user string) session.Key {
	return session.Key(siphash.Hash(s.keyHash[0], s.keyHash[1], bytesOf(user)))
}
