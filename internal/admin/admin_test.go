package admin_test

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/remora-proxy/remora/internal/admin"
	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/problem"
	"github.com/remora-proxy/remora/internal/route"
	"github.com/remora-proxy/remora/internal/session"
)

// The addresses of the test's replicas. Nothing listens there: the API never talks to a replica.
const (
	addr1 = "127.0.1.1:8080"
	addr2 = "127.0.1.2:8080"
)

const fullName = "backend-1.default.svc.cluster.local:8080"

// gate is a real engine with one service of two replicas, its API, and a clock that stands still until it is set.
type gate struct {
	engine *affinity.Engine
	server *httptest.Server
	client *admin.Client
	status admin.Status

	mu   sync.Mutex
	time time.Time
	next chan struct{}
}

func newGate(t *testing.T, change ...func(*admin.Config)) *gate {
	t.Helper()
	g := &gate{
		engine: affinity.New(affinity.Options{Store: session.NewTable(session.Options{})}),
		time:   time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC),
		next:   make(chan struct{}),
		status: admin.Status{Version: "test", Ready: true},
	}
	g.apply(t, addr1, addr2)
	metrics := prometheus.NewPedanticRegistry()
	metrics.MustRegister(admin.NewEngineCollector(g.engine, g.now))
	config := admin.Config{
		Engine: g.engine, Metrics: metrics, Now: g.now,
		Status: func() admin.Status { return g.status },
		Swept: func() <-chan struct{} {
			g.mu.Lock()
			defer g.mu.Unlock()
			return g.next
		},
	}
	for _, f := range change {
		f(&config)
	}
	g.server = httptest.NewServer(admin.New(config).Handler())
	t.Cleanup(g.server.Close)
	client, err := admin.NewClient(g.server.URL)
	must(t, err)
	g.client = client
	return g
}

// apply gives the engine its configuration, with the replicas at some addresses.
func (g *gate) apply(t *testing.T, addresses ...string) {
	t.Helper()
	var endpoints []affinity.EndpointConfig
	for _, addr := range addresses {
		name := map[string]string{addr1: "backend-1-a", addr2: "backend-1-b"}[addr]
		endpoints = append(endpoints, affinity.EndpointConfig{Addr: addr, Name: name, Incarnation: "of " + name})
	}
	snapshot, err := affinity.Compile(affinity.Config{
		Routes: route.Config{Listeners: []route.Listener{{Port: 80, Hosts: []route.VirtualHost{{
			Domains: []string{"*"},
			Rules: []route.Rule{{
				Object: "VirtualService default/hits", Source: "routes.yaml:12",
				Matches: []route.Match{{Source: "routes.yaml:14", Headers: []route.NamedMatch{{
					Name: "target", StringMatch: route.StringMatch{Kind: route.Exact, Value: "backend-1"},
				}}}},
				Destinations: []route.Destination{{Service: 0}},
			}},
		}}}}},
		Listeners: []affinity.Listener{{Port: 80, Promote: []affinity.Promotion{
			{Field: "target", Header: "target"}, {Field: "username", Header: "x-user"},
		}}},
		Services: []affinity.ServiceConfig{{
			Name: fullName, Host: "backend-1.default.svc.cluster.local", Port: 8080, Source: "services.yaml:1",
			Key:       affinity.Key{Kind: affinity.HeaderKey, Name: "x-user", Source: "rules.yaml:9"},
			Endpoints: endpoints,
		}},
	})
	must(t, err)
	must(t, g.engine.Apply(snapshot, session.InstantOf(g.time)))
}

func (g *gate) now() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.time
}

// pass lets time go by and sweeps, as the program does all the time.
func (g *gate) pass(d time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.time = g.time.Add(d)
	g.engine.SweepAll(session.InstantOf(g.time))
	close(g.next)
	g.next = make(chan struct{})
}

// hit sends a request of a user through the engine and gives the decision, which is released unless it is to be held.
func (g *gate) hit(t *testing.T, user string, held bool) *affinity.Decision {
	t.Helper()
	var dec affinity.Decision
	g.engine.Decide(&affinity.Request{Request: route.Request{
		Port: 80, Scheme: "http", Method: "POST", Authority: "localhost", Path: "/hit",
		Headers: []route.Header{{Name: "target", Value: "backend-1"}, {Name: "x-user", Value: user}},
	}}, &dec, session.InstantOf(g.now()))
	if !dec.Problem.IsZero() {
		t.Fatalf("the request of %s got %v", user, dec.Problem)
	}
	dec.Sent = true
	if !held {
		g.engine.Release(&dec, session.InstantOf(g.now()))
	}
	return &dec
}

func TestASessionIsFoundByUserAndShortServiceName(t *testing.T) {
	g := newGate(t)
	at := g.hit(t, "ann", false).Endpoint.Addr
	got, err := g.client.Session(t.Context(), admin.SessionRequest{Service: "backend-1", User: "ann"})
	must(t, err)
	if got.Service != fullName || got.Endpoint != at || !got.Expires.Equal(g.now().Add(time.Minute)) {
		t.Errorf("the session is %+v, bound to %s", got, at)
	}
}

func TestLiveSessionsAreToldByEndpointAndIncarnation(t *testing.T) {
	for name, change := range map[string]func(*admin.Config){
		"by the admin API":              func(*admin.Config) {},
		"by the address for monitoring": func(c *admin.Config) { c.Monitoring = true },
	} {
		t.Run(name, func(t *testing.T) {
			g := newGate(t, change)
			want := map[string]int{addr1: 0, addr2: 0}
			for _, user := range []string{"ann", "bob", "cid", "dan", "eve"} {
				want[g.hit(t, user, false).Endpoint.Addr]++
			}
			got, err := g.client.Live(t.Context())
			must(t, err)
			for _, ep := range got.Endpoints {
				if ep.Service != fullName || ep.Incarnation != "of "+ep.Name || ep.Sessions != want[ep.Addr] {
					t.Errorf("%+v, want %d sessions", ep, want[ep.Addr])
				}
				delete(want, ep.Addr)
			}
			if len(want) > 0 {
				t.Errorf("nothing is told of %v", want)
			}
			g.pass(time.Minute)
			got, err = g.client.Live(t.Context())
			must(t, err)
			for _, ep := range got.Endpoints {
				if ep.Sessions != 0 {
					t.Errorf("after the idle minute: %+v", ep)
				}
			}
		})
	}
}

func TestLookingAtASessionDoesNotRenewIt(t *testing.T) {
	g := newGate(t)
	g.hit(t, "ann", false)
	ask := admin.SessionRequest{Service: "backend-1", User: "ann"}
	g.pass(59 * time.Second)
	_, err := g.client.Session(t.Context(), ask)
	must(t, err)
	g.pass(time.Second)
	_, err = g.client.Session(t.Context(), ask)
	wantProblem(t, err, http.StatusNotFound, "admin_no_session")
}

func TestAMovedSessionStaysMovedAndItsReplicaIsTold(t *testing.T) {
	g := newGate(t)
	from, to := g.hit(t, "ann", false).Endpoint.Addr, "backend-1-b"
	if from == addr2 {
		to = "backend-1-a"
	}
	got, err := g.client.Move(t.Context(), admin.MoveRequest{Service: "backend-1", User: "ann", To: to})
	must(t, err)
	if got.Name != to {
		t.Errorf("the session is at %s, want %s", got.Name, to)
	}
	next := g.hit(t, "ann", false)
	if next.Endpoint.Name() != to || next.Session != affinity.SessionMoved {
		t.Errorf("the next request went to %s as %s", next.Endpoint.Name(), next.Session)
	}
}

func TestADrainedReplicaGetsNoNewSessionUntilThatIsUndone(t *testing.T) {
	g := newGate(t)
	for _, name := range []string{addr1, "backend-1-a"} {
		answer, err := g.client.Drain(t.Context(), admin.DrainRequest{Endpoint: name})
		must(t, err)
		if eps := answer.Endpoints; len(eps) != 1 || eps[0].Addr != addr1 || eps[0].State != "draining" {
			t.Fatalf("draining %s gives %+v", name, answer)
		}
		for _, user := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
			if at := g.hit(t, user, false).Endpoint.Addr; at != addr2 {
				t.Errorf("%s got a session on the drained %s", user, at)
			}
		}
		answer, err = g.client.Drain(t.Context(), admin.DrainRequest{Endpoint: name, Undo: true})
		must(t, err)
		if is := answer.Endpoints[0].State; is != "ready" {
			t.Errorf("after the undo the replica is %s", is)
		}
	}
}

func TestAWaitEndsWhenTheLastSessionAndTheLastRequestHaveEnded(t *testing.T) {
	g := newGate(t)
	dec := g.hit(t, "ann", true)
	answer := make(chan admin.DrainWait)
	go func() {
		got, err := g.client.WaitDrained(t.Context(), dec.Endpoint.Addr, time.Minute)
		if err != nil {
			t.Error(err)
		}
		answer <- got
	}()
	g.pass(5 * time.Minute) // a held session does not expire
	g.engine.Release(dec, session.InstantOf(g.now()))
	g.pass(59 * time.Second)
	select {
	case got := <-answer:
		t.Fatalf("the wait ended before the session did: %+v", got)
	default:
	}
	g.pass(time.Second)
	if got := <-answer; !got.Drained || got.Live != 0 || got.InFlight != 0 {
		t.Errorf("the wait ended with %+v", got)
	}
}

func TestWithAStoreAReplicaIsEmptyWhenTheSessionsOfAllGatewaysHaveBeenCounted(t *testing.T) {
	var sessions int
	var unknown error
	g := newGate(t, func(c *admin.Config) {
		c.Shared = &admin.Shared{Name: "store", Left: func(string, session.Instant) (int, error) { return sessions, unknown }}
	})
	for _, test := range []struct {
		sessions int
		unknown  error
		want     admin.DrainWait
	}{
		{0, errors.New("the store does not answer"), admin.DrainWait{Unknown: "the store does not answer"}},
		{30, nil, admin.DrainWait{Live: 30}},
		{0, nil, admin.DrainWait{Drained: true}},
	} {
		sessions, unknown = test.sessions, test.unknown
		got, err := g.client.WaitDrained(t.Context(), addr1, time.Millisecond)
		must(t, err)
		if got != test.want {
			t.Errorf("the wait ended with %+v, want %+v", got, test.want)
		}
	}
}

func TestAWaitForAReplicaThatHasLeftTheConfigurationEndsWithItsLastRequest(t *testing.T) {
	g := newGate(t)
	dec := g.hit(t, "ann", true)
	gone := dec.Endpoint.Addr
	g.apply(t, slices.DeleteFunc([]string{addr1, addr2}, func(addr string) bool { return addr == gone })...)
	got, err := g.client.WaitDrained(t.Context(), gone, time.Millisecond)
	must(t, err)
	if got.Drained || got.InFlight != 1 {
		t.Errorf("with a request in flight the wait ended with %+v", got)
	}
	g.engine.Release(dec, session.InstantOf(g.now()))
	got, err = g.client.WaitDrained(t.Context(), gone, time.Minute)
	must(t, err)
	if !got.Drained || got.InFlight != 0 {
		t.Errorf("without one it ended with %+v", got)
	}
}

func TestAWaitEndsWhenItsTimeIsUp(t *testing.T) {
	g := newGate(t)
	dec := g.hit(t, "ann", true)
	got, err := g.client.WaitDrained(t.Context(), dec.Endpoint.Addr, time.Millisecond)
	must(t, err)
	if got.Drained || got.Live != 1 || got.InFlight != 1 {
		t.Errorf("the wait ended with %+v", got)
	}
}

func TestWaitsEndWhenTheServerStopsAndTheirNumberIsBounded(t *testing.T) {
	g := newGate(t)
	dec := g.hit(t, "ann", true)
	arrived := make(chan struct{}, 1000)
	metrics := prometheus.NewRegistry()
	server := admin.New(admin.Config{
		Engine: g.engine, Metrics: metrics, Now: g.now, Status: func() admin.Status { return g.status },
		Swept: func() <-chan struct{} {
			arrived <- struct{}{}
			return nil
		},
	})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	served := make(chan error, 1)
	go func() { served <- server.Serve(l) }()
	client, err := admin.NewClient(l.Addr().String())
	must(t, err)
	const waiters = 64
	answers := make(chan error, waiters)
	for range waiters {
		go func() {
			got, err := client.WaitDrained(t.Context(), dec.Endpoint.Addr, time.Minute)
			if err == nil && got.Drained {
				err = errors.New("the replica is said to be empty")
			}
			answers <- err
		}()
	}
	for range waiters {
		<-arrived
	}
	_, err = client.WaitDrained(t.Context(), dec.Endpoint.Addr, time.Minute)
	wantProblem(t, err, http.StatusServiceUnavailable, "admin_too_many_waiters")
	server.Shutdown(t.Context())
	for range waiters {
		must(t, <-answers)
	}
	must(t, <-served)
}

func TestEndpointsShowLiveAndHeldSessions(t *testing.T) {
	g := newGate(t)
	dec := g.hit(t, "ann", true)
	answer, err := g.client.Endpoints(t.Context(), "backend-1")
	must(t, err)
	eps := answer.Endpoints
	if len(eps) != 2 {
		t.Fatalf("there are %d endpoints: %+v", len(eps), eps)
	}
	for _, ep := range eps {
		want := 0
		if ep.Addr == dec.Endpoint.Addr {
			want = 1
		}
		if ep.Live != want || ep.Held != want || ep.InFlight != want || ep.State != "ready" || ep.Service != fullName {
			t.Errorf("%s is shown as %+v", ep.Addr, ep)
		}
	}
}

func TestExplainChangesNothing(t *testing.T) {
	g := newGate(t)
	ask := admin.ExplainRequest{Path: "/hit?x=1", Text: `{"username":"ann","target":"backend-1"}`, Headers: []admin.Header{{Name: "Target", Value: "backend-2"}}}
	for range 2 {
		trace, err := g.client.Explain(t.Context(), ask)
		must(t, err)
		if trace.Session != "new" || trace.Choice == "" || trace.Service != fullName {
			t.Fatalf("the trace is %+v", trace)
		}
		if f := trace.Fields[0]; f.Field != "target" || f.From != "body, over the header" || f.Value != "backend-1" {
			t.Errorf("the first field is %+v", f)
		}
		if trace.Rule == nil || trace.Rule.Source != "routes.yaml:14" {
			t.Errorf("the rule is %+v", trace.Rule)
		}
	}
	trace, err := g.client.Explain(t.Context(), ask)
	must(t, err)
	if at := g.hit(t, "ann", false).Endpoint.Addr; at != trace.Choice {
		t.Errorf("explain chose %s, the request went to %s", trace.Choice, at)
	}
	trace, err = g.client.Explain(t.Context(), ask)
	must(t, err)
	if trace.Session != "existing" {
		t.Errorf("after a request the session is %s", trace.Session)
	}
}

func TestExplainSaysWhyARequestWouldBeRefused(t *testing.T) {
	g := newGate(t)
	for body, code := range map[string]string{
		`{"username":"ann","target":1}`:                             "field_not_string",
		`{"username":"ann","target":"backend-1"} x`:                 "trailing_bytes",
		`{"target":"backend-1","TARGET":"backend-2"}`:               "duplicate_field",
		`{"username":"ann","target":"backend-9"}`:                   "no_route",
		`{"x":"` + strings.Repeat("y", 70_000) + `"}`:               "body_too_large",
		"{\"username\":\"\xff\",\"target\":\"backend-1\"}":          "malformed_json",
		`{"username":"` + strings.Repeat("y", 2048) + `"`:           "field_too_long",
		`{"username":"ann","target":"backend-1","target":"b"}`:      "duplicate_field",
		strings.Repeat("[", 100):                                    "json_too_deep",
		`{"x":` + strings.Repeat("[", 100) + `,"target":"backend"}`: "json_too_deep",
	} {
		var ask admin.ExplainRequest
		ask.SetBody([]byte(body))
		trace, err := g.client.Explain(t.Context(), ask)
		must(t, err)
		if trace.Problem == nil || string(trace.Problem.Code) != code {
			t.Errorf("%.50q is explained by %+v, want %s", body, trace.Problem, code)
		}
	}
}

func TestExplainRefusesAPathThatTheGatewayRefuses(t *testing.T) {
	g := newGate(t)
	for path, code := range map[string]problem.Code{
		"/x%00": problem.BadPath, "/x%0": "bad_target", "/x\x01": "bad_target", "/\u00e4": "bad_target", "/x?\u00e4": "bad_target",
	} {
		trace, err := g.client.Explain(t.Context(), admin.ExplainRequest{Path: path})
		must(t, err)
		if trace.Problem == nil || trace.Problem.Code != code {
			t.Errorf("%q is explained by %+v", path, trace.Problem)
		}
	}
}

func TestQuestionsThatAreNoRequestsAreRefused(t *testing.T) {
	g := newGate(t)
	for what, ask := range map[string]admin.ExplainRequest{
		"a path without a slash":  {Path: "hit"},
		"a space in the path":     {Path: "/a b"},
		"a method with a space":   {Method: "GET /"},
		"a scheme":                {Scheme: "ftp"},
		"an address":              {SourceIP: "here"},
		"a header's name":         {Headers: []admin.Header{{Name: "a b"}}},
		"a line feed in a header": {Headers: []admin.Header{{Name: "a", Value: "b\nc"}}},
		"host among the headers":  {Headers: []admin.Header{{Name: "Host", Value: "a"}}},
		"two bodies":              {Text: "a", Body: []byte("b")},
	} {
		_, err := g.client.Explain(t.Context(), ask)
		t.Log(what, err)
		wantProblem(t, err, http.StatusBadRequest, "admin_bad_request")
	}
}

func TestErrorsSayWhatThereIs(t *testing.T) {
	g := newGate(t)
	_, err := g.client.Session(t.Context(), admin.SessionRequest{Service: "backend-9", User: "ann"})
	wantProblem(t, err, http.StatusNotFound, "admin_unknown_service", "backend-9", fullName)
	_, err = g.client.Endpoints(t.Context(), "backend")
	wantProblem(t, err, http.StatusNotFound, "admin_unknown_service", fullName)
	_, err = g.client.Drain(t.Context(), admin.DrainRequest{Endpoint: "127.0.9.9:80"})
	wantProblem(t, err, http.StatusNotFound, "admin_unknown_endpoint", "127.0.9.9:80", addr1, addr2)
	_, err = g.client.WaitDrained(t.Context(), "nobody", time.Second)
	wantProblem(t, err, http.StatusNotFound, "admin_unknown_endpoint", "nobody", addr1)
	_, err = g.client.Move(t.Context(), admin.MoveRequest{Service: "backend-1", User: "ann", To: addr1})
	wantProblem(t, err, http.StatusNotFound, "admin_no_session")
	g.hit(t, "ann", false)
	_, err = g.client.Move(t.Context(), admin.MoveRequest{Service: "backend-1", User: "ann", To: "127.0.9.9:80"})
	wantProblem(t, err, http.StatusNotFound, "admin_unknown_endpoint", addr2)
}

func TestNoErrorRepeatsAUsersName(t *testing.T) {
	g := newGate(t)
	const name = "very-private"
	g.hit(t, name, false)
	g.pass(time.Hour)
	for _, call := range []func() error{
		func() error {
			_, err := g.client.Session(t.Context(), admin.SessionRequest{Service: "backend-1", User: name})
			return err
		},
		func() error {
			_, err := g.client.Session(t.Context(), admin.SessionRequest{Service: "nothing", User: name})
			return err
		},
		func() error {
			_, err := g.client.Move(t.Context(), admin.MoveRequest{Service: "backend-1", User: name, To: addr1})
			return err
		},
	} {
		if err := call(); err == nil || strings.Contains(err.Error(), name) {
			t.Errorf("the error is %v", err)
		}
	}
}

func TestReadinessFollowsTheProgram(t *testing.T) {
	g := newGate(t)
	if status, body := g.get(t, "/readyz"); status != http.StatusOK || body != "ready\n" {
		t.Errorf("ready gives %d %q", status, body)
	}
	g.status.Ready, g.status.NotReady = false, "the gateway is stopping"
	if status, body := g.get(t, "/readyz"); status != http.StatusServiceUnavailable || body != "the gateway is stopping\n" {
		t.Errorf("not ready gives %d %q", status, body)
	}
	if status, _ := g.get(t, "/healthz"); status != http.StatusOK {
		t.Errorf("a stopping gateway is not healthy: %d", status)
	}
	st, err := g.client.Status(t.Context())
	must(t, err)
	if st.Ready || st.NotReady != "the gateway is stopping" || st.Version != "test" {
		t.Errorf("the status is %+v", st)
	}
}

func TestMetricsFollowTheEngine(t *testing.T) {
	g := newGate(t)
	dec := g.hit(t, "ann", true)
	g.hit(t, "ann", false)
	_, body := g.get(t, "/metrics")
	for _, line := range []string{
		`remora_sessions_stored 1`,
		`remora_decisions_total{service="` + fullName + `",session="new"} 1`,
		`remora_decisions_total{service="` + fullName + `",session="existing"} 1`,
		`remora_endpoint_sessions{endpoint="` + dec.Endpoint.Addr + `",service="` + fullName + `"} 1`,
		`remora_endpoint_requests_in_flight{endpoint="` + dec.Endpoint.Addr + `",service="` + fullName + `"} 1`,
		`remora_endpoint_state{endpoint="` + addr1 + `",service="` + fullName + `",state="ready"} 1`,
	} {
		if !strings.Contains(body, line+"\n") {
			t.Errorf("there is no line %q in\n%s", line, body)
		}
	}
}

func TestTheAPIAnswersOnlyToItsOwnNames(t *testing.T) {
	g := newGate(t, func(c *admin.Config) { c.Names = []string{"remora.example"} })
	for host, want := range map[string]int{
		"127.0.0.1:9901": 200, "localhost": 200, "LOCALHOST:1": 200, "[::1]:80": 200, "10.1.2.3": 200, "Remora.example:9901": 200,
		"attacker.example": 403, "attacker.example:9901": 403, "127.0.0.1.attacker.example": 403, "localhost.attacker.example": 403,
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, g.server.URL+"/healthz", http.NoBody)
		must(t, err)
		req.Host = host
		if got, _ := send(t, req); got != want {
			t.Errorf("Host: %s gives %d, want %d", host, got, want)
		}
	}
}

func TestAWebPageCannotUseTheBrowserOfSomeoneWhoReachesTheAPI(t *testing.T) {
	g := newGate(t)
	drain := `{"endpoint":"` + addr1 + `"}`
	for _, c := range []struct {
		name, contentType, header, value string
		want                             int
	}{
		{"a form needs no permission", "text/plain", "", "", http.StatusUnsupportedMediaType},
		{"nor has this type one", "application/x-www-form-urlencoded", "", "", http.StatusUnsupportedMediaType},
		{"there is no type at all", "", "", "", http.StatusUnsupportedMediaType},
		{"another site, told by the browser", "application/json", "Sec-Fetch-Site", "cross-site", http.StatusForbidden},
		{"another site, by an old browser", "application/json", "Origin", "http://attacker.example", http.StatusForbidden},
		{"a program", "application/json", "", "", http.StatusOK},
		{"a program that says the charset", "application/json; charset=utf-8", "", "", http.StatusOK},
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, g.server.URL+admin.PathDrain, strings.NewReader(drain))
		must(t, err)
		if c.contentType != "" {
			req.Header.Set("Content-Type", c.contentType)
		}
		if c.header != "" {
			req.Header.Set(c.header, c.value)
		}
		if got, body := send(t, req); got != c.want {
			t.Errorf("%s: %d %s, want %d", c.name, got, body, c.want)
		}
	}
}

func TestAWebPageCannotMakeABrowserRead(t *testing.T) {
	g := newGate(t, func(c *admin.Config) { c.Profiles = true })
	for target, want := range map[string]int{
		admin.PathStatus:    http.StatusForbidden,
		admin.PathEndpoints: http.StatusForbidden,
		admin.PathDrainWait + "?endpoint=" + addr1 + "&timeout=60s": http.StatusForbidden,
		"/debug/pprof/": http.StatusForbidden,
		"/metrics":      http.StatusOK, // cheap, and of no use to a page that cannot read the answer
		"/healthz":      http.StatusOK,
		"/readyz":       http.StatusOK,
	} {
		for header, value := range map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "http://attacker.example"} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, g.server.URL+target, http.NoBody)
			must(t, err)
			req.Header.Set(header, value)
			if got, body := send(t, req); got != want {
				t.Errorf("%s with %s: %d %s, want %d", target, header, got, body, want)
			}
		}
	}
	for _, value := range []string{"same-origin", "none"} { // a page of the API itself, and what a person types
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, g.server.URL+admin.PathStatus, http.NoBody)
		must(t, err)
		req.Header.Set("Sec-Fetch-Site", value)
		if got, body := send(t, req); got != http.StatusOK {
			t.Errorf("Sec-Fetch-Site: %s gives %d %s", value, got, body)
		}
	}
}

func TestAnAddressForMonitoringHasNothingElse(t *testing.T) {
	g := newGate(t, func(c *admin.Config) { c.Monitoring, c.Profiles = true, true })
	for _, c := range []struct {
		method, target, host string
		want                 int
	}{
		{http.MethodGet, "/metrics", "", http.StatusOK},
		{http.MethodHead, "/metrics", "", http.StatusOK},
		{http.MethodGet, "/readyz", "", http.StatusOK},
		{http.MethodGet, "/healthz", "", http.StatusOK},
		{http.MethodGet, admin.PathLive, "", http.StatusOK},
		{http.MethodPost, "/metrics", "", http.StatusMethodNotAllowed},
		{http.MethodGet, admin.PathLive, "attacker.example", http.StatusForbidden},
		{http.MethodGet, "/metrics", "attacker.example", http.StatusForbidden},
		{http.MethodGet, admin.PathStatus, "", http.StatusNotFound},
		{http.MethodGet, admin.PathEndpoints, "", http.StatusNotFound},
		{http.MethodGet, admin.PathDrainWait + "?endpoint=" + addr1 + "&timeout=60s", "", http.StatusNotFound},
		{http.MethodPost, admin.PathDrain, "", http.StatusNotFound},
		{http.MethodPost, admin.PathSessionGet, "", http.StatusNotFound},
		{http.MethodPost, admin.PathSessionMove, "", http.StatusNotFound},
		{http.MethodPost, admin.PathExplain, "", http.StatusNotFound},
		{http.MethodGet, "/debug/pprof/", "", http.StatusNotFound},
		{http.MethodGet, "/", "", http.StatusNotFound},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, g.server.URL+c.target, strings.NewReader("{}"))
		must(t, err)
		req.Host = c.host
		req.Header.Set("Content-Type", "application/json")
		if got, body := send(t, req); got != c.want {
			t.Errorf("%s %s with Host %q: %d %s, want %d", c.method, c.target, c.host, got, body, c.want)
		}
	}
	if _, body := g.get(t, "/metrics"); !strings.Contains(body, "remora_sessions_stored 0\n") {
		t.Errorf("the metrics are\n%s", body)
	}
}

func TestBodiesThatAreNotWhatIsAskedForAreRefused(t *testing.T) {
	g := newGate(t)
	for body, want := range map[string]int{
		``:                                http.StatusBadRequest,
		`{`:                               http.StatusBadRequest,
		`[]`:                              http.StatusBadRequest,
		`{"endpoint":1}`:                  http.StatusBadRequest,
		`{"endpoint":"a","undoo":true}`:   http.StatusBadRequest,
		`{"endpoint":"` + addr1 + `"} {}`: http.StatusBadRequest,
		`{"endpoint":"` + strings.Repeat("a", 100_000) + `"}`: http.StatusRequestEntityTooLarge,
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, g.server.URL+admin.PathDrain, strings.NewReader(body))
		must(t, err)
		req.Header.Set("Content-Type", "application/json")
		got, answer := send(t, req)
		var problem admin.Problem
		if got != want || json.Unmarshal([]byte(answer), &problem) != nil || problem.Code == "" || problem.Status != want {
			t.Errorf("%.40q: %d %s, want %d", body, got, answer, want)
		}
	}
}

func TestUnknownPathsMethodsAndTimesAreRefused(t *testing.T) {
	g := newGate(t)
	for target, want := range map[string]int{
		"/":                 404,
		"/api/v1/nothing":   404,
		"/debug/pprof/":     404,
		admin.PathDrain:     405,
		admin.PathDrainWait: 400,
		admin.PathDrainWait + "?endpoint=" + addr1 + "&timeout=0s":  400,
		admin.PathDrainWait + "?endpoint=" + addr1 + "&timeout=61s": 400,
		admin.PathEndpoints + "?service=nothing":                    404,
	} {
		if got, body := g.get(t, target); got != want || !strings.Contains(body, `"code"`) {
			t.Errorf("%s: %d %s, want %d", target, got, body, want)
		}
	}
	profiled := newGate(t, func(c *admin.Config) { c.Profiles = true })
	if got, _ := profiled.get(t, "/debug/pprof/"); got != http.StatusOK {
		t.Errorf("with profiles: %d", got)
	}
}

func TestTheClientSaysWhenNobodyAnswers(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, l.Close())
	client, err := admin.NewClient(l.Addr().String())
	must(t, err)
	_, err = client.Status(t.Context())
	var unreachable *admin.UnreachableError
	if !errors.As(err, &unreachable) || !strings.Contains(err.Error(), "no gateway answers at http://"+l.Addr().String()) {
		t.Errorf("the error is %v", err)
	}
}

func TestNoErrorOfTheClientHasThePasswordOfTheURL(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }))
	for range 2 { // with something else that answers, and with nobody
		client, err := admin.NewClient(strings.Replace(server.URL, "http://", "http://ops:very-secret@", 1))
		must(t, err)
		if _, err = client.Status(t.Context()); err == nil || strings.Contains(err.Error(), "very-secret") {
			t.Errorf("the error is %v", err)
		}
		server.Close()
	}
}

func TestTheClientSaysWhenSomethingElseAnswers(t *testing.T) {
	for _, answer := range []http.HandlerFunc{
		func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") },
		func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusNotFound) },
		func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			io.WriteString(w, "{}")
		},
	} {
		server := httptest.NewServer(answer)
		client, err := admin.NewClient(server.URL)
		must(t, err)
		if _, err = client.Status(t.Context()); err == nil || !strings.Contains(err.Error(), "does not answer like a gateway's admin API") {
			t.Errorf("the error is %v", err)
		}
		server.Close()
	}
	for _, base := range []string{"", "http://", "ftp://127.0.0.1", "http://a b"} {
		if _, err := admin.NewClient(base); err == nil {
			t.Errorf("%q is taken for a URL", base)
		}
	}
}

func TestTheManualListsEveryErrorAndEveryPath(t *testing.T) {
	manual, err := os.ReadFile("../../docs/operating.md")
	must(t, err)
	for _, word := range append(admin.Codes(), admin.PathStatus, admin.PathEndpoints, admin.PathDrain, admin.PathDrainWait,
		admin.PathSessionGet, admin.PathSessionMove, admin.PathExplain) {
		if !strings.Contains(string(manual), word) {
			t.Errorf("docs/operating.md does not have %s", word)
		}
	}
}

func (g *gate) get(t *testing.T, target string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, g.server.URL+target, http.NoBody)
	must(t, err)
	return send(t, req)
}

func send(t *testing.T, req *http.Request) (int, string) {
	t.Helper()
	resp, err := http.DefaultClient.Do(req)
	must(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	must(t, err)
	return resp.StatusCode, string(body)
}

func wantProblem(t *testing.T, err error, status int, code string, words ...string) {
	t.Helper()
	var problem *admin.Problem
	if !errors.As(err, &problem) || problem.Status != status || problem.Code != code || problem.Title == "" {
		t.Errorf("the error is %v, want %d %s", err, status, code)
		return
	}
	for _, word := range words {
		if !strings.Contains(problem.Detail, word) {
			t.Errorf("%q does not say %q", problem.Detail, word)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
