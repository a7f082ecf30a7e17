package kube

import (
	"maps"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// ReleaseAnnotation is what a pod is annotated with, as "true", that may end before its grace period is over: as soon as it is
// terminating and has no session any more.
const ReleaseAnnotation = "remora.dev/release"

// HoldPrefix begins the annotations by which gateways say until when (RFC 3339) they need a terminating pod: what follows names the
// gateway.
const HoldPrefix = "hold.remora.dev/"

// Pod is what is kept of a pod.
type Pod struct {
	Namespace, Name string
	UID             types.UID
	Version         string // the resource version: another one after each write to the pod, whoever makes it
	Labels          map[string]string

	// ReplicaSet is the uid of the ReplicaSet (or ReplicationController) that the pod belongs to; empty: of none. These are the
	// controllers that compare the deletion costs of their pods.
	ReplicaSet types.UID
	// Cost is the annotation controller.kubernetes.io/pod-deletion-cost as it stands; empty: none. CostBy is the field manager who has
	// set it.
	Cost, CostBy string

	// Terminating is since when the pod is being deleted; zero: it is not. Grace is the seconds that it may take, from then on.
	Terminating time.Time
	Grace       int64
	Release     bool                 // ReleaseAnnotation is "true"
	Holds       map[string]time.Time // the annotations with HoldPrefix, by gateway; nil: none
}

// readPod keeps what is needed of a pod's metadata.
func readPod(m *metav1.PartialObjectMetadata) *Pod {
	p := &Pod{Namespace: m.Namespace, Name: m.Name, UID: m.UID, Version: m.ResourceVersion, Labels: m.Labels, Release: m.Annotations[ReleaseAnnotation] == "true"}
	if owner := metav1.GetControllerOfNoCopy(m); owner != nil && (owner.Kind == "ReplicaSet" || owner.Kind == "ReplicationController") {
		p.ReplicaSet = owner.UID
	}
	if p.Cost = m.Annotations[corev1.PodDeletionCost]; p.Cost != "" {
		p.CostBy = costManager(m.ManagedFields)
	}
	if m.DeletionTimestamp != nil && m.DeletionGracePeriodSeconds != nil {
		p.Grace = *m.DeletionGracePeriodSeconds
		p.Terminating = m.DeletionTimestamp.Add(-time.Duration(p.Grace) * time.Second)
	}
	for name, value := range m.Annotations {
		gateway, is := strings.CutPrefix(name, HoldPrefix)
		if until, err := time.Parse(time.RFC3339, value); is && err == nil {
			if p.Holds == nil {
				p.Holds = map[string]time.Time{}
			}
			p.Holds[gateway] = until
		}
	}
	return p
}

// costField is the annotation in the API server's record of who has set which field (structured-merge-diff, fieldsV1).
const costField = `"f:` + corev1.PodDeletionCost + `"`

// costManager is who has set the deletion cost; empty: the API server does not say.
func costManager(managers []metav1.ManagedFieldsEntry) string {
	for i := range managers {
		if f := managers[i].FieldsV1; f != nil && strings.Contains(f.GetRawString(), costField) {
			return managers[i].Manager
		}
	}
	return ""
}

// Pod finds a pod by its uid; nil: there is none, as far as is known.
func (c *Cluster) Pod(uid types.UID) *Pod {
	for _, s := range c.pods {
		s.mu.Lock()
		e := s.entries[string(uid)]
		s.mu.Unlock()
		if e != nil {
			return e.pod
		}
	}
	return nil
}

// Releasable lists the pods that are terminating and may end before their grace period is over, in no order.
func (c *Cluster) Releasable() []*Pod {
	var out []*Pod
	for _, s := range c.pods {
		s.mu.Lock()
		for _, e := range s.entries {
			if e.pod.Release && !e.pod.Terminating.IsZero() {
				out = append(out, e.pod)
			}
		}
		s.mu.Unlock()
	}
	return out
}

// podLabels is resource.Set.PodLabels. It notes what it is asked: the set that asks depends on it.
func (c *Cluster) podLabels(uid types.UID) (labels map[string]string, known bool) {
	for _, s := range c.pods {
		s.mu.Lock()
		s.asked[string(uid)] = true
		e := s.entries[string(uid)]
		s.mu.Unlock()
		if e != nil {
			return e.pod.Labels, true
		}
	}
	return nil, false
}

// ask forgets what an earlier set has asked for.
func (s *source) ask() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = make(map[string]bool, len(s.asked))
}

// changesLabels reports whether a pod that was so, and is now so, has other labels, or has come or gone.
func changesLabels(before, now *entry) bool {
	return before == nil || now == nil || !maps.Equal(before.pod.Labels, now.pod.Labels)
}
