package livesessions_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/remora-proxy/remora/internal/kubetest"
)

// patience is how long anything may take, on a machine under load.
const patience = 2 * time.Minute

// buildAdapter builds the adapter, which is a module of its own.
func buildAdapter(t *testing.T) string {
	t.Helper()
	const dir = "cmd/remora-metrics-adapter"
	path := filepath.Join(t.TempDir(), filepath.Base(dir))
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", path, ".")
	cmd.Dir, cmd.Env = filepath.Join(kubetest.Root(t), dir), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s (the tests have no network: `make metrics-adapter` gets what it takes): %v\n%s", dir, err, out)
	}
	return path
}

// cluster is a control plane with a node.
type cluster struct {
	*kubetest.Cluster
	last string // that seen has logged
}

// seen logs what is seen while the test waits, when it is something else than before.
func (c *cluster) seen(t *testing.T, what string) {
	t.Helper()
	if what != c.last {
		c.last = what
		t.Log(what)
	}
}

// logPods logs what is known of the pods, and what the parts of the cluster have told.
func (c *cluster) logPods(t *testing.T) {
	var pods corev1.PodList
	if err := c.TryGet("/api/v1/pods", &pods); err != nil {
		t.Log(err)
	}
	for i := range pods.Items {
		p := &pods.Items[i]
		t.Logf("%s: %+v %+v", p.Name, p.Status.Conditions, p.Status.ContainerStatuses)
	}
	var events corev1.EventList
	if err := c.TryGet("/api/v1/events", &events); err != nil {
		t.Log(err)
	}
	for i := range events.Items {
		e := &events.Items[i]
		t.Logf("%s %s: %s: %s", e.InvolvedObject.Kind, e.InvolvedObject.Name, e.Reason, e.Message)
	}
}

// until waits until something is so. There is nothing to wait for but answers.
func until(t *testing.T, what string, so func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for !so() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatalf("it does not come to this: %s", what)
		}
	}
}

// proxy does what kube-proxy does for one port of a Service: connections to its ClusterIP go on to a pod that is ready.
func (c *cluster) proxy(t *testing.T, namespace, name string, port, targetPort int) {
	t.Helper()
	var service corev1.Service
	c.Get(t, "/api/v1/namespaces/"+namespace+"/services/"+name, &service)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", net.JoinHostPort(service.Spec.ClusterIP, strconv.Itoa(port)))
	must(t, err)
	target := func() string {
		var slices discoveryv1.EndpointSliceList
		if c.TryGet("/apis/discovery.k8s.io/v1/namespaces/"+namespace+"/endpointslices?labelSelector=kubernetes.io/service-name="+name, &slices) == nil {
			for _, s := range slices.Items {
				for _, e := range s.Endpoints {
					if *e.Conditions.Ready {
						return net.JoinHostPort(e.Addresses[0], strconv.Itoa(targetPort))
					}
				}
			}
		}
		return ""
	}
	var tasks sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(func() {
		cancel()
		l.Close()
		tasks.Wait()
	})
	tasks.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			tasks.Go(func() { join(ctx, client, target()) })
		}
	})
}

// join joins a client's connection with one to a server, until one of them ends or ctx is done.
func join(ctx context.Context, client net.Conn, address string) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	server, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		client.Close()
		return
	}
	var copying sync.WaitGroup
	for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
		copying.Go(func() {
			defer cancel()
			_, _ = io.Copy(way[0], way[1]) // that it ends is all there is to know
		})
	}
	<-ctx.Done()
	client.Close()
	server.Close()
	copying.Wait()
}

// ask asks the API server as somebody, and gives the status and the body of its answer.
func (c *cluster) ask(t *testing.T, user, path string) (int, string) {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", c.As(t, user))
	must(t, err)
	client, err := rest.HTTPClientFor(config)
	must(t, err)
	defer client.CloseIdleConnections()
	return get(t, client, c.Server+path)
}

// get asks until there is an answer of any kind.
func get(t *testing.T, client *http.Client, url string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	must(t, err)
	resp, err := client.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	must(t, err)
	return resp.StatusCode, string(body)
}

// hit makes the use case's request at a gateway, and gives the status of the answer.
func hit(t *testing.T, gateway, user string) int {
	t.Helper()
	resp, err := http.Post("http://"+gateway+":8081/hit_backend", "application/json", strings.NewReader(`{"username":"`+user+`","target":"backend-1"}`))
	if err != nil {
		return 0 // it does not listen yet
	}
	defer resp.Body.Close()
	return resp.StatusCode
}

// replaced replaces each of some texts, all of which have to be there.
func replaced(t *testing.T, text string, pairs ...string) string {
	t.Helper()
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains(text, pairs[i]) {
			t.Fatalf("there is no %q in\n%s", pairs[i], text)
		}
		text = strings.ReplaceAll(text, pairs[i], pairs[i+1])
	}
	return text
}

// read is a file of the repository.
func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(kubetest.Root(t), path))
	must(t, err)
	return string(text)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
