package scalein

import (
	"cmp"
	"context"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/kube"
)

// writeCosts writes the costs that have to change, so many at a time: what was written is not due again for a while, so that all have
// their turn.
func (s *Scaler) writeCosts(ctx context.Context, endpoints []affinity.EndpointStats, now time.Time) {
	maps.DeleteFunc(s.written, func(_ types.UID, w writtenCost) bool { return now.Sub(w.at) >= costInterval })
	due := s.due(endpoints)
	if now.Before(s.pausedTo) {
		return
	}
	for _, d := range due[:min(len(due), writesPer)] {
		if !s.leads(time.Now()) || !s.try(ctx, now, &s.st.Costs, &s.st.CostErrors, func(ctx context.Context) error {
			return s.c.Pods.SetDeletionCost(ctx, d.pod, d.cost, s.c.manager())
		}) {
			return
		}
		s.written[d.pod.UID] = writtenCost{d.cost, now}
		s.c.Log.Debug("deletion cost written", "pod", d.pod.Namespace+"/"+d.pod.Name, "cost", d.cost)
	}
}

// try makes a write, counts it, and reports whether it has succeeded. After one that has not there is a pause.
func (s *Scaler) try(ctx context.Context, now time.Time, succeeded, failed *uint64, write func(context.Context) error) bool {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	err := write(ctx)
	s.mu.Lock()
	if err == nil {
		*succeeded++
	} else {
		*failed++
	}
	s.mu.Unlock()
	if err != nil {
		s.pausedTo = now.Add(errorPause)
		s.begins(&s.writeError, err, "a pod cannot be written; scale-in takes it as it is, and requests are served on")
		return false
	}
	s.ends(&s.writeError, "pods can be written again")
	return true
}

// dueCost is a cost that has to be written.
type dueCost struct {
	pod  *kube.Pod
	cost int32
}

// due lists what has to be written to the pods of services with sessions.
func (s *Scaler) due(endpoints []affinity.EndpointStats) []dueCost {
	groups := map[types.UID][]dueCost{} // by ReplicaSet; the costs are what they should be
	foreign := map[types.UID]bool{}
	for uid, sessions := range sessionsByPod(endpoints) {
		pod := s.c.Pods.Pod(uid)
		switch {
		case pod == nil || pod.ReplicaSet == "" || !pod.Terminating.IsZero(): // nobody compares its cost
		case pod.Cost != "" && pod.CostBy != s.c.manager():
			foreign[uid] = true
			if !s.foreign[uid] {
				s.c.Log.Info("a pod has a deletion cost that somebody else has set, which stays as it is", "pod", pod.Namespace+"/"+pod.Name, "cost", pod.Cost, "manager", pod.CostBy)
			}
		default:
			groups[pod.ReplicaSet] = append(groups[pod.ReplicaSet], dueCost{pod, bounded(sessions)})
		}
	}
	s.foreign = foreign
	s.mu.Lock()
	s.st.Foreign = len(foreign)
	s.mu.Unlock()
	var out []dueCost
	for _, group := range groups {
		candidates := make([]candidate, len(group))
		for i, d := range group {
			candidates[i] = candidate{sessions: d.cost, cost: s.costOf(d.pod)}
		}
		for _, i := range stale(candidates) {
			if _, just := s.written[group[i].pod.UID]; !just {
				out = append(out, group[i])
			}
		}
	}
	slices.SortFunc(out, func(a, b dueCost) int {
		return cmp.Or(cmp.Compare(a.pod.ReplicaSet, b.pod.ReplicaSet), cmp.Compare(a.pod.UID, b.pod.UID))
	})
	return out
}

// costOf is the cost that a pod is known to have, or was given just now.
func (s *Scaler) costOf(p *kube.Pod) int32 {
	if w, just := s.written[p.UID]; just {
		return w.cost
	}
	cost, err := strconv.ParseInt(p.Cost, 10, 32)
	if err != nil { // none: the API server takes no other
		return 0
	}
	return int32(cost)
}

// sessionsByPod sums up the sessions of each pod over its endpoints, which may be those of several ports, subsets and services. A pod
// that is behind no service with sessions is not there.
func sessionsByPod(endpoints []affinity.EndpointStats) map[types.UID]int {
	all := map[types.UID]int{}
	for _, e := range endpoints {
		if e.Keyed && e.Incarnation != "" {
			all[types.UID(e.Incarnation)] += e.Live
		}
	}
	return all
}

// candidate is a pod of a group that a controller may take pods from: what it has, and what it is said to have.
type candidate struct {
	sessions int32 // live
	cost     int32 // that is written; 0: or none is
}

// clearlyFewer reports whether a has so many fewer sessions than b that it has to be taken first: none where b has some, or else over a
// quarter and over two fewer. Nearer counts cross all the time, and to follow them would gain nobody anything.
func clearlyFewer(a, b int32) bool {
	if a == 0 {
		return b > 0
	}
	return int64(b)-int64(a) > max(2, int64(a)/4)
}

// contradicts reports whether the costs of two candidates would have the controller take the wrong one, or either.
func contradicts(a, b candidate) bool {
	return clearlyFewer(a.sessions, b.sessions) && a.cost >= b.cost || clearlyFewer(b.sessions, a.sessions) && b.cost >= a.cost
}

// stale lists which candidates of a group have to be given their sessions as their cost, so that no costs contradict each other. A
// controller compares costs within one group and looks at nothing but their order, so that a count may grow tenfold, with those of the
// others, without a write.
//
// Each step takes the one that contradicts most others, until none is left: it takes O(n²) for n candidates, and writes few. Two
// candidates whose costs are their sessions cannot contradict each other, so that it ends after at most n steps.
func stale(group []candidate) []int {
	now := append([]candidate(nil), group...)
	wrong := make([]int, len(now)) // how many others each contradicts
	for i := range now {
		for j := range i {
			if contradicts(now[i], now[j]) {
				wrong[i]++
				wrong[j]++
			}
		}
	}
	var out []int
	for {
		worst := -1
		for i, n := range wrong {
			if n > 0 && now[i].cost != now[i].sessions && (worst < 0 || n > wrong[worst]) {
				worst = i
			}
		}
		if worst < 0 {
			return out
		}
		was := now[worst]
		now[worst].cost = was.sessions
		out = append(out, worst)
		for i := range now {
			if i == worst {
				continue
			}
			before, after := contradicts(now[i], was), contradicts(now[i], now[worst])
			switch {
			case before && !after:
				wrong[i]--
				wrong[worst]--
			case after && !before:
				wrong[i]++
				wrong[worst]++
			}
		}
	}
}

// bounded is a count as a cost, which has 32 bits.
func bounded(n int) int32 { return int32(min(n, math.MaxInt32)) }
