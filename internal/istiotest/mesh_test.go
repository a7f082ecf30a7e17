package istiotest

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/config"
	"github.com/remora-proxy/remora/internal/generate"
	"github.com/remora-proxy/remora/internal/resource"
)

// useCase reads the users' objects of the dumps. changes are pairs of texts: what is there at least once, and what replaces it.
func useCase(t *testing.T, changes ...string) (*resource.Set, *affinity.Config) {
	t.Helper()
	text, err := os.ReadFile("testdata/use-case.yaml")
	if err != nil {
		t.Fatal(err)
	}
	changed := string(text)
	for i := 0; i < len(changes); i += 2 {
		if !strings.Contains(changed, changes[i]) {
			t.Fatalf("%q is not in the use case", changes[i])
		}
		changed = strings.ReplaceAll(changed, changes[i], changes[i+1])
	}
	return load(t, changed)
}

// load reads and compiles objects.
func load(t *testing.T, text string) (*resource.Set, *affinity.Config) {
	t.Helper()
	set, _, found := (&config.Loader{Paths: []string{config.Stdin}, Stdin: strings.NewReader(text)}).Load()
	if found.HasErrors() {
		t.Fatal(found)
	}
	compiled, found := config.Compile(set, config.Options{DrainingLabelled: true, Proxied: true})
	if found.HasErrors() {
		t.Fatal(found)
	}
	return set, &compiled.Config
}

// options are those of a `remora generate istio` without flags but for one that is for machines under load, changed by change.
func options(change func(*generate.IstioOptions)) generate.IstioOptions {
	o := generate.IstioOptions{Namespace: "remora-system", GatewayNamespace: "istio-system", Image: "remora:latest", Replicas: 1, MessageTimeout: time.Minute}
	if change != nil {
		change(&o)
	}
	return o
}

// write is what `remora generate istio` prints.
func write(t *testing.T, set *resource.Set, c *affinity.Config, o generate.IstioOptions) string {
	t.Helper()
	if found := generate.CheckIstio(set, c, o); found.HasErrors() {
		t.Fatal(found)
	}
	return generate.Istio(set, c, o)
}

func made(t *testing.T, m *Mesh) *resources {
	t.Helper()
	r, err := m.resources()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func dumped(t *testing.T, file string) *dump {
	t.Helper()
	d, err := readDump(file)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// same compares two messages.
func same(t *testing.T, what string, got, want proto.Message) {
	t.Helper()
	if !proto.Equal(got, want) {
		t.Errorf("%s: got\n%s\nwant\n%s", what, protojson.Format(got), protojson.Format(want))
	}
}

// named is the element with a name.
func named[T interface{ GetName() string }](t *testing.T, list []T, name string) T {
	t.Helper()
	i := slices.IndexFunc(list, func(e T) bool { return e.GetName() == name })
	if i < 0 {
		t.Fatalf("there is no %s", name)
	}
	return list[i]
}

func TestWhatIsMadeOfTheUseCaseIsWhatARealIstiodMade(t *testing.T) {
	set, _ := useCase(t)
	got, want := made(t, &Mesh{Set: set}), dumped(t, asIstioMakesIt)
	same(t, "the listener", got.listener, want.listeners[0])
	same(t, "the routes", got.routes, want.routes[0])
	for i, service := range []string{"backend-1", "backend-2", "backend-3"} {
		name := "outbound|8080||" + service + ".default.svc.cluster.local"
		same(t, "the cluster of "+service, got.clusters[i], named(t, want.clusters, name))
		for _, a := range want.endpoints {
			if a.ClusterName == name {
				same(t, "the endpoints of "+service, got.endpoints[i], a)
			}
		}
	}
}

// TestWithTheFiltersThatAreWrittenIstioStandsAsInTheTrial compares with what a real istiod made of the EnvoyFilters of the trial.
// There were fewer filters, with other names, fewer attempts to find another host for a retry, no answers of Envoy's own in Remora's
// words, and nothing about processors that hang, or all fail; everything else must be the same.
func TestWithTheFiltersThatAreWrittenIstioStandsAsInTheTrial(t *testing.T) {
	const service = "kind: Service\nmetadata: {name: backend-1, namespace: default"
	set, c := useCase(t, service, service+", labels: {istio.io/persistent-session: remora}")
	got := made(t, &Mesh{Set: set, Generated: write(t, set, c, options(func(o *generate.IstioOptions) { o.Replicas = 2 })), Processors: []string{"127.0.0.1:9002"}})
	want := dumped(t, withPatches)

	for _, r := range want.routes[0].GetVirtualHosts()[0].GetRoutes() {
		r.GetRoute().GetRetryPolicy().HostSelectionRetryMaxAttempts = 100
	}
	same(t, "the routes", got.routes, want.routes[0])
	same(t, "the cluster of backend-1", got.clusters[0], named(t, want.clusters, got.clusters[0].Name))
	processor := named(t, want.clusters, "outbound|9002||picker.default.svc.cluster.local")
	processor.CommonLbConfig.HealthyPanicThreshold.Value = 1
	http2 := &httpv3.HttpProtocolOptions{}
	const options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
	if err := processor.TypedExtensionProtocolOptions[options].UnmarshalTo(http2); err != nil {
		t.Fatal(err)
	}
	http2.GetExplicitHttpConfig().GetHttp2ProtocolOptions().ConnectionKeepalive = &corev3.KeepaliveSettings{
		Interval: durationpb.New(200 * time.Millisecond), Timeout: durationpb.New(300 * time.Millisecond),
	}
	if err := processor.TypedExtensionProtocolOptions[options].MarshalFrom(http2); err != nil {
		t.Fatal(err)
	}
	same(t, "the cluster of the processor", renamed(t, got.clusters[3]), processor)

	trial := map[string]string{"picker.strip": "remora.strip", "picker.ext_proc": "remora.ext_proc", "picker.session": "remora.session", "picker.hide": "remora.hide"}
	var order []string
	for _, f := range manager(t, want.listeners[0]).HttpFilters {
		name := f.GetName()
		if ours, is := trial[name]; is {
			name = ours
		}
		order = append(order, name)
	}
	var ours []string
	for _, f := range manager(t, got.listener).HttpFilters {
		if slices.Contains(order, f.GetName()) {
			ours = append(ours, f.GetName())
		} else if !strings.HasPrefix(f.GetName(), "remora.") {
			t.Errorf("the filter %s is neither Istio's nor Remora's", f.GetName())
		}
	}
	if !slices.Equal(ours, order) {
		t.Errorf("the filters stand in the order %v, want %v", ours, order)
	}
	withoutFilters := func(l *listenerv3.Listener) *listenerv3.Listener {
		m := manager(t, l)
		m.HttpFilters, m.LocalReplyConfig = nil, nil
		l, _ = proto.Clone(l).(*listenerv3.Listener)
		if err := l.FilterChains[0].Filters[0].GetTypedConfig().MarshalFrom(m); err != nil {
			t.Fatal(err)
		}
		return l
	}
	same(t, "the listener", withoutFilters(got.listener), withoutFilters(want.listeners[0]))
}

// manager is the HTTP connection manager of a listener.
func manager(t *testing.T, l *listenerv3.Listener) *hcmv3.HttpConnectionManager {
	t.Helper()
	m := &hcmv3.HttpConnectionManager{}
	if err := l.FilterChains[0].Filters[0].GetTypedConfig().UnmarshalTo(m); err != nil {
		t.Fatal(err)
	}
	return m
}

// renamed is the processor's cluster under the names of the trial.
func renamed(t *testing.T, c *clusterv3.Cluster) *clusterv3.Cluster {
	t.Helper()
	text, err := protojson.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.NewReplacer("remora.remora-system", "picker.default", "remora-system", "default", `"remora"`, `"picker"`, "rule/remora", "rule/picker").Replace(string(text))
	out := &clusterv3.Cluster{}
	if err := protojson.Unmarshal([]byte(changed), out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestEachPortAsksForItself(t *testing.T) {
	const server = "  - port: {number: 80, name: http, protocol: HTTP}\n    hosts: [\"*\"]\n"
	set, c := useCase(t, server, server+"  - port: {number: 8090, name: other, protocol: HTTP}\n    hosts: [\"*\"]\n")
	g, err := readGenerated(write(t, set, c, options(func(o *generate.IstioOptions) { o.ListenerPorts = map[uint16]uint16{8090: 9090} })))
	if err != nil {
		t.Fatal(err)
	}
	for port, want := range map[uint32]string{8080: "80", 9090: "8090"} {
		l, _ := proto.Clone(dumped(t, asIstioMakesIt).listeners[0]).(*listenerv3.Listener)
		l.GetAddress().GetSocketAddress().PortSpecifier.(*corev3.SocketAddress_PortValue).PortValue = port
		if err := patchListener(l, g.patches); err != nil {
			t.Fatal(err)
		}
		var asks []*hcmv3.HttpFilter
		for _, f := range manager(t, l).HttpFilters {
			if f.GetName() == "remora.ext_proc" {
				asks = append(asks, f)
			}
		}
		if len(asks) != 1 {
			t.Fatalf("the listener at %d asks %d times", port, len(asks))
		}
		config := &extprocv3.ExternalProcessor{}
		if err := asks[0].GetTypedConfig().UnmarshalTo(config); err != nil {
			t.Fatal(err)
		}
		if got := config.GetGrpcService().GetInitialMetadata()[0].GetValue(); got != want {
			t.Errorf("the listener at %d asks for port %s, want %s", port, got, want)
		}
	}
}
