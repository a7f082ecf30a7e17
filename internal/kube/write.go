package kube

import (
	"context"
	"encoding/json"
	"strconv"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"
)

// SetDeletionCost writes a pod's annotation controller.kubernetes.io/pod-deletion-cost (KEP-2255) in the name of a field manager, and
// nothing else. For a pod that is not there any more there is nothing to do, which is no error.
func (c *Cluster) SetDeletionCost(ctx context.Context, p *Pod, cost int32, manager string) error {
	return c.annotate(ctx, p, corev1.PodDeletionCost, strconv.Itoa(int(cost)), manager)
}

// Hold writes until when a gateway needs a terminating pod; the zero time takes that back.
func (c *Cluster) Hold(ctx context.Context, p *Pod, gateway string, until time.Time, manager string) error {
	if until.IsZero() {
		return c.annotate(ctx, p, HoldPrefix+gateway, nil, manager)
	}
	return c.annotate(ctx, p, HoldPrefix+gateway, until.UTC().Format(time.RFC3339), manager)
}

// annotate gives a pod an annotation; nil takes it away.
func (c *Cluster) annotate(ctx context.Context, p *Pod, name string, value any, manager string) error {
	// The uid makes it a condition: it is never written to a pod of the same name that has come since.
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"uid": p.UID, "annotations": map[string]any{name: value}}})
	if err != nil {
		return err
	}
	_, err = c.podsOf(p).Patch(ctx, p.Name, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: manager})
	return c.written(err, p)
}

// releaseGrace is the grace period, in seconds, that a pod that is released has left. The kubelet breaks its preStop off, begins it anew
// for this long, sends SIGTERM, and gives the containers two seconds from there, which is its minimum (pkg/kubelet: pod_workers.go and
// kuberuntime_container.go, Kubernetes 1.37). A longer one would lengthen the preStop and nothing else. 0 would take the pod out of the
// API server before its processes have ended.
const releaseGrace = 1

// Release deletes a pod that is terminating once more, with the shortest grace period, if it is still as it was seen: what another gateway
// has written since may say that it needs the pod. released is false when it is not, or is gone.
func (c *Cluster) Release(ctx context.Context, p *Pod) (released bool, err error) {
	grace := int64(releaseGrace)
	err = c.podsOf(p).Delete(ctx, p.Name, metav1.DeleteOptions{
		GracePeriodSeconds: &grace,
		Preconditions:      &metav1.Preconditions{UID: &p.UID, ResourceVersion: &p.Version},
	})
	return err == nil, c.written(err, p)
}

// Released reports whether the pod has no more time left than Release would leave it.
func (p *Pod) Released() bool { return !p.Terminating.IsZero() && p.Grace <= releaseGrace }

func (c *Cluster) podsOf(p *Pod) metadata.ResourceInterface {
	return c.client.Resource(corev1.SchemeGroupVersion.WithResource(podKind.resource)).Namespace(p.Namespace)
}

// written says what to do about the error of a write to a pod. A conflict is no error: the pod is gone, or is not as it was seen.
func (c *Cluster) written(err error, p *Pod) error {
	if err == nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return c.explainWrite(err, scaleInRule, p.Namespace)
}

// explainWrite is explain for a write, of which the rights are in a ClusterRole unless namespaces are named.
func (c *Cluster) explainWrite(err error, rule rbacv1.PolicyRule, namespace string) error {
	if len(c.Namespaces) == 0 {
		namespace = ""
	}
	return explain(err, rule, namespace)
}

// GetLease reads a Lease of the program's own namespace; nil: it is not there.
func (c *Cluster) GetLease(ctx context.Context, name string) (*coordinationv1.Lease, error) {
	lease := &coordinationv1.Lease{}
	err := c.leases.Get().Namespace(c.Own).Resource("leases").Name(name).Do(ctx).Into(lease)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return lease, explain(err, leaseRule, c.Own)
}

// PutLease writes a Lease of the program's own namespace, and gives it as it is stored. It creates the one that has no resource version,
// and of any other replaces that version alone: taken is true when another program was faster, and nothing was written.
func (c *Cluster) PutLease(ctx context.Context, lease *coordinationv1.Lease) (stored *coordinationv1.Lease, taken bool, err error) {
	lease.Namespace, stored = c.Own, &coordinationv1.Lease{}
	request := c.leases.Post()
	if lease.ResourceVersion != "" {
		request = c.leases.Put().Name(lease.Name)
	}
	err = request.Namespace(c.Own).Resource("leases").Body(lease).Do(ctx).Into(stored)
	if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
		return nil, true, nil
	}
	return stored, false, explain(err, leaseRule, c.Own)
}
