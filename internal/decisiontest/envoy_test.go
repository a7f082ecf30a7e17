package decisiontest_test

import (
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/decisiontest"
	"github.com/remora-proxy/remora/internal/envoytest"
	"github.com/remora-proxy/remora/internal/extproc"
	"github.com/remora-proxy/remora/internal/generate"
)

// TestEnvoy runs the scripts through a real Envoy with the configuration that `remora generate envoy` prints, which asks the
// external processor. Not the script "down": where no replica can be reached, the answer is Envoy's own and has no code.
func TestEnvoy(t *testing.T) {
	decisiontest.Run(t, func(t *testing.T) decisiontest.Door { return newEnvoyDoor(t) }, "down")
}

func newEnvoyDoor(t *testing.T) *wireDoor {
	d := newWireDoor(t)
	anyPort := netip.MustParseAddrPort("127.0.0.1:0")
	text, err := generate.Envoy(d.everything(), generate.EnvoyOptions{
		Listen: func(uint16) netip.AddrPort { return anyPort }, Admin: anyPort, Processors: []string{d.processor(t)},
	})
	if err != nil {
		t.Fatal(err)
	}
	d.addr = envoytest.Start(t, text).Addr
	return d
}

// everything is the services of all scripts, each with all the replicas that it has in any of them.
func (d *wireDoor) everything() *affinity.Config {
	c := &affinity.Config{Listeners: []affinity.Listener{{Port: 80}}}
	for i := 1; i <= 3; i++ {
		s := affinity.ServiceConfig{
			Name: fmt.Sprintf("backend-%d.default.svc.cluster.local:%s", i, scriptPort),
			Key:  affinity.Key{Kind: affinity.SourceIPKey}, // as in one script: Envoy has to send the client's address
		}
		for j := 1; j <= 3; j++ {
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
