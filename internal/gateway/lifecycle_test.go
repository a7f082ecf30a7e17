package gateway

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestAGracefulStopFinishesWhatIsUnderWay(t *testing.T) {
	backend := newReplica(t)
	r := start(t, services{{backend.addr}})
	idle, fresh, busy, reading := r.dial(), r.dial(), r.dial(), r.dial()
	idle.send("GET / HTTP/1.1\nHost: gw\n\n")
	idle.expect(404, "no_route")
	busy.send(get("/busy"))
	b := backend.conn()
	b.head()
	reading.send("GET / HTTP/1.1\nHost: gw\nX-Half")
	r.until("all are connected", func() bool { s := r.stats(); return s.clients == 4 && s.buffers == 2 })

	stopped := make(chan error, 1)
	go func() { stopped <- r.g.Shutdown(context.Background()) }()
	idle.ends()
	fresh.ends()
	if _, err := net.Dial("tcp", r.addr); err == nil {
		t.Error("new connections are still accepted")
	}
	reading.send(": 1\n\n")
	if got := reading.expect(404, "no_route"); !got.Close {
		t.Error("the answer does not say that the connection closes")
	}
	select {
	case err := <-stopped:
		t.Fatalf("the gateway did not wait for the request under way: %v", err)
	default:
	}
	b.send("HTTP/1.1 200 OK\nContent-Length: 4\n\ndone")
	if got := busy.expect(200, ""); got.body != "done" || !got.Close {
		t.Errorf("body %q, close %v", got.body, got.Close)
	}
	busy.Close()
	reading.Close()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	b.ends()
	if err := r.g.Add(nil, 80); !errors.Is(err, ErrStopped) {
		t.Errorf("Add after Shutdown: %v", err)
	}
}

func TestAGracefulStopHasADeadline(t *testing.T) {
	backend := newReplica(t)
	r := start(t, services{{backend.addr}})
	w := r.dial()
	w.send(get("/"))
	b := backend.conn()
	b.head()
	ctx, cancel := context.WithTimeout(context.Background(), short)
	defer cancel()
	if err := r.g.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown: %v", err)
	}
	w.ends()
	b.ends()
	if n := r.stats().endings[endStopped]; n != 1 {
		t.Errorf("%d exchanges were cut off, want 1", n)
	}
}

func TestListenersComeAndGo(t *testing.T) {
	backend := serve(t, nil)
	c := configure(services{{backend.addr}})
	c.Routes.Listeners[0].Port, c.Listeners[0].Port = 8443, 8443
	r := startWith(t, c)
	old := r.dial()
	old.send(get("/"))
	old.expect(404, "no_route") // port 80 has no routes

	ln := r.listen(8443)
	w := dialWire(t, ln.Addr().String())
	w.send(get("/"))
	w.expect(200, "")

	if r.g.Remove(ln); r.g.Remove(ln) {
		t.Error("a listener was removed twice")
	}
	w.ends()
	if _, err := net.Dial("tcp", ln.Addr().String()); err == nil {
		t.Error("a removed listener still accepts")
	}
	old.send(get("/"))
	old.expect(404, "no_route")
}

func TestARemovedListenersRequestsFinish(t *testing.T) {
	backend := newReplica(t)
	r := start(t, services{{backend.addr}})
	ln := r.listen(80)
	w := dialWire(t, ln.Addr().String())
	w.send(get("/"))
	b := backend.conn()
	b.head()
	r.g.Remove(ln)
	b.send("HTTP/1.1 200 OK\nContent-Length: 0\n\n")
	if got := w.expect(200, ""); !got.Close {
		t.Error("the response does not say that the connection closes")
	}
}

func TestAListenerWithoutASocketIsRefused(t *testing.T) {
	r := start(t, services{})
	if err := r.g.Add(fakeListener{}, 80); err == nil || !strings.Contains(err.Error(), "no socket") {
		t.Errorf("got %v", err)
	}
}

type fakeListener struct{ net.Listener }

func (fakeListener) Addr() net.Addr { return &net.TCPAddr{} }

func TestTheLimitOnConnections(t *testing.T) {
	r := start(t, services{}, func(c *Config) { c.Limits.Connections = 2 })
	ask := func(w *wire) { w.send("GET / HTTP/1.1\nHost: gw\n\n") }
	a, b, c := r.dial(), r.dial(), r.dial() // the third one waits in the backlog
	ask(a)
	a.expect(404, "no_route")
	ask(b)
	b.expect(404, "no_route")
	ask(c)
	r.until("accepting rests", func() bool { return r.stats().acceptPauses > 0 })
	if n := r.stats().accepted; n != 2 {
		t.Errorf("%d connections were accepted", n)
	}
	a.Close()
	c.expect(404, "no_route")
}

func TestTheLimitOnRequestsOfAConnection(t *testing.T) {
	r := start(t, services{}, func(c *Config) { c.Limits.RequestsPerConnection = 3 })
	w := r.dial()
	for i := range 3 {
		w.send("GET / HTTP/1.1\nHost: gw\n\n")
		if got := w.expect(404, "no_route"); got.Close != (i == 2) {
			t.Errorf("request %d: close %v", i+1, got.Close)
		}
	}
	w.ends()
}

func TestTheLimitOnConnectionsToAReplica(t *testing.T) {
	backend := newReplica(t)
	r := start(t, services{{backend.addr}}, func(c *Config) {
		c.Workers = 1
		c.Limits.UpstreamPerEndpoint, c.Limits.QueuePerEndpoint = 1, 1
	})
	first, second := r.dial(), r.dial()
	first.send(get("/1"))
	b := backend.conn()
	if got := b.head()[0]; got != "GET /1 HTTP/1.1" {
		t.Fatalf("got %q", got)
	}
	second.send(get("/2")) // waits
	r.until("it waits", func() bool { return r.inFlight(backend.addr) == 2 })
	third := r.dial()
	third.send(get("/3"))
	third.expect(503, "overloaded")
	b.send("HTTP/1.1 200 OK\nContent-Length: 0\n\n")
	first.expect(200, "")
	if got := b.head()[0]; got != "GET /2 HTTP/1.1" { // on the same connection
		t.Errorf("got %q", got)
	}
	fourth := r.dial()
	fourth.send(get("/4"))
	r.until("it waits", func() bool { return r.inFlight(backend.addr) == 2 })
	b.send("HTTP/1.1 200 OK\nContent-Length: 0\nConnection: close\n\n")
	second.expect(200, "")
	b = backend.conn() // on a new one, since the replica closes the other
	if got := b.head()[0]; got != "GET /4 HTTP/1.1" {
		t.Errorf("got %q", got)
	}
	// One that leaves while it waits gives its place up.
	fifth := r.dial()
	fifth.send(get("/5"))
	r.until("it waits", func() bool { return r.inFlight(backend.addr) == 2 })
	fifth.Close()
	r.until("it is gone", func() bool { return r.inFlight(backend.addr) == 1 })
	b.send("HTTP/1.1 200 OK\nContent-Length: 0\n\n")
	fourth.expect(200, "")
	backend.quiet()
}

func TestTheWaitForAConnectionToAReplicaIsBounded(t *testing.T) {
	backend := newReplica(t)
	r := start(t, services{{backend.addr}}, func(c *Config) {
		c.Workers, c.Limits.UpstreamPerEndpoint, c.Timeouts.Queue = 1, 1, short
	})
	first, second := r.dial(), r.dial()
	first.send(get("/1"))
	b := backend.conn()
	b.head()
	second.send(get("/2"))
	second.expect(503, "overloaded")
	b.send("HTTP/1.1 200 OK\nContent-Length: 0\n\n")
	first.expect(200, "")
	second.send(get("/3"))
	if got := b.head()[0]; got != "GET /3 HTTP/1.1" {
		t.Errorf("got %q", got)
	}
}

func TestAnIdleUpstreamConnectionIsClosedInTime(t *testing.T) {
	backend := newReplica(t)
	r := start(t, services{{backend.addr}}, func(c *Config) { c.Timeouts.UpstreamIdle = short })
	w := r.dial()
	w.send(get("/"))
	b := backend.conn()
	b.head()
	b.send("HTTP/1.1 200 OK\nContent-Length: 0\n\n")
	w.expect(200, "")
	b.ends()
	r.until("its pool is gone", func() bool { s := r.stats(); return s.upstreams == 0 })
}

func TestConnectionsAreSpreadOverTheWorkers(t *testing.T) {
	r := start(t, services{}, func(c *Config) { c.Workers = 4 })
	for range 32 {
		w := r.dial()
		w.send("GET / HTTP/1.1\nHost: gw\n\n")
		w.expect(404, "no_route")
	}
	for i, w := range r.g.workers {
		if n := w.load.Load(); n != 8 {
			t.Errorf("worker %d has %d connections of 32", i, n)
		}
	}
}

// Many clients at once, with everything that can happen to them, while the configuration and the listeners change. The leak check
// at the end is what this is for.
func TestManyClientsAtOnce(t *testing.T) {
	a, b := serve(t, nil), serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("die") != "" {
			panic(http.ErrAbortHandler)
		}
		io.Copy(w, r.Body)
	})
	r := start(t, services{{a.addr, refusing(t)}, {b.addr}}, quick)
	var clients sync.WaitGroup
	for i := range 16 {
		clients.Go(func() {
			for j := range 30 {
				conn, err := net.Dial("tcp", r.addr)
				if err != nil {
					t.Error(err)
					return
				}
				conn.SetDeadline(time.Now().Add(patience))
				request := hit("user-"+itoa(i), "backend-"+itoa(j%3+1))
				switch j % 5 {
				case 0:
					request = strings.Replace(request, "/hit_backend", "/?die=1", 1)
				case 1:
					request = request[:len(request)-5]
				case 2:
					request += request
				}
				io.WriteString(conn, strings.ReplaceAll(request, "\n", "\r\n"))
				if j%5 != 1 {
					var buf [64]byte
					conn.Read(buf[:])
				}
				conn.Close()
			}
		})
	}
	for range 10 {
		r.apply(configure(services{{a.addr}, {b.addr, refusing(t)}}))
		ln := r.listen(81)
		r.apply(configure(services{{a.addr, refusing(t)}, {b.addr}}))
		r.g.Remove(ln)
	}
	clients.Wait()
	r.until("all exchanges have ended", func() bool { return r.stats().clients == 0 })
}

func TestAReplicaHearsOfASessionWhenARequestOfItReachesIt(t *testing.T) {
	backend := newReplica(t)
	r := start(t, services{{backend.addr}}, func(c *Config) {
		c.Workers, c.Limits.UpstreamPerEndpoint, c.Timeouts.Queue = 1, 1, short
	})
	newcomer := strings.Replace(get("/"), "x-user: ann", "x-user: newcomer", 1)
	first, second := r.dial(), r.dial()
	first.send(get("/1"))
	b := backend.conn()
	b.head()
	second.send(newcomer)
	second.expect(503, "overloaded")
	b.send("HTTP/1.1 200 OK\nContent-Length: 0\n\n")
	first.expect(200, "")
	for _, told := range []string{"new", "existing"} {
		second.send(newcomer)
		if head := b.head(); !slices.Contains(head, "x-remora-session: "+told) {
			t.Errorf("got %q, want it to say %s", head, told)
		}
		b.send("HTTP/1.1 200 OK\nContent-Length: 0\n\n")
		second.expect(200, "")
	}
}

// A socket that is closed with bytes unread resets the connection, and what was written to it and not yet received is lost.
func TestALastResponseArrivesWholeThoughTheClientHasSentMore(t *testing.T) {
	backend := newReplica(t)
	r := start(t, services{{backend.addr}})
	small := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error { // so that most of the response waits at the gateway
		return raw.Control(func(fd uintptr) {
			if err := unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 4096); err != nil {
				t.Error(err)
			}
		})
	}}
	c, err := small.Dial("tcp", r.addr)
	if err != nil {
		t.Fatal(err)
	}
	w := newWire(t, c)
	w.send(get("/", "Connection: close"))
	b := backend.conn()
	b.head()
	w.raw("and then some")
	r.stats() // all workers have taken a turn: the event of those bytes has been seen
	r.stats()
	body := strings.Repeat("x", 48<<10)
	b.send("HTTP/1.1 200 OK\nContent-Length: " + itoa(len(body)) + "\n\n" + body)
	r.until("the exchange is over", func() bool { return r.inFlight(backend.addr) == 0 })
	if reply := w.expect(200, ""); reply.err != nil || reply.body != body {
		t.Errorf("%d bytes of the body arrived, want %d: %v", len(reply.body), len(body), reply.err)
	}
	w.endsAfter()
}
