package kubelet

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/remora-proxy/remora/internal/kubetest"
)

// heartbeat is how often the node says that it is there, as a real kubelet does.
const heartbeat = 10 * time.Second

const node = `
apiVersion: v1
kind: Namespace
metadata: {name: kube-node-lease}
---
apiVersion: v1
kind: Node
metadata: {name: ` + nodeName + `, labels: {kubernetes.io/hostname: ` + nodeName + `, kubernetes.io/os: linux}}
---
apiVersion: coordination.k8s.io/v1
kind: Lease
metadata: {name: ` + nodeName + `, namespace: kube-node-lease}
spec: {holderIdentity: ` + nodeName + `, leaseDurationSeconds: 40}
`

// addNode makes the Node, which is ready before a pod can want it.
func (k *Kubelet) addNode(t testing.TB, c *kubetest.Cluster) {
	t.Helper()
	c.Apply(t, node)
	if err := k.reportNode(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// reportNode writes the node's status.
func (k *Kubelet) reportNode(ctx context.Context) error {
	now := metav1.Now()
	status := corev1.NodeStatus{
		Capacity:    resources("8", "16Gi", "500"),
		Allocatable: resources("8", "16Gi", "500"),
		Addresses:   []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: hostIP}},
		Conditions: []corev1.NodeCondition{{
			Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", Message: "processes can be started",
			LastHeartbeatTime: now, LastTransitionTime: now,
		}},
	}
	patch, err := json.Marshal(map[string]any{"status": status})
	if err != nil {
		return err
	}
	return k.core.Patch(types.StrategicMergePatchType).Resource("nodes").Name(nodeName).SubResource("status").Body(patch).Do(ctx).Error()
}

// renew renews the node's Lease.
func (k *Kubelet) renew(ctx context.Context) error {
	now := metav1.NowMicro()
	patch, err := json.Marshal(map[string]any{"spec": coordinationv1.LeaseSpec{RenewTime: &now}})
	if err != nil {
		return err
	}
	return k.leases.Patch(types.MergePatchType).Namespace("kube-node-lease").Resource("leases").Name(nodeName).Body(patch).Do(ctx).Error()
}

// beat tells, until ctx is done, that the node is there. An API server that does not answer is told as soon as it does.
func (k *Kubelet) beat(ctx context.Context) {
	for {
		if insist(ctx, func() error { return k.renew(ctx) }) != nil || insist(ctx, func() error { return k.reportNode(ctx) }) != nil {
			return // ctx is done, or somebody has deleted the node
		}
		if !pause(ctx, heartbeat) {
			return
		}
	}
}
