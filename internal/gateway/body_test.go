package gateway

import (
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
)

// chunks is text as a chunked body in pieces of n bytes, with the given trailer lines.
func chunks(text string, n int, trailers ...string) string {
	var b strings.Builder
	for len(text) > 0 {
		piece := text[:min(n, len(text))]
		fmt.Fprintf(&b, "%x\r\n%s\r\n", len(piece), piece)
		text = text[len(piece):]
	}
	b.WriteString("0\r\n")
	for _, t := range trailers {
		b.WriteString(t + "\r\n")
	}
	return b.String() + "\r\n"
}

const chunkedHead = "POST / HTTP/1.1\r\nHost: gw\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"

func TestAChunkedBodyIsReadForItsFields(t *testing.T) {
	backend := serve(t, nil)
	r := start(t, services{{backend.addr}})
	padding := strings.Repeat("x", 40_000) // more than one buffer
	for name, body := range map[string]string{
		"short": `{"username":"ann","target":"backend-1"}`,
		"long":  `{"padding":"` + padding + `","username":"ann","target":"backend-1"}`,
	} {
		for _, size := range []int{1, 7, 1000, 100_000} {
			t.Run(fmt.Sprintf("%s in chunks of %d", name, size), func(t *testing.T) {
				if len(body)/size > 10_000 {
					size = 3
				}
				w := dialWire(t, r.addr)
				go w.raw(chunkedHead + chunks(body, size))
				w.expect(200, "")
				seen := backend.last(t)
				if seen.body != body || seen.Header.Get("X-User") != "ann" {
					t.Errorf("the replica got %d bytes for user %q, want %d", len(seen.body), seen.Header.Get("X-User"), len(body))
				}
			})
		}
	}
}

func TestABodyThatArrivesByteByByte(t *testing.T) {
	backend := serve(t, nil)
	r := start(t, services{{backend.addr}})
	body := `{"username":"ann","target":"backend-1"}`
	for _, request := range []string{
		chunkedHead + chunks(body, 5, "X-T: 1"),
		strings.ReplaceAll(hit("ann", "backend-1"), "\n", "\r\n"),
	} {
		w := r.dial()
		for i := range len(request) {
			w.raw(request[i : i+1])
		}
		w.expect(200, "")
		if got := backend.last(t).body; got != body {
			t.Errorf("body %q", got)
		}
	}
}

func TestALongBodyOfKnownLengthIsReadForItsFields(t *testing.T) {
	backend := serve(t, nil)
	r := start(t, services{{backend.addr}})
	for _, n := range []int{15_000, 16_384, 30_000, 60_000} {
		body := `{"padding":"` + strings.Repeat("y", n) + `","username":"bob","target":"backend-1"}`
		w := r.dial()
		w.send("POST / HTTP/1.1\nHost: gw\nContent-Type: application/json\nContent-Length: " + itoa(len(body)) + "\n\n" + body)
		w.expect(200, "")
		if got := backend.last(t); got.body != body || got.ContentLength != int64(len(body)) || got.Header.Get("X-User") != "bob" {
			t.Errorf("the replica got %d bytes for %q, want %d", len(got.body), got.Header.Get("X-User"), len(body))
		}
	}
}

func TestTheBodyLimit(t *testing.T) {
	backend := serve(t, nil)
	c := configure(services{{backend.addr}})
	c.Listeners[0].MaxBody = 1000
	r := startWith(t, c)
	body := func(n int) string {
		const rest = `{"username":"ann","target":"backend-1","p":""}`
		return `{"username":"ann","target":"backend-1","p":"` + strings.Repeat("z", n-len(rest)) + `"}`
	}
	head := "POST / HTTP/1.1\nHost: gw\nContent-Type: application/json\n"
	headers := "target: backend-1\nx-user: zoe\n"
	for _, test := range []struct {
		name, headers string
		size          int
		status        int
		user          string
	}{
		{"at the limit the body is read", headers, 1000, 200, "ann"},
		{"over the limit the headers decide", headers, 1001, 200, "zoe"},
		{"far over the limit the headers decide", headers, 300_000, 200, "zoe"},
		{"over the limit without the headers it is refused", "", 1001, 413, ""},
		{"far over the limit without the headers it is refused", "", 300_000, 413, ""},
	} {
		for _, framing := range []string{"length", "chunked"} {
			t.Run(test.name+", "+framing, func(t *testing.T) {
				w := dialWire(t, r.addr)
				b := body(test.size)
				go func() {
					if framing == "chunked" {
						w.Write([]byte(strings.ReplaceAll(head+test.headers+"Transfer-Encoding: chunked\n\n", "\n", "\r\n") + chunks(b, 500)))
					} else {
						w.Write([]byte(strings.ReplaceAll(head+test.headers+"Content-Length: "+itoa(len(b))+"\n\n", "\n", "\r\n") + b))
					}
				}()
				got := w.response("POST")
				if got.StatusCode != test.status {
					t.Fatalf("got %d %s, want %d", got.StatusCode, got.body, test.status)
				}
				if test.status != 200 {
					if got.problem() != "body_too_large" {
						t.Errorf("problem %q", got.problem())
					}
					return
				}
				seen := backend.last(t)
				if seen.body != b || seen.Header.Get("X-User") != test.user {
					t.Errorf("the replica got %d bytes for %q, want %d for %q", len(seen.body), seen.Header.Get("X-User"), len(b), test.user)
				}
			})
		}
	}
}

func TestBodiesOfAnySizeGoThroughBothWays(t *testing.T) {
	const size = 8 << 20
	source := func() io.Reader { return io.LimitReader(rand.NewChaCha8([32]byte{1}), size) }
	hash := sha256.New()
	if _, err := io.Copy(hash, source()); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("%x", hash.Sum(nil))
	backend := serveRaw(t, func(w http.ResponseWriter, r *http.Request) {
		h := sha256.New()
		n, err := io.Copy(h, r.Body)
		if err != nil || n != size || fmt.Sprintf("%x", h.Sum(nil)) != want {
			http.Error(w, fmt.Sprintf("got %d bytes, %v", n, err), 500)
			return
		}
		if r.URL.Path == "/length" {
			w.Header().Set("Content-Length", itoa(size))
		}
		io.Copy(w, source())
	})
	r := start(t, services{{backend.addr}}, func(c *Config) { c.Workers = 1 })
	for i, path := range []string{"/length", "/chunked", "/length", "/chunked"} {
		r.turns([]int{turnSteps, 1}[i/2])
		for _, known := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, request length known %v", path, known), func(t *testing.T) {
				req, err := http.NewRequest("POST", "http://"+r.addr+path, source())
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Set("target", "backend-1")
				req.Header.Set("x-user", "ann")
				if known {
					req.ContentLength = size
				}
				resp, err := http.DefaultTransport.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				h := sha256.New()
				n, err := io.Copy(h, resp.Body)
				if err != nil || resp.StatusCode != 200 || fmt.Sprintf("%x", h.Sum(nil)) != want {
					t.Errorf("status %d, %d bytes, %v; the response is not what was sent", resp.StatusCode, n, err)
				}
			})
		}
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}

func TestTrailers(t *testing.T) {
	backend := newReplica(t)
	r := start(t, services{{backend.addr}})
	w := r.dial()
	w.raw("POST / HTTP/1.1\r\nHost: gw\r\ntarget: backend-1\r\nx-user: ann\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n")
	w.raw(chunks("hello", 3, "X-Sum: 5", "Content-Type: text/evil"))
	b := backend.conn()
	head := strings.Join(b.head(), "\n")
	if !strings.Contains(head, "transfer-encoding: chunked") || !strings.Contains(head, "trailer: X-Sum") {
		t.Errorf("head:\n%s", head)
	}
	want := "3\r\nhel\r\n2\r\nlo\r\n0\r\nx-sum: 5\r\n\r\n"
	if got := b.bytes(len(want)); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	b.raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Total\r\n\r\n" + chunks("fine", 10, "X-Total: 4"))
	got := w.expect(200, "")
	if got.body != "fine" || got.Trailer.Get("X-Total") != "4" {
		t.Errorf("body %q, trailer %v", got.body, got.Trailer)
	}
	w.send(get("/after"))
	if l := b.line(); l != "GET /after HTTP/1.1" {
		t.Errorf("the next request on the connection begins with %q", l)
	}
	b.head()
	b.send("HTTP/1.1 204 No Content\n\n")
	w.expect(204, "")
}

func TestExpectContinue(t *testing.T) {
	backend := newReplica(t)
	r := start(t, services{{backend.addr}})
	body := `{"username":"ann","target":"backend-1"}`

	t.Run("a body that is read for its fields is asked for by the gateway", func(t *testing.T) {
		w := dialWire(t, r.addr)
		w.send("POST / HTTP/1.1\nHost: gw\nContent-Type: application/json\nContent-Length: 39\nExpect: 100-continue\n\n")
		if got := w.head(); len(got) != 1 || got[0] != "HTTP/1.1 100 Continue" {
			t.Fatalf("got %q", got)
		}
		w.raw(body)
		b := backend.conn()
		if head := strings.Join(b.head(), "\n"); strings.Contains(head, "expect") {
			t.Errorf("the replica was asked once more:\n%s", head)
		}
		b.bytes(39)
		b.send("HTTP/1.1 200 OK\nContent-Length: 0\nConnection: close\n\n")
		w.expect(200, "")
	})
	head := "POST / HTTP/1.1\nHost: gw\ntarget: backend-1\nx-user: ann\nContent-Length: 4\nExpect: 100-continue\n\n"
	t.Run("otherwise the replica is asked, and says yes", func(t *testing.T) {
		w := dialWire(t, r.addr)
		w.send(head)
		b := backend.conn()
		if head := strings.Join(b.head(), "\n"); !strings.Contains(strings.ToLower(head), "expect: 100-continue") {
			t.Errorf("the replica was not asked:\n%s", head)
		}
		b.send("HTTP/1.1 100 Continue\n\n")
		if got := w.head(); len(got) != 1 || got[0] != "HTTP/1.1 100 Continue" {
			t.Fatalf("got %q", got)
		}
		w.raw("body")
		if got := b.bytes(4); got != "body" {
			t.Errorf("body %q", got)
		}
		b.send("HTTP/1.1 200 OK\nContent-Length: 0\nConnection: close\n\n")
		w.expect(200, "")
	})
	t.Run("or no, and then the connection ends", func(t *testing.T) {
		w := dialWire(t, r.addr)
		w.send(head)
		b := backend.conn()
		b.head()
		b.send("HTTP/1.1 401 Unauthorized\nContent-Length: 2\n\nno")
		got := w.expect(401, "")
		if got.body != "no" || !got.Close {
			t.Errorf("body %q, close %v", got.body, got.Close)
		}
		w.ends()
		b.ends()
	})
	t.Run("a body over the limit is refused before it is sent", func(t *testing.T) {
		w := dialWire(t, r.addr)
		w.send("POST / HTTP/1.1\nHost: gw\nContent-Type: application/json\nContent-Length: 10000000\nExpect: 100-continue\n\n")
		w.expect(413, "body_too_large")
		w.ends()
	})
	t.Run("other expectations fail", func(t *testing.T) {
		w := dialWire(t, r.addr)
		w.send(get("/", "Expect: the-spanish-inquisition"))
		w.expect(417, "expectation_not_supported")
		w.ends()
	})
	backend.quiet()
}

func TestHead(t *testing.T) {
	backend := newReplica(t)
	r := start(t, services{{backend.addr}})
	w := r.dial()
	b := (*wire)(nil)
	for _, framing := range []string{"Content-Length: 1000000", "Transfer-Encoding: chunked", "X-None: 1"} {
		w.send(strings.Replace(get("/"), "GET", "HEAD", 1))
		if b == nil {
			b = backend.conn()
		}
		b.head()
		b.send("HTTP/1.1 200 OK\n" + framing + "\n\n")
		got := w.response("HEAD")
		if got.StatusCode != 200 || got.body != "" || got.err != nil {
			t.Errorf("%s: %d %q %v", framing, got.StatusCode, got.body, got.err)
		}
		if framing == "Content-Length: 1000000" && got.ContentLength != 1_000_000 {
			t.Errorf("length %d", got.ContentLength)
		}
	}
	w.send("HEAD /nowhere HTTP/1.1\nHost: gw\n\n")
	got := w.response("HEAD")
	if got.StatusCode != 404 || got.body != "" || got.ContentLength <= 0 {
		t.Errorf("a problem for HEAD: %d, body %q, length %d", got.StatusCode, got.body, got.ContentLength)
	}
	w.send(get("/after"))
	if l := b.line(); l != "GET /after HTTP/1.1" {
		t.Errorf("the connections got out of step: %q", l)
	}
	b.head()
	b.send("HTTP/1.1 304 Not Modified\nContent-Length: 500\n\n")
	if got := w.expect(304, ""); got.body != "" {
		t.Errorf("body %q", got.body)
	}
}

func TestInformationalResponses(t *testing.T) {
	backend := newReplica(t)
	r := start(t, services{{backend.addr}})
	w := r.dial()
	w.send(get("/"))
	b := backend.conn()
	b.head()
	b.send("HTTP/1.1 103 Early Hints\nLink: </a.css>\nX-Hop: 1\nConnection: x-hop\n\n")
	if got := strings.Join(w.head(), "|"); got != "HTTP/1.1 103 Early Hints|link: </a.css>" {
		t.Errorf("got %q", got)
	}
	b.send("HTTP/1.1 102 Processing\n\nHTTP/1.1 103 Early Hints\nLink: </b.css>\n\nHTTP/1.1 200 OK\nContent-Length: 2\n\nok")
	if got := strings.Join(w.head(), "|"); got != "HTTP/1.1 102 Processing" {
		t.Errorf("got %q", got)
	}
	if got := strings.Join(w.head(), "|"); got != "HTTP/1.1 103 Early Hints|link: </b.css>" {
		t.Errorf("got %q", got)
	}
	if got := w.expect(200, ""); got.body != "ok" {
		t.Errorf("body %q", got.body)
	}

	w.send("GET / HTTP/1.0\nHost: gw\ntarget: backend-1\nx-user: ann\n\n")
	b.head()
	b.send("HTTP/1.1 103 Early Hints\nLink: </a.css>\n\nHTTP/1.1 200 OK\nContent-Length: 2\n\nok")
	w.expect(200, "")

	w = r.dial()
	w.send(get("/"))
	b.head()
	b.send("HTTP/1.1 101 Switching Protocols\nUpgrade: x\nConnection: upgrade\n\n")
	w.expect(502, "bad_response")
	b.ends()

	w.send(get("/"))
	b = backend.conn()
	b.head()
	go b.Write([]byte(strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 100)))
	for range maxInterim {
		w.head()
	}
	w.expect(502, "bad_response")
}

func TestABodyThatIsNotJSONIsNotRead(t *testing.T) {
	backend := newReplica(t)
	r := start(t, services{{backend.addr}})
	w := r.dial()
	w.send("POST / HTTP/1.1\nHost: gw\nContent-Type: text/plain\ntarget: backend-1\nx-user: ann\nContent-Length: 100000\n\nfirst")
	b := backend.conn()
	b.head()
	if got := b.bytes(5); got != "first" { // though the rest has not been sent
		t.Errorf("got %q", got)
	}
	go w.raw(strings.Repeat("x", 99_995))
	b.bytes(99_995)
	b.send("HTTP/1.1 200 OK\nContent-Length: 0\n\n")
	w.expect(200, "")
}
