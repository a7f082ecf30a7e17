package kubelet

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/remora-proxy/remora/internal/kubetest"
)

// The use of a process is what it has used between the oldest and the latest of its samples: a real kubelet has one in 15 s. The
// kernel counts in ticks of a hundredth of a second, as it tells every program: see proc(5), times(2).
const (
	samplePeriod = time.Second
	samplesKept  = 6
	tick         = time.Second / 100
)

// metricsPath is where the metrics API is.
const metricsPath = "/apis/metrics.k8s.io/v1beta1"

// metricsAPI has the API server send requests for metrics.k8s.io to the kubelet, in the way that metrics-server is installed.
const metricsAPI = `
apiVersion: v1
kind: Namespace
metadata: {name: kube-system}
---
apiVersion: v1
kind: Service
metadata: {name: metrics-server, namespace: kube-system}
spec: {ports: [{port: 443, name: https}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: metrics-server, namespace: kube-system, labels: {kubernetes.io/service-name: metrics-server}}
addressType: IPv4
ports: [{port: 443, protocol: TCP, name: https}]
endpoints: [{addresses: [` + hostIP + `], conditions: {ready: true}}]
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1beta1.metrics.k8s.io}
spec:
  service: {name: metrics-server, namespace: kube-system}
  group: metrics.k8s.io
  version: v1beta1
  insecureSkipTLSVerify: true
  groupPriorityMinimum: 100
  versionPriority: 100
`

// sample is what a process has used since its start, at a time.
type sample struct {
	at     time.Time
	cpu    time.Duration
	memory int64 // resident, in bytes
}

// podMetrics is the kind PodMetrics: https://github.com/kubernetes/metrics/blob/v0.37.2/pkg/apis/metrics/v1beta1/types.go
type podMetrics struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Timestamp         metav1.Time        `json:"timestamp"`
	Window            metav1.Duration    `json:"window"`
	Containers        []containerMetrics `json:"containers"`
}

type containerMetrics struct {
	Name  string              `json:"name"`
	Usage corev1.ResourceList `json:"usage"`
}

type podMetricsList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata"`
	Items           []podMetrics `json:"items"`
}

// serveMetrics serves the metrics API, until the test has ended, on the ClusterIP of the Service that the API server asks.
func (k *Kubelet) serveMetrics(t testing.TB, c *kubetest.Cluster) {
	t.Helper()
	c.Apply(t, metricsAPI)
	var service corev1.Service
	c.Get(t, "/api/v1/namespaces/kube-system/services/metrics-server", &service)
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", net.JoinHostPort(service.Spec.ClusterIP, "443"))
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+metricsPath, func(w http.ResponseWriter, _ *http.Request) {
		answer(w, metav1.APIResourceList{
			TypeMeta:     metav1.TypeMeta{Kind: "APIResourceList", APIVersion: "v1"},
			GroupVersion: "metrics.k8s.io/v1beta1",
			APIResources: []metav1.APIResource{{Name: "pods", Kind: "PodMetrics", Namespaced: true, Verbs: metav1.Verbs{"get", "list"}}},
		})
	})
	mux.HandleFunc("GET "+metricsPath+"/pods", k.listMetrics)
	mux.HandleFunc("GET "+metricsPath+"/namespaces/{namespace}/pods", k.listMetrics)
	server := httptest.NewUnstartedServer(mux)
	server.Listener.Close()
	server.Listener = l
	server.StartTLS()
	t.Cleanup(server.Close)
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v) // who asked and went away has nothing to be told
}

// listMetrics answers with the use of all pods that are meant and have run for long enough to say.
func (k *Kubelet) listMetrics(w http.ResponseWriter, r *http.Request) {
	selector, err := labels.Parse(r.URL.Query().Get("labelSelector"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	list := podMetricsList{TypeMeta: metav1.TypeMeta{Kind: "PodMetricsList", APIVersion: "metrics.k8s.io/v1beta1"}, Items: []podMetrics{}}
	for _, p := range k.running() {
		if namespace := r.PathValue("namespace"); namespace != "" && namespace != p.key.Namespace {
			continue
		}
		if m, known := p.metrics(selector); known {
			list.Items = append(list.Items, m)
		}
	}
	answer(w, list)
}

// metrics is the use of a pod, when all its containers have one and the selector means it.
func (p *pod) metrics(selector labels.Selector) (m podMetrics, known bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !selector.Matches(labels.Set(p.object.Labels)) {
		return m, false
	}
	m.TypeMeta = metav1.TypeMeta{Kind: "PodMetrics", APIVersion: "metrics.k8s.io/v1beta1"}
	m.Name, m.Namespace, m.Labels = p.key.Name, p.key.Namespace, p.object.Labels
	for _, c := range p.containers {
		if len(c.usage) < 2 {
			return m, false
		}
		first, last := c.usage[0], c.usage[len(c.usage)-1]
		window := last.at.Sub(first.at)
		m.Timestamp, m.Window = metav1.NewTime(last.at), metav1.Duration{Duration: window}
		m.Containers = append(m.Containers, containerMetrics{c.spec.Name, corev1.ResourceList{
			corev1.ResourceCPU:    *resource.NewScaledQuantity(int64(last.cpu-first.cpu)*1_000_000/int64(window), resource.Micro),
			corev1.ResourceMemory: *resource.NewQuantity(last.memory, resource.BinarySI),
		}})
	}
	return m, true
}

// sample notes, until ctx is done, what the processes have used.
func (k *Kubelet) sample(ctx context.Context) {
	for pause(ctx, samplePeriod) {
		for _, p := range k.running() {
			p.mu.Lock()
			for _, c := range p.containers {
				if c.process == nil {
					continue
				}
				if s, err := use(c.process.PID()); err == nil { // with an error it has just ended
					c.usage = append(c.usage[max(0, len(c.usage)+1-samplesKept):], s)
				}
			}
			p.mu.Unlock()
		}
	}
}

// use reads what a process has used. What its children use is not counted.
func use(pid int) (sample, error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return sample{}, err
	}
	_, rest, _ := strings.Cut(string(data), ") ") // behind the program's name
	const utime, stime, rss = 14 - 3, 15 - 3, 24 - 3
	f := strings.Fields(rest)
	if len(f) <= rss {
		return sample{}, errors.New("/proc has no more of it")
	}
	var n [3]int64
	for i, at := range []int{utime, stime, rss} {
		if n[i], err = strconv.ParseInt(f[at], 10, 64); err != nil {
			return sample{}, err
		}
	}
	return sample{time.Now(), time.Duration(n[0]+n[1]) * tick, n[2] * int64(os.Getpagesize())}, nil
}

// resources is a list of CPU, memory and pods.
func resources(cpu, memory, pods string) corev1.ResourceList {
	return corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory), corev1.ResourcePods: resource.MustParse(pods),
	}
}
