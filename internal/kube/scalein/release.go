package scalein

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/kube"
)

// hold says of the terminating pods that ask to be released which of them this gateway needs, where that is news, and gives those that it
// does not need. Each gateway knows its own sessions alone.
func (s *Scaler) hold(ctx context.Context, endpoints []affinity.EndpointStats, now time.Time) (unneeded []*kube.Pod) {
	taking := takingSessions(endpoints)
	holds, refused := make(map[types.UID]time.Time, len(s.holds)), false
	for _, pod := range s.c.Pods.Releasable() {
		if pod.Released() {
			continue
		}
		sessions, requests, known := s.c.Busy(string(pod.UID))
		until := s.holds[pod.UID]
		needed := sessions > 0 || requests > 0 || taking[pod.UID]
		var next time.Time // to take it back
		if needed {
			next = now.Add(holdTime)
		}
		if change := needed && until.Sub(now) < holdTime/2 || !needed && until.After(now); change && !refused {
			if s.tryHold(ctx, pod, next, now) {
				until = next
			} else {
				refused = true // the others' turn comes: pods are in no order
			}
		}
		if !needed && known {
			unneeded = append(unneeded, pod)
		}
		if !until.IsZero() {
			holds[pod.UID] = until
		}
	}
	s.holds = holds
	return unneeded
}

// tryHold writes until when a pod is needed. It heeds no pause: after a shorter one than that another gateway would release the pod.
func (s *Scaler) tryHold(ctx context.Context, pod *kube.Pod, until, now time.Time) bool {
	return s.try(ctx, now, &s.st.Holds, &s.st.HoldErrors, func(ctx context.Context) error {
		return s.c.Pods.Hold(ctx, pod, s.c.Identity, until, s.c.manager())
	})
}

// heldByOthers reports whether another gateway needs a pod.
func (s *Scaler) heldByOthers(pod *kube.Pod, now time.Time) bool {
	for gateway, until := range pod.Holds {
		if gateway != s.c.Identity && now.Before(until) {
			return true
		}
	}
	return false
}

// release lets the pods go that no gateway has needed for a while. unneeded are those that this one does not need.
func (s *Scaler) release(ctx context.Context, unneeded []*kube.Pod, now time.Time) {
	still := make(map[types.UID]time.Time, len(s.idle))
	for _, pod := range unneeded {
		if s.heldByOthers(pod, now) {
			continue
		}
		since, was := s.idle[pod.UID]
		if !was {
			since = now
		}
		idle := now.Sub(since)
		if still[pod.UID] = since; idle >= settle && !now.Before(s.pausedTo) && s.leads(time.Now()) &&
			s.c.Empty(string(pod.UID), idle-settle) && s.releaseOne(ctx, pod, now) {
			still[pod.UID] = now // not again, until the API server tells of it
		}
	}
	s.idle = still
}

// releaseOne reports whether a pod is released. One that has changed since it was seen is not, and is looked at again.
func (s *Scaler) releaseOne(ctx context.Context, pod *kube.Pod, now time.Time) (released bool) {
	var answers uint64 // also those that it has changed
	s.try(ctx, now, &answers, &s.st.ReleaseErrors, func(ctx context.Context) (err error) {
		released, err = s.c.Pods.Release(ctx, pod)
		return err
	})
	if released {
		s.mu.Lock()
		s.st.Releases++
		s.mu.Unlock()
		s.c.Log.Info("a terminating pod has no sessions any more and is released",
			"pod", pod.Namespace+"/"+pod.Name, "after", now.Sub(pod.Terminating).Round(time.Second), "of", time.Duration(pod.Grace)*time.Second)
	}
	return released
}

// takingSessions are the pods of which an endpoint is not known to be draining: one that terminates may still get sessions until that
// is known.
func takingSessions(endpoints []affinity.EndpointStats) map[types.UID]bool {
	all := map[types.UID]bool{}
	for _, e := range endpoints {
		if e.Incarnation != "" && e.State != affinity.Draining && e.State != affinity.Gone {
			all[types.UID(e.Incarnation)] = true
		}
	}
	return all
}
