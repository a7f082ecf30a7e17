package gateway

import (
	"io"
	"strconv"
	"strings"
	"testing"
)

func TestServerSentEventsArePassedOnAtOnce(t *testing.T) {
	backend := newReplica(t)
	r := start(t, services{{backend.addr}})
	w := r.dial()
	w.send(get("/events"))
	b := backend.conn()
	b.head()
	b.send("HTTP/1.1 200 OK\nContent-Type: text/event-stream\nTransfer-Encoding: chunked\n\n")
	w.head() // the head comes before there is any event
	for i := range 20 {
		event := "data: " + itoa(i) + "\n\n"
		b.raw("8;x\r\n" + event[:8] + "\r\n" + chunk(event[8:])) // in two chunks, with an extension
		if got, want := w.bytes(len(chunk(event[:8])+chunk(event[8:]))), chunk(event[:8])+chunk(event[8:]); got != want {
			t.Fatalf("event %d: got %q, want %q", i, got, want)
		}
	}
	waitFor(t, "a stream that waits holds no buffer", func() bool { return r.stats().buffers == 0 })
	b.raw("0\r\n\r\n")
	if got := w.bytes(5); got != "0\r\n\r\n" {
		t.Errorf("the end is %q", got)
	}
	w.send(get("/next"))
	if got := b.line(); got != "GET /next HTTP/1.1" {
		t.Errorf("the connection serves %q next", got)
	}
}

func chunk(s string) string {
	if s == "" {
		return ""
	}
	return string("0123456789abcdef"[len(s)]) + "\r\n" + s + "\r\n"
}

func TestAnIdleConnectionHoldsNoBuffer(t *testing.T) {
	backend := serve(t, nil)
	r := start(t, services{{backend.addr}})
	for range 50 {
		w := r.dial()
		w.send(hit("ann", "backend-1"))
		w.expect(200, "")
	}
	r.until("50 idle connections hold no buffer", func() bool { s := r.stats(); return s.clients == 50 && s.buffers == 0 })
}

func TestASlowClientSlowsTheReplicaDown(t *testing.T) {
	backend := newReplica(t)
	r := start(t, services{{backend.addr}}, func(c *Config) { c.Workers = 1 })
	w := r.dial()
	w.send(get("/big"))
	b := backend.conn()
	b.head()
	const size = 32 << 20
	b.send("HTTP/1.1 200 OK\nContent-Length: " + itoa(size) + "\n\n")
	sent := make(chan error, 1)
	go func() {
		_, err := io.CopyN(b.Conn, zeros{}, size)
		sent <- err
	}()
	w.head()
	// The client does not read. The gateway's part of what is under way is a few buffers; the rest is the sockets'.
	var s *stats
	last := uint64(0)
	r.until("the flow stops", func() bool {
		s = r.stats()
		stopped := s.replicaBytes.received == last && last > 0
		last = s.replicaBytes.received
		return stopped
	})
	if s.buffers > 3 {
		t.Errorf("%d buffers are in use for one exchange", s.buffers)
	}
	select {
	case err := <-sent:
		t.Fatalf("the replica could send all of it while the client read nothing: %v", err)
	default:
	}
	if n, err := io.CopyN(io.Discard, w.r, size); err != nil {
		t.Fatalf("got %d bytes: %v", n, err)
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
	w.send(get("/next"))
	if got := b.line(); got != "GET /next HTTP/1.1" {
		t.Errorf("the connection serves %q next", got)
	}
}

func TestASlowReplicaSlowsTheClientDown(t *testing.T) {
	for _, framing := range []string{"length", "chunked"} {
		t.Run(framing, func(t *testing.T) {
			backend := newReplica(t)
			r := start(t, services{{backend.addr}}, func(c *Config) { c.Workers = 1 })
			w := r.dial()
			const size = 32 << 20
			head := "POST /upload HTTP/1.1\nHost: gw\ntarget: backend-1\nx-user: ann\n"
			sent := make(chan error, 1)
			if framing == "length" {
				w.send(head + "Content-Length: " + itoa(size) + "\n\n")
				go func() {
					_, err := io.CopyN(w.Conn, zeros{}, size)
					sent <- err
				}()
			} else {
				w.send(head + "Transfer-Encoding: chunked\n\n")
				go func() {
					piece := "100000\r\n" + strings.Repeat("\x00", 1<<20) + "\r\n"
					var err error
					for i := 0; i < size>>20 && err == nil; i++ {
						_, err = io.WriteString(w.Conn, piece)
					}
					if err == nil {
						_, err = io.WriteString(w.Conn, "0\r\n\r\n")
					}
					sent <- err
				}()
			}
			b := backend.conn()
			b.head()
			var s *stats
			last := uint64(0)
			r.until("the flow stops", func() bool {
				s = r.stats()
				stopped := s.clientBytes.received == last && last > 0
				last = s.clientBytes.received
				return stopped
			})
			if s.buffers > 3 {
				t.Errorf("%d buffers are in use for one exchange", s.buffers)
			}
			select {
			case err := <-sent:
				t.Fatalf("the client could send all of it while the replica read nothing: %v", err)
			default:
			}
			if framing == "length" {
				if _, err := io.CopyN(io.Discard, b.r, size); err != nil {
					t.Fatal(err)
				}
			} else {
				for n := 0; ; {
					size := b.line()
					if size == "0" {
						b.line()
						break
					}
					m, err := parseHex(size)
					if err != nil || t.Failed() {
						t.Fatalf("chunk size %q after %d bytes", size, n)
					}
					if _, err := io.CopyN(io.Discard, b.r, int64(m)+2); err != nil {
						t.Fatal(err)
					}
					n += m
				}
			}
			if err := <-sent; err != nil {
				t.Error(err)
			}
			b.send("HTTP/1.1 200 OK\nContent-Length: 2\n\nok")
			w.expect(200, "")
		})
	}
}

func parseHex(s string) (int, error) {
	n, err := strconv.ParseInt(s, 16, 32)
	return int(n), err
}

// zeros reads as zero bytes without end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestABodyGoesBothWaysAtOnce(t *testing.T) {
	backend := newReplica(t)
	r := start(t, services{{backend.addr}})
	w := r.dial()
	w.raw("POST /echo HTTP/1.1\r\nHost: gw\r\ntarget: backend-1\r\nx-user: ann\r\nTransfer-Encoding: chunked\r\n\r\n")
	b := backend.conn()
	b.head()
	b.send("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n")
	if head := strings.Join(w.head(), "|"); !strings.Contains(head, "connection: close") {
		t.Errorf("a response before the request's end must be the last on the connection: %s", head)
	}
	for i := range 10 {
		piece := chunk("ping" + itoa(i))
		w.raw(piece)
		if got := b.bytes(len(piece)); got != piece {
			t.Fatalf("the replica got %q", got)
		}
		b.raw(piece)
		if got := w.bytes(len(piece)); got != piece {
			t.Fatalf("the client got %q", got)
		}
	}
	w.raw("0\r\n\r\n")
	b.bytes(5)
	b.raw("0\r\n\r\n")
	w.bytes(5)
	w.ends()
}

func TestAReplicaMayAnswerBeforeItHasReadTheRequest(t *testing.T) {
	backend := newReplica(t)
	r := start(t, services{{backend.addr}})
	w := r.dial()
	w.send("POST /upload HTTP/1.1\nHost: gw\ntarget: backend-1\nx-user: ann\nContent-Length: 100000000\n\n")
	b := backend.conn()
	b.head()
	b.send("HTTP/1.1 413 Content Too Large\nContent-Length: 3\nConnection: close\n\nno!")
	b.Close()
	got := w.expect(413, "")
	if got.body != "no!" || !got.Close {
		t.Errorf("body %q, close %v", got.body, got.Close)
	}
	w.ends()
}

func TestAClientThatStillSendsCanReadTheRefusal(t *testing.T) {
	r := start(t, services{})
	w := r.dial()
	body := strings.Repeat("x", 500_000) // more than the sockets hold
	w.send("POST / HTTP/1.1\nHost: gw\ntarget: none\nContent-Length: " + itoa(len(body)) + "\n\n")
	w.raw(body)
	if got := w.expect(404, "no_route"); !got.Close {
		t.Error("the connection goes on behind a body that was not read")
	}
	w.ends()
}

func TestTheRestOfABodyThatIsThereIsSkipped(t *testing.T) {
	r := start(t, services{})
	w := r.dial()
	w.send("POST / HTTP/1.1\nHost: gw\ntarget: none\nContent-Length: 5\n\nhello" + "GET / HTTP/1.1\nHost: gw\n\n")
	if got := w.expect(404, "no_route"); got.Close {
		t.Error("the connection closes behind a body that was there")
	}
	w.expect(404, "no_route")
}
