package clustertest

import (
	"fmt"
	"slices"
	"strconv"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// testScaleIn: the pods that are taken are those with the fewest sessions, which are the older ones here, that Kubernetes would leave by
// itself. They get no new session, keep theirs, and go with the last of them.
func testScaleIn(t *testing.T, s *stage, g *gateway, c *crowd, add func(row)) {
	const stay = 40
	var pods []string
	for _, p := range s.pods(t, "scale", "backend-1") {
		pods = append(pods, p.Name)
	}
	slices.SortFunc(pods, func(a, b string) int { return len(c.at(b)) - len(c.at(a)) }) // the oldest have the most
	left := map[string]int{pods[0]: 0, pods[1]: 5, pods[2]: 10, pods[3]: stay, pods[4]: stay}
	for pod, n := range left {
		its := c.at(pod)
		c.leave(its[min(n, len(its)):]...)
	}
	c.work(load)
	until(t, "the pods' deletion costs are in the order of their sessions", func() bool {
		costs := map[string]int{}
		for _, p := range s.pods(t, "scale", "backend-1") {
			costs[p.Name], _ = strconv.Atoi(p.Annotations[corev1.PodDeletionCost])
		}
		return costs[pods[0]] < costs[pods[1]] && costs[pods[1]] < costs[pods[2]] && costs[pods[2]] < min(costs[pods[3]], costs[pods[4]])
	})

	c.burn.Store(0)
	until(t, "the HPA takes three pods", func() bool { return len(s.staying(t)) == 2 })
	for _, pod := range s.staying(t) {
		if left[pod] < stay {
			t.Errorf("%s stays, which had %d sessions", pod, left[pod])
		}
	}
	until(t, "the gateway has heard of it", func() bool { return len(g.endpoints("backend-1", "ready")) == 2 })
	newcomers := c.join("backend-1", stay)
	c.rounds(newcomers, 2)
	for _, u := range newcomers {
		if pod := c.where(u); left[pod] < stay {
			t.Errorf("%s got a session on %s, which terminates", u.name, pod)
		}
	}
	until(t, "the pod without sessions is gone, minutes before its time", func() bool { return !s.has(t, pods[0]) })
	for _, pod := range pods[1:3] {
		its := c.at(pod)
		if !s.has(t, pod) || len(its) != left[pod] {
			t.Errorf("%s has %d sessions, want %d", pod, len(its), left[pod])
		}
		c.rounds(its, 2)
		c.leave(its...)
	}
	until(t, "the others are gone with their last sessions", func() bool { return !s.has(t, pods[1]) && !s.has(t, pods[2]) })
	c.leave(c.present()...)
	c.unharmed()
	add(row{scenario: "the HPA lowers 5 pods to 2", tally: c.count(), figures: fmt.Sprintf(
		"taken were the pods with %d, %d and %d sessions, of %d at most; new sessions there: 0; each went with its last session, minutes before its time",
		left[pods[0]], left[pods[1]], left[pods[2]], stay)})
}

// staying is the pods that do not terminate.
func (s *stage) staying(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, p := range s.pods(t, "scale", "backend-1") {
		if p.DeletionTimestamp == nil {
			names = append(names, p.Name)
		}
	}
	return names
}

// has reports whether a pod is there, terminating or not.
func (s *stage) has(t *testing.T, pod string) bool {
	t.Helper()
	return slices.ContainsFunc(s.pods(t, "scale", "backend-1"), func(p corev1.Pod) bool { return p.Name == pod })
}
