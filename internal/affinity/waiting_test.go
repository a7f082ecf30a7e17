package affinity_test

import (
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/route"
	"github.com/remora-proxy/remora/internal/session"
	"github.com/remora-proxy/remora/internal/session/shared"
	"github.com/remora-proxy/remora/internal/session/shared/model"
)

// waiter is a gateway that shares its sessions, and that may have to wait for what its configuration does not have yet.
type waiter struct {
	*affinity.Engine
	pauses  int
	waiting func() // called at each pause
}

func newWaiter(t *testing.T, m *model.Store, id uint32, change func(*affinity.Config)) *waiter {
	g := &waiter{waiting: func() {}}
	store := shared.New(shared.Options{
		Table: session.NewTable(session.Options{MaxSessions: 100}), Remote: m.Gateway(id, func(shared.News) {}), Gateway: id,
		Pause: func(time.Duration) {
			g.pauses++
			g.waiting()
		},
	})
	g.Engine = with(t, affinity.Options{Store: store, HashKey: [16]byte{3}}, change)
	store.Resolve(g.Engine)
	g.SweepAll(someday)
	store.Flush(someday)
	return g
}

// serve is a whole request of ann's.
func (g *waiter) serve() *affinity.Decision {
	dec := new(affinity.Decision)
	g.Decide(&affinity.Request{Patience: affinity.Wait, Request: route.Request{Port: 80, Authority: "any", Path: "/", Headers: []route.Header{
		{Name: "target", Value: "backend-1"}, {Name: "x-user", Value: "ann"},
	}}}, dec, someday)
	dec.Sent = true
	g.Release(dec, someday)
	return dec
}

func TestAnEndpointThatIsDrainedWhileASessionWaitsToMoveThereGetsItNot(t *testing.T) {
	elsewhere := func(c *affinity.Config) {
		c.Services[0].Endpoints = []affinity.EndpointConfig{{Addr: "127.9.9.9:8080"}}
	}
	m := model.New(500)
	newWaiter(t, m, 1, elsewhere).serve()
	proposed := newWaiter(t, model.New(500), 2, nil).serve().Endpoint.Addr
	g := newWaiter(t, m, 3, nil)
	g.waiting = func() {
		if g.pauses == 1 {
			g.Drain(proposed, true, someday)
		}
	}
	dec := g.serve()
	if !dec.Problem.IsZero() || dec.Endpoint.Addr == proposed || dec.Session != affinity.SessionMoved || g.pauses == 0 {
		t.Errorf("after %d pauses: %+v, %v, %+v; want it moved to another one than %s", g.pauses, dec.Endpoint, dec.Session, dec.Problem, proposed)
	}
	if again := g.serve(); again.Endpoint != dec.Endpoint || again.Session != affinity.SessionExisting {
		t.Errorf("then: %+v, %v; want it there", again.Endpoint, again.Session)
	}
}

func TestASplitKeepsAUserWhoseEndpointIsNotKnownYet(t *testing.T) {
	split := func(first, second uint32) func(*affinity.Config) {
		return func(c *affinity.Config) {
			c.Routes.Listeners[0].Hosts[0].Rules[0].Destinations = []route.Destination{{Service: 0, Weight: first}, {Service: 1, Weight: second}}
		}
	}
	m := model.New(500)
	other := newWaiter(t, m, 1, func(c *affinity.Config) {
		split(0, 1)(c)
		c.Services[1].Endpoints = []affinity.EndpointConfig{{Addr: "127.9.9.9:8080"}}
	})
	want := other.serve().Service.Name
	g := newWaiter(t, m, 2, split(1, 0)) // the weights have been changed, and its configuration is behind
	if dec := g.serve(); dec.Service.Name != want || dec.Session != affinity.SessionMoved || g.pauses == 0 {
		t.Errorf("after %d pauses: %s, %v; want it moved within %s", g.pauses, dec.Service.Name, dec.Session, want)
	}
}
