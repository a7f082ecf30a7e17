package scalein

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/kube"
)

// release lets terminating pods go that ask for it and that nobody needs any more.
func (s *Scaler) release(ctx context.Context, endpoints []affinity.EndpointStats, now time.Time) {
	taking := takingSessions(endpoints)
	still := make(map[types.UID]time.Time, len(s.idle))
	for _, pod := range s.c.Pods.Releasable() {
		if pod.Released() || taking[pod.UID] {
			continue
		}
		sessions, requests, known := s.c.Busy(string(pod.UID))
		if !known || sessions > 0 || requests > 0 {
			continue
		}
		since, was := s.idle[pod.UID]
		if !was {
			since = now
		}
		if still[pod.UID] = since; now.Sub(since) >= settle && !now.Before(s.pausedTo) && s.releaseOne(ctx, pod, now) {
			still[pod.UID] = now // not again, until the API server tells of it
		}
	}
	s.idle = still
}

func (s *Scaler) releaseOne(ctx context.Context, pod *kube.Pod, now time.Time) bool {
	done := s.try(ctx, now, &s.st.Releases, &s.st.ReleaseErrors, func(ctx context.Context) error { return s.c.Pods.Release(ctx, pod) })
	if done {
		s.c.Log.Info("a terminating pod has no sessions any more and is released",
			"pod", pod.Namespace+"/"+pod.Name, "after", now.Sub(pod.Terminating).Round(time.Second), "of", time.Duration(pod.Grace)*time.Second)
	}
	return done
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
