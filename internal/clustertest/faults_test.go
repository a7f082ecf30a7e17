package clustertest

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/affinity"
)

// idleTimeout is the idle time of the scenarios: long beside the users' pauses, so that a machine under load ends no session.
const idleTimeout = 15 * time.Second

// testKill: exactly the users of a process that is killed move, once each, and nobody else.
func testKill(t *testing.T, s *stage, add func(row)) {
	const users = 200
	s.set(t, "kill", settings{replicas: 2, idleTimeout: idleTimeout, drain: time.Minute})
	g := s.serve(t, "kill")
	g.awaitReplicas(2, services...)
	c := newCrowd(t, g.url, idleTimeout)
	all := c.join("backend-1", users)
	c.rounds(all, 2)
	c.unharmed()

	victim := g.endpoints("backend-1", "")[0].Name
	its := map[*user]bool{}
	for _, u := range c.at(victim) {
		its[u] = true
	}
	if len(its) == 0 || len(its) == users {
		t.Fatalf("%d of %d users are on the pod", len(its), users)
	}
	startAgain := s.kubelet.Kill(t, "kill", victim)
	until(t, "the gateway has heard of it", func() bool { // and has not only found that nobody answers there, which it calls unhealthy
		return !slices.ContainsFunc(g.endpoints("backend-1", ""), func(e affinity.EndpointView) bool {
			return e.Name == victim && e.State != affinity.Gone.String()
		})
	})
	startAgain()
	c.rounds(all, 4)
	c.leave(all...)
	inFlight := 0
	for _, u := range all {
		switch {
		case its[u] && (len(u.moves)+u.expired != 1 || len(u.broken) > 0):
			t.Errorf("%s was on the pod, and moved %d times and broke %d times", u.name, len(u.moves), len(u.broken))
		case !its[u] && len(u.moves)+len(u.broken)+len(u.failed) > 0:
			t.Errorf("%s was not on the pod, and moved %d times, broke %d times, and had %d failures", u.name, len(u.moves), len(u.broken), len(u.failed))
		}
		inFlight += len(u.failed)
	}
	add(row{tally: c.count(), figures: fmt.Sprintf(
		"%d users were on the pod, whose container was started again as soon as the gateway had heard of its end; %d calls in flight there failed", len(its), inFlight)})
}

// testRestart: a gateway that restarts keeps all sessions.
func testRestart(t *testing.T, s *stage, add func(row)) {
	const users = 200
	s.set(t, "restart", settings{replicas: 2, idleTimeout: idleTimeout, drain: time.Minute})
	g := s.serve(t, "restart")
	g.awaitReplicas(2, services...)
	c := newCrowd(t, g.url, idleTimeout)
	var all []*user
	for _, service := range services {
		all = append(all, c.join(service, users/len(services))...)
	}
	c.rounds(all, 2)
	c.unharmed()
	began := time.Now()
	g.restart()
	took := time.Since(began)
	c.rounds(all, 3)
	c.leave(all...)
	n := c.count()
	if n.broken+n.moved > 0 {
		t.Errorf("%d sessions broke and %d moved", n.broken, n.moved)
	}
	add(row{tally: n, figures: fmt.Sprintf("away for %s; the calls of that time failed, and were made again", took.Round(time.Millisecond))})
}

// testServerAway: no call fails while the API server is away, nor when it is back.
func testServerAway(t *testing.T, s *stage, add func(row)) {
	const users, away = 100, 30 * time.Second
	s.set(t, "away", settings{replicas: 2, idleTimeout: idleTimeout, drain: time.Minute})
	g := s.serve(t, "away")
	g.awaitReplicas(2, services...)
	c := newCrowd(t, g.url, idleTimeout)
	var all []*user
	for _, service := range services {
		all = append(all, c.join(service, users/len(services))...)
	}
	c.rounds(all, 2)

	s.StopServer()
	pause(context.Background(), away) // what the scenario is about, and not to wait for something
	newcomers := c.join("backend-2", users/2)
	c.rounds(newcomers, 2)
	s.StartServer(t)
	var watching string
	until(t, "the gateway watches again", func() bool {
		g.ask("/metrics", &watching)
		return metric(watching, "remora_kubernetes_watching") == 1
	})
	c.rounds(append(all, newcomers...), 3)
	c.unharmed()
	c.leave(c.present()...)
	calls := 0
	for _, u := range c.users {
		calls += u.calls
	}
	add(row{tally: c.count(), figures: fmt.Sprintf("%d calls", calls)})
}
