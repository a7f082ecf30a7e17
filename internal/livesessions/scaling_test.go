package livesessions_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/remora-proxy/remora/internal/kubetest"
	"github.com/remora-proxy/remora/internal/kubetest/kubelet"
	"github.com/remora-proxy/remora/internal/programtest"
)

// gateways are the addresses of two gateways that know nothing of each other's sessions.
var gateways = []string{"10.244.255.1", "10.244.255.2"}

// gatewaysService is what finds them, as the chart has it; their pods are processes of the test.
const gatewaysService = `apiVersion: v1
kind: Service
metadata: {name: remora-gateway, namespace: remora-system}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: remora-gateway-x7k2p, namespace: remora-system, labels: {kubernetes.io/service-name: remora-gateway}}
addressType: IPv4
ports: [{name: http, port: 8081}]
endpoints:
- {addresses: [10.244.255.1], conditions: {ready: true}}
- {addresses: [10.244.255.2], conditions: {ready: true}}
`

const deployment = `apiVersion: apps/v1
kind: Deployment
metadata: {name: backend-1}
spec:
  replicas: 2
  selector: {matchLabels: {app: backend-1}}
  template:
    metadata: {labels: {app: backend-1}}
    spec:
      containers:
      - name: backend
        image: remora
        args: [backend, --service, backend-1, --listen, "$(POD_IP):8080", --name, $(POD_NAME)]
        env:
        - {name: POD_IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
        - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1, timeoutSeconds: 30}
        resources: {requests: {cpu: "1"}}
`

// autoscaler is the shipped one of backend-1, in a hurry and for few users.
func autoscaler(t *testing.T) string {
	first, _, _ := strings.Cut(read(t, "deploy/metrics-adapter/autoscalers.yaml"), "\n---\n")
	return replaced(t, first,
		`averageValue: "100"`, `averageValue: "10"`,
		"stabilizationWindowSeconds: 600", "stabilizationWindowSeconds: 0",
		"value: 1\n", "value: 5\n",
		"periodSeconds: 600", "periodSeconds: 1")
}

// adapter is the shipped one, which finds the API server as programs outside a cluster do: the node has no volumes.
func adapter(t *testing.T, c *cluster) string {
	kubeconfig := c.As(t, "system:serviceaccount:remora-system:remora-metrics-adapter")
	var flags string
	for _, name := range []string{"lister", "authentication", "authorization"} {
		flags += "\n        - --" + name + "-kubeconfig=" + kubeconfig
	}
	return replaced(t, read(t, "deploy/metrics-adapter/adapter.yaml"), "\n        args:", "\n        args:"+flags)
}

// TestAnAutoscalerFollowsTheLiveSessions runs the shipped objects on a real control plane, with real gateways, real replicas and the real
// adapter.
func TestAnAutoscalerFollowsTheLiveSessions(t *testing.T) {
	remora := programtest.Remora(t)
	c := &cluster{Cluster: kubetest.Start(t, kubetest.Options{Controllers: true, Scheduler: true})}
	kubelet.Start(t, c.Cluster, map[string]string{"remora": remora, "remora-metrics-adapter:latest": buildAdapter(t)})
	t.Cleanup(func() {
		if t.Failed() {
			c.logPods(t)
		}
	})
	c.AddIstio(t)
	c.AddDefinitions(t, filepath.Join(kubetest.Root(t), "deploy", "crd", "remora.dev_affinitypolicies.yaml"))
	for _, name := range []string{"gateway", "virtualservice", "destinationrules", "services"} {
		c.Apply(t, read(t, "examples/hit-backend/"+name+".yaml"))
	}
	policy := read(t, "examples/hit-backend/affinitypolicy.yaml")
	c.Apply(t, policy+"  idleTimeout: 1h\n")
	c.Apply(t, deployment)
	c.Apply(t, "apiVersion: v1\nkind: Namespace\nmetadata: {name: remora-system}\n---\n"+gatewaysService)
	serve := func(address string) *programtest.Program {
		return programtest.Run(t, exec.Command(remora, "serve", "--kubernetes", "--kubeconfig", c.Kubeconfig, "--bind", address, "--port", "80=8081",
			"--admin", "off", "--metrics", address+":9090"))
	}
	serve(gateways[0])
	second := serve(gateways[1])

	c.Apply(t, adapter(t, c))
	c.proxy(t, "remora-system", "remora-metrics-adapter", 443, 6443)
	for _, version := range []string{"v1beta1", "v1beta2"} {
		until(t, "the APIService of "+version+" is available", func() bool {
			available := c.condition(t, "/apis/apiregistration.k8s.io/v1/apiservices/"+version+".custom.metrics.k8s.io", "Available")
			c.seen(t, available.Message)
			return available.Status == "True"
		})
	}
	until(t, "both pods of the use case are known", func() bool { return len(c.numbers(t, podsPath)) == 2 })

	const users = 40
	for i := range users {
		until(t, "a user is served", func() bool { return hit(t, gateways[i%2], fmt.Sprintf("user-%d", i)) == http.StatusOK })
	}
	t.Run("the sessions are those of all gateways", func(t *testing.T) { testNumbers(t, c, users) })
	t.Run("who may not read them gets 403", func(t *testing.T) { testRights(t, c) })

	c.Apply(t, autoscaler(t))
	until(t, "40 sessions, 10 for a replica: 4 replicas, all of them with a number", func() bool {
		c.seen(t, fmt.Sprint(c.condition(t, hpaPath, "ScalingActive")))
		return c.replicas(t) == 4 && len(c.numbers(t, podsPath)) == 4
	})

	second.Kill()
	until(t, "without one gateway nothing is known", func() bool {
		condition := c.condition(t, hpaPath, "ScalingActive")
		c.seen(t, fmt.Sprint(condition))
		return condition.Status == "False" && condition.Reason == "FailedGetPodsMetric"
	})
	until(t, "who asks is told which gateway it is", func() bool {
		code, body := c.ask(t, "", podsPath)
		c.seen(t, fmt.Sprintf("the answer is %d %s", code, body))
		return code == http.StatusServiceUnavailable && strings.Contains(body, "1 of 2 gateways have not answered") && strings.Contains(body, "10.244.255.2:9090")
	})
	if n := c.replicas(t); n != 4 {
		t.Errorf("there are %d replicas when nothing is known, want those that there were", n)
	}

	serve(gateways[1])
	c.Apply(t, policy+"  idleTimeout: 1s\n")
	until(t, "the sessions have ended: 2 replicas", func() bool {
		c.seen(t, fmt.Sprint(c.condition(t, hpaPath, "ScalingActive")))
		return c.replicas(t) == 2
	})
	until(t, "both have a number, which is 0", func() bool {
		numbers := c.numbers(t, podsPath)
		return len(numbers) == 2 && numbers[0] == "0" && numbers[1] == "0"
	})
	t.Logf("the memory of the adapter is %s", c.memory(t))
}

// memory is what the node says that the adapter has.
func (c *cluster) memory(t *testing.T) string {
	t.Helper()
	var list struct {
		Items []struct {
			Containers []struct{ Usage struct{ Memory string } }
		}
	}
	c.Get(t, "/apis/metrics.k8s.io/v1beta1/namespaces/remora-system/pods", &list)
	return fmt.Sprint(list.Items)
}

const (
	metricsPath  = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/default/"
	podsPath     = metricsPath + "pods/*/remora_live_sessions?labelSelector=app%3Dbackend-1"
	servicePath  = metricsPath + "services/backend-1/remora_live_sessions"
	hpaPath      = "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers/backend-1"
	theirs       = "system:serviceaccount:kube-system:horizontal-pod-autoscaler"
	theirBinding = `apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reads-sessions}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: remora-live-sessions-reader}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: reader}]
`
)

func testNumbers(t *testing.T, c *cluster, users int) {
	until(t, "all sessions are counted, at two pods", func() bool { // a number may be a second old
		sum, pods := 0, c.numbers(t, podsPath)
		for _, number := range pods {
			n, err := strconv.Atoi(number)
			must(t, err)
			sum += n
		}
		c.seen(t, fmt.Sprint("the sessions of the pods: ", pods))
		return len(pods) == 2 && sum == users && !slices.Contains(pods, "0")
	})
	for _, path := range []string{servicePath, strings.Replace(servicePath, "v1beta2", "v1beta1", 1), metricsPath + "services/*/remora_live_sessions"} {
		if numbers := c.numbers(t, path); len(numbers) != 1 || numbers[0] != fmt.Sprint(users) {
			t.Errorf("%s has %v, want %d", path, numbers, users)
		}
	}
	if numbers := c.numbers(t, metricsPath+"pods/*/remora_live_sessions?labelSelector=app%3Dbackend-2"); len(numbers) != 0 {
		t.Errorf("pods that are not there have %v", numbers)
	}
	for path, want := range map[string]string{
		metricsPath + "pods/nobody/remora_live_sessions":        `pods \"nobody\" not found`,
		metricsPath + "services/backend-2/remora_live_sessions": "could not find the metric remora_live_sessions for services backend-2",
		metricsPath + "pods/*/another":                          "could not find the metric another for pods",
		metricsPath + "secrets/*/remora_live_sessions":          "could not find the metric remora_live_sessions for secrets",
	} {
		if code, body := c.ask(t, "", path); code != http.StatusNotFound || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s, want %s", path, code, body, want)
		}
	}
	if code, body := c.ask(t, "", podsPath+"&metricLabelSelector=a%3Db"); code != http.StatusBadRequest || !strings.Contains(body, "has no labels") {
		t.Errorf("with a selector of the metric: %d %s", code, body)
	}
}

func testRights(t *testing.T, c *cluster) {
	c.Apply(t, theirBinding)
	until(t, "the role that is shipped lets a user read", func() bool {
		code, _ := c.ask(t, "reader", podsPath)
		return code == http.StatusOK
	})
	for user, want := range map[string]int{"nobody": http.StatusForbidden, theirs: http.StatusOK} {
		for _, path := range []string{podsPath, servicePath} {
			if code, body := c.ask(t, user, path); code != want {
				t.Errorf("%s gets %d %s from %s, want %d", user, code, body, path, want)
			}
		}
	}
	if code, body := c.ask(t, "reader", strings.Replace(podsPath, "default", "kube-system", 1)); code != http.StatusForbidden {
		t.Errorf("in another namespace the reader gets %d %s", code, body)
	}
}

// numbers are the values of a metric.
func (c *cluster) numbers(t *testing.T, path string) (values []string) {
	t.Helper()
	code, body := c.ask(t, "", path)
	if code != http.StatusOK {
		t.Logf("%s: %d %s", path, code, body)
		return nil
	}
	var list struct{ Items []struct{ Value string } }
	must(t, json.Unmarshal([]byte(body), &list))
	for _, item := range list.Items {
		values = append(values, item.Value)
	}
	return values
}

// replicas is how many the Deployment is to have.
func (c *cluster) replicas(t *testing.T) int {
	t.Helper()
	var deployment struct{ Spec struct{ Replicas int } }
	c.Get(t, "/apis/apps/v1/namespaces/default/deployments/backend-1", &deployment)
	return deployment.Spec.Replicas
}

type condition struct{ Type, Status, Reason, Message string }

// condition is a condition of an object; it has no status where the object has none.
func (c *cluster) condition(t *testing.T, path, name string) condition {
	t.Helper()
	var object struct {
		Status struct{ Conditions []condition }
	}
	c.Get(t, path, &object)
	for _, found := range object.Status.Conditions {
		if found.Type == name {
			return found
		}
	}
	return condition{}
}
