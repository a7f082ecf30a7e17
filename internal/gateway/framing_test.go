package gateway

import (
	"slices"
	"strings"
	"testing"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/doortest"
	"github.com/remora-proxy/remora/internal/gateway/http1"
	"github.com/remora-proxy/remora/internal/problem"
)

func TestTheSuiteOfFrontDoors(t *testing.T) {
	doortest.Run(t, func(t *testing.T, c affinity.Config) string { return startWith(t, c, quick).addr })
}

func TestEveryRefusalOfTheMessageLayerIsACode(t *testing.T) {
	all := problem.All()
	for _, err := range http1.Errors() {
		at := slices.IndexFunc(all, func(e problem.Entry) bool { return e.Code == codeOf(err) })
		switch {
		case strings.HasPrefix(string(err.Reason), "response_") || err.Status == 502: // answered as bad_response
			if at >= 0 {
				t.Errorf("%s is about responses and has a code of its own", err.Reason)
			}
		case at < 0:
			t.Errorf("%s has no entry in the catalogue", err.Reason)
		case all[at].Status != err.Status:
			t.Errorf("%s is answered with %d, and the message layer says %d", err.Reason, all[at].Status, err.Status)
		}
	}
}

// malformed are requests after which nothing on the connection can be trusted. Lines end with LF here and with CRLF on the wire;
// "¶" is a bare LF and "«" a bare CR.
var malformed = []struct {
	name, request string
	status        int
	code          problem.Code
}{
	{"not HTTP", "hello\n\n", 400, "bad_request_line"},
	{"two spaces", "GET  / HTTP/1.1\nHost: gw\n\n", 400, "bad_request_line"},
	{"a method with a bracket", "G[T / HTTP/1.1\nHost: gw\n\n", 400, "bad_method"},
	{"CONNECT", "CONNECT gw:80 HTTP/1.1\nHost: gw\n\n", 501, "connect_refused"},
	{"a target without a slash", "GET x HTTP/1.1\nHost: gw\n\n", 400, "bad_target"},
	{"HTTP/2 over HTTP/1", "GET / HTTP/2.0\nHost: gw\n\n", 505, "version_not_supported"},
	{"the preface of HTTP/2", "PRI * HTTP/2.0\n\nSM\n\n", 505, "version_not_supported"},
	{"no Host", "GET / HTTP/1.1\nX: 1\n\n", 400, "host_missing"},
	{"two Hosts", "GET / HTTP/1.1\nHost: gw\nHost: gw\n\n", 400, "host_repeated"},
	{"a Host that is none", "GET / HTTP/1.1\nHost: a/b\n\n", 400, "bad_host"},
	{"a target for another host", "GET http://a/ HTTP/1.1\nHost: b\n\n", 400, "host_mismatch"},
	{"a bare LF behind the request line", "GET / HTTP/1.1¶Host: gw\n\n", 400, "bare_lf"},
	{"a bare LF behind a field", "GET / HTTP/1.1\nHost: gw¶X: 1\n\n", 400, "bare_lf"},
	{"a bare CR in a field", "GET / HTTP/1.1\nHost: gw\nX: a«b\n\n", 400, "bare_cr"},
	{"NUL in a value", "GET / HTTP/1.1\nHost: gw\nX: a\x00b\n\n", 400, "bad_field_value"},
	{"NUL in a name", "GET / HTTP/1.1\nHost: gw\nX\x00: a\n\n", 400, "bad_field_name"},
	{"a space before the colon", "POST / HTTP/1.1\nHost: gw\nContent-Length : 5\n\nhello", 400, "space_before_colon"},
	{"obsolete folding", "GET / HTTP/1.1\nHost: gw\nX: a\n b\n\n", 400, "line_folding"},
	{"folding in the first line", "GET / HTTP/1.1\n Host: gw\n\n", 400, "line_folding"},
	{"a field without a colon", "GET / HTTP/1.1\nHost: gw\nX\n\n", 400, "bad_field_name"},
	{"two different Content-Lengths", "POST / HTTP/1.1\nHost: gw\nContent-Length: 5\nContent-Length: 6\n\nhello!", 400, "content_length_repeated"},
	{"two equal Content-Lengths", "POST / HTTP/1.1\nHost: gw\nContent-Length: 5\nContent-Length: 5\n\nhello", 400, "content_length_repeated"},
	{"a list of Content-Lengths", "POST / HTTP/1.1\nHost: gw\nContent-Length: 5, 5\n\nhello", 400, "bad_content_length"},
	{"a negative Content-Length", "POST / HTTP/1.1\nHost: gw\nContent-Length: -5\n\nhello", 400, "bad_content_length"},
	{"a Content-Length with a sign", "POST / HTTP/1.1\nHost: gw\nContent-Length: +5\n\nhello", 400, "bad_content_length"},
	{"a Content-Length over 64 bits", "POST / HTTP/1.1\nHost: gw\nContent-Length: 18446744073709551617\n\nhello", 400, "bad_content_length"},
	{"Content-Length with chunked", "POST / HTTP/1.1\nHost: gw\nContent-Length: 5\nTransfer-Encoding: chunked\n\n0\n\n", 400, "content_length_with_transfer_encoding"},
	{"two Transfer-Encodings", "POST / HTTP/1.1\nHost: gw\nTransfer-Encoding: chunked\nTransfer-Encoding: identity\n\n0\n\n", 400, "bad_transfer_encoding"},
	{"chunked that is not last", "POST / HTTP/1.1\nHost: gw\nTransfer-Encoding: chunked, gzip\n\n0\n\n", 400, "bad_transfer_encoding"},
	{"a disguised chunked", "POST / HTTP/1.1\nHost: gw\nTransfer-Encoding: \x0bchunked\n\n0\n\n", 400, "bad_field_value"},
	{"another coding", "POST / HTTP/1.1\nHost: gw\nTransfer-Encoding: gzip, chunked\n\n0\n\n", 501, "transfer_coding_not_supported"},
	{"chunked in HTTP/1.0", "POST / HTTP/1.0\nHost: gw\nTransfer-Encoding: chunked\n\n0\n\n", 400, "transfer_encoding_in_http_1_0"},
	{"a chunk size that is not hexadecimal", "POST / HTTP/1.1\nHost: gw\nContent-Type: application/json\nTransfer-Encoding: chunked\n\nzz\n", 400, "bad_chunk_size"},
	{"a chunk size with 0x", "POST / HTTP/1.1\nHost: gw\nContent-Type: application/json\nTransfer-Encoding: chunked\n\n0x5\nhello\n0\n\n", 400, "bad_chunk_size"},
	{"a chunk size over 64 bits", "POST / HTTP/1.1\nHost: gw\nContent-Type: application/json\nTransfer-Encoding: chunked\n\n10000000000000005\nhello\n0\n\n", 400, "bad_chunk_size"},
	{"a chunk with more data than it says", "POST / HTTP/1.1\nHost: gw\nContent-Type: application/json\nTransfer-Encoding: chunked\n\n2\n{}llo\n0\n\n", 400, "bad_chunk_end"},
	{"a bare LF behind a chunk size", "POST / HTTP/1.1\nHost: gw\nContent-Type: application/json\nTransfer-Encoding: chunked\n\n5¶hello\n0\n\n", 400, "bad_chunk_size"},
	{"a framing field in the trailer", "POST / HTTP/1.1\nHost: gw\nContent-Type: application/json\nTransfer-Encoding: chunked\n\n2\n{}\n0\nContent-Length: 5\n\n", 400, "framing_field_in_trailer"},
	{"a connection option that takes the host away", "GET / HTTP/1.1\nHost: gw\nConnection: host\n\n", 400, "protected_connection_option"},
	{"a request line over the limit", "GET /" + strings.Repeat("a", 8200) + " HTTP/1.1\nHost: gw\n\n", 414, "request_line_too_long"},
	{"a field over the limit", "GET / HTTP/1.1\nHost: gw\nX: " + strings.Repeat("a", 33_000) + "\n\n", 431, "head_too_large"},
	{"too many fields", "GET / HTTP/1.1\nHost: gw\n" + strings.Repeat("X: 1\n", 101) + "\n", 431, "too_many_fields"},
}

func onTheWire(s string) string {
	return strings.NewReplacer("\n", "\r\n", "¶", "\n", "«", "\r").Replace(s)
}

func TestAMalformedRequestIsRefusedAndEndsTheConnection(t *testing.T) {
	backend := newReplica(t)
	r := start(t, services{{backend.addr}})
	for _, test := range malformed {
		t.Run(test.name, func(t *testing.T) {
			w := dialWire(t, r.addr)
			// What follows must never be taken for a request.
			w.raw(onTheWire(test.request) + "GET /smuggled HTTP/1.1\r\nHost: gw\r\ntarget: backend-1\r\nx-user: eve\r\n\r\n")
			got := w.expect(test.status, test.code)
			if !got.Close {
				t.Error("the response does not say that the connection closes")
			}
			w.ends()
		})
	}
	backend.quiet()
	if s := r.stats(); s.smuggling == 0 {
		t.Error("attempts at smuggling are not counted")
	}
}

func TestAMalformedRequestIsRefusedHoweverItIsSplit(t *testing.T) {
	backend := newReplica(t)
	r := start(t, services{{backend.addr}})
	for _, test := range malformed {
		request := onTheWire(test.request)
		if len(request) > 1000 {
			continue
		}
		t.Run(test.name, func(t *testing.T) {
			w := dialWire(t, r.addr)
			for i := range len(request) {
				if _, err := w.Write([]byte(request[i : i+1])); err != nil {
					break // refused already
				}
			}
			w.expect(test.status, test.code)
		})
	}
	backend.quiet()
}

// A chunked body that need not be read is found to be malformed when a part of it has gone on. The replica must not take that
// part for the whole.
func TestAMalformedBodyOfAStreamedRequestEndsBothConnections(t *testing.T) {
	backend := newReplica(t)
	r := start(t, services{{backend.addr}})
	w := r.dial()
	w.raw("POST / HTTP/1.1\r\nHost: gw\r\ntarget: backend-1\r\nx-user: ann\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
	b := backend.conn()
	b.head()
	if got := b.bytes(8); got != "3\r\nabc\r\n" {
		t.Errorf("got %q", got)
	}
	w.raw("nonsense\r\n")
	w.expect(400, "bad_chunk_size")
	w.ends()
	b.ends()

	// The same when the response has begun.
	w = r.dial()
	w.raw("POST / HTTP/1.1\r\nHost: gw\r\ntarget: backend-1\r\nx-user: ann\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
	b = backend.conn()
	b.head()
	b.bytes(8)
	b.send("HTTP/1.1 200 OK\nTransfer-Encoding: chunked\n\n2\nok\n")
	w.head()
	w.bytes(len("2\r\nok\r\n"))
	w.raw("nonsense\r\n")
	w.ends()
	b.ends()
}

func TestChunkExtensionsDoNotGoOn(t *testing.T) {
	backend := serve(t, nil)
	r := start(t, services{{backend.addr}})
	w := r.dial()
	w.raw(chunkedHead + "27;a=b;c=\"d\"\r\n" + `{"username":"ann","target":"backend-1"}` + "\r\n0;x\r\n\r\n")
	w.expect(200, "")
	w.raw(chunkedHead + "5;" + strings.Repeat("a", 5000) + "\r\n")
	w.expect(400, "chunk_extensions_too_long")
}

func TestPipelinedRequestsAreServedInOrder(t *testing.T) {
	backend := serve(t, nil)
	r := start(t, services{{backend.addr}})
	w := r.dial()
	const n = 200
	var all strings.Builder
	for i := range n {
		switch i % 4 {
		case 0:
			all.WriteString(strings.ReplaceAll(get("/"+itoa(i)), "\n", "\r\n"))
		case 1:
			all.WriteString(strings.ReplaceAll(hit("user"+itoa(i), "backend-1"), "\n", "\r\n"))
		case 2:
			all.WriteString(chunkedHead + chunks(`{"username":"ann","target":"backend-1"}`, 4))
		case 3: // answered by the gateway
			all.WriteString("GET / HTTP/1.1\r\nHost: gw\r\ntarget: nowhere\r\n\r\n")
		}
	}
	go w.raw(all.String())
	for i := range n {
		if i%4 == 3 {
			w.expect(404, "no_route")
		} else {
			w.expect(200, "")
		}
	}
	seen := backend.requests()
	if len(seen) != n*3/4 {
		t.Fatalf("the replica has seen %d requests, want %d", len(seen), n*3/4)
	}
	for i, s := range seen {
		if i%3 == 0 && s.RequestURI != "/"+itoa(i/3*4) {
			t.Errorf("request %d is %s", i, s.RequestURI)
		}
	}
}

// The body of a request whose head ends at the end of the buffer, since others came before it.
func TestBodiesBehindPipelinedHeads(t *testing.T) {
	backend := serve(t, nil)
	r := start(t, services{{backend.addr}})
	for _, before := range []int{16_000, 16_200, 16_300, 16_384} {
		for _, size := range []int{10, 5_000, 100_000} {
			head := get("/")
			var b strings.Builder
			n := 0
			for b.Len()+2*len(head)+100 < before {
				b.WriteString(head)
				n++
			}
			body := strings.Repeat("b", size)
			last := "POST /last HTTP/1.1\nHost: gw\ntarget: backend-1\nx-user: ann\nContent-Length: " + itoa(size) + "\nX-Pad: "
			pad := strings.ReplaceAll(b.String(), "\n", "\r\n")
			w := r.dial()
			fill := max(before-len(pad)-len(last)-10, 0)
			go w.raw(pad + strings.ReplaceAll(last, "\n", "\r\n") + strings.Repeat("p", fill) + "\r\n\r\n" + body)
			for range n + 1 {
				w.expect(200, "")
			}
			if got := backend.last(t); got.RequestURI != "/last" || got.body != body {
				t.Errorf("%s with %d bytes, want /last with %d", got.RequestURI, len(got.body), size)
			}
		}
	}
}

func TestALongHeadArrivesInAnySize(t *testing.T) {
	backend := serve(t, nil)
	r := start(t, services{{backend.addr}})
	for _, n := range []int{3000, 5000, 15_000, 16_300, 16_384, 17_000, 30_000} {
		w := r.dial()
		// Two at once, so that the second one does not begin at the start of the buffer.
		w.send(get("/") + get("/", "X-Long: "+strings.Repeat("a", n)) + hit("bob", "backend-1"))
		for range 3 {
			w.expect(200, "")
		}
		seen := backend.requests()
		if got := len(seen[len(seen)-2].Header.Get("X-Long")); got != n {
			t.Errorf("%d bytes of %d arrived", got, n)
		}
	}
}
