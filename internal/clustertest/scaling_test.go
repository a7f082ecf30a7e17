package clustertest

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"
)

// load is the CPU that users ask of a service together, in cores: at 100m for a pod and 50 %, four pods cannot carry it.
const load = 0.5

// testScaling: the HPA raises two pods to five under real load, and lowers them again, and nobody loses a session.
func testScaling(t *testing.T, s *stage, add func(row)) {
	const users, more = 300, 200
	s.set(t, "scale", settings{replicas: 2, idleTimeout: idleTimeout, drain: 5 * time.Minute, autoscale: true})
	g := s.serve(t, "scale", "--scale-in")
	g.awaitReplicas(2, services...)
	c := newCrowd(t, g.url, idleTimeout)
	first := c.join("backend-1", users)
	c.rounds(first, 2)
	c.work(load)
	began := time.Now()
	g.awaitReplicas(5, "backend-1")
	took := time.Since(began)
	old := map[string]bool{}
	for _, u := range first {
		old[c.where(u)] = true
	}
	c.join("backend-1", more)
	c.work(load)
	c.rounds(c.present(), 2)
	c.unharmed()
	add(row{scenario: "the HPA raises 2 pods to 5 under load", tally: c.count(), figures: fmt.Sprintf("5 pods after %s; %s", took.Round(time.Second), spread(t, c, old))})
	testScaleIn(t, s, g, c, add)
}

// spread reports where new users went against the load bound: no pod takes a new one that would give it more than 1.25 of its share of
// the sessions. old are the pods that had all users before.
func spread(t *testing.T, c *crowd, old map[string]bool) string {
	t.Helper()
	const pods, bound = 5, 1.25
	const atOnce = 8 // placements at the same moment that do not see each other
	on := map[string]int{}
	for _, u := range c.present() {
		on[c.where(u)]++
	}
	limit := int(math.Ceil(bound * float64(len(c.users)) / pods))
	var counts []int
	for pod, n := range on {
		if !old[pod] && n > limit+atOnce {
			t.Errorf("%s has %d sessions, more than %d", pod, n, limit)
		}
		counts = append(counts, n)
	}
	if len(on) != pods {
		t.Errorf("%d pods have sessions, want %d", len(on), pods)
	}
	slices.Sort(counts)
	return fmt.Sprintf("sessions on each: %v (bound for new ones: %d)", counts, limit)
}
