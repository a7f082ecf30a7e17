package kube_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/remora-proxy/remora/internal/admin"
	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/kube"
	"github.com/remora-proxy/remora/internal/kubetest"
	"github.com/remora-proxy/remora/internal/kubetest/kubelet"
	"github.com/remora-proxy/remora/internal/programtest"
)

// drainers is a Deployment whose pods terminate for as long as they have sessions, an hour at most.
const drainers = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: backend-1}
spec:
  replicas: %d
  selector: {matchLabels: {app: backend-1}}
  template:
    metadata:
      labels: {app: backend-1, version: v1}
      annotations: {remora.dev/release: "true"}
    spec:
      terminationGracePeriodSeconds: 3630
      containers:
      - name: backend
        image: remora
        args: [backend, --service, backend-1, --listen, "$(POD_IP):8080", --name, $(POD_NAME)]
        env:
        - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
        readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1, timeoutSeconds: 10}
        lifecycle: {preStop: {sleep: {seconds: 3600}}}
`

// grant gives a service account the rights to tasks in the whole cluster, and those to the Lease in its namespace.
func grant(t *testing.T, c *kubetest.Cluster, tasks ...kube.Task) {
	t.Helper()
	rules, err := json.Marshal(kube.Rules(tasks...))
	must(t, err)
	lease, err := json.Marshal(kube.Rules(kube.HoldingLease))
	must(t, err)
	subject := "subjects: [{kind: ServiceAccount, name: remora, namespace: default}]\n"
	c.Apply(t, "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: remora}\nrules: "+string(rules)+
		"\n---\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: remora}\nroleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: remora}\n"+subject+
		"---\napiVersion: rbac.authorization.k8s.io/v1\nkind: Role\nmetadata: {name: remora}\nrules: "+string(lease)+
		"\n---\napiVersion: rbac.authorization.k8s.io/v1\nkind: RoleBinding\nmetadata: {name: remora}\nroleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: remora}\n"+subject)
}

// eventually asks again and again until the answer is yes: what is waited for here is written by others, and not told.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for !is() {
		select {
		case <-ticker.C:
		case <-late.C:
			t.Fatalf("this does not come true: %s", what)
		}
	}
}

// podsOf are the pods of backend-1 by name.
func podsOf(t *testing.T, c *kubetest.Cluster) map[string]*corev1.Pod {
	t.Helper()
	var list corev1.PodList
	c.Get(t, "/api/v1/namespaces/default/pods?labelSelector=app=backend-1", &list)
	all := map[string]*corev1.Pod{}
	for i := range list.Items {
		all[list.Items[i].Name] = &list.Items[i]
	}
	return all
}

// costs reads the deletion costs of pods; 0: a pod has none.
func costs(pods map[string]*corev1.Pod) map[string]int {
	all := map[string]int{}
	for name, p := range pods {
		all[name], _ = strconv.Atoi(p.Annotations[corev1.PodDeletionCost])
	}
	return all
}

// move moves a user's session to a replica.
func (g *gateway) move(user, pod string) {
	g.t.Helper()
	body, err := json.Marshal(admin.MoveRequest{Service: "backend-1", User: user, To: pod})
	must(g.t, err)
	req, err := http.NewRequestWithContext(g.t.Context(), http.MethodPost, g.admin+admin.PathSessionMove, strings.NewReader(string(body)))
	must(g.t, err)
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	must(g.t, err)
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		g.t.Fatalf("moving %s to %s: %s", user, pod, resp.Status)
	}
}

// TestScaleIn runs two gateways on a control plane with its controllers, its scheduler and a node.
func TestScaleIn(t *testing.T) {
	t.Parallel()
	c := kubetest.Start(t, kubetest.Options{Controllers: true, Scheduler: true})
	path := programtest.Remora(t)
	kubelet.Start(t, c, map[string]string{"remora": path})
	eventually(t, "pods may be made: their service account is there", func() bool {
		return c.TryGet("/api/v1/namespaces/default/serviceaccounts/default", &corev1.ServiceAccount{}) == nil
	})
	c.AddIstio(t)
	c.AddDefinitions(t, filepath.Join(kubetest.Root(t), "deploy", "crd", "remora.dev_affinitypolicies.yaml"))
	c.Apply(t, lasting(t))
	c.Apply(t, fmt.Sprintf(drainers, 3))
	eventually(t, "three pods are ready", func() bool {
		ready := 0
		for _, p := range podsOf(t, c) {
			for _, condition := range p.Status.Conditions {
				if condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue {
					ready++
				}
			}
		}
		return ready == 3
	})

	t.Log("with the right to read alone it serves, and says what is missing")
	grant(t, c, kube.Watching)
	account := c.As(t, "system:serviceaccount:default:remora")
	first := serve(t, account, "--scale-in")
	first.until("three replicas", func(all []affinity.EndpointView) bool { return ready3(all) })
	home := map[string]string{}
	for i := range 9 {
		user := fmt.Sprintf("user-%d", i)
		r := first.hit(user, "backend-1")
		if r.status != http.StatusOK {
			t.Fatalf("%s got %d", user, r.status)
		}
		home[user] = r.PodID
	}
	names := make([]string, 0, 3)
	for name := range podsOf(t, c) {
		names = append(names, name)
	}
	fullest, middle, emptiest := names[0], names[1], names[2]
	for i := range 9 {
		user, to := fmt.Sprintf("user-%d", i), fullest
		if i >= 6 {
			to = middle
		}
		first.move(user, to)
		home[user] = to
	}
	first.Line("not allowed to patch and delete pods", "add to its ClusterRole the rule", `resources: [\"pods\"], verbs: [patch, delete]`)
	if st := first.status(); !st.Ready || st.ScaleIn == nil || !strings.Contains(st.ScaleIn.Error, "not allowed to patch") {
		t.Errorf("the status is %+v", st.ScaleIn)
	}

	t.Log("with the right to write, the costs have the order of the sessions")
	grant(t, c, kube.Watching, kube.ScalingIn)
	eventually(t, "the costs are in order", func() bool {
		is := costs(podsOf(t, c))
		return is[emptiest] < is[middle] && is[middle] < is[fullest]
	})
	second := serve(t, account, "--scale-in")
	if second.status().ScaleIn.Leading && first.status().ScaleIn.Leading {
		t.Error("the second gateway writes too")
	}
	metrics := first.metrics()
	for _, want := range []string{"\nremora_scale_in_leader 1\n", "\nremora_scale_in_cost_writes_total{result=\"written\"} "} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics do not have %q", want)
		}
	}

	t.Log("one replica fewer: it is the one without sessions, and it goes at once")
	c.Apply(t, fmt.Sprintf(drainers, 2))
	eventually(t, "the empty pod is gone", func() bool { return podsOf(t, c)[emptiest] == nil })
	for _, name := range []string{fullest, middle} {
		if p := podsOf(t, c)[name]; p == nil || p.DeletionTimestamp != nil {
			t.Errorf("%s is going too", name)
		}
	}

	t.Log("another one fewer: it is the one with fewer sessions, and stays until they have ended")
	c.Apply(t, fmt.Sprintf(drainers, 1))
	eventually(t, "the pod is draining", func() bool {
		d := first.status().Drains
		return len(d) == 1 && d[0].Name == middle && d[0].Live == 3 && time.Until(d[0].Deadline) > 50*time.Minute
	})
	for user, pod := range home {
		if r := first.hit(user, "backend-1"); r.PodID != pod {
			t.Errorf("%s was at %s and is at %s", user, pod, r.PodID)
		}
	}
	if podsOf(t, c)[middle] == nil {
		t.Error("it is gone with three sessions")
	}
	for i := 6; i < 9; i++ {
		first.move(fmt.Sprintf("user-%d", i), fullest)
	}
	eventually(t, "it is gone after its last session", func() bool { return podsOf(t, c)[middle] == nil })
	eventually(t, "each pod was released once, and the API server answers in time", func() bool {
		one, other := first.status().ScaleIn, second.status().ScaleIn
		return one.Releases+other.Releases == 2 && one.Error == "" && other.Error == ""
	})

	t.Log("a cost of the user's own is left as it is")
	c.Apply(t, "apiVersion: v1\nkind: Pod\nmetadata: {name: "+fullest+", annotations: {controller.kubernetes.io/pod-deletion-cost: \"-7\"}}\n")
	eventually(t, "it is seen", func() bool { return first.status().ScaleIn.Foreign+second.status().ScaleIn.Foreign > 0 })

	t.Log("the gateway that writes is killed: the other takes over")
	first.Kill()
	eventually(t, "the second gateway writes", func() bool { return second.status().ScaleIn.Leading })
	if st := second.status().ScaleIn; st.Holder != st.Identity {
		t.Errorf("the status is %+v", st)
	}
}

func ready3(all []affinity.EndpointView) bool {
	n := 0
	for _, e := range all {
		if e.State == "ready" || e.State == "warming" {
			n++
		}
	}
	return n == 3
}
