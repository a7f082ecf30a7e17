package affinity

import (
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/dchest/siphash"

	"github.com/remora-proxy/remora/internal/session"
)

// A gone endpoint's id is given to another endpoint only when no session names it any more and this much time has passed, so
// that a decision that was on its way when the endpoint went cannot take the one for the other.
const idQuarantine = 10 * time.Minute

// errTooManyEndpoints is the one way in which Apply can fail.
var errTooManyEndpoints = errors.New("more endpoints than ids (1,048,575, those that went in the last minutes included): the configuration is not applied")

// endpointName is an endpoint's identity.
type endpointName = session.EndpointName

// registry gives every endpoint its record and its id. Reading by id, or by what gateways call an endpoint among themselves, takes no lock.
// Both tables are replaced whole, never written in place.
type registry struct {
	byID     atomic.Pointer[[]*Endpoint] // index: EndpointID
	byGlobal atomic.Pointer[map[uint64]*Endpoint]

	mu      sync.Mutex
	byName  map[endpointName]*Endpoint
	former  []*Endpoint // that have a next life
	free    []session.EndpointID
	drained map[[2]string]bool // (address, incarnation) that an operator drained, also of endpoints not seen yet
}

func newRegistry() *registry {
	r := &registry{byName: make(map[endpointName]*Endpoint), drained: make(map[[2]string]bool)}
	r.publish([]*Endpoint{nil})
	return r
}

// publish makes eps the table by id, and the other one from byName. The lock must be held.
func (r *registry) publish(eps []*Endpoint) {
	byGlobal := make(map[uint64]*Endpoint, len(r.byName))
	for _, ep := range r.byName {
		byGlobal[ep.global] = ep
	}
	r.byGlobal.Store(&byGlobal)
	r.byID.Store(&eps)
}

// get is the endpoint with an id, or nil.
func (r *registry) get(id session.EndpointID) *Endpoint {
	eps := *r.byID.Load()
	if int(id) >= len(eps) {
		return nil
	}
	return eps[id]
}

// table is a copy of the id table that the caller may add to and then publish. The lock must be held.
func (r *registry) table() []*Endpoint {
	old := *r.byID.Load()
	return append(make([]*Endpoint, 0, len(old)+len(old)/8+8), old...)
}

// hasRoom reports whether there are ids for those endpoints of services that have none. The lock must be held.
func (r *registry) hasRoom(services []ServiceConfig) bool {
	missing := 0
	for i := range services {
		for _, ec := range services[i].Endpoints {
			ep := r.byName[endpointName{Service: services[i].Name, Addr: ec.Addr, Incarnation: ec.Incarnation}]
			if ep == nil || ep.hasGone() {
				missing++
			}
		}
	}
	return missing <= len(r.free)+session.MaxEndpoints-len(*r.byID.Load())
}

// ensure returns the record of an endpoint and makes it when it is new, or has gone: then it begins another life. It may add to eps. The
// lock must be held.
func (r *registry) ensure(eps []*Endpoint, name endpointName) (*Endpoint, []*Endpoint, error) {
	before, known := r.byName[name]
	if known && !before.hasGone() {
		return before, eps, nil
	}
	ep := &Endpoint{Addr: name.Addr, Incarnation: name.Incarnation, Service: name.Service, identity: identityOf(name), global: globalOf(name)}
	ep.drained.Store(r.drained[[2]string{name.Addr, name.Incarnation}])
	ep.configured.Store(uint32(Gone))        // until a configuration has it
	ep.idle.Store(int64(DefaultIdleTimeout)) // until a configuration says
	switch {
	case len(r.free) > 0:
		ep.id = r.free[len(r.free)-1]
		r.free = r.free[:len(r.free)-1]
		eps[ep.id] = ep
	case len(eps) < session.MaxEndpoints:
		ep.id = session.EndpointID(len(eps))
		eps = append(eps, ep)
	default:
		return nil, eps, errTooManyEndpoints
	}
	r.byName[name] = ep
	if known {
		before.next.Store(ep)
		ep.earlier++
		r.former = append(r.former, before)
	}
	return ep, eps, nil
}

// reap takes back the ids of endpoints that have been gone for long and that no session names.
func (r *registry) reap(now session.Instant, live func(session.EndpointID) int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var eps []*Endpoint
	take := func(ep *Endpoint) bool {
		since := session.Instant(ep.goneSince.Load())
		if since == 0 || now < since.Add(idQuarantine) || ep.earlier != 0 || ep.inFlight.Load() != 0 || live(ep.id) != 0 {
			return false
		}
		if next := ep.next.Load(); next != nil {
			next.earlier--
		}
		if eps == nil {
			eps = r.table()
		}
		eps[ep.id] = nil
		r.free = append(r.free, ep.id)
		return true
	}
	r.former = slices.DeleteFunc(r.former, take)
	maps.DeleteFunc(r.byName, func(_ endpointName, ep *Endpoint) bool { return take(ep) })
	if eps != nil {
		r.publish(eps)
		r.dropStaleMarks()
	}
}

// dropStaleMarks forgets the drain marks of replicas that no service has any more. The lock must be held.
func (r *registry) dropStaleMarks() {
	if len(r.drained) == 0 {
		return
	}
	known := make(map[[2]string]bool, len(r.byName))
	for name := range r.byName {
		known[[2]string{name.Addr, name.Incarnation}] = true
	}
	maps.DeleteFunc(r.drained, func(mark [2]string, _ bool) bool { return !known[mark] })
}

// drainMarks lists the endpoints that operators drained, in a fixed order.
func (r *registry) drainMarks() [][2]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return sortedMarks(r.drained)
}

func sortedMarks(marks map[[2]string]bool) [][2]string {
	return slices.SortedFunc(maps.Keys(marks), func(a, b [2]string) int { return slices.Compare(a[:], b[:]) })
}

// identityOf is a fixed hash of an endpoint's name: placement must agree between gateways, so no secret is in it.
func identityOf(n endpointName) uint64 {
	b := make([]byte, 0, len(n.Addr)+1+len(n.Incarnation))
	b = append(append(append(b, n.Addr...), 0), n.Incarnation...)
	return siphash.Hash(0x72656d6f72612d65, 0x6e64706f696e7473, b)
}

// globalOf is a fixed hash of an endpoint's name with its service, never 0.
func globalOf(n endpointName) uint64 {
	b := make([]byte, 0, len(n.Service)+1+len(n.Addr)+1+len(n.Incarnation))
	b = append(append(append(append(append(b, n.Service...), 0), n.Addr...), 0), n.Incarnation...)
	return max(siphash.Hash(0x72656d6f72612d67, 0x6c6f62616c2d6964, b), 1)
}

// Identity is what the gateways call the endpoint with an id among themselves, by its service, its address and its incarnation; 0 when
// there is no such endpoint. Its lives are one to them.
func (e *Engine) Identity(id session.EndpointID) uint64 {
	if ep := e.endpoints.get(id); ep != nil {
		return ep.global
	}
	return 0
}

// EndpointOf is the endpoint that the gateways call by identity, in its latest life, be it gone or not; 0 when it is not known here (yet, or
// any more). It takes no lock.
func (e *Engine) EndpointOf(identity uint64) session.EndpointID {
	if ep := (*e.endpoints.byGlobal.Load())[identity]; ep != nil {
		return ep.id
	}
	return 0
}

// Serves reports whether an endpoint, in its latest life, serves the sessions that it has.
func (e *Engine) Serves(id session.EndpointID, now session.Instant) bool {
	ep := e.endpoints.get(id)
	return ep != nil && ep.latest().serves(now)
}
