package affinity

import (
	"sync/atomic"
	"time"

	"github.com/remora-proxy/remora/internal/session"
)

// An endpoint that could not be connected to is ejected for ejectBase, twice that on the next failure in a row, and so on up
// to ejectMax: short, for nothing but a request finds out that it is back. Failures are in a row as long as no connection was
// established in between, and none came later than ejectMemory after the last ejection had passed: not every front door is told of
// the connections that succeed.
const (
	ejectBase   = time.Second
	ejectMax    = 10 * time.Second
	ejectMemory = time.Minute
)

// Endpoint is one replica of one service at run time. It outlives snapshots: the same (service, address, incarnation) is the
// same Endpoint, with its drain mark and its health, until a snapshot does not have it. If it comes back it has another life, which is
// another Endpoint: a pod whose container was started again is what it was to Kubernetes, and has lost its users' state.
type Endpoint struct {
	Addr        string
	Incarnation string
	Service     string

	name     atomic.Pointer[string]
	id       session.EndpointID
	identity uint64       // the same on every gateway; placement's candidate ID
	global   uint64       // the same on every gateway, and another one for each service: see Engine.Identity
	idle     atomic.Int64 // time.Duration
	met      bool         // a snapshot has had it; under the registry's lock
	earlier  int          // lives that have this one as their next; under the registry's lock
	next     atomic.Pointer[Endpoint]

	configured    atomic.Uint32 // EndpointState, by the last snapshot
	drained       atomic.Bool   // by an operator
	drainDeadline atomic.Int64  // time.Duration
	drainingSince atomic.Int64  // session.Instant; 0: not draining
	goneSince     atomic.Int64  // session.Instant; 0: not gone
	warmingUntil  atomic.Int64  // session.Instant
	ejectedUntil  atomic.Int64  // session.Instant; 0: healthy
	failures      atomic.Int32  // connect failures in a row, as counted by eject
	inFlight      atomic.Int64
}

// identityName is what the endpoint is called in a snapshot.
func (ep *Endpoint) identityName() endpointName {
	return endpointName{Service: ep.Service, Addr: ep.Addr, Incarnation: ep.Incarnation}
}

// Name is the pod's name where it is known, by the last snapshot that has the endpoint.
func (ep *Endpoint) Name() string {
	if p := ep.name.Load(); p != nil {
		return *p
	}
	return ""
}

// State is the endpoint's state at now.
func (ep *Endpoint) State(now session.Instant) EndpointState {
	switch {
	case EndpointState(ep.configured.Load()) == Gone:
		return Gone
	case EndpointState(ep.configured.Load()) == Draining || ep.drained.Load():
		return Draining
	case ep.Unhealthy(now):
		return Unhealthy
	case now < session.Instant(ep.warmingUntil.Load()):
		return Warming
	}
	return Ready
}

// Unhealthy reports whether the endpoint is ejected: then one attempt to connect is enough before Move.
func (ep *Endpoint) Unhealthy(now session.Instant) bool {
	return now < session.Instant(ep.ejectedUntil.Load())
}

// InFlight is how many requests are at the endpoint now.
func (ep *Endpoint) InFlight() int { return int(ep.inFlight.Load()) }

// hasGone reports whether a snapshot has had the endpoint, and the last one has not. The registry's lock must be held.
func (ep *Endpoint) hasGone() bool { return ep.met && EndpointState(ep.configured.Load()) == Gone }

// latest is the endpoint in its latest life.
func (ep *Endpoint) latest() *Endpoint {
	for next := ep.next.Load(); next != nil; next = ep.next.Load() {
		ep = next
	}
	return ep
}

// serves reports whether the endpoint still serves the sessions that it has. An unhealthy one does: whether it can be reached
// is for the front door to find out, for the user's state may be there.
func (ep *Endpoint) serves(now session.Instant) bool {
	if EndpointState(ep.configured.Load()) == Gone {
		return false
	}
	since := session.Instant(ep.drainingSince.Load())
	return since == 0 || now < since.Add(time.Duration(ep.drainDeadline.Load()))
}

// eject takes the endpoint out of placement for a while. Many requests may find out at once that it is down: only the first
// of them counts, until the ejection has passed.
func (ep *Endpoint) eject(now session.Instant) {
	until := ep.ejectedUntil.Load()
	if now < session.Instant(until) {
		return
	}
	n := ep.failures.Load()
	if now >= session.Instant(until).Add(ejectMemory) {
		n = 0
	}
	d := ejectMax
	if n < 4 {
		d = min(ejectBase<<n, ejectMax)
	}
	if ep.ejectedUntil.CompareAndSwap(until, int64(now.Add(d))) {
		ep.failures.Store(n + 1)
	}
}

// ailing reports whether a failure now would be one in a row.
func (ep *Endpoint) ailing(now session.Instant) bool {
	return ep.failures.Load() != 0 && now < session.Instant(ep.ejectedUntil.Load()).Add(ejectMemory)
}

// connected makes the endpoint healthy again.
func (ep *Endpoint) connected() {
	if ep.failures.Load() != 0 {
		ep.failures.Store(0)
		ep.ejectedUntil.Store(0)
	}
}

// configure sets what a snapshot says of the endpoint, which is warming until warm if it was not there before. Only the engine calls
// it, under the registry's lock.
func (ep *Endpoint) configure(c EndpointConfig, sc *ServiceConfig, now, warm session.Instant) {
	if EndpointState(ep.configured.Load()) == Gone {
		ep.warmingUntil.Store(int64(warm))
	}
	ep.met = true
	ep.name.Store(&c.Name)
	ep.idle.Store(int64(sc.IdleTimeout))
	ep.drainDeadline.Store(int64(sc.DrainDeadline))
	ep.configured.Store(uint32(c.State))
	ep.goneSince.Store(0)
	ep.markDraining(now)
}

// gone says that the last snapshot does not have the endpoint.
func (ep *Endpoint) gone(now session.Instant) {
	if EndpointState(ep.configured.Swap(uint32(Gone))) != Gone || ep.goneSince.Load() == 0 {
		ep.goneSince.Store(int64(now))
	}
}

// markDraining starts or ends the drain deadline's clock.
func (ep *Endpoint) markDraining(now session.Instant) {
	draining := ep.drained.Load() || EndpointState(ep.configured.Load()) == Draining
	switch {
	case !draining:
		ep.drainingSince.Store(0)
	case ep.drainingSince.Load() == 0:
		ep.drainingSince.Store(int64(max(now, 1)))
	}
}
