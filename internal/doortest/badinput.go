// Package doortest is the suite that every front door passes: bad and contradictory requests over the real wire, and what must
// come of them. It knows a front door by the address that it listens on only.
package doortest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/affinity"
)

// patience is how long the suite waits for what must happen.
const patience = time.Minute

// maxBody is the limit on bodies that are read, in the configuration of the suite.
const maxBody = 32 << 10

// request is one case. The request is a POST to / with these header lines and this body.
type request struct {
	name    string
	headers string // each line with LF
	body    string
	status  int
	code    string // of the problem; empty: the request is forwarded
	target  string // that the replica sees
	user    string // that the replica sees; "-": no header
}

const asJSON = "Content-Type: application/json\n"

// pad makes a JSON body of n bytes.
func pad(n int) string {
	const rest = `{"username":"ann","target":"backend-1","pad":""}`
	return `{"username":"ann","target":"backend-1","pad":"` + strings.Repeat("x", n-len(rest)) + `"}`
}

// requests are the bad input that clients send, and the input that only looks bad. backend-1 has a replica, backend-2 has no
// endpoint, the endpoint of backend-3 is down, and backend-4 takes no request without a key.
var requests = []request{
	{"a good request", asJSON, `{"username":"ann","target":"backend-1"}`, 200, "", "backend-1", "ann"},
	{"the header alone", "target: backend-1\nx-user: bob\n", "", 200, "", "backend-1", "bob"},
	{"the body wins over the header", asJSON + "target: backend-2\nx-user: bob\n", `{"username":"ann","target":"backend-1"}`, 200, "", "backend-1", "ann"},
	{"the header stands in for a field that the body does not have", asJSON + "x-user: bob\n", `{"target":"backend-1"}`, 200, "", "backend-1", "bob"},
	{"names with escapes are the same names", asJSON, `{"\u0075sername":"ann","targ\u0065t":"backend-1"}`, 200, "", "backend-1", "ann"},
	{"values with escapes are decoded", asJSON, `{"username":"\u0061nn","target":"backend\u002d1"}`, 200, "", "backend-1", "ann"},
	{"only top-level members count", asJSON, `{"a":{"target":"backend-2"},"username":"ann","target":"backend-1"}`, 200, "", "backend-1", "ann"},

	{"malformed JSON", asJSON, `{"username":"ann","target":"backend-1"`, 400, "malformed_json", "", ""},
	{"JSON with a comment", asJSON, `{"target":"backend-1"} // x`, 400, "trailing_bytes", "", ""},
	{"single quotes", asJSON, `{'target':'backend-1'}`, 400, "malformed_json", "", ""},
	{"a byte order mark", asJSON, "\xef\xbb\xbf" + `{"target":"backend-1"}`, 400, "malformed_json", "", ""},
	{"a body of white space", asJSON, "   ", 400, "malformed_json", "", ""},
	{"the target twice", asJSON, `{"target":"backend-1","target":"backend-2"}`, 400, "duplicate_field", "", ""},
	{"the target twice with the same value", asJSON, `{"target":"backend-1","target":"backend-1"}`, 400, "duplicate_field", "", ""},
	{"the target twice, once with an escape", asJSON, `{"target":"backend-1","t\u0061rget":"backend-2"}`, 400, "duplicate_field", "", ""},
	{"the target in upper case too", asJSON, `{"target":"backend-1","TARGET":"backend-2"}`, 400, "duplicate_field", "", ""},
	{"the target in upper case alone", asJSON, `{"TARGET":"backend-2"}`, 400, "duplicate_field", "", ""},
	{"a number as the target", asJSON, `{"target":1}`, 400, "field_not_string", "", ""},
	{"null as the target", asJSON, `{"target":null}`, 400, "field_not_string", "", ""},
	{"an object as the target", asJSON, `{"target":{"target":"backend-1"}}`, 400, "field_not_string", "", ""},
	{"an empty target", asJSON, `{"target":""}`, 400, "field_empty", "", ""},
	{"a user's name of 1 KiB", asJSON, `{"username":"` + strings.Repeat("n", 1024) + `","target":"backend-1"}`, 200, "", "backend-1", strings.Repeat("n", 1024)},
	{"a user's name of 2 KiB", asJSON, `{"username":"` + strings.Repeat("n", 2048) + `","target":"backend-1"}`, 400, "field_too_long", "", ""},
	{"invalid UTF-8", asJSON, "{\"username\":\"a\xff\",\"target\":\"backend-1\"}", 400, "malformed_json", "", ""},
	{"an overlong encoding", asJSON, "{\"username\":\"\xc0\xaf\",\"target\":\"backend-1\"}", 400, "malformed_json", "", ""},
	{"a lone surrogate", asJSON, `{"username":"\ud800","target":"backend-1"}`, 400, "field_bad_value", "", ""},
	{"NUL", asJSON, `{"username":"a\u0000b","target":"backend-1"}`, 400, "field_bad_value", "", ""},
	{"a line break, which would make a second header", asJSON, `{"username":"a\r\nx-admin: 1","target":"backend-1"}`, 400, "field_bad_value", "", ""},
	{"a depth of 10,000", asJSON, `{"a":` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000) + `}`, 400, "json_too_deep", "", ""},
	{"bytes behind the value", asJSON, `{"target":"backend-1"}{}`, 400, "trailing_bytes", "", ""},
	{"another content type with a body", "Content-Type: text/plain\n", `{"target":"backend-1"}`, 404, "no_route", "", ""},
	{"another content type with a body and the headers", "Content-Type: text/plain\ntarget: backend-1\nx-user: bob\n", `{"target":"backend-2"}`, 200, "", "backend-1", "bob"},
	{"a compressed body", asJSON + "Content-Encoding: gzip\ntarget: backend-1\nx-user: bob\n", "\x1f\x8b...", 200, "", "backend-1", "bob"},
	{"a JSON content type of another kind", "Content-Type: application/vnd.api+json; charset=utf-8\n", `{"username":"ann","target":"backend-1"}`, 200, "", "backend-1", "ann"},
	{"a body at the limit", asJSON, pad(maxBody), 200, "", "backend-1", "ann"},
	{"a body over the limit without the header", asJSON, pad(maxBody + 1), 413, "body_too_large", "", ""},
	{"a body over the limit with the header", asJSON + "target: backend-1\nx-user: bob\n", pad(maxBody + 1), 200, "", "backend-1", "bob"},
	{"a target that nobody knows", asJSON, `{"username":"ann","target":"backend-9"}`, 404, "no_route", "", ""},
	{"no target anywhere", asJSON, `{"username":"ann"}`, 404, "no_route", "", ""},
	{"no user, where any replica will do", asJSON, `{"target":"backend-1"}`, 200, "", "backend-1", "-"},
	{"no user, where there must be one", asJSON, `{"target":"backend-4"}`, 400, "no_key", "", ""},
	{"two x-user headers", asJSON + "x-user: ann\nx-user: bob\n", `{"target":"backend-1"}`, 400, "duplicate_header", "", ""},
	{"two target headers", "target: backend-1\ntarget: backend-1\n", "", 400, "duplicate_header", "", ""},
	{"a service without endpoints", asJSON, `{"username":"ann","target":"backend-2"}`, 503, "no_endpoint", "", ""},
	{"a service whose replicas are down", asJSON, `{"username":"ann","target":"backend-3"}`, 503, "no_endpoint", "", ""},
	{"a forged session header", asJSON + "x-remora-session: moved\n", `{"username":"ann","target":"backend-1"}`, 200, "", "backend-1", "ann"},
}

// Run runs the suite. start starts a front door with a configuration, and returns the address that it listens on for the
// Gateway server's port 80. The sessions of one call of Run are new in it.
func Run(t *testing.T, start func(*testing.T, affinity.Config) (addr string)) {
	t.Helper()
	var seen atomic.Pointer[http.Request]
	var body atomic.Pointer[[]byte]
	replica := serve(t, func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Errorf("the replica could not read the body: %v", err)
		}
		body.Store(&b)
		seen.Store(r)
		if _, err := io.WriteString(w, "from the replica"); err != nil {
			t.Errorf("the replica could not answer: %v", err)
		}
	})
	down, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	down.Close()
	c := Config([]string{replica}, nil, []string{down.Addr().String()}, []string{replica})
	c.Listeners[0].MaxBody = maxBody
	c.Services[3].WithoutKey = affinity.Reject
	addr := start(t, c)

	for _, framing := range []string{"length", "chunked"} {
		for i := range requests {
			test := &requests[i]
			if test.body == "" && framing == "chunked" {
				continue
			}
			t.Run(test.name+", "+framing, func(t *testing.T) {
				seen.Store(nil)
				got := test.send(t, addr, framing)
				if got.status != test.status || got.code() != test.code {
					t.Fatalf("got %d %q, want %d %q; body: %s", got.status, got.code(), test.status, test.code, got.body)
				}
				r := seen.Load()
				if test.code != "" {
					if r != nil {
						t.Error("the replica has seen a request that was refused")
					}
					return
				}
				test.check(t, r, *body.Load())
			})
		}
	}
}

// answer is a response that was read.
type answer struct {
	status      int
	contentType string
	body        string
}

// send sends the request on a connection of its own.
func (q *request) send(t *testing.T, addr, framing string) answer {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	head := "POST / HTTP/1.1\nHost: door\n" + q.headers
	body := q.body
	if framing == "chunked" {
		head += "Transfer-Encoding: chunked\n\n"
		body = ""
		for rest := q.body; rest != ""; {
			n := min(1000, len(rest))
			body += fmt.Sprintf("%x\r\n%s\r\n", n, rest[:n])
			rest = rest[n:]
		}
		body += "0\r\n\r\n"
	} else {
		head += fmt.Sprintf("Content-Length: %d\n\n", len(body))
	}
	if _, err := io.WriteString(conn, strings.ReplaceAll(head, "\n", "\r\n")+body); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header.Get("Content-Type"), string(text)}
}

// check compares what the replica saw with what it must have seen.
func (q *request) check(t *testing.T, r *http.Request, body []byte) {
	t.Helper()
	if r == nil {
		t.Fatal("the replica has not seen the request")
	}
	if string(body) != q.body {
		t.Errorf("the replica got another body than was sent: %.100q", body)
	}
	user := []string{q.user}
	if q.user == "-" {
		user = nil
	}
	for name, want := range map[string][]string{"Target": {q.target}, "X-User": user} {
		if got := r.Header[name]; strings.Join(got, "|") != strings.Join(want, "|") {
			t.Errorf("the replica saw %s: %.100q, want %.100q", name, got, want)
		}
	}
	session := r.Header["X-Remora-Session"]
	if q.user == "-" {
		if len(session) != 0 {
			t.Errorf("a request without a session was announced as %q", session)
		}
	} else if len(session) != 1 || session[0] != "new" && session[0] != "existing" {
		t.Errorf("the session was announced as %q", session)
	}
}

// code is the code of a problem details object.
func (a answer) code() string {
	if a.contentType != "application/problem+json" {
		return ""
	}
	_, after, _ := strings.Cut(a.body, `"code":"`)
	code, _, _ := strings.Cut(after, `"`)
	return code
}

// serve runs a replica and returns its address.
func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: handler, ReadHeaderTimeout: patience}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = srv.Serve(ln) // ends when it is closed
	}()
	t.Cleanup(func() {
		srv.Close()
		<-done
	})
	return ln.Addr().String()
}
