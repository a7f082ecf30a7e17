package affinity_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/problem"
	"github.com/remora-proxy/remora/internal/route"
)

// TestARequestMayBeRestrictedToSomeEndpoints tells the life of one session whose requests are restricted in turn.
func TestARequestMayBeRestrictedToSomeEndpoints(t *testing.T) {
	e := with(t, affinity.Options{}, nil)
	var all []string
	for _, ep := range e.Endpoints(someday) {
		if strings.HasPrefix(ep.Service, "backend-1.") {
			all = append(all, ep.Addr)
		}
	}
	if len(all) != 4 {
		t.Fatalf("backend-1 has %v, want four endpoints", all)
	}
	at := someday
	askAs := func(user string, addrs ...string) *affinity.Decision {
		req := &affinity.Request{Request: route.Request{
			Port: 80, Path: "/", Headers: []route.Header{{Name: "target", Value: "backend-1"}, {Name: "x-user", Value: user}},
		}}
		if addrs != nil {
			req.Among = map[string]struct{}{}
			for _, addr := range addrs {
				req.Among[addr] = struct{}{}
			}
		}
		dec := new(affinity.Decision)
		e.Decide(req, dec, at)
		dec.Sent = true
		return dec
	}
	ask := func(addrs ...string) *affinity.Decision { return askAs("ann", addrs...) }
	is := func(what string, dec *affinity.Decision, state affinity.SessionState, addr string) {
		t.Helper()
		if !dec.Problem.IsZero() || dec.Session != state || dec.Endpoint.Addr != addr {
			t.Errorf("%s: got %+v, want %v at %s", what, dec, state, addr)
		}
		e.Release(dec, at)
	}
	none := func(what string, dec *affinity.Decision) {
		t.Helper()
		if dec.Problem.Code != problem.NoEndpoint {
			t.Errorf("%s: got %+v, want no endpoint", what, dec)
		}
	}
	none("a session that would be new, and nobody's address", ask("127.9.9.9:1"))
	none("a session that would be new, and no address at all", ask([]string{}...))
	is("a new session, and one address", ask(all[2]), affinity.SessionNew, all[2])
	is("the session is there", ask(), affinity.SessionExisting, all[2])
	is("its endpoint is among others", ask(all...), affinity.SessionExisting, all[2])

	detour := ask(all[0], all[1])
	if !detour.Problem.IsZero() || detour.Session != affinity.SessionMoved || detour.Endpoint.Addr != all[0] && detour.Endpoint.Addr != all[1] {
		t.Fatalf("its endpoint is not among them: got %+v, want moved at one of the others", detour)
	}
	at = at.Add(10 * time.Minute)
	e.SweepAll(at)
	is("beside the detour, which holds it, the session is where it was", ask(), affinity.SessionExisting, all[2])
	is("the next detour is the same", ask(all[1], all[0]), affinity.SessionMoved, detour.Endpoint.Addr)
	none("a live session, and nobody's address", ask("127.9.9.9:1"))
	e.Release(detour, at)
	at = at.Add(59 * time.Second)
	is("after the detour the session is where it was", ask(), affinity.SessionExisting, all[2])
	at = at.Add(time.Minute)
	is("the session has ended: a restricted request begins one like any other", ask(all[3]), affinity.SessionNew, all[3])
	is("which stays", ask(), affinity.SessionExisting, all[3])

	e.Drain(all[3], true, at)
	is("a draining endpoint has its sessions still", ask(all[3]), affinity.SessionExisting, all[3])
	none("and gets no session of another user", askAs("bob", all[3]))
}

// TestSubstitutesAreWhereMovesGo holds the list of substitutes against what moves do: from the first endpoint to the second, and on.
func TestSubstitutesAreWhereMovesGo(t *testing.T) {
	e := with(t, affinity.Options{}, func(c *affinity.Config) { c.Services[0].LoadBound = 1000 }) // moves change the load
	for n := range 50 {
		dec := new(affinity.Decision)
		e.Decide(&affinity.Request{Request: route.Request{
			Port: 80, Path: "/", Headers: []route.Header{{Name: "target", Value: "backend-1"}, {Name: "x-user", Value: fmt.Sprint("user-", n)}},
		}}, dec, someday)
		if !dec.Problem.IsZero() {
			t.Fatal(dec.Problem)
		}
		at := someday.Add(time.Duration(n) * time.Hour) // endpoints that were moved away from are back
		listed := e.Substitutes(nil, dec, 10, at)
		if two := e.Substitutes(nil, dec, 2, at); !slices.Equal(two, listed[:2]) {
			t.Errorf("the first two are %v, and of all %v", two, listed)
		}
		if len(listed) != 3 {
			t.Fatalf("%d substitutes of four endpoints, want three", len(listed))
		}
		for _, want := range listed {
			if e.Move(dec, at); dec.Endpoint != want {
				t.Fatalf("user %d moves to %v, want %v", n, dec.Endpoint, want)
			}
		}
		e.Release(dec, at)
	}
}
