package affinity_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/route"
	"github.com/remora-proxy/remora/internal/session"
)

// A random life of an engine, each decision of which is compared with the oracle's.
type randomLife struct {
	*rand.Rand
	t      *testing.T
	seed   uint64
	engine *affinity.Engine
	shared *sharedTable // the engine's store, if it is one that gateways share
	oracle *oracle
	now    session.Instant
	swept  session.Instant
	open   []openRequest
	picks  []openPick // those of which a report may still come: the last ones
}

type openRequest struct {
	dec  *affinity.Decision
	id   sessID
	life int // of the endpoint
}

func TestDecisionsAreWhatTheRulesSay(t *testing.T) {
	for i := range 16 {
		seed := rand.Uint64()
		delay := time.Duration(i%4) * 5 * time.Second // of new endpoints
		l := &randomLife{Rand: rand.New(rand.NewPCG(seed, 1)), t: t, seed: seed, oracle: newOracle(delay), now: 1_000_000}
		o := affinity.Options{Store: newStore(), HashKey: [16]byte{7}, Nonce: seed, EndpointDelay: delay}
		if i >= 8 {
			l.shared = &sharedTable{Table: newTable()}
			o.Store = l.shared
		}
		l.engine = affinity.New(o)
		l.live(400)
	}
}

func (l *randomLife) live(steps int) {
	l.reconfigure()
	for step := range steps {
		switch n := l.IntN(100); {
		case n < 40:
			l.request(step)
		case n < 50:
			l.report(step)
		case n < 65:
			l.release()
		case n < 85:
			l.now = l.now.Add(time.Duration(l.IntN(3000)) * time.Millisecond)
		case n < 88:
			l.now = l.now.Add(time.Duration(l.IntN(90)) * time.Second)
		case n < 92:
			l.reconfigure()
		case n < 96:
			l.drain()
		default:
			l.moveByHand()
		}
		if l.now != l.swept {
			l.swept = l.now
			l.engine.SweepAll(l.now)
			l.oracle.forget(l.now, l.open)
		}
	}
	for len(l.open) > 0 {
		l.release()
	}
	for _, ep := range l.engine.Endpoints(l.now) {
		if ep.InFlight != 0 || ep.Held != 0 {
			l.fail(steps, fmt.Errorf("%s: %d requests in flight, %d sessions held, want none", ep.Addr, ep.InFlight, ep.Held))
		}
	}
}

func (l *randomLife) fail(step int, err error) {
	l.t.Helper()
	l.t.Fatalf("seed %d, step %d: %v", l.seed, step, err)
}

// reconfigure makes up to three services of up to five endpoints in random states.
func (l *randomLife) reconfigure() {
	c := affinity.Config{}
	listener := route.Listener{Port: 80, Hosts: []route.VirtualHost{{Domains: []string{"*"}}}}
	for i := range 3 {
		name := fmt.Sprintf("backend-%d", i+1)
		sc := affinity.ServiceConfig{
			Name: name, Host: name, Port: 8080, Key: affinity.Key{Kind: affinity.HeaderKey, Name: "x-user"},
			IdleTimeout: time.Minute, LoadBound: 1.25, DrainDeadline: 2 * time.Minute,
		}
		for j := range 5 {
			if l.IntN(4) == 0 {
				continue
			}
			ec := affinity.EndpointConfig{Addr: fmt.Sprintf("127.0.%d.%d:8080", i+1, j+1), Incarnation: fmt.Sprint(l.IntN(20) / 19)}
			if l.IntN(5) == 0 {
				ec.State = affinity.Draining
			}
			sc.Endpoints = append(sc.Endpoints, ec)
		}
		listener.Hosts[0].Rules = append(listener.Hosts[0].Rules, route.Rule{
			Matches: []route.Match{{Headers: []route.NamedMatch{{
				Name: "target", StringMatch: route.StringMatch{Kind: route.Exact, Value: name},
			}}}},
			Destinations: []route.Destination{{Service: i, Weight: 100}},
		})
		c.Services = append(c.Services, sc)
	}
	c.Routes.Listeners = []route.Listener{listener}
	s, err := affinity.Compile(c)
	if err != nil {
		l.t.Fatal(err)
	}
	if err := l.engine.Apply(s, l.now); err != nil {
		l.t.Fatal(err)
	}
	l.oracle.apply(c, l.now)
}

func (l *randomLife) request(step int) {
	service, user := fmt.Sprintf("backend-%d", l.IntN(3)+1), fmt.Sprintf("user-%d", l.IntN(25))
	req := &affinity.Request{Request: route.Request{
		Port: 80, Scheme: "http", Method: "POST", Authority: "any", Path: "/",
		Headers: []route.Header{{Name: "target", Value: service}, {Name: "x-user", Value: user}},
	}}
	may := may{among: l.subset(service)}
	patience := l.patience()
	req.Among = may.among
	want := l.oracle.request(service, user, may, l.now)
	dec := new(affinity.Decision)
	trace := l.engine.Explain(req, l.now)
	l.decide(step, req, dec, patience, want.asks)
	if err := explains(trace, dec); err != nil && patience != affinity.Alone {
		l.fail(step, err)
	}
	for {
		if err := want.check(dec); err != nil {
			l.fail(step, fmt.Errorf("%s of %s after %d moves: %w", user, service, len(may.tried), err))
		}
		if want.nothing {
			l.oracle.refused(want, l.now)
			return
		}
		at := epID{service, dec.Endpoint.Addr, dec.Endpoint.Incarnation}
		l.oracle.chosen(want, at, l.now)
		if l.IntN(12) != 0 {
			l.engine.Connected(dec)
			ep := l.oracle.endpoints[at]
			ep.ejectedUntil, ep.failures = 0, 0
			break
		}
		may.tried = append(may.tried, at)
		patience = l.patience()
		want = l.oracle.givenUp(want, dec.Session, may, l.now)
		l.move(step, dec, patience)
	}
	l.open = append(l.open, openRequest{dec, want.sessionID, l.oracle.endpoints[epID{service, dec.Endpoint.Addr, dec.Endpoint.Incarnation}].life})
	l.picked(dec, want.sessionID)
}

// subset restricts some requests to some endpoints of a service, or to none.
func (l *randomLife) subset(service string) map[string]struct{} {
	if l.IntN(4) != 0 {
		return nil
	}
	among := map[string]struct{}{"127.9.9.9:8080": {}} // nobody's
	for j := range 5 {
		if l.IntN(2) == 0 {
			among[fmt.Sprintf("127.0.%s.%d:8080", strings.TrimPrefix(service, "backend-"), j+1)] = struct{}{}
		}
	}
	return among
}

// explains compares what Explain said of a request with what Decide then decided.
func explains(trace *affinity.Trace, dec *affinity.Decision) error {
	if !dec.Problem.IsZero() {
		if trace.Problem == nil || trace.Problem.Code != dec.Problem.Code {
			return fmt.Errorf("explained as %+v, decided as %s", trace.Problem, dec.Problem.Code)
		}
		return nil
	}
	if trace.Problem != nil || trace.Choice != dec.Endpoint.Addr || trace.Session != dec.Session.String() {
		return fmt.Errorf("explained as %s %s (%+v), decided as %v %s", trace.Session, trace.Choice, trace.Problem, dec.Session, dec.Endpoint.Addr)
	}
	return nil
}

func (l *randomLife) release() {
	if len(l.open) == 0 {
		return
	}
	i := l.IntN(len(l.open))
	r := l.open[i]
	l.open = append(l.open[:i], l.open[i+1:]...)
	r.dec.Sent = l.IntN(10) != 0 // else the client went before it was sent
	l.engine.Release(r.dec, l.now)
	l.oracle.released(r, l.now)
}

func (l *randomLife) drain() {
	addr, on := fmt.Sprintf("127.0.%d.%d:8080", l.IntN(3)+1, l.IntN(5)+1), l.IntN(2) == 0
	l.engine.Drain(addr, on, l.now)
	for id, ep := range l.oracle.endpoints {
		if id.addr == addr && ep.configured != affinity.Gone {
			ep.drained = on
			ep.clockDrain(l.now)
		}
	}
}

// moveByHand is an operator's move of a session to an endpoint that serves.
func (l *randomLife) moveByHand() {
	id := sessID{fmt.Sprintf("backend-%d", l.IntN(3)+1), fmt.Sprintf("user-%d", l.IntN(25))}
	for ep, o := range l.oracle.endpoints {
		if ep.service != id.service || !o.serves(l.now) {
			continue
		}
		s := l.oracle.live(id, l.now)
		view, err := l.engine.MoveSession(id.service, id.user, ep.addr, l.now)
		if (err == nil) != (s != nil) {
			l.t.Fatalf("seed %d: moving a session by hand: %v; the oracle has %v", l.seed, err, s)
		}
		if s != nil && (s.at != ep || l.oracle.former(s)) {
			s.at, s.life = ep, o.life
			s.untold, s.lastSeen = s.onTheMove(), session.InstantOf(view.LastSeen)
		}
		return
	}
}
