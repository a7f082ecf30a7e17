package affinity_test

import (
	"fmt"
	"maps"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/fields"
	"github.com/remora-proxy/remora/internal/problem"
	"github.com/remora-proxy/remora/internal/route"
	"github.com/remora-proxy/remora/internal/session"
)

// with makes an engine with the use case's configuration after change has been at it.
func with(t *testing.T, o affinity.Options, change func(*affinity.Config)) *affinity.Engine {
	t.Helper()
	if o.Store == nil {
		o.Store = newStore()
	}
	e := affinity.New(o)
	c := useCase(3, 4)
	if change != nil {
		change(&c)
	}
	s, err := affinity.Compile(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Apply(s, 0); err != nil {
		t.Fatal(err)
	}
	return e
}

const someday = session.Instant(1_000_000)

func TestWithoutAConfigurationThereIsNoRoute(t *testing.T) {
	dec := ask(affinity.New(affinity.Options{Store: newStore()}), "ann", someday)
	if dec.Problem.Code != problem.NoRoute {
		t.Errorf("got %+v", dec.Problem)
	}
}

// TestANewEndpointGetsNoSessionWhileItIsWarming is the life of an endpoint that appears after the first configuration, at an engine
// whose proxy hears of it later.
func TestANewEndpointGetsNoSessionWhileItIsWarming(t *testing.T) {
	const delay = time.Second
	config := useCase(1, 3)
	all := config.Services[0].Endpoints
	now := someday
	var e *affinity.Engine
	apply := func(endpoints ...affinity.EndpointConfig) {
		t.Helper()
		config.Services[0].Endpoints = endpoints
		s, err := affinity.Compile(config)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Apply(s, now); err != nil {
			t.Fatal(err)
		}
	}
	begin := func(endpoints ...affinity.EndpointConfig) {
		t.Helper()
		e = affinity.New(affinity.Options{Store: newStore(), EndpointDelay: delay})
		apply(endpoints...)
	}
	users := 0
	placed := func() map[string]bool {
		t.Helper()
		at := map[string]bool{}
		for range 40 {
			users++
			dec := ask(e, fmt.Sprint("user-", users), now)
			if !dec.Problem.IsZero() {
				t.Fatalf("got %+v", dec.Problem)
			}
			at[dec.Endpoint.Addr] = true
			e.Release(dec, now)
		}
		return at
	}
	state := func(addr string) string {
		for _, ep := range e.Endpoints(now) {
			if ep.Addr == addr {
				return ep.State
			}
		}
		return "none"
	}
	expect := func(t *testing.T, want map[string]bool, endpoint affinity.EndpointConfig, is string) {
		t.Helper()
		if got := placed(); !maps.Equal(got, want) {
			t.Errorf("new sessions are at %v, want %v", got, want)
		}
		if got := state(endpoint.Addr); got != is {
			t.Errorf("%s is %s, want %s", endpoint.Addr, got, is)
		}
	}
	first, second, third := all[0].Addr, all[1].Addr, all[2].Addr

	t.Run("those of the first configuration are used at once", func(t *testing.T) {
		begin(all[0], all[1])
		expect(t, map[string]bool{first: true, second: true}, all[0], "ready")
	})
	t.Run("one that is added waits", func(t *testing.T) {
		begin(all[0])
		apply(all[0], all[1])
		expect(t, map[string]bool{first: true}, all[1], "warming")
		apply(all[0], all[1], all[2]) // another configuration does not begin its time again
		now = now.Add(delay - time.Millisecond)
		expect(t, map[string]bool{first: true}, all[1], "warming")
		now = now.Add(time.Millisecond)
		expect(t, map[string]bool{second: true, third: true}, all[1], "ready") // the first one has many more than they
	})
	t.Run("one that comes back waits again", func(t *testing.T) {
		begin(all[0], all[1])
		apply(all[0])
		apply(all[0], all[1])
		expect(t, map[string]bool{first: true}, all[1], "warming")
	})
	t.Run("where no other is ready, it is used", func(t *testing.T) {
		begin()
		apply(all[0])
		expect(t, map[string]bool{first: true}, all[0], "warming")
		e.Drain(first, true, now)
		apply(all[0], all[1])
		expect(t, map[string]bool{second: true}, all[1], "warming")
	})
	t.Run("it is rather used than one that refuses connections", func(t *testing.T) {
		begin(all[0])
		apply(all[0], all[1])
		dec := ask(e, "ann", now)
		e.Move(dec, now)
		if dec.Endpoint == nil || dec.Endpoint.Addr != second {
			t.Errorf("the request went on to %+v", dec.Endpoint)
		}
		e.Release(dec, now)
		expect(t, map[string]bool{second: true}, all[0], "unhealthy")
	})
	t.Run("the sessions that it has are served", func(t *testing.T) {
		begin(all[0])
		apply(all[0], all[1])
		e.Release(ask(e, "ann", now), now)
		if _, err := e.MoveSession(config.Services[0].Name, "ann", second, now); err != nil {
			t.Fatal(err)
		}
		dec := ask(e, "ann", now)
		if dec.Endpoint.Addr != second || dec.Session != affinity.SessionMoved {
			t.Errorf("the session is %v at %s", dec.Session, dec.Endpoint.Addr)
		}
		e.Release(dec, now)
	})
	t.Run("a request without a session goes elsewhere, too", func(t *testing.T) {
		begin(all[0])
		apply(all[0], all[1])
		for range 20 {
			dec := ask(e, "", now)
			if dec.Endpoint.Addr != first {
				t.Errorf("the request went to %s", dec.Endpoint.Addr)
			}
			e.Release(dec, now)
		}
	})
}

func TestAnEndpointAilsUntilItIsReachedOrNoFailureComesForLong(t *testing.T) {
	now := someday
	for _, c := range []struct {
		name  string
		mends func(e *affinity.Engine, dec *affinity.Decision)
		want  int
	}{
		{"nothing happens", func(*affinity.Engine, *affinity.Decision) {}, 1},
		{"its ejection is over", func(*affinity.Engine, *affinity.Decision) { now = now.Add(time.Second) }, 1},
		{"a connection was established", func(e *affinity.Engine, dec *affinity.Decision) { e.Connected(dec) }, 0},
		{"a minute later", func(*affinity.Engine, *affinity.Decision) { now = now.Add(time.Second + time.Minute) }, 0},
		{"it is gone", func(e *affinity.Engine, _ *affinity.Decision) {
			s, err := affinity.Compile(useCase(1, 0))
			if err != nil {
				t.Fatal(err)
			}
			if err := e.Apply(s, now); err != nil {
				t.Fatal(err)
			}
		}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := with(t, affinity.Options{}, func(c *affinity.Config) { c.Services[0].Endpoints = c.Services[0].Endpoints[:1] })
			failed, tried := ask(e, "ann", now), ask(e, "bob", now)
			if got := e.Ailing(now); len(got) != 0 {
				t.Errorf("before the failure there are %v", got)
			}
			e.Move(failed, now)
			c.mends(e, tried)
			got := e.Ailing(now)
			if len(got) != c.want || c.want > 0 && got[0].Addr != tried.Endpoint.Addr {
				t.Errorf("got %v, want %d", got, c.want)
			}
			e.Release(tried, now)
		})
	}
}

func TestAFullTableStillServesByHashAndCountsIt(t *testing.T) {
	e := with(t, affinity.Options{Store: session.NewTable(session.Options{MaxSessions: 10})}, nil)
	where := map[string]string{}
	for round := range 2 {
		unbound := 0
		for i := range 50 {
			user := fmt.Sprint("user-", i)
			dec := ask(e, user, someday)
			if !dec.Problem.IsZero() {
				t.Fatalf("%s got %+v", user, dec.Problem)
			}
			if dec.Session == affinity.SessionNone {
				unbound++
			}
			if round > 0 && where[user] != dec.Endpoint.Addr {
				t.Errorf("%s went to %s and then to %s", user, where[user], dec.Endpoint.Addr)
			}
			where[user] = dec.Endpoint.Addr
			e.Release(dec, someday)
		}
		if unbound != 40 {
			t.Errorf("%d users have no session, want all but the 10 that have room", unbound)
		}
	}
	if st := e.Stats(); st.Services[0].TableFull != 80 {
		t.Errorf("%d were counted, want 80", st.Services[0].TableFull)
	}
}

func TestAClientWithoutTheCookieIsGivenOne(t *testing.T) {
	e := with(t, affinity.Options{Nonce: 1}, func(c *affinity.Config) {
		c.Services[0].Key = affinity.Key{Kind: affinity.CookieKey, Name: "user", TTL: time.Hour, SetTTL: true, Path: "/shop"}
	})
	seen := map[string]bool{}
	for range 100 {
		first := ask(e, "", someday)
		pair, attributes, _ := strings.Cut(first.SetCookie, ";")
		if first.Session != affinity.SessionNew || attributes != " Max-Age=3600; Path=/shop; HttpOnly" || seen[pair] {
			t.Fatalf("session %v, Set-Cookie: %q", first.Session, first.SetCookie)
		}
		seen[pair] = true
		second := new(affinity.Decision)
		e.Decide(&affinity.Request{Request: route.Request{Port: 80, Path: "/", Headers: []route.Header{
			{Name: "target", Value: "backend-1"}, {Name: "cookie", Value: "a=b; " + pair},
		}}}, second, someday)
		if second.Session != affinity.SessionExisting || second.Endpoint != first.Endpoint || second.SetCookie != "" {
			t.Fatalf("with the cookie: %v at %s, Set-Cookie: %q", second.Session, second.Endpoint.Addr, second.SetCookie)
		}
	}
	// A gateway that starts anew hands out other cookies, also with the same hash key.
	again := with(t, affinity.Options{Nonce: 2}, func(c *affinity.Config) {
		c.Services[0].Key = affinity.Key{Kind: affinity.CookieKey, Name: "user", TTL: time.Hour, SetTTL: true}
	})
	for range 100 {
		if pair, _, _ := strings.Cut(ask(again, "", someday).SetCookie, ";"); seen[pair] {
			t.Fatalf("the cookie %s was given out twice", pair)
		}
	}
}

func TestManyFirstRequestsOfOneUserAtOnceFollowTheFirst(t *testing.T) {
	e := with(t, affinity.Options{}, nil)
	for i := range 200 {
		user := fmt.Sprint("user-", i)
		decs := make([]*affinity.Decision, 8)
		var all sync.WaitGroup
		for j := range decs {
			all.Go(func() { decs[j] = ask(e, user, someday) })
		}
		all.Wait()
		began := 0
		for _, dec := range decs {
			if dec.Session == affinity.SessionNew {
				began++
			}
			if dec.Endpoint != decs[0].Endpoint {
				t.Fatalf("%s is at %s and at %s", user, dec.Endpoint.Addr, decs[0].Endpoint.Addr)
			}
			e.Release(dec, someday)
		}
		if began != 1 {
			t.Fatalf("the session of %s began %d times", user, began)
		}
	}
}

func TestManyRequestsThatGiveUpOneReplicaAtOnceFollowTheFirst(t *testing.T) {
	e := with(t, affinity.Options{}, nil)
	now := someday
	for i := range 100 {
		now = now.Add(30 * time.Second)
		user := fmt.Sprint("user-", i)
		e.Release(ask(e, user, now), now)
		decs := make([]*affinity.Decision, 8)
		for j := range decs {
			decs[j] = ask(e, user, now)
		}
		failed := decs[0].Endpoint
		var all sync.WaitGroup
		for _, dec := range decs {
			all.Go(func() { e.Move(dec, now) })
		}
		all.Wait()
		told := 0
		for _, dec := range decs {
			if dec.Session == affinity.SessionMoved {
				told++
			}
			if dec.Endpoint == failed || dec.Endpoint != decs[0].Endpoint {
				t.Fatalf("%s was at %s, is at %s and at %s", user, failed.Addr, dec.Endpoint.Addr, decs[0].Endpoint.Addr)
			}
			e.Release(dec, now)
		}
		if told != 1 {
			t.Fatalf("the backend of %s was told %d times that the session moved", user, told)
		}
		e.Connected(&affinity.Decision{Endpoint: failed})
	}
	for _, ep := range e.EndpointStats(now) {
		if ep.InFlight != 0 {
			t.Errorf("%s has %d requests in flight", ep.Addr, ep.InFlight)
		}
	}
}

func TestReleaseCountsOnce(t *testing.T) {
	e := with(t, affinity.Options{}, nil)
	dec, other := ask(e, "ann", someday), ask(e, "ann", someday)
	e.Release(dec, someday)
	e.Release(dec, someday)
	later := someday.Add(time.Hour)
	if dec := ask(e, "ann", later); dec.Session != affinity.SessionExisting {
		t.Errorf("the session is %v, though a request of it is in flight", dec.Session)
	}
	e.Release(other, later)
}

func TestRoundRobinTakesTurnsAndLeastRequestTheLessLoaded(t *testing.T) {
	for _, test := range []struct {
		lb   affinity.LoadBalancer
		most int // of 400 requests over 4 replicas, none of which ends
	}{{affinity.RoundRobin, 100}, {affinity.LeastRequest, 110}, {affinity.Random, 160}} {
		e := with(t, affinity.Options{}, func(c *affinity.Config) {
			c.Services[0].Key, c.Services[0].LoadBalancer = affinity.Key{}, test.lb
		})
		for range 400 {
			ask(e, "ann", someday)
		}
		for _, ep := range e.EndpointStats(someday)[:4] {
			if ep.InFlight > test.most || ep.InFlight < 2*100-test.most {
				t.Errorf("load balancer %d: %s has %d requests", test.lb, ep.Addr, ep.InFlight)
			}
		}
	}
}

func TestCompileRefusesWhatItsMakersShouldHave(t *testing.T) {
	for name, change := range map[string]func(*affinity.Config){
		"two services of one name":      func(c *affinity.Config) { c.Services[1].Name = c.Services[0].Name },
		"a bound of 1":                  func(c *affinity.Config) { c.Services[0].LoadBound = 1 },
		"an idle time beyond the table": func(c *affinity.Config) { c.Services[0].IdleTimeout = session.MaxIdle + 1 },
		"an endpoint twice":             func(c *affinity.Config) { c.Services[0].Endpoints[1] = c.Services[0].Endpoints[0] },
		"a destination that is not there": func(c *affinity.Config) {
			c.Routes.Listeners[0].Hosts[0].Rules[0].Destinations[0].Service = 3
		},
		"a rule that leads nowhere": func(c *affinity.Config) { c.Routes.Listeners[0].Hosts[0].Rules[0].Destinations = nil },
		"one field promoted twice":  func(c *affinity.Config) { c.Listeners[0].Promote[1].Field = "Target" },
	} {
		c := useCase(3, 2)
		change(&c)
		if _, err := affinity.Compile(c); err == nil {
			t.Errorf("%s: compiled", name)
		}
	}
}

func TestASessionIsFoundByTheClientsAddress(t *testing.T) {
	e := with(t, affinity.Options{}, func(c *affinity.Config) { c.Services[0].Key = affinity.Key{Kind: affinity.SourceIPKey} })
	dec := new(affinity.Decision)
	e.Decide(&affinity.Request{Request: route.Request{
		Port: 80, Path: "/", Headers: []route.Header{{Name: "target", Value: "backend-1"}}, Source: netip.MustParseAddr("::ffff:10.1.2.3"),
	}}, dec, someday)
	if v, err := e.Session("backend-1", "10.1.2.3", someday); err != nil || v.Endpoint != dec.Endpoint.Addr {
		t.Errorf("got %+v, %v; the session is at %s", v, err, dec.Endpoint.Addr)
	}
}

func TestAnEndpointHearsOfASessionWhenARequestReachesIt(t *testing.T) {
	e := with(t, affinity.Options{}, nil)
	first := ask(e, "ann", someday)
	first.Sent = false // the client went while the gateway was connecting
	e.Release(first, someday)
	if dec := ask(e, "ann", someday); dec.Session != affinity.SessionNew || dec.Endpoint != first.Endpoint {
		t.Errorf("the session is %v, want new: its endpoint has not seen it", dec.Session)
	}
	if dec := ask(e, "ann", someday); dec.Session != affinity.SessionExisting {
		t.Errorf("the session is %v, want existing", dec.Session)
	}
}

func TestTheLastReadyReplicaMayGoWhileARequestWithoutAKeyIsBalanced(t *testing.T) {
	e := with(t, affinity.Options{}, func(c *affinity.Config) {
		c.Services[0].Key = affinity.Key{}
		c.Services[0].Endpoints = c.Services[0].Endpoints[:1]
	})
	addr := useCase(1, 1).Services[0].Endpoints[0].Addr
	var flapping sync.WaitGroup
	flapping.Go(func() {
		for i := range 2000 {
			e.Drain(addr, i%2 == 0, someday)
		}
	})
	for range 50_000 {
		e.Release(ask(e, "", someday), someday)
	}
	flapping.Wait()
}

func TestABodyIsReadAndDecidedByOneConfiguration(t *testing.T) {
	e := with(t, affinity.Options{}, nil)
	req := &affinity.Request{Request: route.Request{Port: 80, Path: "/", Headers: []route.Header{{Name: "content-type", Value: "application/json"}}}}
	plan := e.Plan(req)
	swapped := useCase(3, 4)
	swapped.Listeners[0].Promote = []affinity.Promotion{{Field: "username", Header: "x-user"}, {Field: "target", Header: "target"}}
	s, err := affinity.Compile(swapped)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Apply(s, someday); err != nil {
		t.Fatal(err)
	}
	req.Body, req.BodyState = new(fields.Scanner), affinity.BodyRead
	req.Body.Reset(plan.Spec)
	if err := req.Body.Write([]byte(`{"target":"backend-1","username":"backend-2"}`)); err != nil {
		t.Fatal(err)
	}
	if err := req.Body.Close(); err != nil {
		t.Fatal(err)
	}
	dec := new(affinity.Decision)
	e.Decide(req, dec, someday)
	if !dec.Problem.IsZero() || !strings.HasPrefix(dec.Service.Name, "backend-1.") {
		t.Errorf("the request went to %+v (%+v)", dec.Service, dec.Problem)
	}
}

func TestAConfigurationWithTooManyEndpointsChangesNothing(t *testing.T) {
	e := with(t, affinity.Options{}, nil)
	before := ask(e, "ann", someday)
	huge := useCase(1, 1)
	huge.Services[0].Endpoints = nil
	for i := range session.MaxEndpoints {
		huge.Services[0].Endpoints = append(huge.Services[0].Endpoints, affinity.EndpointConfig{Addr: fmt.Sprint("a", i)})
	}
	s, err := affinity.Compile(huge)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Apply(s, someday); err == nil {
		t.Fatal("applied")
	}
	if dec := ask(e, "ann", someday); dec.Session != affinity.SessionExisting || dec.Endpoint != before.Endpoint {
		t.Errorf("the session is %v at %+v", dec.Session, dec.Endpoint)
	}
}

func TestACharsetThatIsNotUTF8IsRefused(t *testing.T) {
	e := with(t, affinity.Options{}, nil)
	for contentType, fine := range map[string]bool{
		"application/json":                          true,
		"application/json; charset=utf-8":           true,
		`application/json;charset="UTF-8";x=y`:      true,
		"application/json; charset=us-ascii":        true,
		"application/json; charset=utf-7":           false,
		"application/json; charset = utf-16":        false,
		"application/json; charset=utf-8; charset=": false,
		"application/json; charset*=utf-7''x":       false,
	} {
		plan := e.Plan(&affinity.Request{Request: route.Request{Port: 80, Headers: []route.Header{{Name: "content-type", Value: contentType}}}})
		if plan.Problem.IsZero() != fine {
			t.Errorf("%s: %+v", contentType, plan.Problem)
		}
	}
}
