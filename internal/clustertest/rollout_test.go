package clustertest

import (
	"fmt"
	"testing"
	"time"
)

// testRollout: new pods for all Deployments break no session that ends before the drain deadline; those that outlive it move once.
func testRollout(t *testing.T, s *stage, add func(row)) {
	const each = 60
	o := settings{replicas: 2, idleTimeout: idleTimeout, drain: 25 * time.Second}
	s.set(t, "rollout", o)
	g := s.serve(t, "rollout")
	g.awaitReplicas(2, services...)
	c := newCrowd(t, g.url, idleTimeout)
	var short, long []*user
	for _, service := range services {
		short = append(short, c.join(service, each)...)
		long = append(long, c.join(service, each)...)
	}
	c.rounds(c.present(), 2)
	c.unharmed()

	r := &rollout{began: map[string]time.Time{}}
	for _, service := range services {
		for _, p := range s.pods(t, "rollout", service) {
			r.old = append(r.old, p.Name)
		}
		s.Patch(t, "/apis/apps/v1/namespaces/rollout/deployments/"+service,
			`{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":"now"}}}}}`)
	}
	until(t, "all old pods terminate", func() bool { return r.look(t, s) })
	until(t, "the gateway has heard of it", func() bool {
		for _, service := range services {
			for _, e := range g.endpoints(service, "ready") {
				if _, old := r.began[e.Name]; old {
					return false
				}
			}
		}
		return true
	})
	g.awaitReplicas(2, services...)
	c.rounds(short, 1)
	c.leave(short...)
	newcomers := c.join("backend-2", each)
	until(t, "who outlives the deadline has moved", func() bool { return r.moved(c, long) })
	c.rounds(append(long, newcomers...), 2)
	c.leave(c.present()...)

	r.check(t, c, o.drain)
	early := 0
	for _, u := range short {
		early += len(u.moves)
	}
	for _, u := range long {
		if len(u.moves)+u.expired != 1 {
			t.Errorf("%s outlived the deadline and moved %d times", u.name, len(u.moves))
		}
	}
	for _, u := range newcomers {
		if len(u.moves) > 0 {
			t.Errorf("%s came during the rollout and moved", u.name)
		}
	}
	n := c.count()
	if n.broken+n.failed > 0 {
		t.Errorf("%d sessions broke, and %d calls failed", n.broken, n.failed)
	}
	add(row{tally: n, figures: fmt.Sprintf("%d pods replaced, drain deadline %s; %d sessions ended before it, %d of these moved; %d outlived it and moved once each",
		len(r.old), o.drain, len(short), early, len(long))})
}

// rollout is what is seen of pods that are replaced.
type rollout struct {
	old   []string
	began map[string]time.Time // when each began to terminate
}

// look notes the old pods that terminate, and reports whether all have begun to.
func (r *rollout) look(t *testing.T, s *stage) bool {
	t.Helper()
	for _, service := range services {
		for _, p := range s.pods(t, "rollout", service) {
			if _, known := r.began[p.Name]; !known && p.DeletionTimestamp != nil {
				r.began[p.Name] = p.DeletionTimestamp.Add(-time.Duration(*p.DeletionGracePeriodSeconds) * time.Second)
			}
		}
	}
	return len(r.began) == len(r.old)
}

// moved reports whether none of the users is where they were before.
func (r *rollout) moved(c *crowd, users []*user) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, u := range users {
		if _, old := r.began[u.pod]; old {
			return false
		}
	}
	return true
}

// check reports who moved although the pod had time left.
func (r *rollout) check(t *testing.T, c *crowd, drain time.Duration) {
	t.Helper()
	for _, u := range c.users {
		for _, m := range u.moves {
			if at := r.began[m.from].Add(drain); m.at.Before(at) {
				t.Errorf("%s moved away from %s %s before its deadline", u.name, m.from, at.Sub(m.at))
			}
		}
	}
}
