package kube

import (
	"reflect"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestWhatIsKeptOfAPod(t *testing.T) {
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	base := Pod{Namespace: "shop", Name: "cart-0", UID: "uid"}
	owned := func(kind string, controller bool) []metav1.OwnerReference {
		return []metav1.OwnerReference{{Kind: kind, UID: "owner", Controller: &controller}}
	}
	for name, test := range map[string]struct {
		meta metav1.ObjectMeta
		want func(*Pod)
	}{
		"a pod of its own":                        {metav1.ObjectMeta{}, func(*Pod) {}},
		"a pod of a ReplicaSet":                   {metav1.ObjectMeta{OwnerReferences: owned("ReplicaSet", true)}, func(p *Pod) { p.ReplicaSet = "owner" }},
		"an owner that is not the controller":     {metav1.ObjectMeta{OwnerReferences: owned("ReplicaSet", false)}, func(*Pod) {}},
		"a pod of a StatefulSet":                  {metav1.ObjectMeta{OwnerReferences: owned("StatefulSet", true)}, func(*Pod) {}},
		"its version, by which it is released":    {metav1.ObjectMeta{ResourceVersion: "42"}, func(p *Pod) { p.Version = "42" }},
		"an annotation that is not read":          {metav1.ObjectMeta{Annotations: map[string]string{"note": "x"}}, func(*Pod) {}},
		"a release that is not \"true\"":          {metav1.ObjectMeta{Annotations: map[string]string{ReleaseAnnotation: "yes"}}, func(*Pod) {}},
		"a release":                               {metav1.ObjectMeta{Annotations: map[string]string{ReleaseAnnotation: "true"}}, func(p *Pod) { p.Release = true }},
		"a cost that nobody is known to have set": {metav1.ObjectMeta{Annotations: map[string]string{corev1.PodDeletionCost: "5"}}, func(p *Pod) { p.Cost = "5" }},
		"a cost with the manager who has set it": {
			metav1.ObjectMeta{Annotations: map[string]string{corev1.PodDeletionCost: "5"}, ManagedFields: []metav1.ManagedFieldsEntry{
				{Manager: "kube-controller-manager", FieldsV1: metav1.NewFieldsV1(`{"f:metadata":{"f:labels":{"f:app":{}}}}`)},
				{Manager: "kubectl-annotate", FieldsV1: metav1.NewFieldsV1(`{"f:metadata":{"f:annotations":{"f:controller.kubernetes.io/pod-deletion-cost":{}}}}`)},
			}},
			func(p *Pod) { p.Cost, p.CostBy = "5", "kubectl-annotate" },
		},
		"a pod that terminates since 20 s of 630": {
			metav1.ObjectMeta{DeletionTimestamp: &metav1.Time{Time: at.Add(610 * time.Second)}, DeletionGracePeriodSeconds: new(int64(630))},
			func(p *Pod) { p.Terminating, p.Grace = at.Add(-20*time.Second), 630 },
		},
		"gateways that need it, and what is no time": {
			metav1.ObjectMeta{Annotations: map[string]string{HoldPrefix + "one": "2026-11-23T12:00:00Z", HoldPrefix + "two": "tomorrow"}},
			func(p *Pod) { p.Holds = map[string]time.Time{"one": at} },
		},
	} {
		t.Run(name, func(t *testing.T) {
			test.meta.Namespace, test.meta.Name, test.meta.UID = "shop", "cart-0", types.UID("uid")
			want := base
			test.want(&want)
			if got := readPod(&metav1.PartialObjectMetadata{ObjectMeta: test.meta}); !reflect.DeepEqual(*got, want) {
				t.Errorf("kept is %+v, want %+v", *got, want)
			}
		})
	}
}
