package affinity_test

import (
	"strings"
	"testing"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/problem"
	"github.com/remora-proxy/remora/internal/route"
)

// redirecting adds a rule that a proxy answers by itself: requests with target "old".
func redirecting(c *affinity.Config) {
	host := &c.Routes.Listeners[0].Hosts[0]
	host.Rules = append(host.Rules, route.Rule{
		Name: "away", Object: "VirtualService default/shop", Source: "shop.yaml:7", ByProxy: "redirect",
		Matches: []route.Match{{Source: "shop.yaml:8", Headers: []route.NamedMatch{
			{Name: "target", StringMatch: route.StringMatch{Kind: route.Exact, Value: "old"}},
		}}},
	})
}

// TestARuleThatTheProxyAnswers has neither endpoint nor session, and disturbs nobody's.
func TestARuleThatTheProxyAnswers(t *testing.T) {
	for _, c := range []struct {
		name, target string
		passed       bool
		session      affinity.SessionState
		problem      problem.Code
	}{
		{"a request for a service begins a session", "backend-1", false, affinity.SessionNew, ""},
		{"one that the proxy answers is passed", "old", true, affinity.SessionNone, ""},
		{"the next one for the service finds its session", "backend-1", false, affinity.SessionExisting, ""},
		{"one that fits no rule is refused as ever", "older", false, affinity.SessionNone, problem.NoRoute},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := with(t, affinity.Options{}, redirecting)
			if c.session == affinity.SessionExisting {
				e.Release(ask(e, "ann", someday), someday)
			}
			req := &affinity.Request{Request: route.Request{
				Port: 80, Scheme: "http", Method: "GET", Authority: "any", Path: "/",
				Headers: []route.Header{{Name: "target", Value: c.target}, {Name: "x-user", Value: "ann"}},
			}}
			trace := e.Explain(req, someday)
			var dec affinity.Decision
			e.Decide(req, &dec, someday)
			if dec.Passed != c.passed || dec.Session != c.session || dec.Problem.Code != c.problem {
				t.Errorf("got passed %v, session %v, problem %q", dec.Passed, dec.Session, dec.Problem.Code)
			}
			if c.passed {
				if dec.Service != nil || dec.Endpoint != nil || dec.SetCookie != "" {
					t.Errorf("it goes somewhere: %+v", dec)
				}
				if trace.ByProxy != "redirect" || trace.Problem != nil || trace.Choice != "" || trace.Rule.Source != "shop.yaml:8" ||
					trace.Rule.Object != "VirtualService default/shop" || !strings.Contains(trace.Why, "redirect") {
					t.Errorf("explained as %+v, rule %+v", trace, trace.Rule)
				}
			} else if err := explains(trace, &dec); err != nil {
				t.Error(err)
			}
			e.Release(&dec, someday)
			e.Move(&dec, someday) // does nothing
			for _, ep := range e.Endpoints(someday) {
				if ep.InFlight != 0 || ep.Held != 0 {
					t.Errorf("%s: %d requests in flight, %d sessions held", ep.Addr, ep.InFlight, ep.Held)
				}
			}
			passed, sessions := uint64(0), 0
			if c.passed {
				passed = 1
			}
			if c.session != affinity.SessionNone {
				sessions = 1
			}
			if st := e.Stats(); st.Passed != passed || st.Sessions != sessions {
				t.Errorf("counted %d passed and %d sessions, want %d and %d", st.Passed, st.Sessions, passed, sessions)
			}
		})
	}
}

// TestARuleHasDestinationsOrAnAnswerOfTheProxys is about what makers of a Config must see to.
func TestARuleHasDestinationsOrAnAnswerOfTheProxys(t *testing.T) {
	for name, rule := range map[string]route.Rule{
		"neither": {Source: "shop.yaml:7"},
		"both":    {Source: "shop.yaml:7", ByProxy: "redirect", Destinations: []route.Destination{{}}},
	} {
		c := useCase(1, 1)
		c.Routes.Listeners[0].Hosts[0].Rules = []route.Rule{rule}
		if _, err := affinity.Compile(c); err == nil || !strings.HasPrefix(err.Error(), "shop.yaml:7: ") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
