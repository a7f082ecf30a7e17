package affinity

import (
	"sync"
	"sync/atomic"

	"github.com/remora-proxy/remora/internal/session"
)

// Some front doors do not connect to endpoints themselves: they tell a proxy which one, and the proxy may use another: because it
// could not connect, or because it does not know the endpoint, or holds it unhealthy. Such a front door keeps the Pick of a decision,
// and hands it to Served when it hears what the proxy did.

// Pick is what a decision was, in values that another gateway with the same configuration and hash key understands too.
type Pick struct {
	Service  string
	Key      session.Key  // of the session; without meaning when Session is SessionNone
	Endpoint uint64       // Endpoint's identity, the same on every gateway
	Session  SessionState // what the request says of the session to whichever endpoint gets it
}

// Pick is the decision's pick. The decision must have no Problem, must not be Passed, and must not be released.
func (dec *Decision) Pick() Pick {
	return Pick{Service: dec.Service.Name, Key: dec.key, Endpoint: dec.Endpoint.identity, Session: dec.Session}
}

// Used is what a proxy did with a request.
type Used struct {
	Addr      string // ip:port of the last host that it tried; empty: it found none
	Attempts  int    // hosts that it tried, one after the other
	Unreached bool   // the last one could not be connected to, so the request reached nobody
	ToldMoved bool   // it was told that the session moved there, where the decision said "existing"

	Patience Patience // whether Served may wait for a shared store
}

// Diversion is why a request was not served by the endpoint that was picked.
type Diversion uint8

// The diversions.
const (
	NoDiversion Diversion = iota // it was served there after all
	Retry                        // the proxy tried the picked endpoint, or another, without success, and then went on to the one that it used
	Fallback                     // the proxy did not try the picked endpoint
	Unserved                     // no host could be reached
)

func (d Diversion) String() string { return [...]string{"none", "retry", "fallback", "unserved"}[d] }

// Sequel is what became of the session of a request that was diverted.
type Sequel uint8

// The sequels.
const (
	NoSession  Sequel = iota // the request has none
	Followed                 // it is now bound to the endpoint that was used
	Superseded               // it had ended or was bound to another endpoint by then
	Foreign                  // it stays: the host that was used is no endpoint of the service, or one that serves no more
	Stayed                   // it stays: nobody was reached
	Waits                    // it is not known: Served would have had to wait, with NoWait, and has done nothing
)

func (s Sequel) String() string {
	return [...]string{"none", "followed", "superseded", "foreign", "stayed", "waits"}[s]
}

// Served says what a proxy did with a request that was decided as p. When another endpoint of the service was used than the one
// picked, the session is bound to it from now on, compare-and-set on the endpoint picked, with its holds; where that endpoint was told
// "existing", the next request there says "moved". An endpoint that failed, or that the proxy passed over, gets no new sessions
// for a while. The decision itself stays open: its request is counted at the endpoint picked until Release.
//
// known is false when the service is not in the configuration any more, and nothing was done.
func (e *Engine) Served(p Pick, u Used, now session.Instant) (why Diversion, then Sequel, known bool) {
	svc := e.view.Load().byName[p.Service]
	if svc == nil {
		return NoDiversion, NoSession, false
	}
	picked, used := svc.byIdentity(p.Endpoint), svc.byAddr(u.Addr, p.Endpoint, now)
	if why = u.diversion(p, used); why == NoDiversion {
		return why, NoSession, true
	}
	r := e.reach(u.Patience)
	if r.waits && p.Session != SessionNone {
		return why, Waits, true
	}
	if picked != nil && (u.Attempts > 1 || why == Fallback && used != nil) {
		picked.eject(now)
	}
	if used != nil && u.Unreached {
		used.eject(now)
	}
	then = e.follow(svc, p, why, used, p.Session != SessionExisting || u.ToldMoved, r, now)
	svc.stats.diversions[why][then].Add(1)
	return why, then, true
}

// diversion names what the proxy did. used is the endpoint at the address that it used.
func (u *Used) diversion(p Pick, used *Endpoint) Diversion {
	switch {
	case u.Unreached || u.Addr == "":
		return Unserved
	case used != nil && used.identity == p.Endpoint:
		return NoDiversion
	case u.Attempts > 1:
		return Retry
	}
	return Fallback
}

// follow binds the session of a diverted request to the endpoint that was used. told says that this endpoint has heard that the
// session began or moved there.
func (e *Engine) follow(svc *Service, p Pick, why Diversion, used *Endpoint, told bool, r reach, now session.Instant) Sequel {
	if p.Session == SessionNone {
		return NoSession
	}
	entry, live := e.find(p.Key, now, svc.IdleTimeout, r.asks) // another gateway may have decided
	if !live {
		return Superseded
	}
	at := e.owner(svc, entry.Endpoint)
	switch {
	case at != nil && at == used && why != Unserved:
		if told {
			e.told.take(p.Key, used.id)
		}
		return Superseded
	case at == nil || at.identity != p.Endpoint:
		return Superseded
	case why == Unserved:
		e.unsaid(svc, p.Key, at.id, p.Session, now)
		return Stayed
	case used == nil || !used.serves(now):
		e.unsaid(svc, p.Key, at.id, p.Session, now)
		return Foreign
	}
	if _, moved := r.store.Move(p.Key, at.id, used.id, now, svc.IdleTimeout); !moved {
		return Superseded
	}
	unheard := e.told.drop(p.Key)
	if !told {
		if unheard != SessionNew { // which no endpoint has heard
			unheard = SessionMoved
		}
		e.unsaid(svc, p.Key, used.id, unheard, now)
	}
	e.trails.add(p.Key, trail{from: at.Addr, to: used.id, why: why, at: now})
	return Followed
}

// byIdentity is the endpoint of an identity, nil when the configuration does not have it any more.
func (s *Service) byIdentity(identity uint64) *Endpoint {
	for _, ep := range s.endpoints {
		if ep.identity == identity {
			return ep
		}
	}
	return nil
}

// byAddr is the endpoint of an address; of several incarnations on it the preferred one, else the one in the best state.
func (s *Service) byAddr(addr string, preferred uint64, now session.Instant) *Endpoint {
	var best *Endpoint
	for _, ep := range s.endpoints {
		switch {
		case ep.Addr != addr:
		case ep.identity == preferred:
			return ep
		case best == nil || ep.State(now) < best.State(now):
			best = ep
		}
	}
	return best
}

// maxTrails bounds how many sessions it is remembered of how they came to their endpoint.
const maxTrails = 1 << 14

// trail is how a session came to its endpoint when a proxy took it there.
type trail struct {
	from string // ip:port of the endpoint that was picked
	to   session.EndpointID
	why  Diversion
	at   session.Instant
}

// trails remembers, for people who ask, the sessions that followed a proxy to another endpoint and are still there.
type trails struct {
	n  atomic.Int64 // len(m): requests pay one atomic load while there are none
	mu sync.Mutex
	m  map[session.Key]trail
}

func (t *trails) add(k session.Key, new trail) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, known := t.m[k]; !known && len(t.m) >= maxTrails {
		return
	}
	if t.m == nil {
		t.m = make(map[session.Key]trail)
	}
	t.m[k] = new
	t.n.Store(int64(len(t.m)))
}

// get is the trail of a session that is at an endpoint.
func (t *trails) get(k session.Key, at session.EndpointID) (trail, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	got, ok := t.m[k]
	return got, ok && got.to == at
}

// drop forgets a session, which has moved for another reason, or ended and begun anew.
func (t *trails) drop(k session.Key) {
	if t.n.Load() == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.m, k)
	t.n.Store(int64(len(t.m)))
}

// forget drops the sessions for which over says so.
func (t *trails) forget(over func(session.Key, session.EndpointID) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for k, old := range t.m {
		if over(k, old.to) {
			delete(t.m, k)
		}
	}
	t.n.Store(int64(len(t.m)))
}
