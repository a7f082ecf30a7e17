package affinity_test

import (
	"strings"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/session"
)

// proxied is an engine behind a proxy, with one service of three endpoints.
type proxied struct {
	t      *testing.T
	engine *affinity.Engine
	now    session.Instant
	addrs  []string
}

func newProxied(t *testing.T) *proxied {
	t.Helper()
	config := useCase(1, 3)
	p := &proxied{t: t, engine: with(t, affinity.Options{}, func(c *affinity.Config) { *c = config }), now: someday}
	for _, ep := range config.Services[0].Endpoints {
		p.addrs = append(p.addrs, ep.Addr)
	}
	return p
}

// decide is a request in flight, of which the proxy has not said anything yet.
func (p *proxied) decide(user string, want affinity.SessionState) (*affinity.Decision, affinity.Pick) {
	p.t.Helper()
	dec := ask(p.engine, user, p.now)
	if !dec.Problem.IsZero() || dec.Session != want {
		p.t.Fatalf("%s got %v %+v, want %v", user, dec.Session, dec.Problem, want)
	}
	dec.Sent = true
	return dec, dec.Pick()
}

func (p *proxied) end(dec *affinity.Decision) { p.engine.Release(dec, p.now) }

// serve is a whole request at the endpoint picked, whose address it returns.
func (p *proxied) serve(user string, want affinity.SessionState) string {
	p.t.Helper()
	dec, _ := p.decide(user, want)
	p.end(dec)
	return dec.Endpoint.Addr
}

func (p *proxied) report(pick affinity.Pick, u affinity.Used, why affinity.Diversion, then affinity.Sequel) {
	p.t.Helper()
	if w, th, known := p.engine.Served(pick, u, p.now); w != why || th != then || !known {
		p.t.Errorf("the report is %v, %v (%v), want %v, %v", w, th, known, why, then)
	}
}

// other is an endpoint that is none of addrs.
func (p *proxied) other(addrs ...string) string {
	for _, a := range p.addrs {
		if !strings.Contains(strings.Join(addrs, " "), a) {
			return a
		}
	}
	p.t.Fatal("there is no other endpoint")
	return ""
}

func (p *proxied) state(addr string) affinity.EndpointState {
	for _, ep := range p.engine.EndpointStats(p.now) {
		if ep.Addr == addr {
			return ep.State
		}
	}
	return affinity.Gone
}

func (p *proxied) is(what, got, want string) {
	p.t.Helper()
	if got != want {
		p.t.Errorf("%s: at %s, want %s", what, got, want)
	}
}

func TestASessionFollowsTheEndpointThatAProxyUsed(t *testing.T) {
	p := newProxied(t)
	home := p.serve("ann", affinity.SessionNew)
	dec, pick := p.decide("ann", affinity.SessionExisting)
	refuge := p.other(home)
	p.report(pick, affinity.Used{Addr: refuge, Attempts: 2}, affinity.Retry, affinity.Followed)
	if s := p.state(home); s != affinity.Unhealthy {
		t.Errorf("the endpoint that failed is %v", s)
	}
	if view, err := p.engine.Session("backend-1", "ann", p.now); err != nil || view.Endpoint != refuge || view.Holds != 1 ||
		view.Diverted == nil || view.Diverted.From != home || view.Diverted.Why != "retry" {
		t.Errorf("the session is shown as %+v, %+v, %v", view, view.Diverted, err)
	}
	p.now = p.now.Add(10 * time.Minute)
	p.engine.SweepAll(p.now) // the hold has gone with the session
	p.end(dec)
	p.is("the next request", p.serve("ann", affinity.SessionMoved), refuge)
	p.is("the one after it", p.serve("ann", affinity.SessionExisting), refuge)
	for _, ep := range p.engine.Endpoints(p.now) {
		if ep.InFlight != 0 || ep.Held != 0 {
			t.Errorf("%s has %d requests in flight and %d sessions held, want none", ep.Addr, ep.InFlight, ep.Held)
		}
	}
}

func TestWhatTheEndpointUsedHearsOfASession(t *testing.T) {
	for _, tt := range []struct {
		name  string
		state affinity.SessionState // that the diverted request said
		told  bool                  // the proxy has changed that to moved
		next  affinity.SessionState
	}{
		{"existing was wrong there: the next request says moved", affinity.SessionExisting, false, affinity.SessionMoved},
		{"the proxy has said moved itself", affinity.SessionExisting, true, affinity.SessionExisting},
		{"a session that begins is new wherever the request goes", affinity.SessionNew, false, affinity.SessionExisting},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newProxied(t)
			if tt.state == affinity.SessionExisting {
				p.serve("ann", affinity.SessionNew)
			}
			dec, pick := p.decide("ann", tt.state)
			refuge := p.other(dec.Endpoint.Addr)
			p.report(pick, affinity.Used{Addr: refuge, Attempts: 2, ToldMoved: tt.told}, affinity.Retry, affinity.Followed)
			p.end(dec)
			p.is("the next request", p.serve("ann", tt.next), refuge)
			p.is("the one after it", p.serve("ann", affinity.SessionExisting), refuge)
		})
	}
}

func TestOfSeveralReportsOnOneSessionTheFirstCounts(t *testing.T) {
	p := newProxied(t)
	first, firstPick := p.decide("ann", affinity.SessionNew)
	second, secondPick := p.decide("ann", affinity.SessionExisting)
	third, thirdPick := p.decide("ann", affinity.SessionExisting)
	home := first.Endpoint.Addr
	refuge := p.other(home)
	p.report(secondPick, affinity.Used{Addr: refuge, Attempts: 2}, affinity.Retry, affinity.Followed)
	p.report(firstPick, affinity.Used{Addr: refuge, Attempts: 2}, affinity.Retry, affinity.Superseded) // but it has told the endpoint: new
	p.report(thirdPick, affinity.Used{Addr: p.other(home, refuge), Attempts: 2}, affinity.Retry, affinity.Superseded)
	for _, dec := range []*affinity.Decision{first, second, third} {
		p.end(dec)
	}
	p.is("the next request", p.serve("ann", affinity.SessionExisting), refuge)
}

func TestASessionThatHasMovedOrEndedIsLeftAlone(t *testing.T) {
	p := newProxied(t)
	dec, pick := p.decide("ann", affinity.SessionNew)
	home := dec.Endpoint.Addr
	elsewhere := p.other(home)
	if _, err := p.engine.MoveSession("backend-1", "ann", elsewhere, p.now); err != nil {
		t.Fatal(err)
	}
	p.report(pick, affinity.Used{Addr: p.other(home, elsewhere), Attempts: 1}, affinity.Fallback, affinity.Superseded)
	p.end(dec)
	p.is("the next request", p.serve("ann", affinity.SessionMoved), elsewhere)
	p.now = p.now.Add(time.Minute)
	p.report(pick, affinity.Used{Addr: p.other(home), Attempts: 1}, affinity.Fallback, affinity.Superseded)
	if _, err := p.engine.Session("backend-1", "ann", p.now); err == nil {
		t.Error("a report that came late has brought the session back")
	}
}

func TestARequestThatReachedNobodyOrAStrangerToldNobody(t *testing.T) {
	for _, tt := range []struct {
		name string
		used affinity.Used
		why  affinity.Diversion
		then affinity.Sequel
	}{
		{"a host that is no endpoint of the service", affinity.Used{Addr: "127.9.9.9:1", Attempts: 1}, affinity.Fallback, affinity.Foreign},
		{"no host at all", affinity.Used{Attempts: 1}, affinity.Unserved, affinity.Stayed},
		{"a host that could not be connected to", affinity.Used{Addr: "127.9.9.9:1", Attempts: 3, Unreached: true}, affinity.Unserved, affinity.Stayed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newProxied(t)
			dec, pick := p.decide("ann", affinity.SessionNew)
			p.report(pick, tt.used, tt.why, tt.then)
			p.end(dec)
			p.is("the next request", p.serve("ann", affinity.SessionNew), dec.Endpoint.Addr)
			p.is("the one after it", p.serve("ann", affinity.SessionExisting), dec.Endpoint.Addr)
		})
	}
}

func TestReportsThatChangeNothing(t *testing.T) {
	p := newProxied(t)
	dec, pick := p.decide("ann", affinity.SessionNew)
	p.report(pick, affinity.Used{Addr: dec.Endpoint.Addr, Attempts: 2}, affinity.NoDiversion, affinity.NoSession)
	if s := p.state(dec.Endpoint.Addr); s != affinity.Ready {
		t.Errorf("an endpoint that served at the second attempt is %v", s)
	}
	p.end(dec)
	p.is("the next request", p.serve("ann", affinity.SessionExisting), dec.Endpoint.Addr)

	pick.Service = "backend-9"
	if _, _, known := p.engine.Served(pick, affinity.Used{Addr: p.addrs[0], Attempts: 2}, p.now); known {
		t.Error("there is no such service")
	}

	none, pick := p.decide("", affinity.SessionNone)
	p.report(pick, affinity.Used{Addr: p.other(none.Endpoint.Addr), Attempts: 2}, affinity.Retry, affinity.NoSession)
	p.end(none)
	if s := p.state(none.Endpoint.Addr); s != affinity.Unhealthy {
		t.Errorf("an endpoint that failed a request without a session is %v", s)
	}
}

// TestEjectionsGrowUntilAMinuteIsQuiet: a proxy does not tell of connections that succeed.
func TestEjectionsGrowUntilAMinuteIsQuiet(t *testing.T) {
	p := newProxied(t)
	dec, pick := p.decide("ann", affinity.SessionNew)
	defer p.end(dec)
	failed := dec.Endpoint.Addr
	used := affinity.Used{Addr: p.other(failed), Attempts: 2}
	for i, step := range []struct{ quiet, ejected time.Duration }{
		{0, time.Second},
		{0, 2 * time.Second},
		{59 * time.Second, 4 * time.Second},
		{time.Minute, time.Second},
		{0, 2 * time.Second},
	} {
		p.now = p.now.Add(step.quiet)
		if _, _, known := p.engine.Served(pick, used, p.now); !known {
			t.Fatal("the service is not known")
		}
		for _, at := range []struct {
			by   time.Duration
			want affinity.EndpointState
		}{{step.ejected - time.Millisecond, affinity.Unhealthy}, {time.Millisecond, affinity.Ready}} {
			p.now = p.now.Add(at.by)
			if got := p.state(failed); got != at.want {
				t.Fatalf("failure %d: at its %v the endpoint is %v, want %v", i+1, step.ejected, got, at.want)
			}
		}
	}
}

// TestASessionThatBeginsAnewWasNotDiverted has a session that ends where a proxy had taken it, and another one that begins there before
// a sweep has passed.
func TestASessionThatBeginsAnewWasNotDiverted(t *testing.T) {
	p := newProxied(t)
	dec, pick := p.decide("ann", affinity.SessionNew)
	to := p.other(dec.Endpoint.Addr)
	p.report(pick, affinity.Used{Addr: to, Attempts: 2}, affinity.Retry, affinity.Followed)
	p.end(dec)
	p.now = p.now.Add(time.Hour)
	for _, addr := range p.addrs {
		p.engine.Drain(addr, addr != to, p.now)
	}
	if at := p.serve("ann", affinity.SessionNew); at != to {
		t.Fatalf("the session is at %s, want %s", at, to)
	}
	if view, err := p.engine.Session(pick.Service, "ann", p.now); err != nil || view.Diverted != nil {
		t.Errorf("the session is shown as %+v, %+v, %v", view, view.Diverted, err)
	}
}
