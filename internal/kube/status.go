package kube

import (
	"context"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"

	"github.com/remora-proxy/remora/api/v1alpha1"
)

// FieldManager is who has set what Remora writes, in the API server's record of that.
const FieldManager = "remora"

// Report is what is to be said in the status of an AffinityPolicy.
type Report struct {
	Namespace, Name string
	UID             types.UID
	Generation      int64              // that is spoken of
	Conditions      []metav1.Condition // of which type, status, reason and message are used
}

func (r *Report) key() string { return r.Namespace + "/" + r.Name }

// standing is the status of an object as the API server has it.
type standing struct {
	uid        types.UID
	generation int64
	conditions []metav1.Condition
}

// standingOf reads the status of an object. One that cannot be read is as good as none: it is written anew.
func standingOf(o *unstructured.Unstructured) standing {
	var status v1alpha1.AffinityPolicyStatus
	if content, is := o.Object["status"].(map[string]any); is {
		if runtime.DefaultUnstructuredConverter.FromUnstructured(content, &status) != nil {
			status.Conditions = nil
		}
	}
	return standing{uid: o.GetUID(), generation: o.GetGeneration(), conditions: status.Conditions}
}

// conditions are those of a report as they are to stand in the place of others: the time of a transition is that of a change of status.
func (r *Report) conditions(before []metav1.Condition, now time.Time) []metav1.Condition {
	out := slices.Clone(r.Conditions)
	for i := range out {
		out[i].ObservedGeneration = r.Generation
		out[i].LastTransitionTime = metav1.NewTime(now.Truncate(time.Second))
		if was := find(before, out[i].Type); was != nil && was.Status == out[i].Status && !was.LastTransitionTime.IsZero() {
			out[i].LastTransitionTime = was.LastTransitionTime
		}
	}
	return out
}

// stand reports whether conditions say what others are to say. What else they have is somebody else's.
func stand(there, wanted []metav1.Condition) bool {
	for i := range wanted {
		was, is := find(there, wanted[i].Type), &wanted[i]
		if was == nil || was.Status != is.Status || was.Reason != is.Reason || was.Message != is.Message || was.ObservedGeneration != is.ObservedGeneration {
			return false
		}
	}
	return true
}

func find(conditions []metav1.Condition, name string) *metav1.Condition {
	i := slices.IndexFunc(conditions, func(c metav1.Condition) bool { return c.Type == name })
	if i < 0 {
		return nil
	}
	return &conditions[i]
}

// statusClient applies the status of AffinityPolicies.
type statusClient struct {
	dynamic.NamespaceableResourceInterface
}

func newStatusClient(all dynamic.Interface) statusClient {
	return statusClient{all.Resource(schema.GroupVersionResource{Group: v1alpha1.Group, Version: v1alpha1.Version, Resource: v1alpha1.Resource})}
}

// apply makes these the conditions of the object that a report is about, and gives what the API server has then. What other field
// managers have set stays.
func (c statusClient) apply(ctx context.Context, r *Report, conditions []metav1.Condition) (standing, error) {
	status, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&v1alpha1.AffinityPolicyStatus{Conditions: conditions})
	if err != nil {
		return standing{}, err
	}
	o := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": v1alpha1.Group + "/" + v1alpha1.Version, "kind": v1alpha1.Kind,
		"metadata": map[string]any{"name": r.Name, "namespace": r.Namespace, "uid": string(r.UID)}, // not of another one of that name
		"status":   status,
	}}
	o, err = c.Namespace(r.Namespace).ApplyStatus(ctx, r.Name, o, metav1.ApplyOptions{FieldManager: FieldManager, Force: true})
	if err != nil {
		return standing{}, err
	}
	return standingOf(o), nil
}

// ofObject reports whether an error of the API server is about one object alone: it is not there any more, is another one, or does not
// take what is said of it.
func ofObject(err error) bool {
	return apierrors.IsNotFound(err) || apierrors.IsConflict(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err)
}

// observe notes the status of an object that the API server tells of. The caller holds s.mu.
func (s *source) observe(key string, o any) {
	if u, is := o.(*unstructured.Unstructured); is && s.kind.name == v1alpha1.Kind {
		s.standings[key] = standingOf(u)
		nudge(s.cluster.status.wake)
	}
}

// policySource is the source that has the AffinityPolicies of a namespace; nil: that is not watched.
func (c *Cluster) policySource(key string) *source {
	namespace, _, _ := strings.Cut(key, "/")
	for _, s := range c.sources {
		if s.kind.name == v1alpha1.Kind && (s.namespace == "" || s.namespace == namespace) {
			return s
		}
	}
	return nil
}

// standing is the status of an AffinityPolicy as the API server has it.
func (c *Cluster) standing(key string) (st standing, known bool) {
	if s := c.policySource(key); s != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		st, known = s.standings[key]
	}
	return st, known
}

// stood notes what the API server has answered to a write, before it tells it to those who watch.
func (c *Cluster) stood(key string, st standing) {
	s := c.policySource(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if before, known := s.standings[key]; known && before.uid == st.uid {
		s.standings[key] = st
	}
}

// Policies are the AffinityPolicies that are there, without their conditions; also those that cannot be read.
func (c *Cluster) Policies() []Report {
	var out []Report
	for _, s := range c.sources {
		s.mu.Lock()
		for key, st := range s.standings {
			namespace, name, _ := strings.Cut(key, "/")
			out = append(out, Report{Namespace: namespace, Name: name, UID: st.uid, Generation: st.generation})
		}
		s.mu.Unlock()
	}
	slices.SortFunc(out, func(a, b Report) int { return strings.Compare(a.key(), b.key()) })
	return out
}

// Report says what is to stand in the status of AffinityPolicies, in place of what was said before. Others are left alone.
func (c *Cluster) Report(all []Report) { c.status.report(all) }

// WriteStatus keeps the status of AffinityPolicies as Report says, until ctx is done. What stands already is not written.
func (c *Cluster) WriteStatus(ctx context.Context) { c.status.run(ctx) }
