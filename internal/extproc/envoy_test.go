package extproc_test

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/doortest"
	"github.com/remora-proxy/remora/internal/envoytest"
	"github.com/remora-proxy/remora/internal/extproc"
	"github.com/remora-proxy/remora/internal/generate"
	"github.com/remora-proxy/remora/internal/session"
)

// patience is how long a test waits for what must happen.
const patience = time.Minute

// bodyModes are the ways in which the processor works.
var bodyModes = []struct {
	name   string
	change []string // of what is printed
}{
	{"NONE", nil},
	{"BUFFERED", []string{bodyMode, "request_body_mode: BUFFERED"}},
	{"FULL_DUPLEX_STREAMED", fullDuplex},
}

const bodyMode = "request_body_mode: NONE"

// fullDuplex is what has to be changed for FULL_DUPLEX_STREAMED in both directions.
var fullDuplex = []string{
	bodyMode, "request_body_mode: FULL_DUPLEX_STREAMED",
	"response_header_mode: SKIP", "response_header_mode: SEND",
	"response_body_mode: NONE", "response_body_mode: FULL_DUPLEX_STREAMED",
}

// configure is what `remora generate envoy` prints for c, with a listener on a free port and long time limits.
func configure(t *testing.T, c *affinity.Config, processors ...string) string {
	t.Helper()
	anyPort := netip.MustParseAddrPort("127.0.0.1:0")
	text, err := generate.Envoy(c, generate.EnvoyOptions{
		Listen: func(uint16) netip.AddrPort { return anyPort }, Admin: anyPort, Processors: processors,
	})
	if err != nil {
		t.Fatal(err)
	}
	return envoytest.Patient(text)
}

// door is an Envoy, its processor, and the engine behind it, whose time stands still until it is set.
type door struct {
	engine *affinity.Engine
	clock  atomic.Int64
	addr   string
	envoy  *envoytest.Envoy
}

func (d *door) now() session.Instant { return session.Instant(d.clock.Load()) }

// newDoor starts them. change changes Envoy's configuration, where a test needs another one.
func newDoor(t *testing.T, c affinity.Config, change ...string) *door {
	t.Helper()
	return newDoorOn(t, session.NewTable(session.Options{}), c, change...)
}

func newDoorOn(t *testing.T, store session.Store, c affinity.Config, change ...string) *door {
	t.Helper()
	d := &door{engine: affinity.New(affinity.Options{Store: store})}
	d.clock.Store(int64(session.InstantOf(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))))
	d.apply(t, c)
	text := configure(t, &c, serve(t, extproc.Config{Engine: d.engine, Now: d.now}))
	for i := 0; i < len(change); i += 2 {
		if strings.Count(text, change[i]) != 1 {
			t.Fatalf("the configuration does not have %q once", change[i])
		}
		text = strings.Replace(text, change[i], change[i+1], 1)
	}
	d.envoy = envoytest.Start(t, text)
	d.addr = d.envoy.Addr
	return d
}

// apply makes c the engine's configuration.
func (d *door) apply(t *testing.T, c affinity.Config) {
	t.Helper()
	snapshot, err := affinity.Compile(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.engine.Apply(snapshot, d.now()); err != nil {
		t.Fatal(err)
	}
}

// serve runs a processor and returns its address.
func serve(t *testing.T, c extproc.Config) string {
	t.Helper()
	p, err := extproc.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return run(t, p)
}

// run serves a processor until the test has ended, and returns its address.
func run(t *testing.T, p *extproc.Server) string {
	t.Helper()
	ln := listen(t)
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

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// waitInFlight waits until n requests are in flight.
func (d *door) waitInFlight(t *testing.T, n int) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; runtime.Gosched() {
		inFlight := 0
		for _, ep := range d.engine.EndpointStats(d.now()) {
			inFlight += ep.InFlight
		}
		switch {
		case inFlight == n:
			return
		case time.Now().After(deadline):
			t.Fatalf("%d requests are in flight, want %d", inFlight, n)
		}
	}
}

func TestBadInput(t *testing.T) {
	for _, mode := range bodyModes {
		t.Run(mode.name, func(t *testing.T) {
			doortest.Run(t, func(t *testing.T, c affinity.Config) string { return newDoor(t, c, mode.change...).addr })
		})
	}
}

// replica runs a replica and returns its address.
func replica(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	ln := listen(t)
	srv := &http.Server{Handler: handler, ReadHeaderTimeout: patience}
	go srv.Serve(ln)
	t.Cleanup(func() { srv.Close() })
	return ln.Addr().String()
}

// dial opens a connection to Envoy.
func (d *door) dial(t *testing.T) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", d.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn, bufio.NewReader(conn)
}

// echo is a replica that speaks after a WebSocket handshake: it sends back what it gets.
func echo(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") == "" {
		fmt.Fprintf(w, "%s %s", r.Header.Get("X-User"), r.Header.Get("X-Remora-Session"))
		return
	}
	conn, rw, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	rw.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	rw.Flush()
	io.Copy(conn, rw)
}

// session asks as ann and returns what the replica was told of her session.
func (d *door) session(t *testing.T) string {
	t.Helper()
	resp, err := http.Post("http://"+d.addr+"/", "application/json", strings.NewReader(`{"target":"backend-1","username":"ann"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	user, state, _ := strings.Cut(string(text), " ")
	if resp.StatusCode != http.StatusOK || user != "ann" {
		t.Fatalf("got %d %q", resp.StatusCode, text)
	}
	return state
}

func (d *door) pass(by time.Duration) {
	d.clock.Add(int64(by / time.Millisecond))
	d.engine.SweepAll(d.now())
}

// TestNothingOfRemoraCanBeForged sends what only Remora may say. A path comes to the replica as the route was chosen by it.
func TestNothingOfRemoraCanBeForged(t *testing.T) {
	for _, mode := range bodyModes {
		t.Run(mode.name, func(t *testing.T) {
			forge(t, append([]string{"normalize_path: true", "normalize_path: false"}, mode.change...))
		})
	}
}

func forge(t *testing.T, change []string) {
	t.Helper()
	seen := make(chan *http.Request, 1)
	address := replica(t, func(_ http.ResponseWriter, r *http.Request) { seen <- r })
	d := newDoor(t, doortest.Config([]string{address}), change...)
	conn, r := d.dial(t)
	io.WriteString(conn, "GET /a/../b%41?q=../1 HTTP/1.1\r\nHost: door\r\ntarget: backend-1\r\nx-remora-session: moved\r\nx_remora_session: moved\r\n"+
		"x-remora-endpoint: MTI3LjAuMC4xOjE=\r\nx-remora-service: backend-2\r\nx-remora-anything: 1\r\nx-gateway-anything: 1\r\nx_gateway_anything: 1\r\n"+
		"x-gateway-destination-endpoint: 127.0.0.1:1\r\nx_user: bob\r\nx-other_one: stays\r\n\r\n")
	resp, err := http.ReadResponse(r, nil)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("got %v, %v", resp, err)
	}
	isInternal := func(name string) bool {
		name = strings.ToLower(name)
		return strings.Contains(name, "remora") || strings.Contains(name, "gateway")
	}
	got := <-seen
	if picked := got.Header.Get(extproc.PickedKey); picked == address { // by Remora
		got.Header.Del(extproc.PickedKey)
	}
	for name := range got.Header {
		if isInternal(name) || strings.EqualFold(name, "x_user") {
			t.Errorf("the replica saw %s: %s", name, got.Header.Get(name))
		}
	}
	if got.Header.Get("X-Other_one") != "stays" {
		t.Error("a header that is nobody's business was dropped")
	}
	if got.RequestURI != "/bA?q=../1" {
		t.Errorf("the replica saw %s", got.RequestURI)
	}
	for name := range resp.Header {
		if isInternal(name) {
			t.Errorf("the client saw %s", name)
		}
	}
}

// TestACookieIsSet: with the response's headers, which the processor asks for where it may have to set a cookie.
func TestACookieIsSet(t *testing.T) {
	c := doortest.Config([]string{replica(t, func(http.ResponseWriter, *http.Request) {})})
	c.Services[0].Key = affinity.Key{Kind: affinity.CookieKey, Name: "user", SetTTL: true, TTL: time.Minute}
	for _, mode := range bodyModes {
		d := newDoor(t, c, mode.change...)
		for _, tt := range []struct {
			name, body, cookie string
			set                int
		}{
			{"a request that the headers decide", "", "", 1},
			{"a request that the body decides", `{"target":"backend-1"}`, "", 1},
			{"a request that the headers decide, with the cookie", "", "user=ann", 0},
			{"a request that the body decides, with the cookie", `{"target":"backend-1"}`, "user=ann", 0},
		} {
			t.Run(mode.name+", "+tt.name, func(t *testing.T) {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+d.addr+"/", strings.NewReader(tt.body))
				if err != nil {
					t.Fatal(err)
				}
				if tt.body == "" {
					req.Header.Set("target", "backend-1")
				} else {
					req.Header.Set("content-type", "application/json")
				}
				if tt.cookie != "" {
					req.Header.Set("cookie", tt.cookie)
				}
				resp, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				if resp.StatusCode != http.StatusOK {
					t.Errorf("got %s", resp.Status)
				}
				if cookies := resp.Cookies(); len(cookies) != tt.set || tt.set > 0 && (cookies[0].Name != "user" || len(cookies[0].Value) != 32) {
					t.Errorf("the cookies are %v, want %d", cookies, tt.set)
				}
			})
		}
	}
}

// TestTrailersThatWouldPassForHeaders sends them over HTTP/2, and the replica gets them over HTTP/2: over HTTP/1.1 Envoy drops trailers.
func TestTrailersThatWouldPassForHeaders(t *testing.T) {
	seen := make(chan http.Header, 1)
	ln := listen(t)
	h2c := new(http.Protocols)
	h2c.SetUnencryptedHTTP2(true)
	srv := &http.Server{ReadHeaderTimeout: patience, Protocols: h2c, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		got := r.Trailer
		maps.DeleteFunc(got, func(_ string, values []string) bool { return len(values) == 0 }) // announced, and not there
		seen <- got
	})}
	go srv.Serve(ln)
	t.Cleanup(func() { srv.Close() })
	c := doortest.Config([]string{ln.Addr().String()})
	c.Services[0].HTTP2 = true
	transport := &http.Transport{Protocols: h2c}
	t.Cleanup(transport.CloseIdleConnections)
	for _, mode := range bodyModes {
		d := newDoor(t, c, mode.change...)
		for _, body := range []string{"text/plain", "application/json"} {
			t.Run(mode.name+", "+body, func(t *testing.T) {
				pr, pw := io.Pipe()
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+d.addr+"/", pr)
				if err != nil {
					t.Fatal(err)
				}
				req.Header = http.Header{"Content-Type": {body}, "Target": {"backend-1"}, "X-User": {"bob"}}
				req.Trailer = http.Header{
					"X-User": {"eve"}, "Target": {"backend-2"}, "X-Remora-Session": {"moved"}, "X-Gateway-Q": {"1"}, "X-Checksum": {"1"},
				}
				go func() {
					io.WriteString(pw, `{"username":"ann"}`)
					pw.Close()
				}()
				resp, err := transport.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				if resp.StatusCode != http.StatusOK {
					t.Fatalf("got %s", resp.Status)
				}
				if got := <-seen; len(got) != 1 || got.Get("X-Checksum") != "1" {
					t.Errorf("the replica got the trailers %v", got)
				}
			})
		}
	}
}

// TestAReplicaThatIsDownIsReplacedByARetry: the substitute hears that it does not have the state of its users, and nobody else
// hears anything.
func TestAReplicaThatIsDownIsReplacedByARetry(t *testing.T) {
	const users = 40
	replicas := map[string]*httptest.Server{}
	var addresses []string
	for _, name := range []string{"a", "b"} {
		replicas[name] = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "%s %s", name, r.Header.Get("X-Remora-Session"))
		}))
		defer replicas[name].Close()
		addresses = append(addresses, replicas[name].Listener.Addr().String())
	}
	d := newDoor(t, doortest.Config(addresses))
	call := func(user int) (name, heard string) {
		t.Helper()
		resp, err := http.Post("http://"+d.addr+"/", "application/json", strings.NewReader(fmt.Sprintf(`{"target":"backend-1","username":"user %d"}`, user)))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		text, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("user %d: got %d %s, %v", user, resp.StatusCode, text, err)
		}
		name, heard, _ = strings.Cut(string(text), " ")
		return name, heard
	}
	at := map[int]string{}
	for user := range users {
		name, heard := call(user)
		if at[user] = name; heard != "new" {
			t.Fatalf("user %d: %s heard %s", user, name, heard)
		}
	}
	replicas["b"].Close()
	for user := range users {
		want := "existing"
		if at[user] == "b" {
			want = "moved"
		}
		if name, heard := call(user); name != "a" || heard != want {
			t.Errorf("user %d, who was at %s: %s heard %s, want %s", user, at[user], name, heard, want)
		}
	}
}

// TestAPlainEndpointIsForOverrideHost has the load balancing policy in the session filter's place, as Envoy Gateway configures it.
func TestAPlainEndpointIsForOverrideHost(t *testing.T) {
	c := doortest.Config([]string{replica(t, echo), replica(t, echo)})
	snapshot, err := affinity.Compile(c)
	if err != nil {
		t.Fatal(err)
	}
	d := &door{engine: affinity.New(affinity.Options{Store: session.NewTable(session.Options{})})}
	d.clock.Store(int64(session.InstantOf(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))))
	if err := d.engine.Apply(snapshot, d.now()); err != nil {
		t.Fatal(err)
	}
	const policy = `    load_balancing_policy:
      policies:
      - typed_extension_config:
          name: envoy.load_balancing_policies.override_host
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.load_balancing_policies.override_host.v3.OverrideHost
            override_host_sources: [{header: x-remora-endpoint}]
            fallback_policy:
              policies:
              - typed_extension_config:
                  name: envoy.load_balancing_policies.random
                  typed_config: {"@type": type.googleapis.com/envoy.extensions.load_balancing_policies.random.v3.Random}
`
	text := configure(t, &c, serve(t, extproc.Config{Engine: d.engine, Now: d.now, PlainEndpoint: true}))
	cluster := "  - name: " + c.Services[0].Name + "\n    type: STATIC\n    connect_timeout: 2s\n"
	if strings.Count(text, cluster+"    lb_policy: RING_HASH\n") != 1 {
		t.Fatal("the configuration does not have the cluster")
	}
	text = strings.Replace(text, cluster+"    lb_policy: RING_HASH\n", cluster+policy, 1)
	before, hide, _ := strings.Cut(text, "- name: remora.hide") // the policy reads the header behind all filters
	text = before + "- name: remora.hide" + strings.Replace(hide, "{remove: x-remora-endpoint}, ", "", 1)
	d.addr = envoytest.Start(t, text).Addr
	if state := d.session(t); state != "new" {
		t.Errorf("the first request heard %s", state)
	}
	for range 20 { // one in a million times, chance would do the same
		if state := d.session(t); state != "existing" {
			t.Errorf("a further request heard %s", state)
		}
	}
	d.waitInFlight(t, 0)
	for _, s := range d.engine.Stats().Services {
		for _, n := range s.Diverted {
			if n.N > 0 {
				t.Errorf("%d requests were served elsewhere: %v", n.N, n.Why)
			}
		}
	}
}
