package affinity

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/remora-proxy/remora/internal/session"
)

// The questions that people and tools ask of a running engine, and what operators tell it.

// EndpointView is an endpoint as `remora sessions ls` shows it.
type EndpointView struct {
	Service     string `json:"service"`
	Addr        string `json:"address"`
	Name        string `json:"name,omitempty"`
	Incarnation string `json:"incarnation,omitempty"`
	State       string `json:"state"`        // ready | warming | draining | unhealthy
	Live        int    `json:"liveSessions"` // with a shared store those of all gateways, as of their last count
	Held        int    `json:"heldSessions"` // those of them that have requests in flight
	InFlight    int    `json:"requestsInFlight"`
	// DrainingSince is since when it is draining, and DrainEnds when its drain deadline will have passed, after which its sessions move.
	// Both are zero in all other states.
	DrainingSince time.Time `json:"drainingSince,omitzero"`
	DrainEnds     time.Time `json:"drainEnds,omitzero"`
}

// SessionView is a live session as `remora sessions get` shows it.
type SessionView struct {
	Service  string    `json:"service"`
	Endpoint string    `json:"endpoint"`
	Name     string    `json:"name,omitempty"`
	State    string    `json:"state"` // of the endpoint
	LastSeen time.Time `json:"lastSeen"`
	Holds    int       `json:"requestsInFlight"`
	Expires  time.Time `json:"expires,omitzero"` // zero while requests are in flight
	Diverted *Diverted `json:"diverted,omitempty"`
}

// Diverted is why a session is where it is, when a proxy took it there by using another endpoint than the one that was picked.
type Diverted struct {
	From string    `json:"from"` // ip:port that was picked
	Why  string    `json:"why"`  // retry | fallback
	At   time.Time `json:"at"`
}

// Errors of the questions about one session.
var (
	ErrNoService  = errors.New("no such service")
	ErrNoSession  = errors.New("no live session")
	ErrNoEndpoint = errors.New("no such endpoint")
)

// Endpoints lists the endpoints of all services, with the exact live counts at now. It walks the whole table.
func (e *Engine) Endpoints(now session.Instant) []EndpointView {
	live := make(map[session.EndpointID][2]int)
	e.store.Range(func(s session.Entry) bool {
		if s.Holds > 0 || now-s.LastSeen < session.Instant(e.idleOf(s.Endpoint)/time.Millisecond) {
			n := live[s.Endpoint]
			n[0]++
			n[1] += min(s.Holds, 1)
			live[s.Endpoint] = n
		}
		return true
	})
	out := []EndpointView{}
	for _, svc := range e.view.Load().services {
		for i, ep := range svc.endpoints {
			n := live[ep.id]
			view := EndpointView{
				Service: svc.Name, Addr: ep.Addr, Name: svc.Endpoints[i].Name, Incarnation: ep.Incarnation,
				State: ep.State(now).String(), Live: n[0], Held: n[1], InFlight: ep.InFlight(),
			}
			if e.shared != nil {
				view.Live = e.store.Live(ep.id)
			}
			if since := session.Instant(ep.drainingSince.Load()); since != 0 && view.State == Draining.String() {
				view.DrainingSince, view.DrainEnds = since.Time(), since.Add(time.Duration(ep.drainDeadline.Load())).Time()
			}
			out = append(out, view)
		}
	}
	return out
}

// ServiceNames lists the services of the current configuration.
func (e *Engine) ServiceNames() []string {
	v := e.view.Load()
	names := make([]string, len(v.services))
	for i, s := range v.services {
		names[i] = s.Name
	}
	return names
}

// holder finds the service of a user's session: by its full name, or by a beginning of that which ends before a '.', ':' or '/'. Where
// that fits several (the subsets of a split, for example), it is the one that has a live session of the user.
func (e *Engine) holder(name, user string, now session.Instant) (*Service, error) {
	v := e.view.Load()
	if s, ok := v.byName[name]; ok {
		return s, nil
	}
	var fits []*Service
	for _, s := range v.services {
		if rest, ok := strings.CutPrefix(s.Name, name); ok && name != "" && strings.ContainsAny(rest[:1], ".:/") {
			fits = append(fits, s)
		}
	}
	names := make([]string, len(fits))
	for i, s := range fits {
		if _, live := e.find(s.keyOf(user), now, s.IdleTimeout, e.reach(Wait).asks); live || len(fits) == 1 {
			return s, nil
		}
		names[i] = s.Name
	}
	if len(fits) == 0 {
		return nil, fmt.Errorf("%w as %q", ErrNoService, name)
	}
	return nil, fmt.Errorf("%w of this user at %s", ErrNoSession, strings.Join(names, " or "))
}

// Session shows the live session of a user of a service, on whichever gateway it is. The service may be named shortly ("backend-1"). It may
// wait for a shared store. The errors are ErrNoService and ErrNoSession.
func (e *Engine) Session(service, user string, now session.Instant) (SessionView, error) {
	svc, err := e.holder(service, user, now)
	if err != nil {
		return SessionView{}, err
	}
	return e.sessionView(svc, user, now)
}

func (e *Engine) sessionView(svc *Service, user string, now session.Instant) (SessionView, error) {
	key := svc.keyOf(user)
	entry, live := e.find(key, now, svc.IdleTimeout, e.reach(Wait).asks)
	if !live {
		return SessionView{}, fmt.Errorf("%w of this user at %s", ErrNoSession, svc.Name)
	}
	sv := SessionView{Service: svc.Name, State: Gone.String(), LastSeen: entry.LastSeen.Time(), Holds: entry.Holds}
	if entry.Holds == 0 {
		sv.Expires = entry.LastSeen.Add(svc.IdleTimeout).Time()
	}
	if ep := e.owner(svc, entry.Endpoint); ep != nil {
		ep = ep.latest()
		sv.Endpoint, sv.Name, sv.State = ep.Addr, ep.Name(), ep.State(now).String()
		sv.Diverted = e.diverted(key, ep)
	}
	return sv, nil
}

// diverted is how the session of a key came to the endpoint that it is at; nil when no proxy took it there.
func (e *Engine) diverted(key session.Key, at *Endpoint) *Diverted {
	t, ok := e.trails.get(key, at.id)
	if !ok {
		return nil
	}
	return &Diverted{From: t.from, Why: t.why.String(), At: t.at.Time()}
}

// MoveSession rebinds the live session of a user to the endpoint that is named by its address or its name. The next request
// tells the backend that the session moved, if it comes to this gateway; requests in flight end where they are. It may wait for a shared
// store. The errors are ErrNoService, ErrNoSession and ErrNoEndpoint.
func (e *Engine) MoveSession(service, user, endpoint string, now session.Instant) (SessionView, error) {
	svc, err := e.holder(service, user, now)
	if err != nil {
		return SessionView{}, err
	}
	i := slices.IndexFunc(svc.endpoints, func(ep *Endpoint) bool { return ep.named(endpoint) && ep.serves(now) })
	if i < 0 {
		return SessionView{}, fmt.Errorf("%w of %s as %q that serves", ErrNoEndpoint, svc.Name, endpoint)
	}
	to, key := svc.endpoints[i], svc.keyOf(user)
	for range claimTries {
		entry, live := e.find(key, now, svc.IdleTimeout, e.reach(Wait).asks)
		if !live {
			return SessionView{}, fmt.Errorf("%w of this user at %s", ErrNoSession, svc.Name)
		}
		if entry.Endpoint == to.id {
			return e.sessionView(svc, user, now)
		}
		state := SessionMoved
		if e.told.peek(key, entry.Endpoint) == SessionNew {
			state = SessionNew
		}
		if !e.told.add(key, to.id, state) {
			return SessionView{}, errors.New("too many moved sessions wait for their next request; try again in a minute")
		}
		if _, moved := e.store.Move(key, entry.Endpoint, to.id, now, svc.IdleTimeout); moved {
			e.trails.drop(key)
			return e.sessionView(svc, user, now)
		}
		e.told.take(key, to.id)
	}
	return SessionView{}, errors.New("the session keeps being moved by its own requests; try again")
}

// Drain marks the endpoints of a name or address (of all services) as draining, or takes the mark back. It returns those that
// it marked. The mark stays with the incarnation: a new replica on the same address is not drained.
func (e *Engine) Drain(endpoint string, on bool, now session.Instant) []EndpointView {
	r := e.endpoints
	marked := make(map[endpointName]bool)
	r.mu.Lock()
	for name, ep := range r.byName {
		if EndpointState(ep.configured.Load()) == Gone || !ep.named(endpoint) {
			continue
		}
		marked[name] = true
		ep.drained.Store(on)
		ep.markDraining(now)
		if mark := [2]string{ep.Addr, ep.Incarnation}; on {
			r.drained[mark] = true
		} else {
			delete(r.drained, mark)
		}
	}
	r.mu.Unlock()
	if len(marked) == 0 {
		return nil
	}
	return slices.DeleteFunc(e.Endpoints(now), func(v EndpointView) bool {
		return !marked[endpointName{Service: v.Service, Addr: v.Addr, Incarnation: v.Incarnation}]
	})
}

// Busy counts what is at the endpoints of a name, address or incarnation, in all services: their sessions (which may lag by the time that the
// sweep takes to come round) and the requests in flight, also those at an endpoint that is gone, whose sessions move with
// their next request. known is false when there never was such an endpoint, or it went long ago.
func (e *Engine) Busy(endpoint string) (sessions, requests int, known bool) {
	for _, ep := range *e.endpoints.byID.Load() {
		if ep == nil || !ep.named(endpoint) {
			continue
		}
		known = true
		requests += ep.InFlight()
		if EndpointState(ep.latest().configured.Load()) != Gone { // the sessions of its former life come back to it
			sessions += e.store.Live(ep.id)
		}
	}
	return sessions, requests, known
}

// Identities are what all gateways call the endpoints of a name, address or incarnation, in all services, whose sessions Busy counts.
func (e *Engine) Identities(endpoint string) []uint64 {
	all := make(map[uint64]bool)
	for _, ep := range *e.endpoints.byID.Load() {
		if ep != nil && ep.named(endpoint) && EndpointState(ep.latest().configured.Load()) != Gone {
			all[ep.global] = true
		}
	}
	return slices.Sorted(maps.Keys(all))
}

// named reports whether the endpoint is meant: by its address, its name or its incarnation.
func (ep *Endpoint) named(s string) bool {
	return s != "" && (ep.Addr == s || ep.Name() == s || ep.Incarnation == s)
}
