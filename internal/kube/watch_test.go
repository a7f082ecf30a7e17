package kube_test

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/config"
	"github.com/remora-proxy/remora/internal/kube"
	"github.com/remora-proxy/remora/internal/kubetest"
	"github.com/remora-proxy/remora/internal/resource"
)

// connect watches a cluster until the test has ended.
func connect(t *testing.T, o kube.Options) *kube.Cluster {
	t.Helper()
	o.Decode = config.Decode
	watched, err := kube.Connect(o)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { watched.Run(ctx) })
	running.Go(func() { watched.WriteStatus(ctx) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
	})
	return watched
}

// follow watches a cluster until the test has ended, and waits until its objects are known.
func follow(t *testing.T, c *kubetest.Cluster, namespaces ...string) *kube.Cluster {
	t.Helper()
	watched := connect(t, kube.Options{Kubeconfig: c.Kubeconfig, Namespaces: namespaces})
	select {
	case <-watched.Synced():
	case <-time.After(patience):
		t.Fatalf("not synced: %+v", watched.Health())
	}
	return watched
}

// await waits until the objects are as they should be.
func await(t *testing.T, c *kube.Cluster, what string, is func(*resource.Set) bool) *resource.Set {
	t.Helper()
	late := time.After(patience)
	for {
		if set, _ := c.Set(); is(set) {
			return set
		}
		select {
		case <-c.Changes():
		case <-late:
			t.Fatalf("there is no %s: %+v", what, c.Health())
		}
	}
}

// testKindsAppear begins with a cluster that has neither Istio's kinds, nor the Gateway API's, nor Remora's.
func testKindsAppear(t *testing.T, c *kubetest.Cluster) {
	watched := follow(t, c)
	var missing []string
	for _, k := range watched.Health().Kinds {
		if k.Missing {
			missing = append(missing, k.Kind)
		}
	}
	if got := strings.Join(missing, " "); got != "Gateway VirtualService DestinationRule ServiceEntry Gateway.gateway.networking.k8s.io HTTPRoute ReferenceGrant AffinityPolicy" {
		t.Errorf("the kinds that are not there: %s", got)
	}
	if err := watched.Health().Failure; err != nil {
		t.Errorf("that is no failure: %v", err)
	}
	c.AddIstio(t)
	c.AddDefinitions(t, filepath.Join(kubetest.Root(t), "deploy", "crd", "remora.dev_affinitypolicies.yaml"))
	gateway := "apiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: front, namespace: kube-public}\nspec: {servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [\"*\"]}]}\n"
	c.Apply(t, gateway)
	set := await(t, watched, "Gateway", func(s *resource.Set) bool { return len(s.Gateways) == 1 })
	if at := set.Gateways[0].Where.Locate("spec.servers[0]").String(); at != "Gateway kube-public/front" {
		t.Errorf("a finding about it would say %q", at)
	}
	c.Delete(t, gateway)
	await(t, watched, "end of the Gateway", func(s *resource.Set) bool { return len(s.Gateways) == 0 })
	c.AddGatewayAPI(t)
	for _, o := range []string{
		"apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: {name: front, namespace: kube-public}\nspec: {gatewayClassName: any, listeners: [{name: http, port: 80, protocol: HTTP}]}\n",
		"apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: front, namespace: kube-public}\nspec: {parentRefs: [{name: front}], rules: [{backendRefs: [{name: cart, port: 80}]}]}\n",
		"apiVersion: gateway.networking.k8s.io/v1beta1\nkind: ReferenceGrant\nmetadata: {name: front, namespace: kube-public}\nspec: {from: [{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: shop}], to: [{group: \"\", kind: Service}]}\n",
	} {
		c.Apply(t, o)
	}
	set = await(t, watched, "kinds of the Gateway API", func(s *resource.Set) bool { return len(s.APIGateways)+len(s.HTTPRoutes)+len(s.ReferenceGrants) == 3 })
	if name := set.APIGateways[0].Name(); name != "Gateway.gateway.networking.k8s.io kube-public/front" || len(set.Gateways) != 0 {
		t.Errorf("the Gateway is called %q", name)
	}
	// What the API server adds to them, such as the default of each matches, is no other meaning.
	if m := set.HTTPRoutes[0].Value.Spec.Rules[0].Matches; len(m) != 1 || *m[0].Path.Value != "/" {
		t.Errorf("the rule matches %+v", m)
	}
	c.Delete(t, "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata: {name: referencegrants.gateway.networking.k8s.io}\n")
	await(t, watched, "end of the ReferenceGrant, whose kind is deleted", func(s *resource.Set) bool { return len(s.ReferenceGrants) == 0 })
	awaitAnswer(t, "kind that is missing, which is no failure", func() (bool, string) {
		h := watched.Health()
		for _, k := range h.Kinds {
			if k.Kind == "ReferenceGrant" {
				return k.Missing && h.Failure == nil, fmt.Sprintf("%+v", h)
			}
		}
		return false, ""
	})
}

func testNamespaces(t *testing.T, c *kubetest.Cluster) {
	service := "apiVersion: v1\nkind: Service\nmetadata: {name: %s, namespace: %s}\nspec: {ports: [{port: 80}]}\n"
	for _, ns := range []string{"one", "two", "three"} {
		c.Apply(t, "apiVersion: v1\nkind: Namespace\nmetadata: {name: "+ns+"}\n")
		c.Apply(t, fmt.Sprintf(service, "cart", ns))
	}
	watched := follow(t, c, "three", "one", "one")
	names := func() string {
		set, _ := watched.Set()
		var all []string
		for _, s := range set.Services {
			all = append(all, s.Name())
		}
		return strings.Join(all, ", ")
	}
	if got := names(); got != "Service one/cart, Service three/cart" {
		t.Errorf("the Services are %s", got)
	}
	c.Apply(t, fmt.Sprintf(service, "unseen", "two"))
	c.Apply(t, fmt.Sprintf(service, "seen", "three"))
	await(t, watched, "Service three/seen", func(s *resource.Set) bool { return len(s.Services) == 3 })
	if got := names(); got != "Service one/cart, Service three/cart, Service three/seen" {
		t.Errorf("the Services are %s", got)
	}
}

// testIrrelevantChanges: what Remora does not read is neither kept nor a change.
func testIrrelevantChanges(t *testing.T, c *kubetest.Cluster) {
	c.Apply(t, "apiVersion: v1\nkind: Namespace\nmetadata: {name: quiet}\n")
	write := func(name, annotation string, conditions string) {
		t.Helper()
		c.Apply(t, strings.Replace(slice(name, endpoint{"10.244.9.1", name + "-a", "uid", conditions}), "metadata: {", "metadata: {namespace: quiet, annotations: {note: \""+annotation+"\"}, ", 1))
	}
	write("a", "first", ready)
	write("b", "first", ready)
	watched := follow(t, c, "quiet")
	before, _ := watched.Set()
	write("a", "second", ready)
	write("b", "second", terminating)
	after := await(t, watched, "terminating endpoint", func(s *resource.Set) bool { return !*s.EndpointSlices[1].Value.Endpoints[0].Conditions.Ready })
	if before.EndpointSlices[0].Value != after.EndpointSlices[0].Value {
		t.Error("another annotation made another object")
	}
	if s := after.EndpointSlices[0].Value; s.ManagedFields != nil || s.Annotations != nil {
		t.Errorf("kept are the managed fields %v and the annotations %v", s.ManagedFields, s.Annotations)
	}
	if uid := after.EndpointSlices[1].Value.Endpoints[0].TargetRef.UID; uid != "uid" {
		t.Errorf("the pod's uid is %q", uid)
	}
}

func TestAClusterThatIsNotThere(t *testing.T) {
	_, err := kube.Connect(kube.Options{Kubeconfig: filepath.Join(t.TempDir(), "none"), Decode: config.Decode})
	if err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("a kubeconfig that is not there gives %v", err)
	}
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	if _, err := kube.Connect(kube.Options{Decode: config.Decode}); err == nil || !strings.Contains(err.Error(), "there is no kubeconfig and this is no pod") {
		t.Errorf("no kubeconfig at all gives %v", err)
	}
	if _, err := kube.Connect(kube.Options{Namespaces: []string{"a", "B"}, Decode: config.Decode}); err == nil || !strings.Contains(err.Error(), `"B" is not the name of a namespace`) {
		t.Errorf("a wrong namespace gives %v", err)
	}
}

// TestAServerThatDoesNotAnswerIsToldOfOnce has a kubeconfig with an address where nothing listens.
func TestAServerThatDoesNotAnswerIsToldOfOnce(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	must(t, closed.Close())
	path := filepath.Join(t.TempDir(), "kubeconfig")
	must(t, os.WriteFile(path, fmt.Appendf(nil, `{apiVersion: v1, kind: Config, current-context: c, contexts: [{name: c, context: {cluster: c, user: u}}],
		clusters: [{name: c, cluster: {server: "http://%s"}}], users: [{name: u, user: {token: t}}]}`, closed.Addr()), 0o600))
	var log lines
	cluster, err := kube.Connect(kube.Options{Kubeconfig: path, Decode: config.Decode, Log: slog.New(slog.NewTextHandler(&log, nil))})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		cluster.Run(ctx)
	}()
	for failed := false; !failed; {
		<-cluster.Turns()
		failed = !slices.ContainsFunc(cluster.Health().Kinds, func(k kube.KindHealth) bool { return k.Failure == nil })
	}
	if failure := cluster.Health().Failure.Error(); !strings.Contains(failure, "the API server does not answer; see that it runs, and that the kubeconfig and its context are those") {
		t.Errorf("the failure is %s", failure)
	}
	cancel()
	<-ended
	if said := log.String(); strings.Count(said, "\n") != 1 || !strings.Contains(said, "the API server does not answer; there is no configuration before it does") {
		t.Errorf("the log says\n%s", said)
	}
}

// lines is a log that several goroutines write.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
