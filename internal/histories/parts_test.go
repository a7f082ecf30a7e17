package histories

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/admin"
	_ "github.com/remora-proxy/remora/internal/cli" // what is built: the go command takes no result from before it changed
	"github.com/remora-proxy/remora/internal/programtest"
	"github.com/remora-proxy/remora/internal/redistest"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// start runs remora until the test has ended.
func start(t *testing.T, args ...string) *programtest.Program {
	t.Helper()
	return programtest.Run(t, exec.Command(programtest.Remora(t), args...))
}

// gateway is one of the gateways: a process, and when that was killed another.
type gateway struct {
	*programtest.Program
	proxy *proxy
	args  []string
	at    atomic.Pointer[place]
}

// place is where a process of a gateway is.
type place struct {
	url     string
	api     *admin.Client
	metrics string // URL
	life    int
	began   time.Duration // before its process was started
}

// cluster is all that runs.
type cluster struct {
	t        *testing.T
	with     setting
	redis    *redistest.Server
	follower *redistest.Server // Redis's replica, and the sentinel of both; nil without
	sentinel *redistest.Sentinel
	replicas []*programtest.Program // nil: killed
	names    []string
	gateways [gateways]*gateway

	began time.Time
	mu    sync.Mutex
	h     history
}

const (
	service  = "rooms"
	replicas = 4
)

// setting is how a cluster is set up.
type setting struct {
	apart    bool // the gateways have no store
	hashKey  bool // they are given the key that users are hashed with
	sentinel bool // Redis has a replica, and a sentinel that the gateways ask for the master; there are no proxies then
}

// startCluster runs replicas, a Redis and the gateways.
func startCluster(t *testing.T, with setting) *cluster {
	t.Helper()
	c := &cluster{t: t, with: with, redis: redistest.Start(t, redistest.Options{}), h: history{deaths: map[string]time.Duration{}}}
	if with.sentinel {
		c.follower = c.redis.Replica()
		c.sentinel = c.redis.Sentinel("sessions", c.follower)
	}
	var addresses []string
	for i := range replicas {
		name := fmt.Sprintf("%s-%d", service, i)
		p := start(t, "backend", "--service", service, "--name", name, "--listen", "127.0.0.1:0", "--exit-on-eof")
		_, address, _ := strings.Cut(p.Line("listens on"), " listens on ")
		c.replicas, c.names, addresses = append(c.replicas, p), append(c.names, name), append(addresses, address)
	}
	folder := configure(t, addresses)
	args := []string{"serve", "-f", filepath.Join(folder, "config"), "--port", "80=0", "--admin", "127.0.0.1:0", "--log-format", "json", "--exit-on-eof"}
	if with.hashKey {
		args = append(args, "--hash-key-file", filepath.Join(folder, "key"))
	}
	for i := range c.gateways {
		g := &gateway{proxy: startProxy(t, c.redis.Addr), args: args}
		if !with.apart {
			store := "redis://" + g.proxy.addr()
			if with.sentinel {
				store = c.sentinel.URL()
			}
			g.args = append(args[:len(args):len(args)], "--store", store, "--store-timeout", storeTimeout.String())
		}
		c.gateways[i] = g
		g.run(t, 0, 0)
	}
	c.began = time.Now()
	return c
}

// run starts the gateway's process, and waits until it is ready.
func (g *gateway) run(t *testing.T, life int, began time.Duration) {
	t.Helper()
	g.Program = start(t, g.args...)
	address := g.Logged("admin API", "address")
	api, err := admin.NewClient(address)
	must(t, err)
	at := &place{url: "http://" + g.Logged("listening", "address"), api: api, metrics: "http://" + address + "/metrics", life: life, began: began}
	g.Line(`"msg":"ready"`)
	g.at.Store(at)
}

const objects = `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: door}
spec:
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ["*"]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: rooms}
spec:
  hosts: ["*"]
  gateways: [door]
  http:
  - route: [{destination: {host: rooms.default.svc.cluster.local, port: {number: 8080}}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: rooms}
spec:
  host: rooms.default.svc.cluster.local
  trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user}}}
---
apiVersion: v1
kind: Service
metadata: {name: rooms}
spec:
  ports: [{port: 8080}]
---
apiVersion: remora.dev/v1alpha1
kind: AffinityPolicy
metadata: {name: rooms}
spec:
  targetRefs: [{group: networking.istio.io, kind: Gateway, name: door}]
  idleTimeout: %s
  loadBoundPercent: 101 # so that the hash alone often says another replica than where a session is
`

// configure writes the gateways' configuration into a folder.
func configure(t *testing.T, addresses []string) string {
	t.Helper()
	folder := t.TempDir()
	var text strings.Builder
	fmt.Fprintf(&text, objects, idleTime)
	for i, address := range addresses {
		host, port, err := net.SplitHostPort(address)
		must(t, err)
		fmt.Fprintf(&text, `---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: rooms-%d
  labels: {kubernetes.io/service-name: rooms}
addressType: IPv4
ports: [{port: %s}]
endpoints: [{addresses: [%s], conditions: {ready: true}}]
`, i, port, host)
	}
	must(t, os.Mkdir(filepath.Join(folder, "config"), 0o700))
	must(t, os.WriteFile(filepath.Join(folder, "config", "all.yaml"), []byte(text.String()), 0o600))
	must(t, os.WriteFile(filepath.Join(folder, "key"), []byte("000102030405060708090a0b0c0d0e0f\n"), 0o600))
	return folder
}

// now is the time since the run began.
func (c *cluster) now() time.Duration { return time.Since(c.began) }

// record changes the history.
func (c *cluster) record(change func(*history)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.h)
}

// killReplica ends a replica for good.
func (c *cluster) killReplica(i int) {
	c.record(func(h *history) { h.deaths[c.names[i]] = c.now() })
	c.replicas[i].Kill()
	c.replicas[i] = nil
}

// killGateway ends a gateway; startGateway starts it again.
func (c *cluster) killGateway(i int) {
	c.record(func(h *history) { h.kills[i] = append(h.kills[i], c.now()) })
	c.gateways[i].Kill()
	c.complaints(i)
}

// complaints takes what a gateway's log has said of the store.
func (c *cluster) complaints(i int) {
	for line := range strings.Lines(c.gateways[i].Log()) {
		if said, ok := complaintOf(i, c.began, line); ok {
			c.record(func(h *history) { h.complaints = append(h.complaints, said) })
		}
	}
}

func (c *cluster) startGateway(i int) {
	c.t.Helper()
	c.gateways[i].run(c.t, c.gateways[i].at.Load().life+1, c.now())
}
