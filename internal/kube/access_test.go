package kube_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"

	"github.com/remora-proxy/remora/internal/admin"
	"github.com/remora-proxy/remora/internal/kubetest"
	"github.com/remora-proxy/remora/internal/programtest"
)

// node is the part of a kubelet that forwards ports. What is not real of it: a pod's loopback interface is this machine's, and for its
// port 9901 stands the admin API of a gateway.
type node struct {
	t      *testing.T
	admins map[string]string // host:port by pod
}

// startNode makes a Node "forwarder" in the cluster, which runs pods that are gateways.
func startNode(t *testing.T, c *kubetest.Cluster, pods map[string]string) {
	t.Helper()
	n := &node{t: t, admins: pods}
	l, err := net.Listen("tcp", "10.0.0.9:0")
	must(t, err)
	server := httptest.NewUnstartedServer(n)
	server.Listener = l
	server.StartTLS()
	t.Cleanup(server.Close)
	c.Apply(t, "apiVersion: v1\nkind: Node\nmetadata: {name: forwarder}\n")
	c.ApplyStatus(t, fmt.Sprintf("apiVersion: v1\nkind: Node\nmetadata: {name: forwarder}\nstatus: {addresses: [{type: InternalIP, address: 10.0.0.9}], daemonEndpoints: {kubeletEndpoint: {Port: %d}}}\n",
		l.Addr().(*net.TCPAddr).Port))
	c.Apply(t, "apiVersion: v1\nkind: Namespace\nmetadata: {name: gateways}\n")
	c.Apply(t, "apiVersion: v1\nkind: ServiceAccount\nmetadata: {name: default, namespace: gateways}\n")
	for name := range pods {
		pod := fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %s, namespace: gateways, labels: {app.kubernetes.io/name: remora}}\n", name)
		c.Apply(t, pod+"spec: {nodeName: forwarder, automountServiceAccountToken: false, containers: [{name: remora, image: remora}]}\n")
		c.ApplyStatus(t, pod+"status: {phase: Running}\n")
	}
}

// ServeHTTP forwards ports as the kubelet does: by pairs of streams, one with the bytes and one for what goes wrong.
func (n *node) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	pod, is := strings.CutPrefix(req.URL.Path, "/portForward/gateways/")
	if !is {
		http.NotFound(w, req)
		return
	}
	if _, err := httpstream.Handshake(req, w, []string{"portforward.k8s.io"}); err != nil {
		n.t.Error(err)
		return
	}
	var mu sync.Mutex
	pairs := map[string]map[string]httpstream.Stream{}
	conn := spdy.NewResponseUpgrader().UpgradeResponse(w, req, func(s httpstream.Stream, _ <-chan struct{}) error {
		mu.Lock()
		defer mu.Unlock()
		id := s.Headers().Get(corev1.PortForwardRequestIDHeader)
		if pairs[id] == nil {
			pairs[id] = map[string]httpstream.Stream{}
		}
		pairs[id][s.Headers().Get(corev1.StreamType)] = s
		if pair := pairs[id]; len(pair) == 2 {
			go n.forward(pod, s.Headers().Get(corev1.PortHeader), pair[corev1.StreamTypeData], pair[corev1.StreamTypeError])
		}
		return nil
	})
	if conn == nil {
		n.t.Error("the connection is no port-forward")
		return
	}
	<-conn.CloseChan()
}

func (n *node) forward(pod, port string, data, reasons httpstream.Stream) {
	defer reasons.Close()
	defer data.Close()
	if port != fmt.Sprint(admin.DefaultPort) {
		_, _ = fmt.Fprintf(reasons, "dial tcp 127.0.0.1:%s: connect: connection refused", port) // the other side may have left
		return
	}
	there, err := net.Dial("tcp", n.admins[pod])
	if err != nil {
		_, _ = fmt.Fprint(reasons, err)
		return
	}
	defer there.Close()
	go func() { _, _ = io.Copy(there, data) }()
	_, _ = io.Copy(data, there)
}

// testGatewaysInPods asks the gateways of a cluster from outside, through the API server.
func testGatewaysInPods(t *testing.T, c *kubetest.Cluster) {
	c.Apply(t, lasting(t))
	replica(t, "backend-1", "backend-1-a", "10.244.1.1")
	c.Apply(t, slice("backend-1", endpoint{"10.244.1.1", "backend-1-a", "uid-a", ready}))
	one, two := serve(t, c.Kubeconfig), serve(t, c.Kubeconfig)
	one.hit("ann", "backend-1")
	one.hit("ben", "backend-1")
	two.hit("cleo", "backend-1")
	startNode(t, c, map[string]string{"remora-one": strings.TrimPrefix(one.admin, "http://"), "remora-two": strings.TrimPrefix(two.admin, "http://")})
	in := []string{"--kubernetes", "--kubeconfig", c.Kubeconfig, "--namespace", "gateways"}
	remora := func(args ...string) *programtest.Program { return start(t, append(args, in...)...) }

	status := remora("status")
	status.Line("gateways/remora-one", " ready ", " 2 ")
	status.Line("gateways/remora-two", " ready ", " 1 ")
	status.Line("all", " 3 ")
	status.Line("backend-1.default.svc.cluster.local:8080", "1 ready", "3     0     0")
	status.Ends(0)

	get := remora("sessions", "get", "cleo", "--service", "backend-1")
	get.Line("GATEWAY", "SERVICE")
	get.Line("gateways/remora-two", "10.244.1.1:8080")
	get.Ends(0)
	none := remora("sessions", "get", "dan", "--service", "backend-1")
	none.Line("none of 2 gateways: no live session")
	none.Ends(1)

	drain := remora("sessions", "drain", "backend-1-a", "-o", "json")
	drain.Line("remora-one")
	drain.Line("remora-two")
	drain.Ends(0)
	status = remora("status")
	status.Line("DRAINING", "END")
	status.Line("backend-1-a", "3     0")
	status.Line("backend-1.default.svc.cluster.local:8080 has no ready replica: 1 draining")
	status.Ends(1)
	remora("sessions", "drain", "backend-1-a", "--undo").Ends(0)

	t.Log("what cannot be reached is said, with what to do")
	port := remora("sessions", "ls", "--admin-port", "9902")
	port.Line("2 of 2 gateways did not answer")
	port.Line("port 9902 of the pod cannot be reached; is it that of the admin API (--admin-port)?", "connection refused")
	port.Ends(1)
	labels := remora("status", "--selector", "app=none")
	labels.Line(`there is no pod with the labels "app=none" in namespace gateways; give --namespace and --selector`)
	labels.Ends(1)

	t.Log("with no more rights than it takes, and with less")
	role := func(user, rules string) string {
		c.Apply(t, fmt.Sprintf(`
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: %[1]s, namespace: gateways}
rules: [%[2]s]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: %[1]s, namespace: gateways}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: %[1]s}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: %[1]s}]
`, user, rules))
		return c.As(t, user)
	}
	list, forward := `{apiGroups: [""], resources: [pods], verbs: [list]}`, `{apiGroups: [""], resources: [pods/portforward], verbs: [get, create]}`
	for user, test := range map[string]struct{ rules, says string }{
		"looker":   {list + ", " + forward, "gateways/remora-one"},
		"older":    {list + ", " + strings.Replace(forward, "get, ", "", 1), "gateways/remora-one"}, // through SPDY
		"stranger": {forward, "not allowed to list pods in namespace gateways; add to its Role the rule"},
		"distant":  {list, `not allowed to get and create pods/portforward in namespace gateways; add to its Role the rule {apiGroups: [""], resources: ["pods/portforward"], verbs: [get, create]}`},
	} {
		kubeconfig := role(user, test.rules)
		awaitAnswer(t, user+" to get rights, and: "+test.says, func() (bool, string) { // the API server takes a moment to know of a Role
			p := start(t, "status", "--kubernetes", "--kubeconfig", kubeconfig, "--namespace", "gateways")
			<-p.Ended()
			out := p.Log()
			return strings.Contains(out, test.says) && (user != "older" && user != "looker" || !strings.Contains(out, "not all is well")), out
		})
	}
}
