package gateway

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/remora-proxy/remora/internal/affinity"
)

func TestARequestIsRoutedAndSticksByItsBody(t *testing.T) {
	a, b := serve(t, nil), serve(t, nil)
	r := start(t, services{{a.addr}, {b.addr}})
	w := r.dial()

	w.send(hit("ann", "backend-2"))
	if got := w.expect(200, ""); got.body != "ok" {
		t.Errorf("body %q", got.body)
	}
	seen := b.last(t)
	want := http.Header{
		"Content-Type": {"application/json"}, "Content-Length": {"39"}, "Target": {"backend-2"}, "X-User": {"ann"}, "X-Remora-Session": {"new"},
		"X-Forwarded-For": {"127.0.0.1"}, "X-Forwarded-Proto": {"http"}, "X-Forwarded-Host": {"gw"},
		"X-Request-Id": seen.Header["X-Request-Id"],
	}
	if len(seen.Header["X-Request-Id"]) != 1 || len(seen.Header["X-Request-Id"][0]) != 36 {
		t.Errorf("request id %q, want a UUID", seen.Header["X-Request-Id"])
	}
	for name, values := range want {
		if got := strings.Join(seen.Header[name], "|"); got != strings.Join(values, "|") {
			t.Errorf("%s: %q, want %q", name, got, values)
		}
	}
	for name := range seen.Header {
		if _, ok := want[name]; !ok {
			t.Errorf("unexpected header %s: %q", name, seen.Header[name])
		}
	}
	if seen.Host != "gw" || seen.Method != "POST" || seen.RequestURI != "/hit_backend" || seen.body != `{"username":"ann","target":"backend-2"}` {
		t.Errorf("the backend saw %s %s for %s with body %q", seen.Method, seen.RequestURI, seen.Host, seen.body)
	}

	w.send(hit("ann", "backend-2"))
	w.expect(200, "")
	if got := b.last(t).Header.Get("X-Remora-Session"); got != "existing" {
		t.Errorf("the second request was announced as %q, want existing", got)
	}
	if len(a.requests()) != 0 {
		t.Error("the other service was asked too")
	}
	if s := r.stats(); s.upstreamOpened != 1 || s.upstreamReused != 1 {
		t.Errorf("%d upstream connections opened and %d reused, want 1 and 1", s.upstreamOpened, s.upstreamReused)
	}
}

func TestHeadersToTheReplica(t *testing.T) {
	backend := serve(t, nil)
	r := start(t, services{{backend.addr}})
	body := `{"username":"ann","target":"backend-1"}`
	for _, test := range []struct {
		name    string
		headers string            // further header lines
		want    map[string]string // as the replica sees them; "-" is absent
	}{
		{
			"body fields replace the client's headers of the same name",
			"target: backend-9\nX-User: mallory\n",
			map[string]string{"target": "backend-1", "x-user": "ann"},
		},
		{
			"a client cannot say what the gateway says of a session",
			"x-remora-session: existing\nX-Remora-Anything: 1\n",
			map[string]string{"x-remora-session": "new", "x-remora-anything": "-"},
		},
		{
			"hop-by-hop fields end at the gateway",
			"Connection: keep-alive, x-hop\nx-hop: 1\nKeep-Alive: timeout=5\nProxy-Connection: keep-alive\nProxy-Authorization: Basic x\nTE: gzip\n",
			map[string]string{"connection": "-", "x-hop": "-", "keep-alive": "-", "proxy-connection": "-", "proxy-authorization": "-", "te": "-"},
		},
		{
			"an offer to switch protocols is not passed on",
			"Connection: upgrade\nUpgrade: websocket\n",
			map[string]string{"connection": "-", "upgrade": "-"},
		},
		{
			"the client's address is appended to X-Forwarded-For",
			"X-Forwarded-For: 192.0.2.1\n",
			map[string]string{"x-forwarded-for": "192.0.2.1, 127.0.0.1"},
		},
		{
			"what the client says of protocol and host does not go on",
			"X-Forwarded-Proto: https\nX-Forwarded-Host: other\n",
			map[string]string{"x-forwarded-proto": "http", "x-forwarded-host": "gw"},
		},
		{
			"a sane request id is kept",
			"x-request-id: 7b1e-42/a\n",
			map[string]string{"x-request-id": "7b1e-42/a"},
		},
		{
			"names that some servers take for those that the gateway sets do not go on",
			"x_user: mallory\nX_Remora_Session: existing\nX_Forwarded_For: 192.0.2.1\nx_request_id: 1\nx-forwarded_host: other\nx_other: 1\n",
			map[string]string{
				"x_user": "-", "x_remora_session": "-", "x_forwarded_for": "-", "x_request_id": "-", "x-forwarded_host": "-", "x_other": "1",
			},
		},
		{
			"other headers go on as they came",
			"Cookie: a=b; c=d\nX-Thing:   spaced out  \nAccept: */*\n",
			map[string]string{"cookie": "a=b; c=d", "x-thing": "spaced out", "accept": "*/*"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := dialWire(t, r.addr)
			// Each user is a new one, so that the session is new.
			user := strings.ReplaceAll(test.name, " ", "-")
			want := test.want
			if want["x-user"] != "" {
				want["x-user"] = user
			}
			body := strings.Replace(body, "ann", user, 1)
			w.send("POST / HTTP/1.1\nHost: gw\nContent-Type: application/json\nContent-Length: " + itoa(len(body)) + "\n" + test.headers + "\n" + body)
			w.expect(200, "")
			seen := backend.last(t)
			for name, value := range want {
				got := strings.Join(seen.Header.Values(name), "|")
				if got == "" && len(seen.Header.Values(name)) == 0 {
					got = "-"
				}
				if got != value {
					t.Errorf("%s: %q, want %q", name, got, value)
				}
			}
		})
	}
}

func TestProtectedHeaders(t *testing.T) {
	backend := newReplica(t)
	r := start(t, services{{backend.addr}})
	r.g.Protect([]string{"target", "x-user"})
	w := r.dial()
	w.send(get("/", "Connection: x-user"))
	w.expect(400, "protected_connection_option")

	w = r.dial()
	w.raw("POST / HTTP/1.1\r\nHost: gw\r\ntarget: backend-1\r\nx-user: ann\r\nTransfer-Encoding: chunked\r\n\r\n")
	w.raw(chunks("hi", 2, "target: backend-2", "x-user: mallory", "x-remora-session: moved", "x-fine: 1"))
	b := backend.conn()
	b.head()
	const want = "2\r\nhi\r\n0\r\nx-fine: 1\r\n\r\n"
	if got := b.bytes(len(want)); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAnInsaneRequestIDIsReplaced(t *testing.T) {
	backend := serve(t, nil)
	r := start(t, services{{backend.addr}})
	for _, id := range []string{strings.Repeat("x", 129), "a b", "<script>", `"`} {
		w := r.dial()
		w.send(get("/", "x-request-id: "+id))
		w.expect(200, "")
		if got := backend.last(t).Header["X-Request-Id"]; len(got) != 1 || got[0] == id || len(got[0]) != 36 {
			t.Errorf("%q became %q, want a new id", id, got)
		}
	}
}

func TestThePathGoesOnInTheFormThatItWasMatchedIn(t *testing.T) {
	backend := serve(t, nil)
	r := start(t, services{{backend.addr}})
	for path, want := range map[string]string{
		"/a/b":             "/a/b",
		"/a/../b?x=/../y":  "/b?x=/../y",
		"/x/%2e%2e/y":      "/y",
		"/%7Euser/%2F":     "/~user/%2F",
		"//a":              "//a",
		"/?":               "/?",
		"http://gw/a/../c": "/c",
		"http://gw":        "/",
	} {
		w := r.dial()
		w.send(get(path))
		w.expect(200, "")
		if got := backend.last(t).RequestURI; got != want {
			t.Errorf("%s went on as %s, want %s", path, got, want)
		}
	}
	w := r.dial()
	w.send(get("/a%00b"))
	w.expect(400, "bad_path")
}

func TestOptionsOfTheWholeServer(t *testing.T) {
	backend := newReplica(t)
	r := start(t, services{{backend.addr}})
	w := r.dial()
	w.send(strings.Replace(get("*"), "GET", "OPTIONS", 1))
	b := backend.conn()
	if got := b.head()[0]; got != "OPTIONS * HTTP/1.1" {
		t.Errorf("the request line is %q", got)
	}
	b.send("HTTP/1.1 204 No Content\n\n")
	w.expect(204, "")
}

func TestResponsesGoBackAsTheyCame(t *testing.T) {
	backend := newReplica(t)
	r := start(t, services{{backend.addr}})
	w := r.dial()
	w.send(get("/1"))
	b := backend.conn()
	for _, test := range []struct{ name, sent, want string }{
		{
			"fields in their order and case, without those for one connection",
			"HTTP/1.1 200 Fine\nServer: x\nX-A: 1\nConnection: keep-alive, x-b\nx-b: 2\nKeep-Alive: timeout=5\nDate: then\nSet-Cookie: a=1\nSet-Cookie: b=2\nContent-Length: 2\n\nhi",
			"HTTP/1.1 200 Fine\nserver: x\nx-a: 1\ndate: then\nset-cookie: a=1\nset-cookie: b=2\ncontent-length: 2\n\nhi",
		},
		{
			"no content",
			"HTTP/1.1 204 No Content\ndate: then\n\n",
			"HTTP/1.1 204 No Content\ndate: then\n\n",
		},
		{
			"an unknown status without a phrase",
			"HTTP/1.1 999 \ndate: then\ncontent-length: 0\n\n",
			"HTTP/1.1 999 \ndate: then\ncontent-length: 0\n\n",
		},
	} {
		b.head()
		b.send(test.sent)
		want := strings.ReplaceAll(test.want, "\n", "\r\n")
		if got := w.bytes(len(want)); got != want {
			t.Errorf("%s: got\n%q, want\n%q", test.name, got, want)
		}
		w.send(get("/next"))
	}
}

func TestAResponseWithoutADateGetsOne(t *testing.T) {
	backend := newReplica(t)
	r := start(t, services{{backend.addr}})
	w := r.dial()
	w.send(get("/"))
	b := backend.conn()
	b.head()
	b.send("HTTP/1.1 200 OK\nContent-Length: 0\n\n")
	got := w.expect(200, "")
	if _, err := http.ParseTime(got.Header.Get("Date")); err != nil {
		t.Errorf("date %q: %v", got.Header.Get("Date"), err)
	}
}

func TestACookieOfTheSessionIsSetOnTheResponse(t *testing.T) {
	backend := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Set-Cookie", "own=1")
		io.WriteString(w, "ok")
	})
	c := configure(services{{backend.addr}})
	c.Services[0].Key = affinity.Key{Kind: affinity.CookieKey, Name: "sid", SetTTL: true}
	r := startWith(t, c)
	w := r.dial()
	w.send(get("/"))
	cookies := w.expect(200, "").Cookies()
	if len(cookies) != 2 || cookies[0].Name != "own" || cookies[1].Name != "sid" {
		t.Fatalf("cookies %v, want the replica's and then the session's", cookies)
	}
	w.send(get("/", "Cookie: sid="+cookies[1].Value))
	if got := w.expect(200, "").Cookies(); len(got) != 1 {
		t.Errorf("cookies %v for a client that has the session's", got)
	}
	if got := backend.last(t).Header.Get("X-Remora-Session"); got != "existing" {
		t.Errorf("the session is %q", got)
	}
}

func TestHTTP10Clients(t *testing.T) {
	backend := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stream" {
			w.(http.Flusher).Flush()
		}
		io.WriteString(w, "hello")
	})
	r := start(t, services{{backend.addr}})

	w := r.dial()
	w.send("GET / HTTP/1.0\ntarget: backend-1\nx-user: ann\n\n")
	if got := w.expect(200, ""); got.body != "hello" || !got.Close {
		t.Errorf("body %q, close %v", got.body, got.Close)
	}
	w.ends()
	if got := backend.last(t); got.Host != backend.addr || got.Proto != "HTTP/1.1" {
		t.Errorf("the replica saw %s for host %q", got.Proto, got.Host)
	}

	w = r.dial()
	w.send("GET / HTTP/1.0\ntarget: backend-1\nx-user: ann\nConnection: keep-alive\n\n")
	if got := w.expect(200, ""); got.Header.Get("Connection") != "keep-alive" {
		t.Errorf("connection %q", got.Header.Get("Connection"))
	}
	// A body of unknown length can only end with the connection.
	w.send("GET /stream HTTP/1.0\ntarget: backend-1\nx-user: ann\nConnection: keep-alive\n\n")
	if got := w.expect(200, ""); got.body != "hello" || len(got.TransferEncoding) > 0 || !got.Close {
		t.Errorf("body %q, transfer-encoding %v, close %v", got.body, got.TransferEncoding, got.Close)
	}
	w.ends()
}
