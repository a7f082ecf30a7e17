package gateway

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/doortest"
	"github.com/remora-proxy/remora/internal/problem"
	"github.com/remora-proxy/remora/internal/session"
)

// patience is how long a test waits for what must happen. Only a test that fails waits so long.
const patience = 20 * time.Second

// services says which replicas (ip:port) the services backend-1 … backend-n have.
type services [][]string

func configure(s services) affinity.Config { return doortest.Config(s...) }

// rig is a gateway under test.
type rig struct {
	t      *testing.T
	g      *Gateway
	engine *affinity.Engine
	addr   string
}

// start runs a gateway for the services. At the test's end it is closed, and nothing may be left of any request.
func start(t *testing.T, s services, change ...func(*Config)) *rig {
	t.Helper()
	return startWith(t, configure(s), change...)
}

func startWith(t *testing.T, c affinity.Config, change ...func(*Config)) *rig {
	t.Helper()
	return startOn(t, session.NewTable(session.Options{}), c, change...)
}

func startOn(t *testing.T, store session.Store, c affinity.Config, change ...func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, engine: affinity.New(affinity.Options{Store: store})}
	r.apply(c)
	config := Config{Engine: r.engine, Workers: 2}
	for _, f := range change {
		f(&config)
	}
	g, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	r.g = g
	r.addr = r.listen(80).Addr().String()
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
		r.nothingLeft()
	})
	return r
}

func (r *rig) apply(c affinity.Config) {
	r.t.Helper()
	snapshot, err := affinity.Compile(c)
	if err == nil {
		err = r.engine.Apply(snapshot, session.InstantOf(time.Now()))
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) listen(port uint16) net.Listener {
	r.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err == nil {
		err = r.g.Add(ln, port)
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return ln
}

// turns sets how many steps a connection takes before others get their turn.
func (r *rig) turns(steps int) {
	r.t.Helper()
	for _, w := range r.g.workers {
		if err := w.loop.Do(context.Background(), func() { w.turn = steps }); err != nil {
			r.t.Fatal(err)
		}
	}
}

// nothingLeft checks that every hold, connection and buffer was given back.
func (r *rig) nothingLeft() {
	r.t.Helper()
	for _, ep := range r.engine.Endpoints(session.InstantOf(time.Now())) {
		if ep.Held != 0 || ep.InFlight != 0 {
			r.t.Errorf("endpoint %s: %d sessions are held and %d requests in flight after the end", ep.Addr, ep.Held, ep.InFlight)
		}
	}
	if n := r.g.open.Load(); n != 0 {
		r.t.Errorf("%d client connections are counted after the end", n)
	}
	for i, w := range r.g.workers {
		if w.stats.clients != 0 || w.stats.upstreams != 0 || w.stats.upstreamsIdle != 0 || len(w.pools) != 0 || w.load.Load() != 0 {
			r.t.Errorf("worker %d: clients %d, upstreams %d, idle %d, pools %d, load %d after the end",
				i, w.stats.clients, w.stats.upstreams, w.stats.upstreamsIdle, len(w.pools), w.load.Load())
		}
		if w.buffers.inUse != 0 {
			r.t.Errorf("worker %d: %d buffers are in use after the end", i, w.buffers.inUse)
		}
	}
}

// stats are the counters of all workers now.
func (r *rig) stats() *stats {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, err := r.g.collect(ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// until waits for a condition that becomes true without any event that the test could wait for.
func (r *rig) until(what string, cond func() bool) {
	r.t.Helper()
	waitFor(r.t, what, cond)
}

func waitFor(t *testing.T, what string, cond func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline.C:
			t.Fatalf("did not happen: %s", what)
		}
	}
}

// endpoint is what the engine says of the endpoint at an address.
func (r *rig) endpoint(addr string) affinity.EndpointView {
	for _, ep := range r.engine.Endpoints(session.InstantOf(time.Now())) {
		if ep.Addr == addr {
			return ep
		}
	}
	return affinity.EndpointView{}
}

func (r *rig) inFlight(addr string) int { return r.endpoint(addr).InFlight }

func (r *rig) state(addr string) string { return r.endpoint(addr).State }

// --- a client on the wire ---

// wire is a connection that a test reads and writes byte by byte.
type wire struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func (r *rig) dial() *wire { return dialWire(r.t, r.addr) }

func dialWire(t *testing.T, addr string) *wire {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return newWire(t, c)
}

func newWire(t *testing.T, c net.Conn) *wire {
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return &wire{t: t, Conn: c, r: bufio.NewReader(c)}
}

// send writes text in which each line ends with LF alone, as CRLF lines; raw writes bytes as they are.
func (w *wire) send(text string) { w.raw(strings.ReplaceAll(text, "\n", "\r\n")) }

func (w *wire) raw(text string) {
	w.t.Helper()
	if _, err := io.WriteString(w.Conn, text); err != nil {
		w.t.Errorf("write: %v", err)
	}
}

// line reads one line without its CRLF.
func (w *wire) line() string {
	w.t.Helper()
	s, err := w.r.ReadString('\n')
	if err != nil {
		w.t.Errorf("read a line: %v (after %q)", err, s)
	}
	return strings.TrimSuffix(s, "\r\n")
}

// head reads up to an empty line and returns the lines before it.
func (w *wire) head() []string {
	w.t.Helper()
	var lines []string
	for {
		l := w.line()
		if l == "" || w.t.Failed() {
			return lines
		}
		lines = append(lines, l)
	}
}

// bytes reads exactly n bytes.
func (w *wire) bytes(n int) string {
	w.t.Helper()
	b := make([]byte, n)
	if n, err := io.ReadFull(w.r, b); err != nil {
		w.t.Errorf("read: %v (after %q)", err, b[:n])
	}
	return string(b)
}

// response reads one response with its body.
func (w *wire) response(method string) *reply {
	w.t.Helper()
	resp, err := http.ReadResponse(w.r, &http.Request{Method: method})
	if err != nil {
		w.t.Errorf("read a response: %v", err)
		return &reply{Response: &http.Response{}}
	}
	body, err := io.ReadAll(resp.Body)
	return &reply{Response: resp, body: string(body), err: err}
}

// ends checks that the peer has closed the connection, without a byte before. It may do so by a reset.
func (w *wire) ends() {
	w.t.Helper()
	var b [256]byte
	n, err := w.r.Read(b[:])
	if n > 0 || err == nil {
		w.t.Errorf("got %q where the connection should have ended", b[:n])
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		w.t.Errorf("the connection was not closed: %v", err)
	}
}

// endsAfter reads what the peer still sends, and checks that it closes the connection then.
func (w *wire) endsAfter() {
	w.t.Helper()
	_, err := io.Copy(io.Discard, w.r)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		w.t.Errorf("the connection was not closed: %v", err)
	}
}

// reply is a response that was read.
type reply struct {
	*http.Response
	body string
	err  error // from reading the body
}

// problem is the code of a problem+json body.
func (r *reply) problem() problem.Code {
	if r.Header.Get("Content-Type") != problem.ContentType {
		return ""
	}
	_, after, _ := strings.Cut(r.body, `"code":"`)
	code, _, _ := strings.Cut(after, `"`)
	return problem.Code(code)
}

// expect checks status and code ("" for no problem).
func (w *wire) expect(status int, code problem.Code) *reply {
	w.t.Helper()
	r := w.response("GET")
	if r.StatusCode != status || r.problem() != code {
		w.t.Errorf("got %d %q, want %d %q; body: %s", r.StatusCode, r.problem(), status, code, r.body)
	}
	return r
}

// --- replicas ---

// replica is a backend that a test scripts: it hands out each connection that it gets.
type replica struct {
	t     *testing.T
	ln    net.Listener
	addr  string
	conns chan *wire
}

func newReplica(t *testing.T) *replica {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &replica{t: t, ln: ln, addr: ln.Addr().String(), conns: make(chan *wire, 64)}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				close(r.conns)
				return
			}
			r.conns <- newWire(t, c)
		}
	}()
	return r
}

// conn waits for the next connection.
func (r *replica) conn() *wire {
	r.t.Helper()
	select {
	case c, ok := <-r.conns:
		if ok {
			return c
		}
	case <-time.After(patience):
	}
	r.t.Fatal("the replica got no connection")
	return nil
}

// quiet checks that no connection is waiting.
func (r *replica) quiet() {
	r.t.Helper()
	select {
	case c, ok := <-r.conns:
		if ok {
			r.t.Errorf("the replica got a connection from %s that it should not have got", c.RemoteAddr())
		}
	default:
	}
}

// served is an HTTP server that answers with what it saw.
type served struct {
	addr  string
	mu    sync.Mutex
	seen  []*seenRequest
	close func()
}

type seenRequest struct {
	*http.Request
	body string
}

// serve runs a backend with handler (nil: it answers "ok"), which gets requests with their bodies read.
func serve(t *testing.T, handler http.HandlerFunc) *served {
	t.Helper()
	s := &served{}
	run := serveRaw(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		s.mu.Lock()
		s.seen = append(s.seen, &seenRequest{Request: r, body: string(body)})
		s.mu.Unlock()
		r.Body = io.NopCloser(bytes.NewReader(body))
		if handler != nil {
			handler(w, r)
			return
		}
		io.WriteString(w, "ok")
	})
	s.addr, s.close = run.addr, run.close
	return s
}

// serveRaw runs a backend with a handler that reads the body itself.
func serveRaw(t *testing.T, handler http.HandlerFunc) *served {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &served{addr: ln.Addr().String()}
	srv := &http.Server{Handler: handler}
	done := make(chan struct{})
	go func() { defer close(done); srv.Serve(ln) }()
	s.close = sync.OnceFunc(func() { srv.Close(); <-done })
	t.Cleanup(s.close)
	return s
}

func (s *served) requests() []*seenRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}

// last is the request that came last.
func (s *served) last(t *testing.T) *seenRequest {
	t.Helper()
	all := s.requests()
	if len(all) == 0 {
		t.Fatal("the backend has seen no request")
	}
	return all[len(all)-1]
}

func itoa(n int) string { return strconv.Itoa(n) }

// refusing is an address at which connections are refused.
func refusing(t *testing.T) string {
	t.Helper()
	fd, addr := bound(t)
	t.Cleanup(func() { unix.Close(fd) })
	return addr
}

// bound is a socket that has an address, which nobody else gets, and does not listen.
func bound(t *testing.T) (fd int, addr string) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	sa, err := unix.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	return fd, fmt.Sprintf("127.0.0.1:%d", sa.(*unix.SockaddrInet4).Port)
}

// hit is the use case's request, in lines that end with LF.
func hit(user, target string) string {
	body := fmt.Sprintf(`{"username":%q,"target":%q}`, user, target)
	return fmt.Sprintf("POST /hit_backend HTTP/1.1\nHost: gw\nContent-Type: application/json\nContent-Length: %d\n\n%s", len(body), body)
}

// get is a request without a body, with further header lines.
func get(path string, headers ...string) string {
	return "GET " + path + " HTTP/1.1\nHost: gw\ntarget: backend-1\nx-user: ann\n" + strings.Join(append(headers, "", ""), "\n")
}
