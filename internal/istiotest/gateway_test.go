package istiotest

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/config"
	"github.com/remora-proxy/remora/internal/doortest"
	"github.com/remora-proxy/remora/internal/extproc"
	"github.com/remora-proxy/remora/internal/resource"
	"github.com/remora-proxy/remora/internal/session"
)

// remora is an engine and the processor in front of it. Its time stands still until it is set.
type remora struct {
	engine *affinity.Engine
	addr   string
	close  func()
	clock  atomic.Int64
}

func (r *remora) now() session.Instant { return session.Instant(r.clock.Load()) }

// apply makes the engine decide by the objects of a set.
func (r *remora) apply(t *testing.T, set *resource.Set) *affinity.Config {
	t.Helper()
	compiled, found := config.Compile(set, config.Options{DrainingLabelled: true, Proxied: true})
	if found.HasErrors() {
		t.Fatal(found)
	}
	if err := r.engine.Apply(compiled.Snapshot, r.now()); err != nil {
		t.Fatal(err)
	}
	return &compiled.Config
}

// newRemora runs a processor that has no configuration yet.
func newRemora(t *testing.T) *remora {
	t.Helper()
	r := &remora{engine: affinity.New(affinity.Options{Store: session.NewTable(session.Options{})})}
	r.clock.Store(int64(session.InstantOf(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))))
	p, err := extproc.New(extproc.Config{Engine: r.engine, Now: r.now})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr = ln.Addr().String()
	served := make(chan error, 1)
	go func() { served <- p.Serve(ln) }()
	closed := false
	r.close = func() {
		if closed {
			return
		}
		closed = true
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(r.close)
	return r
}

// replica runs a replica until the test has ended or stop is called, and returns its ip:port. The address is one that nobody else
// listens on, so that nobody is there after stop.
func replica(t *testing.T, handler http.HandlerFunc) (addr string, stop func()) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.9.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: handler, ReadHeaderTimeout: patience}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(ln) // ends when it is closed
	}()
	stop = func() {
		srv.Close()
		<-done
	}
	t.Cleanup(stop)
	return ln.Addr().String(), stop
}

// sliceOf is EndpointSlices of a service for each of its replicas, which have ports of their own.
func sliceOf(service string, conditions string, addrs ...string) string {
	var out strings.Builder
	for i, addr := range addrs {
		host, port, _ := net.SplitHostPort(addr)
		fmt.Fprintf(&out, `---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %s-%d-%s, labels: {kubernetes.io/service-name: %[1]s}}
addressType: IPv4
ports: [{name: http, port: %[3]s}]
endpoints: [{addresses: [%s], conditions: {%s}}]
`, service, i, port, host, conditions)
	}
	return out.String()
}

// TestBadInput runs the suite of bad input.
func TestBadInput(t *testing.T) {
	doortest.Run(t, func(t *testing.T, c affinity.Config) string {
		text := suite(c)
		set, _ := load(t, text)
		r := newRemora(t)
		compiled := r.apply(t, set)
		return Start(t, &Mesh{Set: set, Generated: write(t, set, compiled, options(nil)), Processors: []string{r.addr}}).Addr
	})
}

// suite is the configuration of the suite of bad input as users would write it.
func suite(c affinity.Config) string {
	var text strings.Builder
	fmt.Fprintf(&text, `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  selector: {istio: ingressgateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]
---
apiVersion: remora.dev/v1alpha1
kind: AffinityPolicy
metadata: {name: gw}
spec:
  targetRefs: [{group: networking.istio.io, kind: Gateway, name: gw}]
  promote: [{field: target, header: target}, {field: username, header: x-user}]
  maxBody: %d
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: vs}
spec:
  hosts: ["*"]
  gateways: [gw]
  http:
`, c.Listeners[0].MaxBody)
	for _, s := range c.Services {
		fmt.Fprintf(&text, "  - match: [{headers: {target: {exact: %s}}}]\n    route: [{destination: {host: %[1]s}}]\n", s.Name)
	}
	for _, s := range c.Services {
		fmt.Fprintf(&text, `---
apiVersion: v1
kind: Service
metadata: {name: %s}
spec: {ports: [{name: http, port: 8080}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: %[1]s}
spec: {host: %[1]s, trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user}}}}
`, s.Name)
		if s.WithoutKey == affinity.Reject {
			fmt.Fprintf(&text, "---\napiVersion: remora.dev/v1alpha1\nkind: AffinityPolicy\nmetadata: {name: %s}\nspec: {targetRefs: [{kind: Service, name: %[1]s}], withoutKey: Reject}\n", s.Name)
		}
		for _, e := range s.Endpoints {
			text.WriteString(sliceOf(s.Name, "ready: true", e.Addr))
		}
	}
	return text.String()
}
