package kube

import (
	"fmt"
	"reflect"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/remora-proxy/remora/internal/diag"
	"github.com/remora-proxy/remora/internal/resource"
)

// entry is one object as it is kept: what Remora needs of it. The rest, managedFields above all, can be a multiple of that.
type entry struct {
	uid        types.UID
	generation int64
	set        *resource.Set // the object alone; empty when it has errors; nil for a pod
	found      diag.List
	pod        *Pod // nil for all other kinds
}

// read makes an entry of an object. When it differs in nothing that matters from the one before, it gives that one.
func (k *kind) read(o any, before *entry, decode Decode) (*entry, error) {
	switch o := o.(type) {
	case *corev1.Service:
		lean := &corev1.Service{ObjectMeta: leanMeta(&o.ObjectMeta)}
		lean.Spec.Type, lean.Spec.Ports = o.Spec.Type, o.Spec.Ports
		return unlessSame(before, o, &resource.Set{Services: []resource.Object[*corev1.Service]{named(k, lean)}}), nil
	case *discoveryv1.EndpointSlice:
		lean := &discoveryv1.EndpointSlice{ObjectMeta: leanMeta(&o.ObjectMeta), AddressType: o.AddressType, Endpoints: o.Endpoints, Ports: o.Ports}
		return unlessSame(before, o, &resource.Set{EndpointSlices: []resource.Object[*discoveryv1.EndpointSlice]{named(k, lean)}}), nil
	case *metav1.PartialObjectMetadata:
		if pod := readPod(o); before == nil || !reflect.DeepEqual(before.pod, pod) {
			return &entry{pod: pod}, nil
		}
		return before, nil
	case *unstructured.Unstructured:
		return readCustom(o, before, decode), nil
	default:
		return nil, fmt.Errorf("a %s of the Go type %T", k.name, o)
	}
}

// leanMeta is what is needed of an object's metadata.
func leanMeta(m *metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: m.Name, Namespace: m.Namespace, UID: m.UID, CreationTimestamp: m.CreationTimestamp, Labels: m.Labels}
}

func named[T metav1.Object](k *kind, o T) resource.Object[T] {
	return resource.Object[T]{Kind: k.name, Value: o, Where: resource.InCluster(k.name + " " + o.GetNamespace() + "/" + o.GetName())}
}

func unlessSame(before *entry, o metav1.Object, set *resource.Set) *entry {
	if before != nil && reflect.DeepEqual(before.set, set) {
		return before
	}
	return &entry{uid: o.GetUID(), generation: o.GetGeneration(), set: set}
}

// key is what an object is filed under: a pod under its uid, by which endpoints name it, all others under their names.
func (k *kind) key(o any) (string, error) {
	if k != podKind {
		return cache.MetaNamespaceKeyFunc(o)
	}
	m, err := meta.Accessor(o)
	if err != nil {
		return "", err
	}
	return string(m.GetUID()), nil
}

// readCustom reads an object of a CustomResourceDefinition. The API server raises its generation with every change but those
// of metadata and status.
func readCustom(o *unstructured.Unstructured, before *entry, decode Decode) *entry {
	uid, generation := o.GetUID(), o.GetGeneration()
	if before != nil && uid == before.uid && generation == before.generation && generation != 0 {
		return before
	}
	lean := map[string]any{"apiVersion": o.GetAPIVersion(), "kind": o.GetKind()}
	meta, _ := o.Object["metadata"].(map[string]any)
	leanMeta := map[string]any{}
	for _, name := range []string{"name", "namespace", "uid", "creationTimestamp", "generation"} {
		if v, is := meta[name]; is {
			leanMeta[name] = v
		}
	}
	lean["metadata"] = leanMeta
	if spec, is := o.Object["spec"]; is {
		lean["spec"] = spec
	}
	set, found := decode(lean)
	return &entry{uid: uid, generation: generation, set: set, found: found}
}
