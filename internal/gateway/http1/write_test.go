package http1

import (
	"strings"
	"testing"

	"github.com/remora-proxy/remora/internal/route"
)

func lines(s ...string) string { return strings.Join(s, "\r\n") + "\r\n\r\n" }

func TestARequestGoesOn(t *testing.T) {
	for _, c := range []struct {
		name string
		head string
		o    RequestOptions
		want string
	}{
		{
			"as it came, with names in lower case", lines("POST /a?b HTTP/1.1", "Host: c", "Content-Length: 5", "X: y"),
			RequestOptions{},
			lines("POST /a?b HTTP/1.1", "host: c", "content-length: 5", "x: y"),
		},
		{
			"with clean lines", lines("GET / HTTP/1.1", "Host:a", "X: \t b ", "Y:\tc", "Z:", "A: b"),
			RequestOptions{},
			lines("GET / HTTP/1.1", "host: a", "x: b", "y: c", "z: ", "a: b"),
		},
		{
			"without the empty line before it", "\r\n" + lines("GET / HTTP/1.1", "Host: a"),
			RequestOptions{},
			lines("GET / HTTP/1.1", "host: a"),
		},
		{
			"without hop-by-hop fields (RFC 9110, 7.6.1)", lines("GET / HTTP/1.1", "Connection: keep-alive, x-hop", "Host: a", "Keep-Alive: timeout=5",
				"Proxy-Connection: keep-alive", "Proxy-Authorization: b", "Proxy: c", "X-Hop: d", "Upgrade: e", "X: y"),
			RequestOptions{},
			lines("GET / HTTP/1.1", "host: a", "x: y"),
		},
		{
			"chunked as it came", lines("POST / HTTP/1.1", "Host: a", "Transfer-Encoding:  CHUNKED", "Trailer: X"),
			RequestOptions{},
			lines("POST / HTTP/1.1", "host: a", "trailer: X", "transfer-encoding: chunked"),
		},
		{
			"without Trailer where there can be none", lines("POST / HTTP/1.1", "Host: a", "Trailer: X"),
			RequestOptions{},
			lines("POST / HTTP/1.1", "host: a"),
		},
		{
			"with a length that no reader takes for octal", lines("POST / HTTP/1.1", "Host: a", "Content-Length:010", "X: y"),
			RequestOptions{},
			lines("POST / HTTP/1.1", "host: a", "content-length: 10", "x: y"),
		},
		{
			"in origin form", lines("GET http://a:80/b?c HTTP/1.1", "Host: a:80"),
			RequestOptions{},
			lines("GET /b?c HTTP/1.1", "host: a:80"),
		},
		{
			"in origin form, without a path", lines("GET http://a HTTP/1.1", "Host: a"),
			RequestOptions{},
			lines("GET / HTTP/1.1", "host: a"),
		},
		{
			"in origin form, with a query alone", lines("GET http://a?b HTTP/1.1", "Host: a"),
			RequestOptions{},
			lines("GET /?b HTTP/1.1", "host: a"),
		},
		{
			"in origin form, with a query alone in OPTIONS", lines("OPTIONS http://a? HTTP/1.1", "Host: a"),
			RequestOptions{},
			lines("OPTIONS /? HTTP/1.1", "host: a"),
		},
		{
			"in asterisk form (RFC 9112, 3.2.4)", lines("OPTIONS http://a HTTP/1.1", "Host: a"),
			RequestOptions{},
			lines("OPTIONS * HTTP/1.1", "host: a"),
		},
		{
			"to another target", lines("GET /a HTTP/1.1", "Host: a"),
			RequestOptions{Target: "/b"},
			lines("GET /b HTTP/1.1", "host: a"),
		},
		{
			"in HTTP/1.1, with a Host", lines("GET /a HTTP/1.0", "X: y"),
			RequestOptions{DefaultHost: "b:80", Via: "r"},
			lines("GET /a HTTP/1.1", "x: y", "host: b:80", "via: 1.0 r"),
		},
		{
			"with the host of the target", lines("GET http://a/ HTTP/1.0", "X: y"),
			RequestOptions{DefaultHost: "b:80"},
			lines("GET / HTTP/1.1", "x: y", "host: a"),
		},
		{
			"with fields replaced and dropped", lines("GET / HTTP/1.1", "target: a", "Host: a", "X-User: b", "X: y", "Target: c", "X-Drop: d", "X-Remora-A: e", "X-Remor: f"),
			RequestOptions{
				Set:  []route.Header{{Name: "target", Value: "backend-1"}, {Name: "x-remora-session", Value: "new"}, {Name: "host", Value: "z"}},
				Drop: []string{"x-drop", "x-nothing"}, DropPrefix: "x-remora-",
			},
			lines("GET / HTTP/1.1", "x-user: b", "x: y", "x-remor: f", "target: backend-1", "x-remora-session: new", "host: z"),
		},
		{
			"with what this hop knows", lines("GET / HTTP/1.1", "Host: a"),
			RequestOptions{ForwardedFor: "1.2.3.4", ForwardedProto: "http", ForwardedHost: "a", RequestID: "id", Via: "remora"},
			lines("GET / HTTP/1.1", "host: a", "x-forwarded-for: 1.2.3.4", "x-forwarded-proto: http", "x-forwarded-host: a", "x-request-id: id", "via: 1.1 remora"),
		},
		{
			"with the hops before", lines("GET / HTTP/1.1", "Host: a", "X-Forwarded-For: 1.1.1.1, 2.2.2.2", "Via: 1.0 p", "X-Forwarded-For:", "X-Forwarded-For: 3.3.3.3", "X-Forwarded-Proto: x", "X-Forwarded-Host: y", "X-Request-ID: z"),
			RequestOptions{ForwardedFor: "4.4.4.4", ForwardedProto: "https", ForwardedHost: "a", RequestID: "id", Via: "remora"},
			lines("GET / HTTP/1.1", "host: a", "via: 1.0 p", "x-forwarded-for: 1.1.1.1, 2.2.2.2, 3.3.3.3, 4.4.4.4", "x-forwarded-proto: https", "x-forwarded-host: a", "x-request-id: id", "via: 1.1 remora"),
		},
		{
			"with the hops before left alone", lines("GET / HTTP/1.1", "Host: a", "X-Forwarded-For: b", "X-Forwarded-Proto: c", "X-Forwarded-Host: d", "X-Request-Id: e"),
			RequestOptions{},
			lines("GET / HTTP/1.1", "host: a", "x-forwarded-for: b", "x-forwarded-proto: c", "x-forwarded-host: d", "x-request-id: e"),
		},
		{
			"without the expectation", lines("POST / HTTP/1.1", "Host: a", "Content-Length: 5", "Expect: 100-continue"),
			RequestOptions{},
			lines("POST / HTTP/1.1", "host: a", "content-length: 5"),
		},
		{
			"with the expectation", lines("POST / HTTP/1.1", "Host: a", "Content-Length: 5", "Expect: 100-continue"),
			RequestOptions{ExpectContinue: true},
			lines("POST / HTTP/1.1", "host: a", "content-length: 5", "expect: 100-continue"),
		},
		{
			"asking for trailers where the client did (RFC 9110, 10.1.4)", lines("GET / HTTP/1.1", "Host: a", "TE: gzip, trailers"),
			RequestOptions{},
			lines("GET / HTTP/1.1", "host: a", "te: trailers", "connection: te"),
		},
		{
			"for the last time", lines("GET / HTTP/1.1", "Host: a", "TE: trailers"),
			RequestOptions{Close: true},
			lines("GET / HTTP/1.1", "host: a", "te: trailers", "connection: te, close"),
		},
		{
			"closing", lines("GET / HTTP/1.1", "Host: a"),
			RequestOptions{Close: true},
			lines("GET / HTTP/1.1", "host: a", "connection: close"),
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, n, err := parseWhole(c.head, nil)
			if n != len(c.head) || err != nil {
				t.Fatal(n, err)
			}
			for range 2 { // the head is as good for a second server
				if got := string(AppendRequest([]byte("before|"), r, &c.o)); got != "before|"+c.want {
					t.Fatalf("got\n%q\nwant\n%q", got, c.want)
				}
			}
			r.Rebase(append([]byte(nil), r.raw()...))
			if got := string(AppendRequest(nil, r, &c.o)); got != c.want {
				t.Errorf("after a move\n%q", got)
			}
		})
	}
}

func TestAChangedFieldGoesOnAsItIs(t *testing.T) {
	r, _, err := parseWhole(lines("GET / HTTP/1.1", "Host: a", "X: y", "Z: 0"), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Fields[1].Value = "another"
	if got, want := string(AppendRequest(nil, r, &RequestOptions{})), lines("GET / HTTP/1.1", "host: a", "x: another", "z: 0"); got != want {
		t.Errorf("got %q", got)
	}
}

func TestAResponseGoesOn(t *testing.T) {
	client11, client10 := &Request{Minor: 1}, &Request{Minor: 0}
	for _, c := range []struct {
		name   string
		head   string
		method string
		client *Request
		o      ResponseOptions
		want   string
	}{
		{
			"as it came, with names in lower case", lines("HTTP/1.1 200 All Right", "Server: s", "Content-Length: 5", "Set-Cookie: a=b", "Set-Cookie: c=d"), "GET", client11,
			ResponseOptions{},
			lines("HTTP/1.1 200 All Right", "server: s", "content-length: 5", "set-cookie: a=b", "set-cookie: c=d"),
		},
		{
			"without hop-by-hop fields", lines("HTTP/1.1 200 OK", "Connection: keep-alive, x-hop", "Keep-Alive: timeout=5", "X-Hop: 1", "Content-Length: 5", "Upgrade: h2", "Proxy-Authenticate: x"), "GET", client11,
			ResponseOptions{},
			lines("HTTP/1.1 200 OK", "content-length: 5"),
		},
		{
			"chunked as it came", lines("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", "Trailer: X"), "GET", client11,
			ResponseOptions{},
			lines("HTTP/1.1 200 OK", "trailer: X", "transfer-encoding: chunked"),
		},
		{
			"chunked where its end was the connection's", lines("HTTP/1.0 200 OK", "X: y"), "GET", client11,
			ResponseOptions{Via: "r"},
			lines("HTTP/1.1 200 OK", "x: y", "transfer-encoding: chunked", "via: 1.0 r"),
		},
		{
			"closing for a client that knows no chunks", lines("HTTP/1.1 200 OK", "Transfer-Encoding: chunked", "Trailer: X"), "GET", client10,
			ResponseOptions{},
			lines("HTTP/1.1 200 OK", "connection: close"),
		},
		{
			"keeping the connection of a client of HTTP/1.0", lines("HTTP/1.1 200 OK", "Content-Length: 5"), "GET", client10,
			ResponseOptions{},
			lines("HTTP/1.1 200 OK", "content-length: 5", "connection: keep-alive"),
		},
		{
			"closing", lines("HTTP/1.1 200 OK", "Content-Length: 5"), "GET", client11,
			ResponseOptions{Close: true},
			lines("HTTP/1.1 200 OK", "content-length: 5", "connection: close"),
		},
		{
			"with the phrase that is missing left empty", lines("HTTP/1.1 200", "Content-Length: 5"), "GET", client11,
			ResponseOptions{},
			lines("HTTP/1.1 200 ", "content-length: 5"),
		},
		{
			"with an empty phrase", lines("HTTP/1.1 200 ", "Content-Length: 5"), "GET", client11,
			ResponseOptions{},
			lines("HTTP/1.1 200 ", "content-length: 5"),
		},
		{
			"with one length of two", lines("HTTP/1.1 200 OK", "Content-Length: 5", "X: y", "Content-Length: 5"), "GET", client11,
			ResponseOptions{},
			lines("HTTP/1.1 200 OK", "content-length: 5", "x: y"),
		},
		{
			"with the length that HEAD asked for", lines("HTTP/1.1 200 OK", "Content-Length: 5"), "HEAD", client11,
			ResponseOptions{},
			lines("HTTP/1.1 200 OK", "content-length: 5"),
		},
		{
			"with the length of what was not modified", lines("HTTP/1.1 304 Not Modified", "Content-Length: 5"), "GET", client11,
			ResponseOptions{},
			lines("HTTP/1.1 304 Not Modified", "content-length: 5"),
		},
		{
			"without a length that must not be there (RFC 9110, 8.6)", lines("HTTP/1.1 204 No Content", "Content-Length: 0", "Trailer: X"), "GET", client11,
			ResponseOptions{},
			lines("HTTP/1.1 204 No Content"),
		},
		{
			"informational, with nothing added", lines("HTTP/1.1 103 Early Hints", "Link: </a>", "X-Drop: a", "Connection: x"), "GET", client11,
			ResponseOptions{Set: []route.Header{{Name: "a", Value: "b"}}, Add: []route.Header{{Name: "set-cookie", Value: "c"}}, Drop: []string{"x-drop"}, Date: "now", Via: "r", Close: true},
			lines("HTTP/1.1 103 Early Hints", "link: </a>"),
		},
		{
			"with fields replaced, added and dropped", lines("HTTP/1.1 200 OK", "Server: s", "Set-Cookie: a=b", "X-Drop: c", "Content-Length: 5"), "GET", client11,
			ResponseOptions{Set: []route.Header{{Name: "server", Value: "r"}}, Add: []route.Header{{Name: "set-cookie", Value: "c=d"}}, Drop: []string{"x-drop"}, Date: "now", Via: "r"},
			lines("HTTP/1.1 200 OK", "set-cookie: a=b", "content-length: 5", "server: r", "set-cookie: c=d", "date: now", "via: 1.1 r"),
		},
		{
			"with the server's date (RFC 9110, 6.6.1)", lines("HTTP/1.1 200 OK", "Date: then", "Content-Length: 5"), "GET", client11,
			ResponseOptions{Date: "now"},
			lines("HTTP/1.1 200 OK", "date: then", "content-length: 5"),
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := new(Response)
			if n, err := r.Parse([]byte(c.head), c.method, nil); n != len(c.head) || err != nil {
				t.Fatal(n, err)
			}
			framing, mustClose := ClientFraming(r, c.client)
			c.o.Framing, c.o.Close = framing, c.o.Close || mustClose
			c.o.ClientHTTP = c.client.Minor
			if got := string(AppendResponse([]byte("before|"), r, &c.o)); got != "before|"+c.want {
				t.Errorf("got\n%q\nwant\n%q", got, c.want)
			}
		})
	}
}

func TestTheGatewayAnswers(t *testing.T) {
	for _, c := range []struct {
		name string
		a    Answer
		want string
	}{
		{
			"with a body",
			Answer{Status: 400, ContentType: "application/problem+json", Body: []byte("{}"), Date: "now", Close: true, ClientHTTP: 1, Fields: []route.Header{{Name: "a", Value: "b"}}},
			lines("HTTP/1.1 400 Bad Request", "content-type: application/problem+json", "content-length: 2", "a: b", "date: now", "connection: close") + "{}",
		},
		{
			"without the body to HEAD",
			Answer{Status: 404, Body: []byte("{}"), Head: true, ClientHTTP: 1},
			lines("HTTP/1.1 404 Not Found", "content-length: 2"),
		},
		{
			"a client of HTTP/1.0",
			Answer{Status: 503},
			lines("HTTP/1.1 503 Service Unavailable", "content-length: 0", "connection: keep-alive"),
		},
		{"without a body", Answer{Status: 204, ClientHTTP: 1}, lines("HTTP/1.1 204 No Content")},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := string(AppendAnswer(nil, &c.a)); got != c.want {
				t.Errorf("got\n%q\nwant\n%q", got, c.want)
			}
		})
	}
	if got := string(AppendContinue(nil)); got != "HTTP/1.1 100 Continue\r\n\r\n" {
		t.Errorf("got %q", got)
	}
}

func TestWritingAllocatesNothing(t *testing.T) {
	r, _, err := parseWhole(browserGet, nil)
	if err != nil {
		t.Fatal(err)
	}
	o := &RequestOptions{Set: []route.Header{{Name: "x-user", Value: "u"}}, DropPrefix: "x-remora-", ForwardedFor: "::1", Via: "r"}
	dst := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() { dst = AppendRequest(dst[:0], r, o) }); n != 0 {
		t.Errorf("%v allocations for a request", n)
	}
	var resp Response
	if _, err := resp.Parse([]byte(ordinaryResponse), "GET", nil); err != nil {
		t.Fatal(err)
	}
	ro := &ResponseOptions{Framing: resp.Framing, Date: "now", ClientHTTP: 1}
	if n := testing.AllocsPerRun(100, func() { dst = AppendResponse(dst[:0], &resp, ro) }); n != 0 {
		t.Errorf("%v allocations for a response", n)
	}
}
