package decisiontest_test

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/decisiontest"
	"github.com/remora-proxy/remora/internal/envoytest"
	"github.com/remora-proxy/remora/internal/extproc"
	"github.com/remora-proxy/remora/internal/generate"
	"github.com/remora-proxy/remora/internal/xds"
)

// TestEnvoy runs the scripts through a real Envoy with the configuration that `remora generate envoy --xds` prints, which asks the
// external processor, also for the services and their endpoints.
func TestEnvoy(t *testing.T) {
	decisiontest.Run(t, func(t *testing.T) decisiontest.Door { return newEnvoyDoor(t) })
}

// TestEnvoyWithBodiesInPieces is TestEnvoy with FULL_DUPLEX_STREAMED in both directions.
func TestEnvoyWithBodiesInPieces(t *testing.T) {
	decisiontest.Run(t, func(t *testing.T) decisiontest.Door {
		return newEnvoyDoor(t,
			"request_body_mode: NONE", "request_body_mode: FULL_DUPLEX_STREAMED",
			"response_header_mode: SKIP", "response_header_mode: SEND", "response_body_mode: NONE", "response_body_mode: FULL_DUPLEX_STREAMED")
	})
}

// envoyDoor is an Envoy that follows the scripts' configurations.
type envoyDoor struct {
	*wireDoor
	discovery *xds.Server
}

// newEnvoyDoor starts an Envoy. change is what to replace in its configuration, and by what.
func newEnvoyDoor(t *testing.T, change ...string) *envoyDoor {
	d := &envoyDoor{newWireDoor(t), xds.New(xds.Config{})}
	d.discovery.Update(func() (xds.Resources, error) { return xds.Resources{}, nil })
	anyPort := netip.MustParseAddrPort("127.0.0.1:0")
	c := &affinity.Config{
		Listeners: []affinity.Listener{{Port: 80}},
		Services:  []affinity.ServiceConfig{{Key: affinity.Key{Kind: affinity.SourceIPKey}}}, // as in one script: Envoy has to send the client's address
	}
	text, err := generate.Envoy(c, generate.EnvoyOptions{
		Listen: func(uint16) netip.AddrPort { return anyPort }, Admin: anyPort, XDS: true,
		Processors: []string{d.processor(t, d.discovery.Register)},
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(change); i += 2 {
		if strings.Count(text, change[i]) != 1 {
			t.Fatalf("the configuration does not have %q once", change[i])
		}
	}
	d.addr = envoytest.Start(t, envoytest.Patient(strings.NewReplacer(change...).Replace(text))).Addr
	return d
}

// Load returns when Envoy knows the endpoints.
func (d *envoyDoor) Load(t *testing.T, files map[string]string) {
	t.Helper()
	d.wireDoor.Load(t, files)
	c := d.config
	d.discovery.Update(func() (xds.Resources, error) {
		clusters, endpoints, err := generate.Discovery(c)
		return xds.Resources{Clusters: clusters, Endpoints: endpoints}, err
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := d.discovery.Wait(ctx); err != nil {
		t.Fatal(err)
	}
}

// processor runs an external processor on the door's engine, with further services, and returns its address.
func (d *wireDoor) processor(t *testing.T, services func(grpc.ServiceRegistrar)) string {
	t.Helper()
	p, err := extproc.New(extproc.Config{Engine: d.engine, Now: d.time, Services: services})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- p.Serve(ln) }()
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return ln.Addr().String()
}
