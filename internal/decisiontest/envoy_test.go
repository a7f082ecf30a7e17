package decisiontest_test

import (
	"net"
	"os"
	"strings"
	"testing"

	"github.com/remora-proxy/remora/internal/decisiontest"
	"github.com/remora-proxy/remora/internal/envoytest"
	"github.com/remora-proxy/remora/internal/extproc"
)

// TestEnvoy runs the scripts through a real Envoy with the configuration of examples/envoy, which asks the external processor.
// Not the script "down": the processor is not told which host Envoy reached, so a dead replica keeps its sessions.
func TestEnvoy(t *testing.T) {
	example, err := os.ReadFile("../../examples/envoy/envoy.yaml")
	if err != nil {
		t.Fatal(err)
	}
	decisiontest.Run(t, func(t *testing.T) decisiontest.Door { return newEnvoyDoor(t, string(example)) }, "down")
}

func newEnvoyDoor(t *testing.T, config string) *wireDoor {
	d := newWireDoor(t)
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
	d.addr = envoytest.Start(t, d.adapt(t, config, ln.Addr().String())).Addr
	return d
}

// adapt changes what has to be another one in a test: the ports, and a third replica of each service.
func (d *wireDoor) adapt(t *testing.T, config, processor string) string {
	t.Helper()
	_, port, err := net.SplitHostPort(processor)
	if err != nil {
		t.Fatal(err)
	}
	replace := func(old, changed string, n int) {
		t.Helper()
		if strings.Count(config, old) != n {
			t.Fatalf("the example has %d times %q, want %d", strings.Count(config, old), old, n)
		}
		config = strings.ReplaceAll(config, old, changed)
	}
	replace("{address: 127.0.0.1, port_value: 8080}", "{address: 127.0.0.1, port_value: 0}", 1)
	replace("{address: 127.0.0.1, port_value: 9002}", "{address: 127.0.0.1, port_value: "+port+"}", 1)
	for _, service := range []string{"127.0.1.", "127.0.2.", "127.0.3."} {
		const before, behind = "        - endpoint: {address: {socket_address: {address: ", ", port_value: 8080}}}\n"
		second := before + service + "2" + behind
		replace(second, second+before+service+"3"+behind, 1)
	}
	replace("port_value: 8080}", "port_value: "+d.port+"}", len(scriptReplicas))
	return config
}
