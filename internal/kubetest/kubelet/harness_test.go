package kubelet

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/remora-proxy/remora/internal/kubetest"
)

func TestMain(m *testing.M) { os.Exit(kubetest.Main(m)) }

// patience is how long anything may take, on a machine under load.
const patience = 2 * time.Minute

// cluster is a control plane with the node under test, and a server that answers the probes of its pods.
type cluster struct {
	*kubetest.Cluster
	kubelet *Kubelet
	port    string        // of the server
	hold    chan struct{} // closed when the path /hold is to answer

	mu      sync.Mutex
	failing map[string]int // how often paths will fail yet
	asked   []string       // paths, as they were asked for
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{Cluster: kubetest.Start(t, kubetest.Options{Controllers: true, Scheduler: true}), failing: map[string]int{}, hold: make(chan struct{})}
	c.kubelet = Start(t, c.Cluster, map[string]string{"shell": "/bin/sh"})
	l, err := net.Listen("tcp", hostIP+":0") //nolint:noctx // nothing to wait for
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(c.answer))
	server.Listener.Close()
	server.Listener = l
	server.Start()
	t.Cleanup(server.Close)
	until(t, "pods may be made: their service account is there", func() bool {
		return c.TryGet("/api/v1/namespaces/default/serviceaccounts/default", &corev1.ServiceAccount{}) == nil
	})
	_, c.port, _ = net.SplitHostPort(l.Addr().String())
	return c
}

func (c *cluster) answer(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	c.asked = append(c.asked, r.URL.Path)
	c.mu.Unlock()
	if r.URL.Path == "/hold" {
		<-c.hold
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.failing[r.URL.Path] > 0 {
		c.failing[r.URL.Path]--
		w.WriteHeader(http.StatusServiceUnavailable)
	}
}

// always is more often than a test can ask.
const always = 1 << 30

func (c *cluster) fail(path string, times int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failing[path] = times
}

func (c *cluster) wasAsked(path string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Contains(c.asked, path)
}

// until asks again and again until the answer is yes.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for !is() {
		select {
		case <-ticker.C:
		case <-deadline.C:
			t.Fatalf("this does not come true: %s", what)
		}
	}
}

// run makes a pod of a shell script and of more fields, of the container (indented by 4) and of the pod's spec (by 2).
func (c *cluster) run(t *testing.T, name, script, container, spec string) {
	t.Helper()
	text := fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: %s, labels: {app: %[1]s}}
spec:
%s
  containers:
  - name: main
    image: shell
    args: [-c, %q]
%s`, name, spec, script, strings.ReplaceAll(container, "SERVER", "host: "+hostIP+", port: "+c.port))
	c.Apply(t, text)
}

func (c *cluster) pod(t *testing.T, name string) *corev1.Pod {
	t.Helper()
	var list corev1.PodList
	c.Get(t, "/api/v1/namespaces/default/pods?fieldSelector=metadata.name="+name, &list)
	if len(list.Items) == 0 {
		return nil
	}
	return &list.Items[0]
}

// await waits until a pod is as it should be, and gives it.
func (c *cluster) await(t *testing.T, name, what string, is func(*corev1.Pod) bool) *corev1.Pod {
	t.Helper()
	var p *corev1.Pod
	until(t, name+": "+what, func() bool {
		p = c.pod(t, name)
		return p != nil && is(p)
	})
	return p
}

func (c *cluster) awaitGone(t *testing.T, name string) {
	t.Helper()
	until(t, name+" is gone", func() bool { return c.pod(t, name) == nil })
}

func isReady(p *corev1.Pod) bool {
	for _, condition := range p.Status.Conditions {
		if condition.Type == corev1.PodReady {
			return condition.Status == corev1.ConditionTrue
		}
	}
	return false
}

func isNotReady(p *corev1.Pod) bool { return !isReady(p) }

func restarted(times int32) func(*corev1.Pod) bool {
	return func(p *corev1.Pod) bool {
		return len(p.Status.ContainerStatuses) == 1 && p.Status.ContainerStatuses[0].RestartCount == times && p.Status.ContainerStatuses[0].State.Running != nil
	}
}

// said waits until a container has said something.
func (c *cluster) said(t *testing.T, name, text string) {
	t.Helper()
	until(t, name+" says "+text, func() bool {
		for _, p := range c.kubelet.running() {
			if p.key.Name == name && strings.Contains(p.containers[0].tail(), text) {
				return true
			}
		}
		return false
	})
}
