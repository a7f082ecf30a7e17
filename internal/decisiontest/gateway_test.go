package decisiontest_test

import (
	"net"
	"testing"

	"github.com/remora-proxy/remora/internal/decisiontest"
	"github.com/remora-proxy/remora/internal/gateway"
)

// TestGateway runs the scripts over the real wire: a client, the gateway, and replicas on the addresses of the scripts. Only the
// time of decisions is the scripts' own, and only the replicas' port is another one, for a free one has to be found.
func TestGateway(t *testing.T) {
	decisiontest.Run(t, func(t *testing.T) decisiontest.Door { return newGatewayDoor(t) })
}

func newGatewayDoor(t *testing.T) *wireDoor {
	d := newWireDoor(t)
	g, err := gateway.New(gateway.Config{Engine: d.engine, Workers: 2, Now: d.time})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d.addr = ln.Addr().String()
	if err := g.Add(ln, 80); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		d.client.CloseIdleConnections()
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}
