package affinity

import (
	"sync/atomic"
	"time"

	"github.com/remora-proxy/remora/internal/session"
)

// serviceStats counts a service's decisions over all snapshots.
type serviceStats struct {
	decisions  [4]atomic.Uint64    // by SessionState
	movedAway  atomic.Uint64       // requests that a front door took away from an endpoint that it could not connect to
	refused    atomic.Uint64       // requests that got a problem after their service was known
	full       atomic.Uint64       // requests that got no session because the table was at its limit
	turn       atomic.Uint64       // round robin
	diversions [4][5]atomic.Uint64 // by Diversion and Sequel
	_          [64]byte            // services' counters share no cache line
}

// ServiceStats is what an engine has counted for one service since it began.
type ServiceStats struct {
	Service   string
	Decisions map[SessionState]uint64
	MovedAway uint64 // requests taken away from an endpoint that could not be connected to
	Refused   uint64 // answered with a problem after the service was known
	TableFull uint64 // decided without a session because the table was at its limit
	Diverted  []DivertedStats
}

// DivertedStats counts requests that a proxy did not serve with the endpoint picked. Only those combinations are there that occurred.
type DivertedStats struct {
	Why  Diversion
	Then Sequel
	N    uint64
}

// Stats is what an engine has counted, and how full it is.
type Stats struct {
	Sessions int    // stored, expired ones that no sweep has met included
	Passed   uint64 // requests left to the proxy, which answers them by itself
	Services []ServiceStats
}

// Stats reads the counters of the services of the current configuration.
func (e *Engine) Stats() Stats {
	v := e.view.Load()
	st := Stats{Sessions: e.store.Len(), Passed: e.passed.Load(), Services: make([]ServiceStats, 0, len(v.services))}
	for _, svc := range v.services {
		ss := ServiceStats{
			Service:   svc.Name,
			Decisions: make(map[SessionState]uint64, len(svc.stats.decisions)),
			MovedAway: svc.stats.movedAway.Load(),
			Refused:   svc.stats.refused.Load(),
			TableFull: svc.stats.full.Load(),
		}
		for i := range svc.stats.decisions {
			ss.Decisions[SessionState(i)] = svc.stats.decisions[i].Load()
		}
		for why := range svc.stats.diversions {
			for then := range svc.stats.diversions[why] {
				if n := svc.stats.diversions[why][then].Load(); n > 0 {
					ss.Diverted = append(ss.Diverted, DivertedStats{Diversion(why), Sequel(then), n})
				}
			}
		}
		st.Services = append(st.Services, ss)
	}
	return st
}

// EndpointStats is the state and load of one endpoint: Endpoints without the exact count, cheap at any number of sessions.
type EndpointStats struct {
	Service, Addr, Name, Incarnation string
	Keyed                            bool // requests to the service have sessions
	State                            EndpointState
	Live                             int // may lag by the time that the sweep takes to come round
	InFlight                         int
	// DrainEnds is when a draining endpoint's sessions lose it; 0: it is not draining.
	DrainEnds session.Instant
}

// EndpointStats lists the endpoints of all services.
func (e *Engine) EndpointStats(now session.Instant) []EndpointStats {
	var out []EndpointStats
	for _, svc := range e.view.Load().services {
		for i := range svc.endpoints {
			out = append(out, svc.statsOf(i, e.store, now))
		}
	}
	return out
}

// statsOf is the state and load of the service's endpoint i.
func (s *Service) statsOf(i int, store session.Store, now session.Instant) EndpointStats {
	ep := s.endpoints[i]
	st := EndpointStats{
		Service: s.Name, Addr: ep.Addr, Name: s.Endpoints[i].Name, Incarnation: ep.Incarnation, Keyed: s.Key.Kind != NoKey,
		State: ep.State(now), Live: store.Live(ep.id), InFlight: ep.InFlight(),
	}
	if since := session.Instant(ep.drainingSince.Load()); since != 0 && st.State == Draining {
		st.DrainEnds = since.Add(time.Duration(ep.drainDeadline.Load()))
	}
	return st
}

// Ailing lists the endpoints that could not be reached, and of which nothing better is known since: no connection was established, and
// their last failure is not a minute behind the end of their ejection. They may be in state Ready for a try.
func (e *Engine) Ailing(now session.Instant) []EndpointStats {
	var out []EndpointStats
	for _, svc := range e.view.Load().services {
		for i, ep := range svc.endpoints {
			if ep.ailing(now) {
				out = append(out, svc.statsOf(i, e.store, now))
			}
		}
	}
	return out
}
