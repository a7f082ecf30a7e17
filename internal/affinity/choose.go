package affinity

import (
	"math/bits"
	"slices"

	"github.com/dchest/siphash"

	"github.com/remora-proxy/remora/internal/placement"
	"github.com/remora-proxy/remora/internal/route"
	"github.com/remora-proxy/remora/internal/session"
)

// destination chooses the service of a matched rule. A split by weights is sticky: a destination where the user has a live
// session keeps it, also when the weights change; otherwise the hash of the user's key proposes, so that raising a weight
// moves no more new sessions than it has to. waits says that the shared store has to be asked before, for a session that lives on another
// gateway, and may not.
func (e *Engine) destination(v *view, rule *route.Rule, req *route.Request, p Patience, now session.Instant) (_ *Service, waits bool) {
	ds := rule.Destinations
	if len(ds) == 1 {
		return v.services[ds[0].Service], false
	}
	first := v.services[e.proposed(v, ds, req)]
	if svc := e.holding(v, ds, first, req, now); svc != nil {
		return svc, false
	}
	if r := e.reach(p); r.asks && v.mayHaveSession(ds, req) {
		if r.waits {
			return nil, true
		}
		if svc := e.holdingElsewhere(v, ds, first, req, now); svc != nil {
			return svc, false
		}
	}
	return first, false
}

// holding is the destination where the user has a live session, the first one given if it is among several; nil when there is none.
func (e *Engine) holding(v *view, ds []route.Destination, first *Service, req *route.Request, now session.Instant) *Service {
	if e.hasSession(first, req, false, now) {
		return first
	}
	for i := range ds {
		if svc := v.services[ds[i].Service]; svc != first && e.hasSession(svc, req, false, now) {
			return svc
		}
	}
	return nil
}

// holdingElsewhere is holding for the sessions of other gateways. The shared store is asked once for all destinations. A session on an endpoint that this
// gateway does not know counts: to bind it waits for that.
func (e *Engine) holdingElsewhere(v *view, ds []route.Destination, first *Service, req *route.Request, now session.Instant) *Service {
	services := []*Service{first}
	for i := range ds {
		if svc := v.services[ds[i].Service]; svc != first {
			services = append(services, svc)
		}
	}
	var asked []*Service
	var keys []session.Key
	for _, svc := range services {
		if user, _ := findKey(&svc.Key, req); user != "" {
			asked, keys = append(asked, svc), append(keys, svc.sessionKey(user))
		}
	}
	for i, live := range e.shared.Locate(keys, now) {
		if !live {
			continue
		}
		holds := e.hasSession(asked[i], req, true, now)
		if _, known := e.store.Peek(keys[i], now, asked[i].IdleTimeout); holds || !known {
			return asked[i]
		}
	}
	return nil
}

// mayHaveSession reports whether the request has the key of a session at one of the destinations.
func (v *view) mayHaveSession(ds []route.Destination, req *route.Request) bool {
	for i := range ds {
		if key, _ := findKey(&v.services[ds[i].Service].Key, req); key != "" {
			return true
		}
	}
	return false
}

// proposed is the index of the service that the weights give to the request's key, or to chance where it has none.
func (e *Engine) proposed(v *view, ds []route.Destination, req *route.Request) int {
	var total uint64
	for i := range ds {
		total += uint64(ds[i].Weight)
	}
	if total == 0 {
		return ds[0].Service
	}
	point, _ := bits.Mul64(e.splitPoint(v, ds, req), total) // uniform in 0 … total-1
	for i := range ds {
		w := uint64(ds[i].Weight)
		if point < w {
			return ds[i].Service
		}
		point -= w
	}
	return ds[len(ds)-1].Service
}

// splitPoint is where a request stands on the scale of a split. All splits use one scale: a user who is among the first tenth
// at one route is so at the others too.
func (e *Engine) splitPoint(v *view, ds []route.Destination, req *route.Request) uint64 {
	for i := range ds {
		if key, _ := findKey(&v.services[ds[i].Service].Key, req); key != "" {
			return siphash.Hash(v.split[0], v.split[1], bytesOf(key))
		}
	}
	return mix(e.ticket.Add(1))
}

// hasSession reports whether the user has a live session of the service on an endpoint that serves it. With asks it asks the shared store
// where this gateway knows of none.
func (e *Engine) hasSession(svc *Service, req *route.Request, asks bool, now session.Instant) bool {
	if svc.Missing != "" {
		return false
	}
	key, prob := findKey(&svc.Key, req)
	if key == "" || !prob.IsZero() {
		return false
	}
	entry, live := e.find(svc.sessionKey(key), now, svc.IdleTimeout, asks)
	if !live {
		return false
	}
	ep := e.owner(svc, entry.Endpoint)
	return ep != nil && ep.latest().serves(now)
}

// stackCandidates is how many endpoints placement handles without allocating.
const stackCandidates = 32

// place proposes the endpoint of a session that has none; nil when none may take it. bound is the service's LoadBound, or
// +Inf for a request that brings no session with it.
func (s *Service) place(store session.Store, key uint64, l *limits, bound float64, now session.Instant) *Endpoint {
	var buf [stackCandidates]placement.Candidate
	var index [stackCandidates]int
	cs, at := s.candidates(buf[:0], index[:0], store, l, now)
	i := placement.Choose(key, cs, bound)
	if i < 0 {
		return nil
	}
	return s.endpoints[at[i]]
}

// placeable are the states in which an endpoint may take a new session, each only when no endpoint is in one before it: a proxy may
// know one that is warming already, and one that is unhealthy may be back, which only a request finds out.
var placeable = [...]EndpointState{Ready, Warming, Unhealthy}

// placeable reports whether the endpoint may take a new session, where there is no better one.
func (ep *Endpoint) placeable(now session.Instant) bool {
	return slices.Contains(placeable[:], ep.State(now))
}

// candidates lists the endpoints that may take a new session, and where they stand in s.endpoints.
func (s *Service) candidates(cs []placement.Candidate, at []int, store session.Store, l *limits, now session.Instant) ([]placement.Candidate, []int) {
	for _, state := range placeable {
		for i, ep := range s.endpoints {
			if ep.State(now) != state || !l.allow(ep) {
				continue
			}
			cs = append(cs, placement.Candidate{ID: ep.identity, Weight: s.Endpoints[i].Weight, Load: store.Live(ep.id)})
			at = append(at, i)
		}
		if len(cs) > 0 {
			break
		}
	}
	return cs, at
}

// spread finds an endpoint for a request without a session, by the service's load balancer; nil when none may take it.
func (s *Service) spread(ticket uint64, l *limits, now session.Instant) *Endpoint {
	n := len(s.endpoints)
	if n == 0 {
		return nil
	}
	if s.LoadBalancer == RoundRobin {
		ticket = s.stats.turn.Add(1)
	} else {
		ticket = mix(ticket)
	}
	first := s.nth(int(ticket%uint64(n)), l, now)
	if first == nil || s.LoadBalancer != LeastRequest {
		return first
	}
	// The better of two drawn by chance (M. Mitzenmacher, "The Power of Two Choices", IEEE TPDS 12(10), 2001), as Envoy does.
	second := s.nth(int((ticket>>32)%uint64(n)), l, now)
	if second != nil && second.inFlight.Load() < first.inFlight.Load() { // none, when the last one went meanwhile
		return second
	}
	return first
}

// nth is the first endpoint from position i on, around, that may take a request; nil when none may. As with candidates, those
// that are warming or unhealthy are tried when none is ready.
func (s *Service) nth(i int, l *limits, now session.Instant) *Endpoint {
	var warming, unhealthy *Endpoint
	for range s.endpoints {
		if ep := s.endpoints[i]; l.allow(ep) {
			switch ep.State(now) {
			case Ready:
				return ep
			case Warming:
				warming = ep
			case Unhealthy:
				unhealthy = ep
			case Draining, Gone:
			}
		}
		if i++; i == len(s.endpoints) {
			i = 0
		}
	}
	if warming != nil {
		return warming
	}
	return unhealthy
}

// mix spreads a counter over all 64 bits (the finaliser of SplitMix64; Steele, Lea, Flood, OOPSLA 2014).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
