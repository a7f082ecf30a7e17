package gateway

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/problem"
)

// quick makes the pauses between attempts short.
func quick(c *Config) { c.Retry.Backoff = time.Millisecond }

// withTimeouts sets timeouts.
func withTimeouts(f func(*Timeouts)) func(*Config) { return func(c *Config) { f(&c.Timeouts) } }

const short = 50 * time.Millisecond

func TestAReplicaThatRefusesConnectionsIsTriedAgainAndThenLeft(t *testing.T) {
	alive := serve(t, nil)
	down := newReplica(t)
	r := start(t, services{{down.addr, alive.addr}}, quick)

	user := r.userOn(down)
	down.ln.Close()
	before := r.stats()

	w := r.dial()
	w.send(hit(user, "backend-1"))
	w.expect(200, "")
	if got := alive.last(t).Header.Get("X-Remora-Session"); got != "moved" {
		t.Errorf("the session is announced as %q, want moved", got)
	}
	s := r.stats()
	if n := s.connectFailures - before.connectFailures; n != 3 {
		t.Errorf("%d attempts to connect failed, want 3", n)
	}
	if s.connectRetries-before.connectRetries != 2 || s.moves-before.moves != 1 {
		t.Errorf("%d retries and %d moves, want 2 and 1", s.connectRetries-before.connectRetries, s.moves-before.moves)
	}
	w.send(hit(user, "backend-1"))
	w.expect(200, "")
	if got := alive.last(t).Header.Get("X-Remora-Session"); got != "existing" {
		t.Errorf("after the move the session is announced as %q, want existing", got)
	}
	for i := range 20 { // the replica that is down gets no new session
		w.send(hit("new-"+itoa(i), "backend-1"))
		w.expect(200, "")
	}
	if n := r.stats().connectFailures - s.connectFailures; n != 0 && r.state(down.addr) == "unhealthy" { // still, or time has passed
		t.Errorf("%d more attempts to connect to the replica that is down", n)
	}
}

// userOn is a user of backend-1 whose session is on a replica.
func (r *rig) userOn(b *replica) string {
	r.t.Helper()
	for i := 0; ; i++ {
		user, w := "user-"+itoa(i), r.dial()
		w.send(hit(user, "backend-1"))
		select {
		case c := <-b.conns:
			c.head()
			c.send("HTTP/1.1 200 OK\nContent-Length: 0\nConnection: close\n\n")
			c.Close()
			return user
		case <-responded(w):
		}
	}
}

// responded is closed when the first byte of a response can be read.
func responded(w *wire) <-chan struct{} {
	ch := make(chan struct{})
	go func() {
		w.r.Peek(1)
		close(ch)
	}()
	return ch
}

func TestAReplicaThatComesBackWhileItIsTriedAgain(t *testing.T) {
	fd, addr := bound(t)
	r := start(t, services{{addr}}, func(c *Config) { c.Retry = Retry{Attempts: 1000, Backoff: time.Millisecond} })
	w := r.dial()
	w.send(hit("ann", "backend-1"))
	r.until("attempts fail", func() bool { return r.stats().connectRetries >= 2 })
	if err := unix.Close(fd); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	b := newWire(t, c)
	b.head()
	b.send("HTTP/1.1 200 OK\nContent-Length: 0\n\n")
	w.expect(200, "")
}

// Whoever listens there when it is back knows nothing of its users.
func TestAReplicaThatIsTakenAwayWhileItIsTriedAgain(t *testing.T) {
	alive, gone := serve(t, nil), newReplica(t)
	r := start(t, services{{gone.addr, alive.addr}}, func(c *Config) { c.Retry = Retry{Attempts: 1 << 30, Backoff: time.Millisecond} })
	user := r.userOn(gone)
	gone.ln.Close()

	w := r.dial()
	w.send(hit(user, "backend-1"))
	r.until("attempts fail", func() bool { return r.stats().connectRetries >= 2 })
	r.apply(configure(services{{alive.addr}}))
	w.expect(200, "")
	if got := alive.last(t).Header.Get("X-Remora-Session"); got != "moved" {
		t.Errorf("the session is announced as %q, want moved", got)
	}
}

func TestAllReplicasAreDown(t *testing.T) {
	r := start(t, services{{refusing(t), refusing(t)}, {}}, quick)
	w := r.dial()
	w.send(hit("ann", "backend-1"))
	w.expect(503, "no_endpoint")
	w.send(hit("ann", "backend-2"))
	w.expect(503, "no_endpoint")
	w.send(strings.Replace(hit("ann", "backend-1"), "/hit", "/again", 1))
	w.expect(503, "no_endpoint")
}

func TestMovesAreBounded(t *testing.T) {
	var replicas []string
	for range 10 {
		replicas = append(replicas, refusing(t))
	}
	r := start(t, services{replicas}, quick, func(c *Config) { c.Retry.Attempts, c.Retry.Moves = 1, 2 })
	w := r.dial()
	w.send(hit("ann", "backend-1"))
	w.expect(503, "connect_failed")
	if s := r.stats(); s.connectFailures != 3 || s.moves != 2 {
		t.Errorf("%d failures and %d moves, want 3 and 2", s.connectFailures, s.moves)
	}
}

// mute is an address where connects neither succeed nor fail: the backlog of its listener is full.
func mute(t *testing.T) string {
	t.Helper()
	fd, addr := bound(t)
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	for {
		c, err := net.DialTimeout("tcp", addr, 5*short)
		if err != nil {
			return addr
		}
		t.Cleanup(func() { c.Close() })
	}
}

func TestAConnectThatGetsNoAnswer(t *testing.T) {
	r := start(t, services{{mute(t)}}, quick, func(c *Config) { c.Timeouts.Connect, c.Retry.Moves = short, -1 })
	w := r.dial()
	w.send(hit("ann", "backend-1"))
	w.expect(504, "connect_timeout")
	if s := r.stats(); s.connectFailures != 1 {
		t.Errorf("%d attempts, want 1: one has waited long enough", s.connectFailures)
	}
}

// Each case is a request and what becomes of it when the replica closes the connection at some point.
func TestWhatIsSentAgain(t *testing.T) {
	post := hit("ann", "backend-1")
	put := strings.Replace(post, "POST", "PUT", 1)
	for _, test := range []struct {
		name    string
		request string
		reused  bool // on a connection that has served a request before
		partial string
		again   bool
	}{
		{"GET on a new connection", get("/"), false, "", true},
		{"GET on a used connection", get("/"), true, "", true},
		{"PUT with its body held", put, true, "", true},
		{"POST on a new connection", post, false, "", false},
		{"POST on a used connection", post, true, "", false},
		{"GET whose response had begun", get("/"), true, "HTTP/1.1 200 OK\r\nCont", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			backend := newReplica(t)
			r := start(t, services{{backend.addr}}, quick)
			w := r.dial()
			var b *wire
			if test.reused {
				w.send(get("/first"))
				b = backend.conn()
				b.head()
				b.send("HTTP/1.1 200 OK\nContent-Length: 0\n\n")
				w.expect(200, "")
			}
			w.send(test.request)
			if b == nil {
				b = backend.conn()
			}
			line := b.line()
			b.head()
			b.raw(test.partial)
			b.Close()
			if !test.again {
				w.expect(502, "upstream_reset")
				backend.quiet()
				return
			}
			b = backend.conn()
			if got := b.line(); got != line {
				t.Errorf("the second time the request begins with %q, want %q", got, line)
			}
			head := b.head()
			if strings.HasPrefix(line, "PUT") {
				if got := b.bytes(39); got != `{"username":"ann","target":"backend-1"}` {
					t.Errorf("the second time the body is %q after %q", got, head)
				}
			}
			b.send("HTTP/1.1 200 OK\nContent-Length: 0\n\n")
			w.expect(200, "")
			if n := r.stats().resends; n != 1 {
				t.Errorf("%d resends, want 1", n)
			}
		})
	}
}

func TestARequestIsSentAgainOnlyOnce(t *testing.T) {
	backend := newReplica(t)
	r := start(t, services{{backend.addr}}, quick)
	w := r.dial()
	w.send(get("/"))
	for range 2 {
		b := backend.conn()
		b.head()
		b.Close()
	}
	w.expect(502, "upstream_reset")
	backend.quiet()
}

func TestAStreamedRequestIsNotSentAgain(t *testing.T) {
	backend := newReplica(t)
	r := start(t, services{{backend.addr}}, quick)
	w := r.dial()
	w.send("PUT / HTTP/1.1\nHost: gw\ntarget: backend-1\nx-user: ann\nContent-Length: 100\n\n")
	b := backend.conn()
	b.head()
	w.raw("part")
	b.bytes(4)
	b.Close()
	w.expect(502, "upstream_reset")
	backend.quiet()
}

// The end of an idle connection is an event, so a request does not meet it.
func TestAnIdleConnectionThatTheReplicaClosesIsNotUsed(t *testing.T) {
	backend := newReplica(t)
	r := start(t, services{{backend.addr}}, func(c *Config) { c.Workers = 1 })
	w := r.dial()
	for i := range 20 {
		w.send(hit("ann", "backend-1"))
		b := backend.conn()
		b.head()
		b.bytes(39)
		b.send("HTTP/1.1 200 OK\nContent-Length: 0\n\n")
		w.expect(200, "")
		b.Close()
		r.until("the gateway has noticed", func() bool { return r.stats().upstreamClosedIdle == uint64(i+1) })
	}
	if n := r.stats().resends; n != 0 {
		t.Errorf("%d requests had to be sent again", n)
	}
}

func TestAnAnswerToNoRequestEndsTheConnection(t *testing.T) {
	backend := newReplica(t)
	r := start(t, services{{backend.addr}}, func(c *Config) { c.Workers = 1 })
	w := r.dial()
	w.send(get("/"))
	b := backend.conn()
	b.head()
	b.send("HTTP/1.1 200 OK\nContent-Length: 2\n\nokHTTP/1.1 200 OK\nContent-Length: 4\n\nevil")
	if got := w.expect(200, ""); got.body != "ok" {
		t.Errorf("body %q", got.body)
	}
	b.ends()
	w.send(get("/next"))
	b = backend.conn()
	b.head()
	b.send("HTTP/1.1 200 OK\nContent-Length: 0\n\n")
	w.expect(200, "")
	b.send("HTTP/1.1 200 OK\nContent-Length: 4\n\nevil")
	b.ends()
}

func TestAReplicaThatDiesInTheMiddleOfAResponse(t *testing.T) {
	for _, test := range []struct{ name, request, response, want string }{
		{"a body of known length", get("/"), "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", "half"},
		{"a chunked body between chunks", get("/"), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n", "4\r\nhalf\r\n"},
		{"a chunked body in a chunk", get("/"), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nhalf", "4\r\nhalf\r\n"},
		{"a chunked body in the trailer", get("/"), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\nX: 1\r\n", "4\r\nhalf\r\n"},
		{
			"a chunked body for an HTTP/1.0 client", "GET / HTTP/1.0\nHost: gw\ntarget: backend-1\nx-user: ann\n\n",
			"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nhalf", "half",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			backend := newReplica(t)
			r := start(t, services{{backend.addr}})
			w := r.dial()
			w.send(test.request)
			b := backend.conn()
			b.head()
			b.raw(test.response)
			w.head()
			if got := w.bytes(len(test.want)); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
			b.Close()
			w.ends()
			r.until("it is counted", func() bool { return r.stats().endings[endTruncated] == 1 })
			if n := r.inFlight(backend.addr); n != 0 {
				t.Errorf("%d requests are in flight", n)
			}
			if strings.Contains(test.request, "HTTP/1.0") {
				// For such a client the end of the connection is the end of the body, unless it is a reset.
				w2 := r.dial()
				w2.send(test.request)
				b := backend.conn()
				b.head()
				b.raw(test.response)
				w2.head()
				w2.bytes(len(test.want))
				b.Close()
				if _, err := w2.r.ReadByte(); err == nil || err.Error() == "EOF" {
					t.Errorf("the client sees %v, want a reset", err)
				}
			}
		})
	}
}

func TestAChunkThatIsMalformedInTheMiddleOfAResponse(t *testing.T) {
	backend := newReplica(t)
	r := start(t, services{{backend.addr}})
	w := r.dial()
	w.send(get("/"))
	b := backend.conn()
	b.head()
	b.raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
	w.head()
	b.raw("4\r\nhalf\r\nxx\r\n")
	if got := w.bytes(9); got != "4\r\nhalf\r\n" {
		t.Errorf("got %q", got)
	}
	w.ends()
	b.ends()
}

func TestABodyThatEndsWithTheConnection(t *testing.T) {
	backend := newReplica(t)
	r := start(t, services{{backend.addr}})
	w := r.dial()
	w.send(get("/"))
	b := backend.conn()
	b.head()
	b.send("HTTP/1.1 200 OK\n\nall ")
	b.raw("of it")
	b.Close()
	got := w.expect(200, "")
	if got.body != "all of it" || got.err != nil || got.Close {
		t.Errorf("body %q, %v, close %v", got.body, got.err, got.Close)
	}
}

func TestMalformedResponses(t *testing.T) {
	for name, response := range map[string]string{
		"no HTTP":                     "SSH-2.0-OpenSSH_9.2\r\n\r\n",
		"two lengths":                 "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
		"length with chunked":         "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"a head over the limit":       "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("a", 40_000) + "\r\n\r\n",
		"a bare LF":                   "HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n",
		"a malformed first chunk":     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nxx\r\n",
		"another coding than chunked": "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			backend := newReplica(t)
			r := start(t, services{{backend.addr}})
			w := r.dial()
			w.send(get("/"))
			b := backend.conn()
			b.head()
			b.Write([]byte(response))
			if got := w.expect(502, "bad_response"); got.Close {
				t.Error("the client's connection ends though nothing is wrong with it")
			}
			b.ends()
		})
	}
}

func TestAClientThatLeaves(t *testing.T) {
	ask := get("/")
	for _, test := range []struct {
		name  string
		leave func(w *wire)
		when  string
	}{
		{"closes while the replica works", func(w *wire) { w.Close() }, "waiting"},
		{"resets while the replica works", reset, "waiting"},
		{"closes its sending side while the replica works", func(w *wire) { w.Conn.(*net.TCPConn).CloseWrite() }, "waiting"},
		{"closes in the middle of the response", func(w *wire) { w.Close() }, "response"},
		{"resets in the middle of the response", reset, "response"},
		{"closes in the middle of its own body", func(w *wire) { w.Close() }, "upload"},
		{"resets in the middle of its own body", reset, "upload"},
	} {
		t.Run(test.name, func(t *testing.T) {
			backend := newReplica(t)
			r := start(t, services{{backend.addr}})
			w := r.dial()
			if test.when == "upload" {
				w.send("POST / HTTP/1.1\nHost: gw\ntarget: backend-1\nx-user: ann\nContent-Length: 100\n\npart")
			} else {
				w.send(ask)
			}
			b := backend.conn()
			b.head()
			switch test.when {
			case "upload":
				b.bytes(4)
			case "response":
				b.send("HTTP/1.1 200 OK\nContent-Length: 100\n\npart")
				w.head()
				w.bytes(4)
			}
			if n := r.inFlight(backend.addr); n != 1 {
				t.Errorf("%d requests are in flight, want 1", n)
			}
			test.leave(w)
			b.ends()
			r.until("the hold is released", func() bool { return r.inFlight(backend.addr) == 0 })
			if n := r.stats().endings[endClientGone]; n != 1 {
				t.Errorf("%d exchanges ended so, want 1", n)
			}
		})
	}
}

func reset(w *wire) {
	w.Conn.(*net.TCPConn).SetLinger(0)
	w.Close()
}

func TestAClientThatLeavesBeforeTheReplicaIsConnected(t *testing.T) {
	r := start(t, services{{mute(t)}}, func(c *Config) { c.Timeouts.Connect = patience })
	w := r.dial()
	w.send(hit("ann", "backend-1"))
	r.until("it connects", func() bool { return r.stats().upstreams == 1 })
	w.Close()
	r.until("all is released", func() bool { s := r.stats(); return s.upstreams == 0 && s.clients == 0 })

	r = start(t, services{{refusing(t)}}, func(c *Config) { c.Retry.Backoff = patience })
	w = r.dial()
	w.send(hit("ann", "backend-1"))
	r.until("it waits for the next attempt", func() bool { return r.stats().connectRetries == 1 })
	w.Close()
	r.until("all is released", func() bool { return r.stats().clients == 0 })

	// In the middle of a body that is held, nothing has been decided yet.
	w = r.dial()
	w.send("POST / HTTP/1.1\nHost: gw\nContent-Type: application/json\nContent-Length: 100\n\n{")
	r.until("it waits for the body", func() bool { s := r.stats(); return s.clients == 1 && s.buffers == 1 })
	w.Close()
	r.until("all is released", func() bool { s := r.stats(); return s.clients == 0 && s.endings[endClientGone] == 2 })
}

func TestTimeouts(t *testing.T) {
	for _, test := range []struct {
		name     string
		timeouts func(*Timeouts)
		request  string
		response string // what the replica sends; "-": it gets nothing
		status   int    // of the answer; 0: the connection ends without, or within the response
		code     problem.Code
	}{
		{"a head that does not come to its end", func(o *Timeouts) { o.RequestHead = short }, "GET / HTTP/1.1\nHost", "-", 408, "request_timeout"},
		{
			"a body that is held and stops", func(o *Timeouts) { o.RequestBody = short },
			"POST / HTTP/1.1\nHost: gw\nContent-Type: application/json\nContent-Length: 100\n\n{", "-", 408, "request_timeout",
		},
		{
			"a body that is streamed and stops", func(o *Timeouts) { o.RequestBody = short },
			"POST / HTTP/1.1\nHost: gw\ntarget: backend-1\nx-user: ann\nContent-Length: 100\n\n{", "", 408, "request_timeout",
		},
		{"a client that says nothing", func(o *Timeouts) { o.Idle = short }, "", "-", 0, ""},
		{"a replica that does not answer", func(o *Timeouts) { o.ResponseHead = short }, hit("ann", "backend-1"), "", 504, "response_timeout"},
		{"a replica that stops in the head", func(o *Timeouts) { o.ResponseHead = short }, hit("ann", "backend-1"), "HTTP/1.1 200 OK\n", 504, "response_timeout"},
		{
			"a replica that stops in the body", func(o *Timeouts) { o.ResponseIdle = short }, hit("ann", "backend-1"),
			"HTTP/1.1 200 OK\nContent-Length: 100\n\npart", 0, "",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			backend := newReplica(t)
			r := start(t, services{{backend.addr}}, withTimeouts(test.timeouts))
			w := r.dial()
			w.send(test.request)
			if test.response != "-" {
				b := backend.conn()
				b.head()
				b.send(test.response)
				defer b.endsAfter()
			}
			if test.status != 0 {
				w.expect(test.status, test.code)
				return
			}
			if test.response != "-" {
				w.head()
				w.bytes(4)
			}
			w.ends()
		})
	}
}

func TestAClientThatDoesNotReadIsGivenUp(t *testing.T) {
	backend := newReplica(t)
	r := start(t, services{{backend.addr}}, withTimeouts(func(o *Timeouts) { o.Write = short }))
	w := r.dial()
	w.send(get("/"))
	b := backend.conn()
	b.head()
	b.send("HTTP/1.1 200 OK\nContent-Length: 1000000000\n\n")
	for {
		if _, err := b.Write(make([]byte, 1<<20)); err != nil {
			break
		}
	}
	r.until("the exchange is over", func() bool { return r.stats().endings[endClientGone] == 1 })
}

// Whatever is waited for, some time limits it, also when both directions are under way at once.
func TestTimeoutsOfAnExchangeThatGoesBothWays(t *testing.T) {
	const head = "POST / HTTP/1.1\nHost: gw\ntarget: backend-1\nx-user: ann\nContent-Length: 10\n\n12345"
	t.Run("the request ends and then the replica stops", func(t *testing.T) {
		backend := newReplica(t)
		r := start(t, services{{backend.addr}}, withTimeouts(func(o *Timeouts) { o.ResponseIdle = short }))
		w := r.dial()
		w.send(head)
		b := backend.conn()
		b.head()
		b.send("HTTP/1.1 200 OK\nContent-Length: 100\n\npart")
		w.head()
		w.raw("67890")
		w.endsAfter()
		b.endsAfter()
	})
	t.Run("the request ends and the client does not read", func(t *testing.T) {
		backend := newReplica(t)
		r := start(t, services{{backend.addr}}, withTimeouts(func(o *Timeouts) { o.Write = short }))
		w := r.dial()
		w.send(head)
		b := backend.conn()
		b.head()
		b.send("HTTP/1.1 200 OK\nContent-Length: 1000000000\n\n")
		w.head()
		w.raw("67890")
		for {
			if _, err := b.Write(make([]byte, 1<<20)); err != nil {
				break
			}
		}
	})
	t.Run("the client stops in its body while it reads the response", func(t *testing.T) {
		backend := newReplica(t)
		r := start(t, services{{backend.addr}}, withTimeouts(func(o *Timeouts) { o.RequestBody = short }))
		w := r.dial()
		w.send(head)
		b := backend.conn()
		b.head()
		b.send("HTTP/1.1 200 OK\nContent-Length: 100\n\npart")
		w.head()
		w.endsAfter()
		b.endsAfter()
	})
}

func TestAReplicaThatDoesNotReadIsGivenUp(t *testing.T) {
	backend := newReplica(t)
	r := start(t, services{{backend.addr}}, withTimeouts(func(o *Timeouts) { o.Write = short }))
	w := r.dial()
	w.send("POST / HTTP/1.1\nHost: gw\ntarget: backend-1\nx-user: ann\nContent-Length: 1000000000\n\n")
	backend.conn()
	go func() {
		for {
			if _, err := w.Write(make([]byte, 1<<20)); err != nil {
				return
			}
		}
	}()
	w.expect(504, "response_timeout")
}

func TestAMovedSessionGoesOnWithoutAKey(t *testing.T) {
	alive := serve(t, nil)
	c := configure(services{{refusing(t), alive.addr}})
	c.Services[0].Key = affinity.Key{}
	r := startWith(t, c, quick)
	w := r.dial()
	for range 10 {
		w.send(get("/"))
		w.expect(200, "")
		if got := alive.last(t).Header.Values("X-Remora-Session"); len(got) != 0 {
			t.Errorf("a request without a key was announced as %q", got)
		}
	}
}

// A replica may answer with the connect, and its response may be there before the gateway has heard of the connection: one event
// tells both. Whether it comes to that is the kernel's to decide; over so many connections it does.
func TestAReplicaThatAnswersBeforeItHasReadAnything(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")) // the gateway may be gone
			go func() {
				_, _ = io.Copy(io.Discard, c) // closed with bytes unread, it would reset its own response
				c.Close()
			}()
		}
	}()
	r := start(t, services{{ln.Addr().String()}}, quick)
	var clients sync.WaitGroup
	for n := range 8 {
		clients.Go(func() {
			w := r.dial()
			for i := range 100 {
				w.send(hit(itoa(n)+"-"+itoa(i), "backend-1"))
				w.expect(200, "")
				if t.Failed() {
					return
				}
			}
		})
	}
	clients.Wait()
}
