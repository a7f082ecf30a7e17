package decisiontest_test

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/decisiontest"
	"github.com/remora-proxy/remora/internal/envoytest"
	"github.com/remora-proxy/remora/internal/extproc"
	"github.com/remora-proxy/remora/internal/generate"
)

// TestEnvoy runs the scripts through a real Envoy with the configuration that `remora generate envoy` prints, which asks the
// external processor.
func TestEnvoy(t *testing.T) {
	decisiontest.Run(t, func(t *testing.T) decisiontest.Door { return newEnvoyDoor(t) })
}

// TestEnvoyWithBodiesInPieces is TestEnvoy with FULL_DUPLEX_STREAMED in both directions.
func TestEnvoyWithBodiesInPieces(t *testing.T) {
	decisiontest.Run(t, func(t *testing.T) decisiontest.Door {
		return newEnvoyDoor(t,
			"request_body_mode: NONE", "request_body_mode: FULL_DUPLEX_STREAMED", "request_trailer_mode: SKIP", "request_trailer_mode: SEND",
			"response_header_mode: SKIP", "response_header_mode: SEND", "response_body_mode: NONE", "response_body_mode: FULL_DUPLEX_STREAMED")
	})
}

// newEnvoyDoor starts an Envoy. change is what to replace in its configuration, and by what.
func newEnvoyDoor(t *testing.T, change ...string) *wireDoor {
	d := newWireDoor(t)
	anyPort := netip.MustParseAddrPort("127.0.0.1:0")
	text, err := generate.Envoy(d.everything(t), generate.EnvoyOptions{
		Listen: func(uint16) netip.AddrPort { return anyPort }, Admin: anyPort, Processors: []string{d.processor(t)},
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(change); i += 2 {
		if strings.Count(text, change[i]) != 1 {
			t.Fatalf("the configuration does not have %q once", change[i])
		}
	}
	d.addr = envoytest.Start(t, strings.NewReplacer(change...).Replace(text)).Addr
	return d
}

// everything is the services of all scripts, each with all the replicas that the script of the test gives it. For the hosts that
// Envoy falls back on should be replicas that Remora knows, only the script in which there are three has three.
func (d *wireDoor) everything(t *testing.T) *affinity.Config {
	replicas := 2
	if strings.HasSuffix(t.Name(), "/scale") {
		replicas = 3
	}
	c := &affinity.Config{Listeners: []affinity.Listener{{Port: 80}}}
	for i := 1; i <= 3; i++ {
		s := affinity.ServiceConfig{
			Name: fmt.Sprintf("backend-%d.default.svc.cluster.local:%s", i, scriptPort),
			Key:  affinity.Key{Kind: affinity.SourceIPKey}, // as in one script: Envoy has to send the client's address
		}
		for j := 1; j <= replicas; j++ {
			s.Endpoints = append(s.Endpoints, affinity.EndpointConfig{Addr: fmt.Sprintf("127.0.%d.%d:%s", i, j, d.port)})
		}
		c.Services = append(c.Services, s)
	}
	return c
}

// processor runs an external processor on the door's engine and returns its address.
func (d *wireDoor) processor(t *testing.T) string {
	t.Helper()
	p, err := extproc.New(extproc.Config{Engine: d.engine, Now: d.time})
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
