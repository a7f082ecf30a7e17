package app

import (
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/route"
)

const byHeader = `---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: d}
spec:
  host: replicas.example
  trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user}}}
`

func TestSessionsThatExpiredWhileNoGatewayRanAreNotSaidToBeRestored(t *testing.T) {
	dns := newStuck()
	config, file := filepath.Join(t.TempDir(), "config.yaml"), filepath.Join(t.TempDir(), "sessions")
	must(t, os.WriteFile(config, []byte(byDNS+byHeader), 0o600))
	log := make(lines, 1000)
	stop := make(chan os.Signal, 1)
	options := Options{
		Files: []string{config}, Bind: netip.MustParseAddr("127.0.0.1"), Ports: Ports{80: 0}, Stop: stop,
		Log: slog.New(slog.NewTextHandler(log, nil)), ShutdownTimeout: time.Minute, SessionFile: file, SaveInterval: time.Hour,
	}
	before, err := newProgram(options)
	must(t, err)
	before.source.resolver.Lookup = dns
	loaded := before.source.load(t.Context())
	must(t, loaded.Diagnostics.Err())
	long := before.clock.instant().Add(-24 * time.Hour)
	must(t, before.engine.Apply(loaded.Snapshot, long))
	var dec affinity.Decision
	before.engine.Decide(&affinity.Request{Request: route.Request{
		Port: 80, Scheme: "http", Method: "GET", Authority: "a", Path: "/", Headers: []route.Header{{Name: "x-user", Value: "ann"}},
	}}, &dec, long)
	before.engine.Release(&dec, long)
	must(t, before.sessions.write(func(w io.Writer) error {
		_, err := before.engine.Save(w, long)
		return err
	}))
	before.sessions.close()

	after, err := newProgram(options)
	must(t, err)
	defer after.sessions.close()
	after.source.resolver.Lookup = dns
	ended := make(chan error, 1)
	go func() { ended <- after.run(t.Context()) }()
	log.wait(t, "sessions=0 outdated=1")
	stop <- os.Interrupt
	must(t, <-ended)
}
