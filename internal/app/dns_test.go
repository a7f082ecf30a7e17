package app

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/session"
)

const byDNS = `apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: g}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v}
spec:
  hosts: ["*"]
  gateways: [g]
  http: [{route: [{destination: {host: replicas.example}}]}]
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: e}
spec:
  hosts: [replicas.example]
  resolution: DNS
  ports: [{number: 8080, name: http, protocol: HTTP}]
`

// zone answers for one name, with what it was last told.
type zone struct {
	mu    sync.Mutex
	addrs []netip.Addr
}

func (z *zone) set(addrs ...string) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.addrs = nil
	for _, a := range addrs {
		z.addrs = append(z.addrs, netip.MustParseAddr(a))
	}
}

func (z *zone) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if host != "replicas.example" || len(z.addrs) == 0 {
		return nil, errors.New("no such host")
	}
	return z.addrs, nil
}

// lines hands on what is logged, a line at a time.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}

func (l lines) wait(t *testing.T, words string) {
	t.Helper()
	for line := range l {
		if strings.Contains(line, words) {
			return
		}
	}
}

func TestReplicasComeAndGoWithTheAnswersOfDNS(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.yaml")
	must(t, os.WriteFile(path, []byte(byDNS), 0o600))
	log := make(lines, 1000)
	p, err := newProgram(Options{
		Files: []string{path}, Bind: netip.MustParseAddr("127.0.0.1"), Ports: Ports{80: 0},
		Log: slog.New(slog.NewTextHandler(log, nil)), AccessLogTo: io.Discard, ShutdownTimeout: time.Minute,
	})
	must(t, err)
	answers := &zone{}
	answers.set("127.0.1.1")
	p.source.resolver.Lookup, p.source.resolver.Interval = answers, time.Millisecond
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.run(ctx) }()

	expect := func(want string) {
		t.Helper()
		var got []string
		for _, ep := range p.engine.EndpointStats(session.InstantOf(time.Now())) {
			got = append(got, ep.Addr)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("the replicas are %q, want %q", got, want)
		}
	}
	log.wait(t, "msg=ready")
	expect("127.0.1.1:8080")
	answers.set("127.0.1.1", "127.0.1.2")
	log.wait(t, "addresses of hosts have changed")
	expect("127.0.1.1:8080 127.0.1.2:8080")
	if st := p.status().Config; st.Endpoints != 2 || st.Generation != 1 {
		t.Errorf("the status is %+v", st)
	}
	answers.set()
	log.wait(t, "a host is not resolved, its last addresses stay")
	expect("127.0.1.1:8080 127.0.1.2:8080")
	answers.set("127.0.1.2")
	log.wait(t, "addresses of hosts have changed")
	expect("127.0.1.2:8080")
	cancel()
	must(t, <-ended)
}
