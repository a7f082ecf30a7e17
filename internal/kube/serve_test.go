package kube_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/kubetest"
	"github.com/remora-proxy/remora/internal/programtest"
)

// useCase is the users' own objects of examples/hit-backend, without the EndpointSlices, which a cluster writes itself.
func useCase(t *testing.T) string {
	t.Helper()
	var all []string
	for _, name := range []string{"gateway", "virtualservice", "destinationrules", "services", "affinitypolicy"} {
		text, err := os.ReadFile(filepath.Join(kubetest.Root(t), "examples", "hit-backend", name+".yaml"))
		must(t, err)
		all = append(all, string(text))
	}
	return strings.Join(all, "\n---\n")
}

// lasting is the use case with sessions, and drains, that outlast a test on a machine under load.
func lasting(t *testing.T) string {
	t.Helper()
	return strings.Replace(useCase(t), "promote:", "idleTimeout: 1h\n  drainDeadline: 1h\n  promote:", 1)
}

// endpoint is a replica as an EndpointSlice has it.
type endpoint struct {
	ip, pod, uid string
	conditions   string
}

const (
	ready       = "{ready: true, serving: true, terminating: false}"
	terminating = "{ready: false, serving: true, terminating: true}"
	notServing  = "{ready: false, serving: false, terminating: false}"
)

// slice writes an EndpointSlice as the EndpointSlice controller does.
func slice(service string, endpoints ...endpoint) string {
	text := fmt.Sprintf(`apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %[1]s-x7k2p, labels: {kubernetes.io/service-name: %[1]s}}
addressType: IPv4
ports: [{port: 8080, protocol: TCP, name: ""}]
endpoints:`, service)
	if len(endpoints) == 0 {
		return text + " []\n"
	}
	for _, e := range endpoints {
		text += fmt.Sprintf("\n- {addresses: [%s], conditions: %s, targetRef: {kind: Pod, namespace: default, name: %s, uid: %s}}", e.ip, e.conditions, e.pod, e.uid)
	}
	return text + "\n"
}

// until waits until the endpoints of the configuration in force are as they should be.
func (g *gateway) until(what string, is func([]affinity.EndpointView) bool) {
	g.t.Helper()
	for !is(g.endpoints()) {
		g.t.Logf("waiting for: %s", what)
		g.Line(`"msg":"configuration applied"`)
	}
}

// state says whether a pod's endpoint is in one of some states; one that is not there is gone.
func state(pod string, states ...string) func([]affinity.EndpointView) bool {
	return func(all []affinity.EndpointView) bool {
		for _, e := range all {
			if e.Name == pod {
				return slices.Contains(states, e.State)
			}
		}
		return slices.Contains(states, "gone")
	}
}

func TestACluster(t *testing.T) {
	t.Parallel()
	c := kubetest.Start(t, kubetest.Options{})
	for _, scenario := range []struct {
		name string
		run  func(*testing.T, *kubetest.Cluster)
	}{
		{"a kind is watched when it appears", testKindsAppear},
		{"only the namespaces that are named are watched", testNamespaces},
		{"what is not read is neither kept nor a change", testIrrelevantChanges},
		{"the API server refuses what no policy can say", testDefinition},
		{"the rights that are generated are enough, and one that is missing is named", testRights},
		{"each right that is missing is named, and all together are enough", testEachRight},
		{"the status of a policy says what has become of it", testStatus},
		{"the use case", testUseCase},
		{"extproc, validate and explain read the cluster too", testOtherCommands},
		{"the gateways of a cluster are asked through port-forwards", testGatewaysInPods},
		{"a broken object does not hold up the others, and changes gather", testBrokenObject},
		{"the API server goes away and comes back", testServerGoesAway},
	} {
		t.Run(scenario.name, func(t *testing.T) { scenario.run(t, c) })
	}
}

func testUseCase(t *testing.T, c *kubetest.Cluster) {
	c.Apply(t, lasting(t))
	a := endpoint{"10.244.1.1", "backend-1-a", "uid-a", ready}
	b := endpoint{"10.244.1.2", "backend-1-b", "uid-b", ready}
	third := endpoint{"10.244.1.3", "backend-1-c", "uid-c", ready}
	replica(t, "backend-1", a.pod, a.ip)
	replicaB := replica(t, "backend-1", b.pod, b.ip)
	replica(t, "backend-1", third.pod, third.ip)
	replica(t, "backend-2", "backend-2-a", "10.244.2.1")
	c.Apply(t, slice("backend-1", a, b))
	c.Apply(t, slice("backend-2", endpoint{"10.244.2.1", "backend-2-a", "uid-2a", ready}))

	g := serve(t, c.Kubeconfig)
	const users = 20
	home := map[string]string{} // where each user's session is
	visits := map[string]uint64{}
	// visit has every user make a request, and reports who is not where they were.
	visit := func() (moved []string) {
		t.Helper()
		for i := range users {
			user := fmt.Sprintf("user-%d", i)
			r := g.hit(user, "backend-1")
			if r.status != http.StatusOK || r.ServiceName != "backend-1" {
				t.Fatalf("%s got %d from %q", user, r.status, r.ServiceName)
			}
			if home[user] == r.PodID {
				if visits[user]++; r.Visits != visits[user] {
					t.Errorf("%s is on visit %d to %s, want %d", user, r.Visits, r.PodID, visits[user])
				}
				continue
			}
			if home[user] != "" {
				moved = append(moved, user)
				if r.Session != "moved" {
					t.Errorf("%s came from %s to %s, and the replica was told %q", user, home[user], r.PodID, r.Session)
				}
			}
			home[user], visits[user] = r.PodID, r.Visits
		}
		return moved
	}
	at := func(pod string) (there []string) {
		for user, p := range home {
			if p == pod {
				there = append(there, user)
			}
		}
		return there
	}

	visit()
	if len(at(a.pod)) == 0 || len(at(b.pod)) == 0 {
		t.Fatalf("the users are not on both replicas: %v", home)
	}
	if r := g.hit("user-0", "backend-2"); r.ServiceName != "backend-2" {
		t.Errorf("target backend-2 led to %q", r.ServiceName)
	}

	t.Log("a replica is added: nobody moves")
	c.Apply(t, slice("backend-1", a, b, third))
	g.until("the third replica", state(third.pod, "warming", "ready"))
	if moved := visit(); moved != nil {
		t.Errorf("%v moved", moved)
	}

	t.Log("a replica terminates: its users stay, and new ones go elsewhere")
	a.conditions = terminating
	c.Apply(t, slice("backend-1", a, b, third))
	g.until("draining", state(a.pod, "draining"))
	if moved := visit(); moved != nil {
		t.Errorf("%v moved", moved)
	}
	for i := range users {
		if r := g.hit(fmt.Sprintf("new-%d", i), "backend-1"); r.PodID == a.pod {
			t.Errorf("new-%d got a session on a replica that terminates", i)
		}
	}

	t.Log("it is gone: its users move, once, and nobody else")
	its := at(a.pod)
	c.Apply(t, slice("backend-1", b, third))
	g.until("gone", state(a.pod, "gone"))
	if moved := visit(); len(moved) != len(its) {
		t.Errorf("%v moved, want those of %s: %v", moved, a.pod, its)
	}
	if moved := visit(); moved != nil {
		t.Errorf("%v moved again", moved)
	}

	t.Log("another pod gets the address: it is another replica")
	its = at(b.pod)
	replicaB.Stop()
	next := endpoint{b.ip, "backend-1-d", "uid-d", ready}
	replica(t, "backend-1", next.pod, next.ip)
	c.Apply(t, slice("backend-1", next, third))
	g.until("the new pod", state(b.pod, "gone"))
	if moved := visit(); len(moved) != len(its) {
		t.Errorf("%v moved, want those of %s: %v", moved, b.pod, its)
	}

	t.Log("a pod fails its readiness probe and does not terminate: it is gone for its users")
	its = at(third.pod)
	third.conditions = notServing
	c.Apply(t, slice("backend-1", next, third))
	g.until("not serving", state(third.pod, "gone"))
	if moved := visit(); len(moved) != len(its) {
		t.Errorf("%v moved, want those of %s: %v", moved, third.pod, its)
	}
	g.Stop()
}

func testOtherCommands(t *testing.T, c *kubetest.Cluster) {
	c.Apply(t, useCase(t))
	c.Apply(t, slice("backend-1", endpoint{"10.244.1.1", "backend-1-a", "uid-a", ready}))
	from := []string{"--kubernetes", "--kubeconfig", c.Kubeconfig, "--namespace", "default"}

	processor := start(t, append([]string{"extproc", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log-format", "json"}, from...)...)
	processor.Line(`"msg":"ready"`)
	processor.Stop()

	validate := start(t, append([]string{"validate"}, from...)...)
	validate.Line("valid: ", "in the cluster "+c.Server+" namespaces default: 3 routes, 3 services")

	explain := start(t, append([]string{"explain", "--body", `{"username":"user","target":"backend-1"}`}, from...)...)
	explain.Line("rule", "VirtualService default/hit-backend-virtual-service")
	explain.Line("choice", "10.244.1.1:8080")

	refused := start(t, "validate", "--kubernetes", "--kubeconfig", c.As(t, "nobody"))
	refused.Line("not allowed to list and watch")
	refused.Ends(1)
}

func testBrokenObject(t *testing.T, c *kubetest.Cluster) {
	c.Apply(t, useCase(t))
	replica(t, "backend-1", "backend-1-a", "10.244.1.1")
	a := endpoint{"10.244.1.1", "backend-1-a", "uid-a", ready}
	c.Apply(t, slice("backend-1", a))
	g := serve(t, c.Kubeconfig)
	before := g.status().Config.RefusedObjects

	route := useCase(t)
	route = route[strings.Index(route, "kind: VirtualService"):]
	route = "apiVersion: networking.istio.io/v1\n" + route[:strings.Index(route, "\n---")]
	c.Apply(t, strings.Replace(route, "  - match:", "  - fault: {abort: {httpStatus: 500, percentage: {value: 100}}}\n    match:", 1))
	g.Line("VirtualService default/hit-backend-virtual-service: spec.http[0].fault: fault is not supported", "until then its last valid version is used")
	for g.status().Config.RefusedObjects != before+1 {
		g.Line(`"msg":"configuration applied"`)
	}
	if r := g.hit("user", "backend-1"); r.status != http.StatusOK {
		t.Errorf("with a broken VirtualService, a user gets %d", r.status)
	}
	if !strings.Contains(g.metrics(), fmt.Sprintf("\nremora_config_refused_objects %d\n", before+1)) {
		t.Errorf("remora_config_refused_objects is not %d", before+1)
	}

	began, first := time.Now(), g.status().Config.Generation
	const changes = 100
	for i := range changes {
		c.Apply(t, slice("backend-1", a, endpoint{fmt.Sprintf("10.244.7.%d", i+1), fmt.Sprintf("pod-%d", i), fmt.Sprintf("uid-%d", i), ready}))
	}
	g.until("the last change, with the VirtualService still broken", state(fmt.Sprintf("pod-%d", changes-1), "warming", "ready"))
	loads, most := g.status().Config.Generation-first, int(time.Since(began)/(100*time.Millisecond))+2
	if t.Logf("%d changes in %s took %d loads", changes, time.Since(began).Round(time.Millisecond), loads); loads > most {
		t.Errorf("%d loads, want at most %d", loads, most)
	}

	c.Apply(t, route)
	for g.status().Config.RefusedObjects != before {
		g.Line(`"msg":"configuration applied"`)
	}
}

func testServerGoesAway(t *testing.T, c *kubetest.Cluster) {
	c.Apply(t, lasting(t))
	replica(t, "backend-1", "backend-1-a", "10.244.1.1")
	a := endpoint{"10.244.1.1", "backend-1-a", "uid-a", ready}
	c.Apply(t, slice("backend-1", a))
	g := serve(t, c.Kubeconfig)
	g.hit("user", "backend-1")

	c.StopServer()
	g.Line("the API server does not answer; what is known of the cluster stays in use")
	if r := g.hit("user", "backend-1"); r.status != http.StatusOK || r.Visits != 2 {
		t.Errorf("without the API server, a user gets %d, visit %d", r.status, r.Visits)
	}
	st := g.status()
	if !st.Ready || st.Cluster.Watching || st.Cluster.Error == "" || st.Cluster.Since.IsZero() {
		t.Errorf("without the API server, the status is %+v", st.Cluster)
	}
	if text := g.metrics(); !strings.Contains(text, "\nremora_kubernetes_watching 0\n") {
		t.Error("without the API server, remora_kubernetes_watching is not 0")
	}

	c.StartServer(t)
	for !g.status().Cluster.Watching {
		g.Line("the API server answers again")
	}
	replica(t, "backend-1", "backend-1-b", "10.244.1.2")
	c.Apply(t, slice("backend-1", a, endpoint{"10.244.1.2", "backend-1-b", "uid-b", ready}))
	g.until("the second replica", state("backend-1-b", "warming", "ready"))
	if r := g.hit("user", "backend-1"); r.PodID != "backend-1-a" || r.Visits != 3 {
		t.Errorf("with the API server back, the user is on %s, visit %d", r.PodID, r.Visits)
	}
	if text := g.metrics(); !strings.Contains(text, "\nremora_kubernetes_watching 1\n") {
		t.Error("with the API server back, remora_kubernetes_watching is not 1")
	}
}

func testRights(t *testing.T, c *kubetest.Cluster) {
	c.Apply(t, useCase(t))
	c.Apply(t, slice("backend-1", endpoint{"10.244.1.1", "backend-1-a", "uid-a", ready}))
	replica(t, "backend-1", "backend-1-a", "10.244.1.1")
	path := programtest.Remora(t)
	rights, err := exec.Command(path, "generate", "istio", "-f", filepath.Join(kubetest.Root(t), "examples", "hit-backend")).Output()
	must(t, err)

	t.Log("without any, it says which rule is missing, and waits")
	g := watch(t, c.As(t, "system:serviceaccount:remora-system:remora"))
	for _, resource := range []string{"gateways", "endpointslices"} {
		g.Rewind()
		g.Line("not allowed to list and watch "+resource, "add to its ClusterRole the rule", `resources: [\"`+resource+`\"], verbs: [list, watch]`)
	}
	if st := g.status(); st.Ready || !strings.Contains(st.NotReady, "not allowed to list and watch") {
		t.Errorf("it is ready: %v, because %q", st.Ready, st.NotReady)
	}

	t.Log("with those of `remora generate istio` it serves")
	c.Apply(t, "apiVersion: v1\nkind: Namespace\nmetadata: {name: istio-system}\n")
	c.Apply(t, string(rights))
	g.Rewind()
	g.url = "http://" + g.Logged("listening", "address")
	g.Line(`"msg":"ready"`)
	if r := g.hit("user", "backend-1"); r.status != http.StatusOK {
		t.Errorf("a user gets %d", r.status)
	}
	if st := g.status(); !st.Ready || !st.Cluster.Watching {
		t.Errorf("the status is %+v", st)
	}
}
