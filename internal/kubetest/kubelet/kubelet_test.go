package kubelet

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// forever is a script that ends by SIGTERM only.
const forever = "echo up; exec sleep 600"

func TestANode(t *testing.T) {
	c := newCluster(t)
	for _, scenario := range []struct {
		name string
		run  func(*testing.T, *cluster)
	}{
		{"a Deployment's pods are replicas of its Service", testDeployment},
		{"a container knows its pod", testEnvironment},
		{"a pod is ready as its readiness probe says", testReadiness},
		{"nothing is probed before the startup probe has passed", testStartup},
		{"a container that is not alive is started again", testLiveness},
		{"a container that is killed is started again", testRestart},
		{"a pod that is not to be restarted has ended as its process has", testEnds},
		{"what a pod asks for and does not get is said", testUnsupported},
		{"a pod that is deleted waits for its preStop hook, and serves meanwhile", testPreStop},
		{"a second delete shortens the wait", testShortened},
		{"a container that does not heed SIGTERM is killed", testKilled},
		{"a preStop hook may be a pause, a command or a request", testHooks},
		{"a pod that is deleted by force is killed", testForce},
		{"the use of CPU is what metrics.k8s.io says", testMetrics},
	} {
		t.Run(scenario.name, func(t *testing.T) {
			t.Parallel()
			scenario.run(t, c)
		})
	}
}

func testDeployment(t *testing.T, c *cluster) {
	c.Apply(t, `apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: main, image: shell, args: [-c, "exec sleep 600"]}]
`)
	until(t, "three different addresses are ready", func() bool {
		var slices discoveryv1.EndpointSliceList
		c.Get(t, "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices?labelSelector=kubernetes.io/service-name=web", &slices)
		addresses := map[string]bool{}
		for _, s := range slices.Items {
			for _, e := range s.Endpoints {
				addresses[e.Addresses[0]] = *e.Conditions.Ready && strings.HasPrefix(e.Addresses[0], "10.244.")
			}
		}
		return len(addresses) == 3 && !strings.Contains(strings.Join(keysOf(addresses, false), ""), ".")
	})
	c.Delete(t, "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\n")
}

// keysOf is the keys that have a value.
func keysOf(m map[string]bool, value bool) (keys []string) {
	for k, v := range m {
		if v == value {
			keys = append(keys, k)
		}
	}
	return keys
}

func testEnvironment(t *testing.T, c *cluster) {
	c.run(t, "env", `echo "$NAME $IP $BOTH $(LITERAL) $(NAME)"; exec sleep 600`, `
    env:
    - {name: NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
    - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: BOTH, value: $(NAME)@$(IP)}
`, "")
	p := c.await(t, "env", "is ready", isReady)
	c.said(t, "env", "env "+p.Status.PodIP+" env@"+p.Status.PodIP+"  env\n")
}

func testReadiness(t *testing.T, c *cluster) {
	c.fail("/ready", always)
	c.run(t, "probed", forever, "    readinessProbe: {httpGet: {SERVER, path: /ready}, periodSeconds: 1, timeoutSeconds: 10, failureThreshold: 2}\n", "")
	c.await(t, "probed", "runs", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodRunning })
	until(t, "it is probed", func() bool { return c.wasAsked("/ready") })
	if isReady(c.pod(t, "probed")) {
		t.Error("it is ready before its probe has passed")
	}
	c.fail("/ready", 0)
	c.await(t, "probed", "is ready", isReady)
	c.fail("/ready", always)
	if p := c.await(t, "probed", "is not ready", isNotReady); p.Status.ContainerStatuses[0].RestartCount != 0 {
		t.Error("it was restarted")
	}
}

func testStartup(t *testing.T, c *cluster) {
	c.fail("/started", always)
	c.run(t, "starting", forever, `
    startupProbe: {httpGet: {SERVER, path: /started}, periodSeconds: 1, timeoutSeconds: 10, failureThreshold: 1000}
    livenessProbe: {httpGet: {SERVER, path: /live-after-start}, periodSeconds: 1, timeoutSeconds: 10, failureThreshold: 1}
`, "")
	until(t, "it is probed", func() bool { return c.wasAsked("/started") })
	if p := c.pod(t, "starting"); isReady(p) || c.wasAsked("/live-after-start") {
		t.Error("it is ready or asked whether it lives before it has started")
	}
	c.fail("/started", 0)
	if p := c.await(t, "starting", "is ready", isReady); !*p.Status.ContainerStatuses[0].Started {
		t.Error("it has not started")
	}
	until(t, "it is asked whether it lives", func() bool { return c.wasAsked("/live-after-start") })
}

func testLiveness(t *testing.T, c *cluster) {
	c.fail("/live", 1)
	c.run(t, "dying", forever, "    livenessProbe: {httpGet: {SERVER, path: /live}, periodSeconds: 1, timeoutSeconds: 10, failureThreshold: 1}\n", "")
	c.await(t, "dying", "is started again", restarted(1))
	c.await(t, "dying", "is ready", isReady)
}

func testRestart(t *testing.T, c *cluster) {
	c.run(t, "killed", forever, "", "")
	before := c.await(t, "killed", "is ready", isReady)
	startAgain := c.kubelet.Kill(t, "default", "killed")
	c.await(t, "killed", "is not ready", isNotReady)
	startAgain()
	after := c.await(t, "killed", "is started again at once", restarted(1))
	if after.Status.PodIP != before.Status.PodIP || after.UID != before.UID {
		t.Error("it is another pod")
	}
	c.await(t, "killed", "is ready again", isReady)
	c.kubelet.Kill(t, "default", "killed")()
	p := c.await(t, "killed", "waits before it is started a second time", func(p *corev1.Pod) bool {
		waiting := p.Status.ContainerStatuses[0].State.Waiting
		return waiting != nil && waiting.Reason == "CrashLoopBackOff"
	})
	if end := p.Status.ContainerStatuses[0].LastTerminationState.Terminated; end == nil || end.ExitCode != 137 {
		t.Errorf("it says that it has ended with %+v", end)
	}
	c.Delete(t, "apiVersion: v1\nkind: Pod\nmetadata: {name: killed}\n")
	c.awaitGone(t, "killed")
}

func testEnds(t *testing.T, c *cluster) {
	c.run(t, "succeeds", "exit 0", "", "  restartPolicy: OnFailure\n")
	c.run(t, "fails", "echo why; exit 3", "", "  restartPolicy: Never\n")
	c.await(t, "succeeds", "has succeeded", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodSucceeded })
	p := c.await(t, "fails", "has failed", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodFailed })
	if end := p.Status.ContainerStatuses[0].State.Terminated; end == nil || end.ExitCode != 3 || end.Message != "why\n" {
		t.Errorf("it says that it has ended with %+v", end)
	}
	c.Delete(t, "apiVersion: v1\nkind: Pod\nmetadata: {name: fails}\n")
	c.awaitGone(t, "fails")
}

func testUnsupported(t *testing.T, c *cluster) {
	for name, fields := range map[string]struct{ container, why string }{
		"tcp":     {"    livenessProbe: {tcpSocket: {port: 80}}\n", "httpGet probes only"},
		"envfrom": {"    envFrom: [{configMapRef: {name: x}}]\n", "envFrom"},
		"field":   {"    env: [{name: X, valueFrom: {fieldRef: {fieldPath: status.hostIP}}}, {name: Z, valueFrom: {configMapKeyRef: {name: x, key: z}}}]\n", "env Z"},
		"image":   {"  - {name: other, image: nobody/knows}\n", "no program stands for the image"},
	} {
		c.run(t, name, forever, fields.container, "")
		p := c.await(t, name, "waits", func(p *corev1.Pod) bool {
			for _, s := range p.Status.ContainerStatuses {
				if s.State.Waiting != nil && strings.Contains(s.State.Waiting.Message, fields.why) {
					return true
				}
			}
			return false
		})
		if isReady(p) || p.Status.Phase != corev1.PodPending {
			t.Errorf("%s is %s", name, p.Status.Phase)
		}
		c.Delete(t, "apiVersion: v1\nkind: Pod\nmetadata: {name: "+name+"}\n")
		c.awaitGone(t, name)
	}
}

func testPreStop(t *testing.T, c *cluster) {
	trace := filepath.Join(t.TempDir(), "trace")
	c.run(t, "draining", "trap 'echo >"+trace+"; exit 0' TERM; echo up; while :; do sleep 0.05; done", `
    lifecycle: {preStop: {httpGet: {SERVER, path: /hold}}}
    readinessProbe: {httpGet: {SERVER, path: /draining}, periodSeconds: 1, timeoutSeconds: 10}
`, "  terminationGracePeriodSeconds: 3600\n")
	c.await(t, "draining", "is ready", isReady)
	c.said(t, "draining", "up")
	c.Delete(t, "apiVersion: v1\nkind: Pod\nmetadata: {name: draining}\n")
	until(t, "its hook runs", func() bool { return c.wasAsked("/hold") })
	if p := c.pod(t, "draining"); p.DeletionTimestamp == nil || !isReady(p) {
		t.Error("it is not ready while it drains")
	}
	if _, err := os.Stat(trace); err == nil {
		t.Error("it had SIGTERM before its hook was over")
	}
	close(c.hold)
	c.awaitGone(t, "draining")
	if _, err := os.Stat(trace); err != nil {
		t.Error("it had no SIGTERM")
	}
}

func testShortened(t *testing.T, c *cluster) {
	c.run(t, "shortened", forever, "    lifecycle: {preStop: {sleep: {seconds: 3000}}}\n", "  terminationGracePeriodSeconds: 3600\n")
	c.await(t, "shortened", "is ready", isReady)
	c.Delete(t, "apiVersion: v1\nkind: Pod\nmetadata: {name: shortened}\n")
	c.await(t, "shortened", "is deleted", func(p *corev1.Pod) bool { return p.DeletionTimestamp != nil })
	c.DeleteWithin(t, "default", "shortened", 1)
	c.awaitGone(t, "shortened")
}

func testKilled(t *testing.T, c *cluster) {
	c.run(t, "stubborn", "trap '' TERM; echo up; while :; do sleep 0.05; done", "", "  terminationGracePeriodSeconds: 1\n")
	c.said(t, "stubborn", "up")
	c.Delete(t, "apiVersion: v1\nkind: Pod\nmetadata: {name: stubborn}\n")
	c.awaitGone(t, "stubborn")
}

func testHooks(t *testing.T, c *cluster) {
	c.run(t, "sleeps", forever, "    lifecycle: {preStop: {sleep: {seconds: 1}}}\n", "")
	trace := filepath.Join(t.TempDir(), "trace")
	c.run(t, "asks", forever, "    lifecycle: {preStop: {httpGet: {SERVER, path: /stop}}}\n", "")
	c.run(t, "executes", forever, "    lifecycle: {preStop: {exec: {command: [/bin/sh, -c, 'echo $NAME >"+trace+"']}}}\n    env: [{name: NAME, value: x}]\n", "")
	for _, name := range []string{"sleeps", "asks", "executes"} {
		c.await(t, name, "is ready", isReady)
		c.Delete(t, "apiVersion: v1\nkind: Pod\nmetadata: {name: "+name+"}\n")
		c.awaitGone(t, name)
	}
	if !c.wasAsked("/stop") {
		t.Error("the request was not made")
	}
	if text, err := os.ReadFile(trace); err != nil || string(text) != "x\n" {
		t.Errorf("the command wrote %q: %v", text, err)
	}
}

func testForce(t *testing.T, c *cluster) {
	c.run(t, "forced", forever, "    lifecycle: {preStop: {sleep: {seconds: 3000}}}\n", "  terminationGracePeriodSeconds: 3600\n")
	c.await(t, "forced", "is ready", isReady)
	c.DeleteWithin(t, "default", "forced", 0)
	until(t, "nothing of it runs", func() bool {
		for _, p := range c.kubelet.running() {
			if p.key.Name == "forced" {
				return false
			}
		}
		return true
	})
}

func testMetrics(t *testing.T, c *cluster) {
	c.run(t, "burns", "while :; do :; done", "", "")
	c.run(t, "idles", forever, "", "")
	cpu := func(name string) float64 {
		var list podMetricsList
		if err := c.TryGet("/apis/metrics.k8s.io/v1beta1/namespaces/default/pods?labelSelector=app="+name, &list); err != nil || len(list.Items) != 1 {
			return -1 // not yet
		}
		m := list.Items[0]
		if m.Name != name || m.Window.Duration <= 0 || time.Since(m.Timestamp.Time) > patience || m.Containers[0].Usage.Memory().Value() <= 0 {
			t.Errorf("the metrics are %+v", m)
		}
		return m.Containers[0].Usage.Cpu().AsApproximateFloat64()
	}
	until(t, "what burns uses CPU", func() bool { return cpu("burns") > 0.05 })
	until(t, "what idles uses none", func() bool { used := cpu("idles"); return used >= 0 && used < 0.01 })
}

func TestExpand(t *testing.T) {
	vars := map[string]string{"A": "1", "B": "$(A)"}
	for text, want := range map[string]string{
		"": "", "$(A)": "1", "x$(A)y$(A)": "x1y1", "$(B)": "$(A)", "$(C)": "$(C)", "$$(A)": "$(A)", "$A": "$A", "$(A": "$(A", "$": "$", "$$": "$", "$($(A)": "$(1",
	} {
		if got := expand(text, vars); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}
