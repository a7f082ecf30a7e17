package istiotest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// patience is how long Envoy may take to take over what it is sent, on a machine under load.
const patience = time.Minute

// order is that in which changes are sent: what is referred to comes before what refers to it.
var order = []string{resourcev3.ClusterType, resourcev3.EndpointType, resourcev3.ListenerType, resourcev3.RouteType}

// nodeID is how the gateway calls itself.
const nodeID = "router~127.0.0.1~istio-ingressgateway.istio-system~istio-system.svc.cluster.local"

// xds is the server that stands in for istiod.
type xds struct {
	addr  string
	cache cache.SnapshotCache

	mu       sync.Mutex
	accepted map[string]string // version by type, as the gateway has confirmed it
	refused  error
	changed  chan struct{} // closed with each confirmation or refusal
}

// serveXDS runs a server until the test has ended.
func serveXDS(t testing.TB) *xds {
	t.Helper()
	x := &xds{cache: cache.NewSnapshotCache(true, cache.IDHash{}, nil), accepted: map[string]string{}, changed: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	s := grpc.NewServer()
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(s, server.NewServer(ctx, x.cache, server.CallbackFuncs{
		StreamRequestFunc: func(_ int64, r *discoveryv3.DiscoveryRequest) error {
			x.request(r)
			return nil
		},
	}))
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	x.addr = ln.Addr().String()
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	t.Cleanup(func() {
		cancel()
		s.Stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return x
}

// request notes what the gateway says of what it was sent.
func (x *xds) request(r *discoveryv3.DiscoveryRequest) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if r.GetErrorDetail() != nil {
		x.refused = fmt.Errorf("the gateway refuses %s: %s", r.GetTypeUrl(), r.GetErrorDetail().GetMessage())
	}
	x.accepted[r.GetTypeUrl()] = r.GetVersionInfo()
	close(x.changed)
	x.changed = make(chan struct{})
}

// publish sends resources to the gateway. Types that are the same as before are not sent again.
func (x *xds) publish(t testing.TB, r *resources) (versions map[string]string) {
	t.Helper()
	byType := map[string][]types.Resource{
		resourcev3.ListenerType: {r.listener}, resourcev3.RouteType: {r.routes},
	}
	for _, c := range r.clusters {
		byType[resourcev3.ClusterType] = append(byType[resourcev3.ClusterType], c)
	}
	for _, a := range r.endpoints {
		byType[resourcev3.EndpointType] = append(byType[resourcev3.EndpointType], a)
	}
	snapshot := &cache.Snapshot{}
	versions = map[string]string{}
	for _, typ := range order {
		versions[typ] = versionOf(t, byType[typ])
		snapshot.Resources[cache.GetResponseType(typ)] = cache.NewResources(versions[typ], byType[typ])
	}
	if err := x.cache.SetSnapshot(context.Background(), nodeID, snapshot); err != nil {
		t.Fatal(err)
	}
	return versions
}

// versionOf is the same for the same resources.
func versionOf(t testing.TB, list []types.Resource) string {
	t.Helper()
	hash := sha256.New()
	for _, r := range list {
		text, err := proto.MarshalOptions{Deterministic: true}.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		hash.Write(text)
	}
	return hex.EncodeToString(hash.Sum(nil)[:8])
}

// await waits until the gateway has taken over what was published.
func (x *xds) await(t testing.TB, versions map[string]string) {
	t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		x.mu.Lock()
		missing := slices.IndexFunc(order, func(typ string) bool { return x.accepted[typ] != versions[typ] })
		err, changed := x.refused, x.changed
		x.mu.Unlock()
		switch {
		case err != nil:
			t.Fatal(err)
		case missing < 0:
			return
		}
		select {
		case <-changed:
		case <-timeout.C:
			t.Fatalf("the gateway has not taken over %s", order[missing])
		}
	}
}
