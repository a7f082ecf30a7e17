package affinity_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/problem"
	"github.com/remora-proxy/remora/internal/route"
)

// TestWhyThereIsNoRoute: the answer names the cause that comes first, and only the trace, which is for those who write the routes, names what
// the configuration has.
func TestWhyThereIsNoRoute(t *testing.T) {
	at := func(hosts ...string) func(*affinity.Config) {
		return func(c *affinity.Config) {
			l := &c.Routes.Listeners[0]
			if l.Hosts[0].Domains = hosts; len(hosts) == 0 {
				l.Hosts = nil
			}
		}
	}
	var many []string
	for i := range 10 {
		many = append(many, fmt.Sprintf("shop-%d.example", i))
	}
	for _, c := range []struct {
		name         string
		change       func(*affinity.Config)
		port         uint16
		host, target string
		detail, why  string
	}{
		{"the host is another one", at("shop.example", "*.org"), 80, "localhost:8080", "backend-1", "No route is for the request's host.", `no Gateway with port 80 has routes for the host "localhost:8080"; there is *.org, shop.example`},
		{"many hosts are not listed", at(many...), 80, "localhost", "backend-1", "No route is for the request's host.", "shop-6.example, shop-7.example, 2 more"},
		{"the port has no route", at(), 80, "localhost", "backend-1", "No route is for the request's host.", "no route is attached to a Gateway with port 80"},
		{"no Gateway has the port", at("*"), 8080, "localhost", "backend-1", "No route matches the request.", "no Gateway has port 8080; there is 80"},
		{"the value is another one", at("*"), 80, "localhost", "backend-99", "Routes look at target, which it has", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := with(t, affinity.Options{}, c.change)
			request := func() *affinity.Request {
				return &affinity.Request{Request: route.Request{
					Port: c.port, Scheme: "http", Method: "GET", Authority: c.host, Path: "/", Headers: []route.Header{{Name: "target", Value: c.target}},
				}}
			}
			var dec affinity.Decision
			e.Decide(request(), &dec, someday)
			if dec.Problem.Code != problem.NoRoute || !strings.Contains(dec.Problem.Detail, c.detail) {
				t.Errorf("the client gets %+v", dec.Problem)
			}
			trace := e.Explain(request(), someday)
			if trace.Problem == nil || trace.Problem.Detail != dec.Problem.Detail || !strings.Contains(trace.Why, c.why) || (trace.Why == "") != (c.why == "") {
				t.Errorf("the trace says %+v, %q", trace.Problem, trace.Why)
			}
		})
	}
}
