package kubelet

import (
	"encoding/json"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// statusPatch is the pod's status as it is now, as a patch.
func (p *pod) statusPatch() ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	status := corev1.PodStatus{
		Phase:     p.phase(),
		HostIP:    hostIP,
		HostIPs:   []corev1.HostIP{{IP: hostIP}},
		PodIP:     p.ip,
		PodIPs:    []corev1.PodIP{{IP: p.ip}},
		StartTime: &p.began,
	}
	ready := true
	for _, c := range p.containers {
		status.ContainerStatuses = append(status.ContainerStatuses, c.status)
		ready = ready && c.status.Ready
	}
	over := status.Phase == corev1.PodSucceeded || status.Phase == corev1.PodFailed
	p.condition(corev1.PodReadyToStartContainers, !over, "")
	p.condition(corev1.PodInitialized, true, "")
	p.condition(corev1.ContainersReady, ready, "ContainersNotReady")
	p.condition(corev1.PodReady, ready, "ContainersNotReady")
	status.Conditions = p.conditions
	return json.Marshal(map[string]any{"status": status})
}

// phase is what the states of the containers come to. The caller holds p.mu.
func (p *pod) phase() corev1.PodPhase {
	waiting, running, failed := false, false, false
	for _, c := range p.containers {
		switch end := c.status.State.Terminated; {
		case c.status.State.Running != nil:
			running = true
		case end != nil && c.again(int(end.ExitCode)):
			running = true
		case end != nil:
			failed = failed || end.ExitCode != 0
		case c.stopping:
			failed = true
		case c.log != nil: // it waits to be started again
			running = true
		default:
			waiting = true
		}
	}
	switch {
	case waiting:
		return corev1.PodPending
	case running:
		return corev1.PodRunning
	case failed:
		return corev1.PodFailed
	default:
		return corev1.PodSucceeded
	}
}

// condition sets one of the pod's conditions. The time of its last transition stays where nothing has changed. The caller holds p.mu.
func (p *pod) condition(kind corev1.PodConditionType, is bool, reason string) {
	next := corev1.PodCondition{Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()}
	if !is {
		next.Status, next.Reason = corev1.ConditionFalse, reason
	}
	for i := range p.conditions {
		if p.conditions[i].Type == kind {
			if p.conditions[i].Status != next.Status {
				p.conditions[i] = next
			}
			return
		}
	}
	p.conditions = append(p.conditions, next)
}
