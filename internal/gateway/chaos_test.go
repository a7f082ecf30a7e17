package gateway

import (
	"bufio"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/problem"
)

// chaos makes random peers. What they do is of no interest; that the gateway survives it, and that nothing is left of it, is.
type chaos struct {
	mu   sync.Mutex
	rng  *rand.Rand
	hung atomic.Int32 // peers that the gateway let wait for ever
}

// ok reports whether there was no error, and notes one that says that a peer has waited too long.
func (c *chaos) ok(err error) bool {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		c.hung.Add(1)
	}
	return err == nil
}

func (c *chaos) n(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rng.IntN(n)
}

func (c *chaos) pick(of ...string) string { return of[c.n(len(of))] }

// mangle changes a byte or two, or cuts something out.
func (c *chaos) mangle(s string) string {
	b := []byte(s)
	switch c.n(3) {
	case 0:
		b[c.n(len(b))] = byte(c.n(256))
	case 1:
		at := c.n(len(b))
		b = append(b[:at], b[min(len(b), at+1+c.n(5)):]...)
	case 2:
		b = b[:c.n(len(b))]
	}
	return string(b)
}

func (c *chaos) request() string {
	user, target := "user-"+itoa(c.n(10)), "backend-"+itoa(1+c.n(3)+c.n(12)/11)
	json := `{"username":"` + user + `","target":"` + target + `","pad":"` + strings.Repeat("p", c.n(2)*c.n(50_000)) + `"}`
	head := "Host: gw\r\n" + c.pick("", "", "Connection: close\r\n", "Connection: keep-alive\r\n", "Expect: 100-continue\r\n", "X: "+strings.Repeat("x", c.n(20_000))+"\r\n") +
		c.pick("", "target: "+target+"\r\nx-user: "+user+"\r\n")
	method, version := c.pick("GET", "POST", "PUT", "HEAD", "DELETE"), c.pick("HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0")
	line := method + " " + c.pick("/", "/a/../b", "/x?y=z", "http://gw/abs") + " " + version + "\r\n"
	kind := c.pick("Content-Type: application/json\r\n", "Content-Type: application/json\r\n", "Content-Type: text/plain\r\n")
	switch c.n(4) {
	case 0:
		return line + head + "\r\n"
	case 1:
		if version == "HTTP/1.1" {
			return line + head + kind + "Transfer-Encoding: chunked\r\n\r\n" + chunks(json, 1+c.n(10_000), "X-Trailer: 1")
		}
	}
	return line + head + kind + "Content-Length: " + itoa(len(json)) + "\r\n\r\n" + json
}

func (c *chaos) response() string {
	body := strings.Repeat("r", c.n(2)*c.n(100_000)+c.n(10))
	interim := c.pick("", "", "", "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n")
	line := "HTTP/1.1 " + c.pick("200 OK", "200 OK", "404 Not Found", "500 Oops", "204 No Content", "304 Not Modified", "101 Switching Protocols") + "\r\n"
	fields := c.pick("", "Connection: close\r\n", "X: y\r\nSet-Cookie: a=b\r\n")
	switch c.n(3) {
	case 0:
		return interim + line + fields + "Transfer-Encoding: chunked\r\n\r\n" + chunks(body, 1+c.n(20_000), "X-Trailer: 1")
	case 1:
		return interim + line + fields + "\r\n" + body // ends with the connection
	}
	return interim + line + fields + "Content-Length: " + itoa(len(body)) + "\r\n\r\n" + body
}

// send writes s in random pieces.
func (c *chaos) send(conn net.Conn, s string) bool {
	for s != "" {
		n := len(s)
		if c.n(2) == 0 {
			n = 1 + c.n(n)
		}
		if _, err := io.WriteString(conn, s[:n]); !c.ok(err) {
			return false
		}
		s = s[n:]
	}
	return true
}

func (c *chaos) leave(conn net.Conn) {
	switch c.n(4) {
	case 0:
		conn.(*net.TCPConn).SetLinger(0)
	case 1:
		conn.(*net.TCPConn).CloseWrite()
		_, err := io.Copy(io.Discard, conn)
		c.ok(err)
	}
	conn.Close()
}

func (c *chaos) client(addr string) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return
	}
	conn.SetDeadline(time.Now().Add(patience))
	for range 1 + c.n(4) {
		r := c.request()
		if c.n(8) == 0 {
			r = c.mangle(r)
		}
		if !c.send(conn, r) {
			break
		}
		if c.n(2) == 0 {
			_, err := io.CopyN(io.Discard, conn, int64(1+c.n(300)))
			c.ok(err)
		}
	}
	c.leave(conn)
}

func (c *chaos) replica(conn net.Conn) {
	conn.SetDeadline(time.Now().Add(patience))
	buf := make([]byte, 32<<10)
	for c.n(8) > 0 {
		if _, err := conn.Read(buf[:1+c.n(len(buf))]); !c.ok(err) {
			break
		}
		if c.n(10) == 0 {
			continue // does not answer, or later
		}
		r := c.response()
		if c.n(6) == 0 {
			r = c.mangle(r)
		}
		if !c.send(conn, r) {
			break
		}
	}
	c.leave(conn)
}

func TestNothingIsLeftOfRandomPeers(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d (the order of events is not in it)", seed)
	c := &chaos{rng: rand.New(rand.NewPCG(seed, 2))}
	var replicas []string
	var peers sync.WaitGroup
	for range 4 {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		replicas = append(replicas, ln.Addr().String())
		t.Cleanup(func() { ln.Close() })
		go func() {
			for {
				conn, err := ln.Accept()
				if err != nil {
					return
				}
				peers.Go(func() { c.replica(conn) })
			}
		}()
	}
	config := configure(services{replicas[:2], {replicas[2], refusing(t)}, {replicas[3]}})
	config.Listeners[0].MaxBody = 20_000
	r := startWith(t, config, quick, func(c *Config) {
		c.Limits.UpstreamPerEndpoint = 6
		c.Timeouts = Timeouts{
			Idle: short, RequestHead: short, RequestBody: short, Write: 2 * short, Linger: short, Queue: short,
			ResponseHead: short, ResponseIdle: short, UpstreamIdle: short / 2,
		}
	})
	var clients sync.WaitGroup
	for range 24 {
		clients.Go(func() {
			for range 40 {
				c.client(r.addr)
			}
		})
	}
	clients.Wait()
	r.until("all is over", func() bool { s := r.stats(); return s.clients == 0 && s.upstreams == 0 && s.buffers == 0 })
	if n := c.hung.Load(); n != 0 {
		t.Errorf("%d peers waited for something that never came", n)
	}
	s := r.stats()
	t.Logf("endings (%v …): %v; resends %d, moves %d", endForwarded, s.endings, s.resends, s.moves)
	if s.endings[endForwarded] == 0 || s.endings[endAnswered] == 0 || s.endings[endClientGone] == 0 || s.endings[endTruncated] == 0 {
		t.Error("the peers were not random enough")
	}
	if n := s.problems[problem.Index(problem.Internal)]; n != 0 {
		t.Errorf("%d internal errors", n)
	}
}

// What goes in comes out: random bodies in random framings, sizes and pieces, several requests ahead, each echoed by the replica
// in a framing of its own.
func TestRandomBodiesComeThroughWhole(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	c := &chaos{rng: rand.New(rand.NewPCG(seed, 3))}
	echo := serveRaw(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		switch c.n(3) {
		case 0:
			w.Header().Set("Content-Length", itoa(len(body)))
		case 1:
			w.Header().Set("Connection", "close")
		}
		for len(body) > 0 {
			n := 1 + c.n(len(body))
			w.Write(body[:n])
			if body = body[n:]; c.n(2) == 0 {
				w.(http.Flusher).Flush()
			}
		}
	})
	config := configure(services{{echo.addr}})
	config.Listeners[0].MaxBody = 30_000
	for _, turn := range []int{turnSteps, 1} {
		r := startWith(t, config, func(c *Config) { c.Limits.UpstreamPerEndpoint = 5 })
		r.turns(turn)
		var clients sync.WaitGroup
		for i := range 8 {
			clients.Go(func() {
				for range 10 {
					c.echoes(t, r.addr, "user-"+itoa(i))
				}
			})
		}
		clients.Wait()
	}
}

// echoes sends some requests on one connection and compares the responses.
func (c *chaos) echoes(t *testing.T, addr, user string) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Error(err)
		return
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	var bodies []string
	var all strings.Builder
	for i := range 1 + c.n(6) {
		size := c.n([]int{1, 100, 5_000, 40_000, 300_000}[c.n(5)])
		body := `{"target":"backend-1","username":"` + user + `","n":"` + itoa(i) + `","pad":"` + strings.Repeat(string(rune('a'+i)), size) + `"}`
		bodies = append(bodies, body)
		all.WriteString("POST / HTTP/1.1\r\nHost: gw\r\ntarget: backend-1\r\nx-user: " + user + "\r\n" +
			c.pick("Content-Type: application/json\r\n", "Content-Type: text/plain\r\n"))
		if c.n(2) == 0 {
			all.WriteString("Content-Length: " + itoa(len(body)) + "\r\n\r\n" + body)
		} else {
			all.WriteString("Transfer-Encoding: chunked\r\n\r\n" + chunks(body, 1+c.n(len(body))))
		}
	}
	go c.send(conn, all.String())
	in := bufio.NewReader(conn)
	for i, want := range bodies {
		resp, err := http.ReadResponse(in, nil)
		if err != nil {
			t.Errorf("response %d of %d: %v", i+1, len(bodies), err)
			return
		}
		got, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != 200 || string(got) != want {
			t.Errorf("response %d of %d: %d, %d bytes of %d, %v; they are not those that were sent", i+1, len(bodies), resp.StatusCode, len(got), len(want), err)
			return
		}
	}
}
