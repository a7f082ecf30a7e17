package clustertest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/remora-proxy/remora/internal/admin"
	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/kubetest"
	"github.com/remora-proxy/remora/internal/kubetest/kubelet"
	"github.com/remora-proxy/remora/internal/programtest"
)

// patience is how long anything may take, on a machine under load.
const patience = 3 * time.Minute

// services are those of the use case.
var services = []string{"backend-1", "backend-2", "backend-3"}

// stage is the cluster that the scenarios run in, each in a namespace of its own.
type stage struct {
	*kubetest.Cluster
	kubelet *kubelet.Kubelet
}

func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{Cluster: kubetest.Start(t, kubetest.Options{Controllers: true, Scheduler: true})}
	s.AddIstio(t)
	s.AddDefinitions(t, filepath.Join(kubetest.Root(t), "deploy", "crd", "remora.dev_affinitypolicies.yaml"))
	s.kubelet = kubelet.Start(t, s.Cluster, map[string]string{"remora:latest": programtest.Remora(t)})
	return s
}

// settings are what a scenario changes in the use case as it is shipped, so that it does not take minutes.
type settings struct {
	replicas    int
	idleTimeout time.Duration
	drain       time.Duration // the drain deadline: a pod that is to end goes on a little longer
	autoscale   bool
}

// set puts the use case as examples/hit-backend has it into a namespace.
func (s *stage) set(t *testing.T, namespace string, o settings) {
	t.Helper()
	s.Apply(t, "apiVersion: v1\nkind: Namespace\nmetadata: {name: "+namespace+"}\n")
	var objects []string
	files := []string{"gateway", "virtualservice", "destinationrules", "services", "affinitypolicy", "kubernetes/backends"}
	if o.autoscale {
		files = append(files, "kubernetes/autoscalers")
	}
	for _, name := range files {
		text, err := os.ReadFile(filepath.Join(kubetest.Root(t), "examples", "hit-backend", filepath.FromSlash(name)+".yaml"))
		must(t, err)
		docs := yaml.NewDecoder(strings.NewReader(strings.ReplaceAll(string(text), ".default.svc.", "."+namespace+".svc.")))
		for {
			var doc map[string]any
			if err := docs.Decode(&doc); err != nil {
				if err != io.EOF { //nolint:errorlint // as the package documents it
					t.Fatal(err)
				}
				break
			}
			objects = append(objects, o.adapt(t, namespace, doc))
		}
	}
	s.Apply(t, strings.Join(objects, "\n---\n"))
}

// adapt changes an object to the settings, and gives it as JSON.
func (o settings) adapt(t *testing.T, namespace string, doc map[string]any) string {
	t.Helper()
	doc["metadata"].(map[string]any)["namespace"] = namespace
	switch doc["kind"] {
	case "AffinityPolicy":
		spec := doc["spec"].(map[string]any)
		spec["idleTimeout"], spec["drainDeadline"] = o.idleTimeout.String(), o.drain.String()
	case "HorizontalPodAutoscaler": // else no pod would be taken away for five minutes, and then one in each minute
		doc["spec"].(map[string]any)["behavior"].(map[string]any)["scaleDown"] = map[string]any{"stabilizationWindowSeconds": 5}
	case "Deployment":
		data, err := json.Marshal(doc)
		must(t, err)
		var d appsv1.Deployment
		must(t, json.Unmarshal(data, &d))
		o.adaptDeployment(&d)
		data, err = json.Marshal(d)
		must(t, err)
		doc = map[string]any{}
		must(t, json.Unmarshal(data, &doc))
		delete(doc, "status")
	}
	data, err := json.Marshal(doc)
	must(t, err)
	return string(data)
}

// adaptDeployment has the replicas listen on their pods' addresses, since the node has one network namespace for all.
func (o settings) adaptDeployment(d *appsv1.Deployment) {
	const propagation = 10 // seconds for which a pod outlives the deadline: the gateway hears later than the node that it terminates
	replicas, sleep := int32(o.replicas), int64(o.drain/time.Second)+propagation
	grace := sleep + 30
	d.Spec.Replicas = &replicas
	pod := &d.Spec.Template.Spec
	pod.TerminationGracePeriodSeconds = &grace
	c := &pod.Containers[0]
	for i := range c.Args {
		c.Args[i] = strings.ReplaceAll(c.Args[i], "0.0.0.0", "$(POD_IP)")
	}
	c.Env = append(c.Env, corev1.EnvVar{Name: "POD_IP", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIP"}}})
	c.ReadinessProbe.PeriodSeconds, c.ReadinessProbe.TimeoutSeconds = 1, 30
	c.Lifecycle.PreStop.Sleep.Seconds = sleep
	c.Resources.Requests[corev1.ResourceCPU] = resource.MustParse("100m")
}

// pods are the pods of a service, those that terminate included.
func (s *stage) pods(t *testing.T, namespace, service string) []corev1.Pod {
	t.Helper()
	var list corev1.PodList
	s.Get(t, "/api/v1/namespaces/"+namespace+"/pods?labelSelector=app="+service, &list)
	return list.Items
}

// gateway is a running `remora serve --kubernetes`.
type gateway struct {
	t          *testing.T
	program    *programtest.Program
	start      func()
	url, admin string
}

// serve runs a gateway of a namespace, with more flags, until the test has ended. It keeps its sessions in a file.
func (s *stage) serve(t *testing.T, namespace string, more ...string) *gateway {
	t.Helper()
	port, adminPort := kubetest.NewPort(), kubetest.NewPort()
	g := &gateway{t: t, url: "http://127.0.0.1:" + port, admin: "http://127.0.0.1:" + adminPort}
	sessions := filepath.Join(t.TempDir(), "sessions")
	g.start = func() {
		t.Helper()
		g.program = programtest.Run(t, exec.Command(programtest.Remora(t), append([]string{
			"serve", "--kubernetes", "--kubeconfig", s.Kubeconfig, "--namespace", namespace,
			"--port", "80=" + port, "--admin", "127.0.0.1:" + adminPort, "--session-file", sessions,
		}, more...)...))
		until(t, "the gateway is ready", func() bool {
			resp, err := http.Get(g.admin + "/readyz")
			if err != nil {
				return false
			}
			defer resp.Body.Close()
			return resp.StatusCode == http.StatusOK
		})
	}
	g.start()
	return g
}

// restart ends the gateway as Kubernetes does, and starts it again.
func (g *gateway) restart() {
	g.t.Helper()
	g.program.Stop()
	g.start()
}

// ask asks the admin API.
func (g *gateway) ask(path string, into any) {
	g.t.Helper()
	resp, err := http.Get(g.admin + path)
	must(g.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	must(g.t, err)
	if text, is := into.(*string); is {
		*text = string(body)
		return
	}
	must(g.t, json.NewDecoder(bytes.NewReader(body)).Decode(into))
}

// endpoints are the replicas of a service in some state; empty: in any.
func (g *gateway) endpoints(service, state string) []affinity.EndpointView {
	g.t.Helper()
	var all admin.Endpoints
	g.ask(admin.PathEndpoints, &all)
	var those []affinity.EndpointView
	for _, e := range all.Endpoints {
		if strings.HasPrefix(e.Service, service+".") && (state == "" || e.State == state) {
			those = append(those, e)
		}
	}
	return those
}

// awaitReplicas waits until the gateway has so many ready replicas of each service.
func (g *gateway) awaitReplicas(n int, of ...string) {
	g.t.Helper()
	for _, service := range of {
		until(g.t, fmt.Sprintf("%d replicas of %s are ready", n, service), func() bool { return len(g.endpoints(service, "ready")) == n })
	}
}

// until asks again and again until the answer is yes.
func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for !is() {
		select {
		case <-ticker.C:
		case <-deadline.C:
			t.Fatalf("this does not come true: %s", what)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
