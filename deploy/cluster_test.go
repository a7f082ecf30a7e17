package deploy_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/tools/txtar"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/remora-proxy/remora/internal/admin"
	"github.com/remora-proxy/remora/internal/kube"
	"github.com/remora-proxy/remora/internal/kubetest"
	"github.com/remora-proxy/remora/internal/samplebackend"
)

// patience is how long a program may take to be ready, on a machine under load.
const patience = 2 * time.Minute

// TestACluster applies what is shipped to an API server, which refuses fields that there are not and warns of what a restricted
// namespace does not let run, and runs the gateway as the manifest says.
func TestACluster(t *testing.T) {
	c := kubetest.Start(t, kubetest.Options{})
	c.AddIstio(t)
	c.AddDefinitions(t, "crd/remora.dev_affinitypolicies.yaml")
	for _, namespace := range []string{"default", system} {
		c.Apply(t, restricted(namespace))
	}
	for _, scenario := range []struct {
		name string
		run  func(*testing.T, *kubetest.Cluster)
	}{
		{"the use case is accepted", testUseCase},
		{"what the chart makes of other values is accepted", testOtherValues},
		{"the manifest is accepted, and what it says runs and serves", testManifest},
		{"with rights in one namespace alone, it reads that one", testOneNamespace},
		{"a pod on a persistent volume goes on from the sessions of the pod before it", testPersistentVolume},
	} {
		t.Run(scenario.name, func(t *testing.T) { scenario.run(t, c) })
	}
}

// restricted is a namespace in which the API server refuses pods, and warns of what would make pods, that are more than what the Pod
// Security Standards call restricted.
func restricted(name string) string {
	return "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + name + ", labels: {pod-security.kubernetes.io/enforce: restricted, pod-security.kubernetes.io/warn: restricted}}\n"
}

// useCase is the files of the use case in the folder examples/hit-backend that are for a cluster, and the folder kubernetes, which has
// only such files.
const useCase = "-f services.yaml -f gateway.yaml -f virtualservice.yaml -f destinationrules.yaml -f affinitypolicy.yaml -f kubernetes"

func testUseCase(t *testing.T, c *kubetest.Cluster) {
	if !strings.Contains(read(t, "../docs/kubernetes.md"), "\n    kubectl apply "+useCase+"\n") {
		t.Error("docs/kubernetes.md has other files applied")
	}
	for _, d := range decode[appsv1.Deployment](t, read(t, "../examples/hit-backend/kubernetes/backends.yaml"), "Deployment") {
		pod := d.Spec.Template
		if sleep := pod.Spec.Containers[0].Lifecycle.PreStop.Sleep.Seconds; *pod.Spec.TerminationGracePeriodSeconds <= sleep {
			t.Errorf("a pod of %s sleeps for %d s, and is killed before that", d.Name, sleep)
		}
		if pod.Annotations[kube.ReleaseAnnotation] != "true" {
			t.Errorf("a pod of %s does not ask to be released", d.Name)
		}
	}
	for path := range strings.SplitSeq(strings.TrimPrefix(useCase, "-f "), " -f ") {
		files := []string{"../examples/hit-backend/" + path}
		if filepath.Ext(path) == "" {
			var err error
			files, err = filepath.Glob(files[0] + "/*.yaml")
			must(t, err)
		}
		for _, file := range files {
			c.ApplyClean(t, read(t, file))
		}
	}
}

func testOtherValues(t *testing.T, c *kubetest.Cluster) {
	for _, namespace := range []string{"shop", "games"} {
		c.Apply(t, restricted(namespace))
	}
	paths, err := filepath.Glob("testdata/chart/*.txtar")
	must(t, err)
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		must(t, err)
		c.ApplyClean(t, string(archive.Files[1].Data))
	}
}

func testManifest(t *testing.T, c *kubetest.Cluster) {
	text := read(t, manifest)
	c.ApplyClean(t, text)
	for _, service := range []string{"backend-1", "backend-2", "backend-3"} {
		c.Apply(t, fmt.Sprintf(`apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %[1]s-x7k2p, labels: {kubernetes.io/service-name: %[1]s}}
addressType: IPv4
ports: [{port: 8081, protocol: TCP, name: ""}]
endpoints: [{addresses: [10.244.1.1], conditions: {ready: true}}]
`, service))
	}
	start(t, "backend", "--service", "backend-1", "--name", "backend-1-a", "--listen", "10.244.1.1:8081")
	d := only[appsv1.Deployment](t, text, "Deployment")
	g := startContainer(t, c, d.Spec.Template.Spec, t.TempDir())
	port := only[corev1.Service](t, text, "Service").Spec.Ports[0]

	url := fmt.Sprintf("http://10.0.0.1:%d/hit_backend", port.TargetPort.IntVal)
	if reply := hit(t, url); reply.PodID != "backend-1-a" || reply.Session != "new" {
		t.Errorf("the reply is of %q, to which the session is %q", reply.PodID, reply.Session)
	}
	if complaints := g.complaints(); len(complaints) > 0 {
		t.Errorf("the log complains:\n%s", strings.Join(complaints, "\n"))
	}
}

// hit makes the use case's request.
func hit(t *testing.T, url string) samplebackend.Reply {
	t.Helper()
	resp, err := http.Post(url, "application/json", strings.NewReader(`{"username":"user","target":"backend-1"}`))
	must(t, err)
	defer resp.Body.Close()
	var reply samplebackend.Reply
	must(t, json.NewDecoder(resp.Body).Decode(&reply))
	return reply
}

func testPersistentVolume(t *testing.T, c *kubetest.Cluster) {
	text := render(t, release, "--set", "sessions.storage=persistentVolume,sessions.hashKeySecret=key")
	c.ApplyClean(t, text)
	start(t, "backend", "--service", "backend-1", "--name", "backend-1-a", "--listen", "10.244.1.1:8081")
	pod := only[appsv1.StatefulSet](t, text, "StatefulSet").Spec.Template.Spec
	volumes := t.TempDir()
	must(t, os.Mkdir(filepath.Join(volumes, "hash-key"), 0o700))
	must(t, os.WriteFile(filepath.Join(volumes, "hash-key", "hash-key"), []byte("000102030405060708090a0b0c0d0e0f\n"), 0o600))
	for _, want := range []string{"new", "existing"} {
		g := startContainer(t, c, pod, volumes)
		if reply := hit(t, "http://10.0.0.1:8080/hit_backend"); reply.Session != want {
			t.Errorf("the backend is told that the session is %q, want %q", reply.Session, want)
		}
		must(t, g.cmd.Process.Signal(syscall.SIGTERM))
		<-g.ended
	}
}

func testOneNamespace(t *testing.T, c *kubetest.Cluster) {
	text := render(t, "confined-remora", "--set", "namespaces={default}")
	c.ApplyClean(t, text)
	g := startContainer(t, c, only[appsv1.Deployment](t, text, "Deployment").Spec.Template.Spec, t.TempDir())
	var st admin.Status
	resp, err := http.Get("http://" + admin.DefaultAddress + admin.PathStatus)
	must(t, err)
	defer resp.Body.Close()
	must(t, json.NewDecoder(resp.Body).Decode(&st))
	if !st.Cluster.Watching || len(st.Cluster.Namespaces) != 1 || st.Cluster.Namespaces[0] != "default" {
		t.Errorf("it watches %v: %v", st.Cluster.Namespaces, st.Cluster.Watching)
	}
	if complaints := g.complaints(); len(complaints) > 0 {
		t.Errorf("the log complains:\n%s", strings.Join(complaints, "\n"))
	}
}

// process is a running remora.
type process struct {
	cmd   *exec.Cmd
	log   string // the path of a file with what it prints
	ended chan struct{}
}

// start runs remora until the test has ended.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	path, err := program()
	must(t, err)
	p := &process{cmd: exec.Command(path, args...)}
	p.run(t)
	return p
}

// run runs the process until the test has ended.
func (p *process) run(t *testing.T) {
	t.Helper()
	p.log, p.ended = filepath.Join(t.TempDir(), "log"), make(chan struct{})
	log, err := os.Create(p.log)
	must(t, err)
	defer log.Close()
	p.cmd.Stdout, p.cmd.Stderr = log, log
	must(t, p.cmd.Start())
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // it is killed
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // fails when it has ended
		<-p.ended
		if t.Failed() {
			t.Logf("%s:\n%s", strings.Join(p.cmd.Args, " "), read(t, p.log))
		}
	})
}

// complaints are the lines of the log that are no mere information.
func (p *process) complaints() []string {
	text, _ := os.ReadFile(p.log) // an empty log fails elsewhere
	var all []string
	for line := range strings.Lines(string(text)) {
		if !strings.Contains(line, `"level":"INFO"`) {
			all = append(all, line)
		}
	}
	return all
}

// startContainer runs the container of a pod as the pod says, with the rights of the pod's service account, until its readiness probe
// passes. The volumes are folders in a folder, by their names.
func startContainer(t *testing.T, c *kubetest.Cluster, pod corev1.PodSpec, volumes string) *process {
	t.Helper()
	container := pod.Containers[0]
	for _, mount := range container.VolumeMounts {
		must(t, os.MkdirAll(filepath.Join(volumes, mount.Name), 0o700))
	}
	args := []string{"--kubeconfig", c.As(t, "system:serviceaccount:"+system+":"+pod.ServiceAccountName)}
	for _, arg := range slices.Backward(container.Args) {
		for _, mount := range container.VolumeMounts {
			arg = strings.ReplaceAll(arg, mount.MountPath, filepath.Join(volumes, mount.Name))
		}
		args = slices.Insert(args, 0, arg)
	}
	p := start(t, args...)
	for _, probe := range []*corev1.Probe{container.LivenessProbe, container.ReadinessProbe} {
		p.await(t, "http://10.0.0.1:"+strconv.Itoa(portNamed(t, container, probe.HTTPGet.Port.StrVal))+probe.HTTPGet.Path)
	}
	return p
}

func portNamed(t *testing.T, container corev1.Container, name string) int {
	t.Helper()
	for _, port := range container.Ports {
		if port.Name == name {
			return int(port.ContainerPort)
		}
	}
	t.Fatalf("the container has no port %s", name)
	return 0
}

// await waits until a URL answers 200. There is nothing to wait for but its answers.
func (p *process) await(t *testing.T, url string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	said := "nothing yet"
	for said != "" {
		select {
		case <-ticker.C:
			said = ask(ctx, url)
		case <-p.ended:
			t.Fatalf("it has ended before %s answered", url)
		case <-ctx.Done():
			t.Fatalf("%s says: %s", url, said)
		}
	}
}

// ask says what is wrong with a URL's answer, or nothing.
func ask(ctx context.Context, url string) string {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err.Error()
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err.Error()
	case resp.StatusCode != http.StatusOK:
		return resp.Status + ": " + string(body)
	default:
		return ""
	}
}
