package xds

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
)

// envoy is the other side of a stream, by hand.
type envoy struct {
	t      *testing.T
	stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
	cancel context.CancelFunc
}

// serve runs a server and returns how Envoys come to it.
func serve(t *testing.T, s *Server) (connect func() *envoy) {
	t.Helper()
	l := bufconn.Listen(1 << 16)
	g := grpc.NewServer()
	s.Register(g)
	served := make(chan error, 1)
	go func() { served <- g.Serve(l) }()
	conn, err := grpc.NewClient("passthrough:xds", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return l.Dial() }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		g.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return func() *envoy {
		ctx, cancel := context.WithCancel(t.Context())
		stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return &envoy{t, stream, cancel}
	}
}

func (e *envoy) send(in *discoveryv3.DeltaDiscoveryRequest) {
	e.t.Helper()
	if err := e.stream.Send(in); err != nil {
		e.t.Fatal(err)
	}
}

// ask subscribes: to all clusters when there is no name.
func (e *envoy) ask(typeURL string, names ...string) {
	e.t.Helper()
	e.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeURL, ResourceNamesSubscribe: names})
}

func (e *envoy) ack(r *discoveryv3.DeltaDiscoveryResponse) {
	e.t.Helper()
	e.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce()})
}

// expect waits for the next response and compares: "clusters a b", "endpoints a, without b".
func (e *envoy) expect(want string) *discoveryv3.DeltaDiscoveryResponse {
	e.t.Helper()
	r, err := e.stream.Recv()
	if err != nil {
		e.t.Fatalf("want %s: %v", want, err)
	}
	got := []string{map[string]string{clusterType: "clusters", endpointType: "endpoints"}[r.GetTypeUrl()]}
	for _, resource := range r.GetResources() {
		got = append(got, resource.GetName())
	}
	text := strings.Join(got, " ")
	if removed := r.GetRemovedResources(); len(removed) > 0 {
		text += ", without " + strings.Join(removed, " ")
	}
	if text != want {
		e.t.Fatalf("got %s, want %s", text, want)
	}
	return r
}

// resources are services "NAME=ADDRESS,…" or "NAME:KIND=ADDRESS,…": the kind is something in the cluster.
func resources(services ...string) func() (Resources, error) {
	return func() (r Resources, err error) {
		for _, s := range services {
			name, addresses, _ := strings.Cut(s, "=")
			name, kind, _ := strings.Cut(name, ":")
			r.Clusters = append(r.Clusters, &clusterv3.Cluster{Name: name, AltStatName: kind})
			group := &endpointv3.LocalityLbEndpoints{}
			for a := range strings.SplitSeq(addresses, ",") {
				group.LbEndpoints = append(group.LbEndpoints, &endpointv3.LbEndpoint{HostIdentifier: &endpointv3.LbEndpoint_EndpointName{EndpointName: a}})
			}
			r.Endpoints = append(r.Endpoints, &endpointv3.ClusterLoadAssignment{ClusterName: name, Endpoints: []*endpointv3.LocalityLbEndpoints{group}})
		}
		return r, nil
	}
}

// arrived lets an Envoy take over everything that there is, and has it say so.
func (e *envoy) arrived(names ...string) {
	e.t.Helper()
	e.ask(clusterType)
	e.ack(e.expect("clusters " + strings.Join(names, " ")))
	e.ask(endpointType, names...)
	e.ack(e.expect("endpoints " + strings.Join(names, " ")))
}

func TestAnEnvoyGetsWhatItAsksFor(t *testing.T) {
	s := New(Config{})
	connect := serve(t, s)
	e := connect()
	e.ask(clusterType) // before there is anything
	s.Update(resources("a=1", "b=2", "c=3"))
	e.ack(e.expect("clusters a b c"))
	e.ask(endpointType, "a", "c", "nobody")
	e.ack(e.expect("endpoints a c, without nobody"))
	e.ask(endpointType, "b")
	e.ack(e.expect("endpoints b"))
	e.ask(endpointType, "b") // once more, as protocol has it, means that it is wanted once more
	e.ack(e.expect("endpoints b"))
}

func TestAChangeIsSentAndNothingElse(t *testing.T) {
	s := New(Config{})
	s.Update(resources("a=1", "b=2"))
	e := serve(t, s)()
	e.arrived("a", "b")
	s.Update(resources("a=1", "b=2"))
	s.Update(resources("a=1,11", "b=2"))
	e.ack(e.expect("endpoints a"))
	s.Update(resources("a=1,11", "b=2", "c=3"))
	e.ack(e.expect("clusters c"))
	e.ask(endpointType, "c")
	e.ack(e.expect("endpoints c"))
	s.Update(resources("a=1,11", "c=3"))
	e.ack(e.expect("clusters, without b"))
	e.ack(e.expect("endpoints, without b"))
	e.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: endpointType, ResourceNamesUnsubscribe: []string{"b"}})
	s.Update(resources("a=1,11", "b=2", "c=3"))
	e.ack(e.expect("clusters b"))
}

// TestAClusterThatChangesNeedsItsEndpointsOnceMore: Envoy makes it anew, does not ask, and acknowledges the cluster when it has them.
func TestAClusterThatChangesNeedsItsEndpointsOnceMore(t *testing.T) {
	s := New(Config{})
	s.Update(resources("a=1", "b=2"))
	e := serve(t, s)()
	e.arrived("a", "b")
	s.Update(resources("a:other=1", "b=2"))
	cluster := e.expect("clusters a")
	e.ack(e.expect("endpoints a"))
	e.ack(cluster)
}

func TestChangesWhileAResponseIsUnderWayAreSentTogether(t *testing.T) {
	s := New(Config{})
	s.Update(resources("a=1"))
	e := serve(t, s)()
	e.arrived("a")
	s.Update(resources("a=2"))
	under := e.expect("endpoints a")
	for i := range 100 {
		s.Update(resources(fmt.Sprintf("a=%d", 3+i)))
	}
	e.ack(under)
	last := e.expect("endpoints a")
	e.ack(last)
	var got endpointv3.ClusterLoadAssignment
	if err := last.GetResources()[0].GetResource().UnmarshalTo(&got); err != nil {
		t.Fatal(err)
	}
	if name := got.GetEndpoints()[0].GetLbEndpoints()[0].GetEndpointName(); name != "102" {
		t.Errorf("the last that was sent is %s", name)
	}
}

// TestAnEnvoyThatComesBack says what it has, and gets what it lacks. Another processor has the same versions.
func TestAnEnvoyThatComesBack(t *testing.T) {
	first, other := New(Config{}), New(Config{})
	first.Update(resources("a=1", "b=2"))
	other.Update(resources("a=1", "c=3"))
	e := serve(t, first)()
	e.ask(clusterType)
	has := map[string]string{}
	for _, r := range e.expect("clusters a b").GetResources() {
		has[r.GetName()] = r.GetVersion()
	}
	e = serve(t, other)()
	e.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: clusterType, InitialResourceVersions: has})
	e.ack(e.expect("clusters c, without b"))
}

func TestWaitingUntilEnvoysKnow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{})
		s.Update(resources("a=1"))
		connect := serve(t, s)
		if err := s.Wait(t.Context()); err != nil {
			t.Errorf("nobody listens: %v", err)
		}
		quick, slow := connect(), connect()
		quick.arrived("a")
		slow.arrived("a")
		if err := s.Wait(t.Context()); err != nil {
			t.Errorf("all have acknowledged: %v", err)
		}

		s.Update(resources("a=2"))
		quick.ack(quick.expect("endpoints a"))
		response := slow.expect("endpoints a")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Wait(ctx); err == nil {
			t.Error("one has not acknowledged, and the wait has ended")
		}
		slow.send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: endpointType, ResponseNonce: response.GetNonce(), ErrorDetail: status.New(codes.Internal, "no").Proto()})
		if err := s.Wait(t.Context()); err != nil {
			t.Errorf("it has refused: %v", err)
		}
		if s.rejected.Load() != 1 {
			t.Errorf("%d rejections are counted", s.rejected.Load())
		}

		s.Update(resources("a=2", "b=1")) // a cluster is known when its endpoints are
		quick.ack(quick.expect("clusters b"))
		slow.cancel()
		synctest.Wait()
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Wait(ctx); err == nil {
			t.Error("one has not asked for the endpoints, and the wait has ended")
		}
		quick.ask(endpointType, "b")
		quick.ack(quick.expect("endpoints b"))
		if err := s.Wait(t.Context()); err != nil {
			t.Errorf("one knows, one has left: %v", err)
		}
		quick.cancel()
		synctest.Wait()
	})
}

func TestWhatIsRefused(t *testing.T) {
	s := New(Config{MaxStreams: 1})
	s.Update(resources("a=1"))
	connect := serve(t, s)
	e := connect()
	e.arrived("a")
	if _, err := connect().stream.Recv(); err == nil || !strings.Contains(err.Error(), "ResourceExhausted") {
		t.Errorf("one Envoy too many: %v", err)
	}
	e.ask("type.googleapis.com/envoy.config.listener.v3.Listener")
	if _, err := e.stream.Recv(); err == nil || !strings.Contains(err.Error(), "InvalidArgument") {
		t.Errorf("another type: %v", err)
	}
	e = connect()
	for begin := 0; ; begin += 20_000 { // each message is below what gRPC takes
		names := make([]string, 20_000)
		for i := range names {
			names[i] = fmt.Sprint(begin + i)
		}
		e.ask(endpointType, names...)
		r, err := e.stream.Recv()
		if err == nil {
			e.ack(r)
		} else {
			if !strings.Contains(err.Error(), "ResourceExhausted") {
				t.Errorf("names without end: %v", err)
			}
			return
		}
	}
}
