package gateway

import (
	"slices"
	"strconv"
	"strings"
	"testing"
)

func TestTrailersThatDoNotGoOnDoNotWhenARequestIsSentAgain(t *testing.T) {
	backend := newReplica(t)
	r := start(t, services{{backend.addr}})
	w := r.dial()
	w.send(get("/"))
	b := backend.conn()
	b.head()
	b.send("HTTP/1.1 200 OK\nContent-Length: 0\n\n")
	w.expect(200, "")

	const body = `{"username":"ann","target":"backend-1"}`
	w.send("PUT / HTTP/1.1\nHost: gw\nContent-Type: application/json\nTransfer-Encoding: chunked\n\n27\n" + body + "\n0\nx-remora-a: 1\nx-sum: abc\n\n")
	b.head()
	b.Close() // without an answer: PUT is idempotent, and all of it is still there
	b = backend.conn()
	b.head()
	for _, want := range []string{"27", body, "0", "x-sum: abc", ""} {
		if got := b.line(); got != want {
			t.Fatalf("sent again as %q, want %q", got, want)
		}
	}
	b.send("HTTP/1.1 200 OK\nContent-Length: 0\n\n")
	w.expect(200, "")
}

func TestNamesThatServersConfuseWithProtectedOnesDoNotGoOn(t *testing.T) {
	backend := newReplica(t)
	r := start(t, services{{backend.addr}})
	r.g.Protect([]string{"x-tenant"})
	w := r.dial()
	w.send(get("/", "x_tenant: evil", "content_length: 7", "transfer_encoding: chunked", "x_other: fine"))
	head := backend.conn().head()
	for _, line := range head {
		if strings.Contains(line, "evil") || strings.HasPrefix(line, "content_length") || strings.HasPrefix(line, "transfer_encoding") {
			t.Errorf("the replica got %q", line)
		}
	}
	if !slices.Contains(head, "x_other: fine") {
		t.Errorf("the replica got %q, without x_other", head)
	}
}

func TestAClientWithoutAHostCannotSayWhichItWas(t *testing.T) {
	backend := newReplica(t)
	r := start(t, services{{backend.addr}})
	w := r.dial()
	w.send("GET / HTTP/1.0\ntarget: backend-1\nx-forwarded-host: evil.example\n\n")
	if head := backend.conn().head(); slices.ContainsFunc(head, func(line string) bool { return strings.Contains(line, "evil") }) {
		t.Errorf("the replica got %q", head)
	}
}

// The body promotes x-user: a client's spelling of it must not reach a server that makes the same of both, as a header or as a trailer,
// whether or not the body has the field.
func TestSpellingsOfPromotedHeadersDoNotGoOn(t *testing.T) {
	backend := newReplica(t)
	r := start(t, services{{backend.addr}})
	w := r.dial()
	for _, body := range []string{`{"username":"ann","target":"backend-1"}`, `{"target":"backend-1"}`} {
		w.send("POST / HTTP/1.1\nHost: gw\nContent-Type: application/json\nx_user: evil\nTransfer-Encoding: chunked\nConnection: close\n\n" +
			strconv.FormatInt(int64(len(body)), 16) + "\n" + body + "\n0\nx_user: evil\nx-user: evil\nx_remora_session: evil\ncontent_length: 1\nx-sum: abc\n\n")
		b := backend.conn()
		lines := append(b.head(), b.head()...) // the second ends with the trailers
		for _, line := range lines {
			if strings.Contains(line, "evil") || strings.HasPrefix(line, "content_length") {
				t.Errorf("with %s the replica got %q", body, line)
			}
		}
		if !slices.Contains(lines, "x-sum: abc") {
			t.Errorf("the replica got %q, without x-sum", lines)
		}
		b.send("HTTP/1.1 200 OK\nContent-Length: 0\nConnection: close\n\n")
		w.expect(200, "")
		w = r.dial()
	}
}
