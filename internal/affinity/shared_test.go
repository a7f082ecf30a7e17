package affinity_test

import (
	"bytes"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/fields"
	"github.com/remora-proxy/remora/internal/route"
	"github.com/remora-proxy/remora/internal/session"
)

// sharing is a gateway that has its sessions in common with those that have the same outside.
type sharing struct {
	*affinity.Engine
	t     *testing.T
	store *sharedTable
	now   session.Instant
}

func newSharing(t *testing.T, out *outside, change func(*affinity.Config)) *sharing {
	t.Helper()
	g := &sharing{t: t, store: &sharedTable{Table: newTable(), out: out}, now: someday}
	g.Engine = with(t, affinity.Options{Store: g.store, HashKey: [16]byte{3}}, change)
	g.store.engine = g.Engine
	return g
}

// decide decides a request of a user for backend-1, and says how often the store was asked.
func (g *sharing) decide(user string, p affinity.Patience) (dec *affinity.Decision, asked int64) {
	before := g.store.asked.Load()
	dec = new(affinity.Decision)
	g.Decide(&affinity.Request{Patience: p, Request: route.Request{Port: 80, Authority: "any", Path: "/", Headers: []route.Header{
		{Name: "target", Value: "backend-1"}, {Name: "x-user", Value: user},
	}}}, dec, g.now)
	dec.Sent = true
	return dec, g.store.asked.Load() - before
}

// serve is a whole request, with as much patience as it takes.
func (g *sharing) serve(user string) *affinity.Decision {
	g.t.Helper()
	dec, _ := g.decide(user, affinity.Wait)
	if !dec.Problem.IsZero() {
		g.t.Fatalf("%s got %+v", user, dec.Problem)
	}
	g.Release(dec, g.now)
	return dec
}

// fail makes the endpoint of a user's decision one that cannot be connected to.
func (g *sharing) fail(user string, p affinity.Patience) *affinity.Decision {
	dec, _ := g.decide(user, affinity.Wait)
	dec.Sent, dec.Patience = false, p
	g.Move(dec, g.now)
	return dec
}

func TestASharedStoreIsAskedAtTheFirstSightOfAUserAndWhereASessionMoves(t *testing.T) {
	split := func(c *affinity.Config) {
		c.Services[0].Endpoints, c.Services[1].Endpoints = c.Services[0].Endpoints[:2], c.Services[1].Endpoints[:2]
		c.Routes.Listeners[0].Hosts[0].Rules[0].Destinations = []route.Destination{{Service: 0, Weight: 1}, {Service: 1, Weight: 1}}
	}
	for _, c := range []struct {
		name   string
		config func(*affinity.Config)
		before func(g *sharing)
		asked  int64 // with Wait; NoWait and Alone never ask
		state  affinity.SessionState
	}{
		{name: "the first sight of a user is one question", asked: 1, state: affinity.SessionNew},
		{name: "a known session is none", before: func(g *sharing) { g.serve("ann") }, state: affinity.SessionExisting},
		{name: "a session that has ended is one again", before: func(g *sharing) {
			g.serve("ann")
			g.now, g.store.out.owner = g.now.Add(time.Hour), nil
		}, asked: 1, state: affinity.SessionNew},
		{name: "a request without a key is none", config: func(c *affinity.Config) { c.Services[0].Key = affinity.Key{} }, state: affinity.SessionNone},
		{name: "a session whose endpoint is gone moves with one question", before: func(g *sharing) {
			g.leave(g.serve("ann").Endpoint.Addr)
		}, asked: 1, state: affinity.SessionMoved},
		{name: "where the weights decide, all destinations are asked for at once before", config: split, asked: 2, state: affinity.SessionNew},
		{name: "where the user has a session here, none is", config: split, before: func(g *sharing) { g.serve("ann") }, state: affinity.SessionExisting},
		{
			name: "where the user has no key, none is",
			config: func(c *affinity.Config) {
				split(c)
				c.Services[0].Key, c.Services[1].Key = affinity.Key{}, affinity.Key{}
			},
			state: affinity.SessionNone,
		},
	} {
		for _, p := range []affinity.Patience{affinity.Wait, affinity.NoWait, affinity.Alone} {
			t.Run(fmt.Sprintf("%s, patience %d", c.name, p), func(t *testing.T) {
				g := newSharing(t, new(outside), c.config)
				if c.before != nil {
					c.before(g)
				}
				dec, asked := g.decide("ann", p)
				if waits := p == affinity.NoWait && c.asked > 0; dec.Waits != waits || p != affinity.Wait && asked != 0 || p == affinity.Wait && asked != c.asked {
					t.Errorf("it waits: %v, want %v; %d questions, want %d", dec.Waits, waits, asked, c.asked)
				}
				if !dec.Waits && (!dec.Problem.IsZero() || dec.Session != c.state) {
					t.Errorf("the session is %v (%+v), want %v", dec.Session, dec.Problem, c.state)
				}
				g.Release(dec, g.now)
				for _, ep := range g.Endpoints(g.now) {
					if ep.InFlight != 0 || ep.Held != 0 {
						t.Errorf("something is held: %+v", ep)
					}
				}
			})
		}
	}
}

// leave takes an endpoint of the use case away.
func (g *sharing) leave(addr string) {
	g.t.Helper()
	c := useCase(3, 4)
	for i := range c.Services {
		var left []affinity.EndpointConfig
		for _, ep := range c.Services[i].Endpoints {
			if ep.Addr != addr {
				left = append(left, ep)
			}
		}
		c.Services[i].Endpoints = left
	}
	s, err := affinity.Compile(c)
	if err != nil {
		g.t.Fatal(err)
	}
	if err := g.Apply(s, g.now); err != nil {
		g.t.Fatal(err)
	}
}

func TestGatewaysThatShareSessionsAgree(t *testing.T) {
	var out outside
	a, b := newSharing(t, &out, nil), newSharing(t, &out, nil)
	for i := range 100 {
		a.serve(fmt.Sprint("only at a, so that the loads differ: ", i))
	}
	for i := range 100 {
		user := fmt.Sprint("user-", i)
		first, second := a.serve(user), b.serve(user)
		if first.Session != affinity.SessionNew || second.Session != affinity.SessionExisting || first.Endpoint.Addr != second.Endpoint.Addr {
			t.Fatalf("%s is %v at %s, and %v at %s", user, first.Session, first.Endpoint.Addr, second.Session, second.Endpoint.Addr)
		}
		if _, asked := b.decide(user, affinity.NoWait); asked != 0 {
			t.Fatalf("the second request of %s at a gateway has asked", user)
		}
	}
	t.Run("a session that one of them has moved is followed by the other", func(t *testing.T) {
		was := a.serve("user-1").Endpoint.Addr
		dec := a.fail("user-1", affinity.Wait)
		if dec.Session != affinity.SessionMoved || dec.Endpoint.Addr == was {
			t.Errorf("the session is %v at %s", dec.Session, dec.Endpoint.Addr)
		}
		if follows := b.fail("user-1", affinity.Wait); follows.Session != affinity.SessionExisting || follows.Endpoint.Addr != dec.Endpoint.Addr {
			t.Errorf("the other has it as %v at %s, want existing at %s", follows.Session, follows.Endpoint.Addr, dec.Endpoint.Addr)
		}
	})
}

func TestWhileTheSharedStoreDoesNotAnswerNewSessionsGoByTheHashAlone(t *testing.T) {
	for name, patience := range map[string]affinity.Patience{"it does not answer": affinity.NoWait, "it is not asked": affinity.Alone} {
		t.Run(name, func(t *testing.T) {
			a, b := newSharing(t, nil, nil), newSharing(t, nil, nil)
			first := a.serve("user-0").Endpoint
			for i := range 100 { // of which only one of them knows
				user := fmt.Sprint("other-", i)
				a.serve(user)
				if _, err := a.MoveSession("backend-1", user, first.Addr, a.now); err != nil {
					t.Fatal(err)
				}
			}
			for _, g := range []*sharing{a, b} {
				g.store.dead.Store(patience == affinity.NoWait)
			}
			for i := range 200 {
				user := fmt.Sprint("user-", i)
				at, asked := a.decide(user, patience)
				too, askedToo := b.decide(user, patience)
				if at.Waits || too.Waits || asked+askedToo != 0 {
					t.Fatalf("%s waits for a store that is not to be waited for", user)
				}
				if at.Endpoint.Addr != too.Endpoint.Addr {
					t.Fatalf("%s is at %s and at %s", user, at.Endpoint.Addr, too.Endpoint.Addr)
				}
			}
		})
	}
}

func request(user string) *affinity.Request {
	return &affinity.Request{Request: route.Request{Port: 80, Authority: "any", Path: "/", Headers: []route.Header{
		{Name: "target", Value: "backend-1"}, {Name: "x-user", Value: user},
	}}}
}

// TestTheWeightsDoNotTakeAUserFromASessionOnAnotherGateway has the weights turned over between a user's requests at two gateways.
func TestTheWeightsDoNotTakeAUserFromASessionOnAnotherGateway(t *testing.T) {
	var out outside
	weights := func(first, second uint32) func(*affinity.Config) {
		return func(c *affinity.Config) {
			c.Routes.Listeners[0].Hosts[0].Rules[0].Destinations = []route.Destination{{Service: 0, Weight: first}, {Service: 1, Weight: second}}
		}
	}
	a, b := newSharing(t, &out, weights(100, 0)), newSharing(t, &out, weights(0, 100))
	first, second := a.serve("ann"), b.serve("ann")
	if second.Session != affinity.SessionExisting || second.Service.Name != first.Service.Name || second.Endpoint.Addr != first.Endpoint.Addr {
		t.Errorf("it is %v of %s at %s, want that at %s", second.Session, second.Service.Name, second.Endpoint.Addr, first.Endpoint.Addr)
	}
	if third := b.serve("bob"); third.Service.Name == first.Service.Name {
		t.Errorf("a new user is at %s, which has no weight", third.Service.Name)
	}
}

func TestASessionOnAnotherGatewayIsServedWhereNoEndpointTakesNewOnes(t *testing.T) {
	var out outside
	a, b := newSharing(t, &out, nil), newSharing(t, &out, nil)
	first := a.serve("ann")
	for _, ep := range b.EndpointStats(b.now) {
		b.Drain(ep.Addr, true, b.now)
	}
	if dec := b.serve("ann"); dec.Session != affinity.SessionExisting || dec.Endpoint.Addr != first.Endpoint.Addr {
		t.Errorf("it is %v at %s, want existing at %s", dec.Session, dec.Endpoint.Addr, first.Endpoint.Addr)
	}
	if dec, _ := b.decide("bob", affinity.Wait); dec.Problem.IsZero() {
		t.Errorf("a new user was placed at %s", dec.Endpoint.Addr)
	}
}

func TestASessionOnAnEndpointThatThisGatewayNeverKnewMoves(t *testing.T) {
	var out outside
	a := newSharing(t, &out, nil)
	b := newSharing(t, &out, func(c *affinity.Config) {
		for i := range c.Services[0].Endpoints {
			c.Services[0].Endpoints[i].Incarnation = "the next"
		}
	})
	a.serve("ann")
	if dec := b.serve("ann"); dec.Session != affinity.SessionMoved {
		t.Errorf("it is %v, want moved", dec.Session)
	}
	if dec := b.serve("ann"); dec.Session != affinity.SessionExisting {
		t.Errorf("it is %v, want existing", dec.Session)
	}
}

func TestFirstRequestsOfOneUserThatWaitAtOnceFollowTheFirst(t *testing.T) {
	g := newSharing(t, new(outside), nil)
	const n = 8
	arrived, answer := make(chan struct{}, n), make(chan struct{})
	g.store.before = func(string) {
		arrived <- struct{}{}
		<-answer
	}
	decs := make([]*affinity.Decision, n)
	var all sync.WaitGroup
	for i := range decs {
		all.Go(func() { decs[i], _ = g.decide("ann", affinity.Wait) })
	}
	for range n {
		<-arrived
	}
	close(answer)
	all.Wait()
	began := 0
	for _, dec := range decs {
		if dec.Session == affinity.SessionNew {
			began++
		}
		if dec.Endpoint != decs[0].Endpoint {
			t.Errorf("ann is at %s and at %s", dec.Endpoint.Addr, decs[0].Endpoint.Addr)
		}
		g.Release(dec, g.now)
	}
	if began != 1 {
		t.Errorf("the session began %d times", began)
	}
}

func TestABodyIsReadAndDecidedByOneConfigurationWhileTheDecisionWaits(t *testing.T) {
	g := newSharing(t, new(outside), nil)
	req := &affinity.Request{Patience: affinity.NoWait, Request: route.Request{
		Port: 80, Path: "/", Headers: []route.Header{{Name: "content-type", Value: "application/json"}},
	}}
	req.Body, req.BodyState = new(fields.Scanner), affinity.BodyRead
	req.Body.Reset(g.Plan(req).Spec)
	if err := req.Body.Write([]byte(`{"target":"backend-1","username":"backend-2"}`)); err != nil {
		t.Fatal(err)
	}
	if err := req.Body.Close(); err != nil {
		t.Fatal(err)
	}
	dec := new(affinity.Decision)
	if g.Decide(req, dec, g.now); !dec.Waits {
		t.Fatalf("decided: %+v", dec)
	}
	swapped := useCase(3, 4)
	swapped.Listeners[0].Promote = []affinity.Promotion{{Field: "username", Header: "x-user"}, {Field: "target", Header: "target"}}
	s, err := affinity.Compile(swapped)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Apply(s, g.now); err != nil {
		t.Fatal(err)
	}
	req.Patience = affinity.Wait
	if g.Decide(req, dec, g.now); !dec.Problem.IsZero() || dec.Service.Name != useCase(1, 1).Services[0].Name || len(req.Headers) != 3 {
		t.Errorf("the request went to %+v (%+v), with %v", dec.Service, dec.Problem, req.Headers)
	}
}

func TestAReportMayComeToAnotherGatewayThanTheOneThatDecided(t *testing.T) {
	var out outside
	a, b := newSharing(t, &out, nil), newSharing(t, &out, nil)
	dec, _ := a.decide("ann", affinity.Wait)
	pick, used := dec.Pick(), ""
	for _, ep := range b.EndpointStats(b.now)[:4] {
		if ep.Addr != dec.Endpoint.Addr {
			used = ep.Addr
		}
	}
	u := affinity.Used{Addr: used, Attempts: 2, Patience: affinity.NoWait}
	if why, then, known := b.Served(pick, u, b.now); why != affinity.Retry || then != affinity.Waits || !known {
		t.Errorf("the report is %v, %v (%v), want that it waits", why, then, known)
	}
	u.Patience = affinity.Wait
	if why, then, known := b.Served(pick, u, b.now); why != affinity.Retry || then != affinity.Followed || !known {
		t.Errorf("the report is %v, %v (%v), want that the session has followed", why, then, known)
	}
	if got := b.serve("ann").Endpoint.Addr; got != used {
		t.Errorf("the session is at %s, want %s", got, used)
	}
}

func TestWhoAsksAfterASessionFindsItOnAnotherGatewayAndLeavesIt(t *testing.T) {
	var out outside
	a, b := newSharing(t, &out, nil), newSharing(t, &out, nil)
	at := a.serve("ann").Endpoint.Addr
	trace := b.Explain(request("ann"), b.now)
	if trace.Session != "existing" || trace.Bound != at || trace.Choice != at {
		t.Errorf("explained as %s, bound to %s, choice %s; want the one at %s", trace.Session, trace.Bound, trace.Choice, at)
	}
	if v, err := newSharing(t, &out, nil).Session("backend-1", "ann", someday); err != nil || v.Endpoint != at {
		t.Errorf("got %+v, %v", v, err)
	}
	if trace := b.Explain(request("bob"), b.now); trace.Session != "new" || len(out.owner) != 1 {
		t.Errorf("explained as %s; there are %d sessions, want ann's", trace.Session, len(out.owner))
	}
	to := b.Explain(request("bob"), b.now).Choice
	if to == at {
		to = a.Endpoints(a.now)[0].Addr
	}
	c := newSharing(t, &out, nil)
	if v, err := c.MoveSession("backend-1", "ann", to, c.now); err != nil || v.Endpoint != to {
		t.Errorf("moved to %s: %+v, %v", to, v, err)
	}
	if got := newSharing(t, &out, nil).serve("ann").Endpoint.Addr; got != to {
		t.Errorf("after the move the session is at %s, want %s", got, to)
	}
}

func TestGatewaysCallAnEndpointByOneName(t *testing.T) {
	config := useCase(2, 3)
	config.Services[1].Endpoints = config.Services[0].Endpoints // one address, and two services at it
	apply := func(e *affinity.Engine, c affinity.Config, now session.Instant) {
		t.Helper()
		s, err := affinity.Compile(c)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Apply(s, now); err != nil {
			t.Fatal(err)
		}
	}
	one := affinity.New(affinity.Options{Store: newTable(), HashKey: [16]byte{1}})
	other := affinity.New(affinity.Options{Store: newTable(), HashKey: [16]byte{2}})
	apply(other, useCase(5, 7), someday) // so that its ids are others
	apply(one, config, someday)
	apply(other, config, someday)

	names := map[uint64]bool{}
	for id := session.EndpointID(1); one.Identity(id) != 0; id++ {
		name := one.Identity(id)
		names[name] = true
		if one.EndpointOf(name) != id || other.EndpointOf(name) == 0 || other.Identity(other.EndpointOf(name)) != name {
			t.Errorf("endpoint %d is %#x, which is %d here and %d elsewhere", id, name, one.EndpointOf(name), other.EndpointOf(name))
		}
	}
	if len(names) != 6 {
		t.Errorf("%d names, want one for each endpoint of each service", len(names))
	}
	if one.Identity(0) != 0 || one.Identity(99) != 0 || one.EndpointOf(0) != 0 || one.EndpointOf(1) != 0 {
		t.Error("what there is not has a name, or is somebody's")
	}

	less := useCase(2, 2)
	less.Services[1].Endpoints = less.Services[0].Endpoints
	name := one.Identity(3) // the third of the first service
	t.Run("one that is gone is still known", func(t *testing.T) {
		apply(one, less, someday)
		if got := one.EndpointOf(name); got != 3 {
			t.Errorf("it is %d, want 3", got)
		}
	})
	t.Run("one that is back is known as it is now", func(t *testing.T) {
		apply(one, config, someday)
		if got := one.EndpointOf(name); got == 3 || got == 0 || one.Identity(got) != name || one.Identity(3) != name {
			t.Errorf("it is %d, which is %#x, want another one that is %#x", got, one.Identity(got), name)
		}
	})
	t.Run("one that was restored is known before the configuration has it", func(t *testing.T) {
		sessions := with(t, affinity.Options{}, nil)
		at := ask(sessions, "ann", someday).Endpoint.Addr
		again := affinity.New(affinity.Options{Store: newTable()})
		if _, err := again.Restore(bytes.NewReader(save(t, sessions, someday)), someday); err != nil {
			t.Fatal(err)
		}
		id := session.EndpointID(1)
		if again.Identity(id) == 0 || again.EndpointOf(again.Identity(id)) != id {
			t.Errorf("the endpoint %s is not known", at)
		}
	})
	t.Run("one that has been gone for long is forgotten", func(t *testing.T) {
		apply(one, useCase(0, 0), someday)
		one.SweepAll(someday.Add(time.Hour))
		one.SweepAll(someday.Add(time.Hour)) // the life before
		for name := range names {
			if got := one.EndpointOf(name); got != 0 {
				t.Errorf("%#x is %d still", name, got)
			}
		}
	})
}

func TestASessionDoesNotBeginWhereItsEndpointWasDrainedWhileItWaited(t *testing.T) {
	g := newSharing(t, new(outside), nil)
	was := g.serve("ann")
	g.now = g.now.Add(time.Hour)
	g.SweepAll(g.now)
	g.store.out.owner = map[session.Key]uint64{was.Pick().Key: 0xdead} // an endpoint that this gateway never gets to know
	g.store.before = func(call string) {
		if call == "bind" { // which waits for that one for a second
			g.Drain(was.Endpoint.Addr, true, g.now)
		}
	}
	if dec := g.serve("ann"); dec.Endpoint == was.Endpoint || dec.Session != affinity.SessionMoved {
		t.Errorf("ann is at %s, %v; want another one than %s, moved", dec.Endpoint.Addr, dec.Session, was.Endpoint.Addr)
	}
	if dec := g.serve("ann"); dec.Session != affinity.SessionExisting {
		t.Errorf("then: %v", dec.Session)
	}
}
