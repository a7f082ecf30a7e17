package http1

import (
	"fmt"
	"strings"
	"testing"

	"github.com/remora-proxy/remora/internal/route"
)

func TestABodyIsRead(t *testing.T) {
	const length = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n"
	for _, c := range []struct{ name, message, want string }{
		{
			"no body: what follows is the next message", "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET",
			`body "" raw "" trailers [] rest "GET" done true`,
		},
		{
			"a body of a known length", length + "helloGET",
			`body "hello" raw "hello" trailers [] rest "GET" done true`,
		},
		{
			"a body of a known length that is not all there", length + "hell",
			`body "hell" raw "hell" trailers [] rest "" done false`,
		},
		{
			"an empty chunked body", post("0\r\n\r\nGET"),
			`body "" raw "0\r\n\r\n" trailers [] rest "GET" done true`,
		},
		{
			"chunks keep their size lines", post("5\r\nhello\r\n00A\r\n0123456789\r\n000\r\n\r\nGET"),
			`body "hello0123456789" raw "5\r\nhello\r\n00A\r\n0123456789\r\n0\r\n\r\n" trailers [] rest "GET" done true`,
		},
		{
			"sizes may be in either case", post("a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n"),
			`body "01234567890123456789" raw "a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n" trailers [] rest "" done true`,
		},
		{
			"extensions are taken off (RFC 9112, 7.1.1)", post("5;a;b=c ; d=\"e;\\\"f\"\r\nhello\r\n0;last\r\n\r\nGET"),
			`body "hello" raw "5\r\nhello\r\n0\r\n\r\n" trailers [] rest "GET" done true`,
		},
		{
			"whitespace in an extension is allowed", post("5; a\t= b ;c\r\nhello\r\n0\r\n\r\n"),
			`body "hello" raw "5\r\nhello\r\n0\r\n\r\n" trailers [] rest "" done true`,
		},
		{
			"trailers go on", post("0\r\nX-Sum: 1\r\nServer-Timing: \ta \r\n\r\nGET"),
			`body "" raw "0\r\nx-sum: 1\r\nserver-timing: a\r\n\r\n" trailers [{"x-sum" "1"} {"server-timing" "a"}] rest "GET" done true`,
		},
		{
			"trailers that mean something before the body are taken off (RFC 9110, 6.5.1)",
			post("0\r\nX-User: a\r\nX-Sum: 1\r\nAuthorization: b\r\nConnection: close\r\nContent-Type: c\r\nCookie: d\r\nX-Forwarded-For: e\r\nTrailer: f\r\nIf-Match: g\r\n\r\n"),
			`body "" raw "0\r\nx-sum: 1\r\n\r\n" trailers [{"x-sum" "1"}] rest "" done true`,
		},
		{
			"a chunked body that is not all there", post("5\r\nhello\r\n0\r\n"),
			`body "hello" raw "5\r\nhello\r\n" trailers [] rest "" done false`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			for step := 1; step <= len(c.message); step++ {
				_, m := readRequest(c.message, step, &Limits{Protected: []string{"x-user"}})
				if got := m.String(); got != c.want {
					t.Fatalf("steps of %d:\ngot  %s\nwant %s", step, got, c.want)
				}
			}
		})
	}
}

func TestBodiesAreBounded(t *testing.T) {
	lim := &Limits{MaxTrailer: 20, MaxChunkExtensions: 8, MaxFields: 3}
	for _, c := range []struct{ name, body, want string }{
		{"extensions of the limit", "1;abcdefg\r\nx\r\n0\r\n\r\n", ""},
		{"extensions over the limit", "1;abcdefgh\r\nx\r\n0\r\n\r\n", "chunk_extensions_too_long"},
		{"extensions over the limit together", "1;abcd\r\nx\r\n1;ab\r\nx\r\n1;a\r\nx\r\n0\r\n\r\n", "chunk_extensions_too_long"},
		{"an extension that does not end", "1;" + strings.Repeat("a", 100), "chunk_extensions_too_long"},
		{"a trailer section of the limit", "0\r\nA: 45678901234567\r\n\r\n"[:3] + "A: 4567890123456\r\n\r\n", ""},
		{"a trailer section over the limit", "0\r\nA: 45678901234567\r\n\r\n", "trailer_too_large"},
		{"a trailer section that does not end", "0\r\nA: " + strings.Repeat("a", 100), "trailer_too_large"},
		{"as many trailers as allowed", "0\r\na:\r\na:\r\na:\r\n\r\n", ""},
		{"more trailers than allowed", "0\r\na:\r\na:\r\na:\r\na:\r\n\r\n", "too_many_fields"},
	} {
		t.Run(c.name, func(t *testing.T) {
			message := post(c.body)
			for step := 1; step <= len(message); step++ {
				var b Body
				b.Request(&Request{Framing: Chunked}, lim)
				m := readBody(&b, c.body, 0, step)
				if got := m.err; c.want == "" && !m.done || c.want != "" && (got == nil || string(got.Reason) != c.want) {
					t.Fatalf("steps of %d: %v", step, m)
				}
			}
		})
	}
}

func TestTheEndOfAConnectionEndsABody(t *testing.T) {
	for _, c := range []struct {
		name    string
		framing Framing
		server  bool
		want    string
	}{
		{"one that lasts until then", UntilClose, true, "done true"},
		{"not one of a known length", Length, false, "body_cut_short 400 done false"},
		{"not a chunked one", Chunked, false, "body_cut_short 400 done false"},
		{"not a server's one of a known length", Length, true, "response_body_cut_short 502 done false"},
		{"and does nothing to a message without a body", NoBody, false, "done true"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b Body
			b.begin(c.framing, 5, c.server, nil)
			if _, err := b.Next([]byte("1")); err != nil {
				t.Fatal(err)
			}
			got := ""
			if err := b.EOF(); err != nil {
				got = fmt.Sprint(err.Reason, " ", err.Status, " ")
			}
			if got += fmt.Sprint("done ", b.Done()); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}

func TestRemainingIsWhatIsToCome(t *testing.T) {
	var b Body
	b.begin(Length, 5, false, nil)
	before := b.Remaining()
	if _, err := b.Next([]byte("abc")); err != nil {
		t.Fatal(err)
	}
	between := b.Remaining()
	if _, err := b.Next([]byte("defg")); err != nil {
		t.Fatal(err)
	}
	if before != 5 || between != 2 || b.Remaining() != 0 || !b.Done() {
		t.Error(before, between, b.Remaining(), b.Done())
	}
	if b.begin(Chunked, 0, false, nil); b.Remaining() != -1 {
		t.Error("the length of a chunked body is known")
	}
}

func TestAUsedBodyForgetsTheOneBefore(t *testing.T) {
	var b Body
	b.begin(Chunked, 0, false, nil)
	if m := readBody(&b, "1;ext\r\nx\r\n0\r\nA: b\r\n\r\n", 0, 100); !m.done || len(b.Trailers) != 1 {
		t.Fatal(m)
	}
	b.begin(Chunked, 0, false, nil)
	if m := readBody(&b, "0\r\n\r\n", 0, 100); !m.done || len(b.Trailers) != 0 {
		t.Error(m)
	}
	b.begin(Length, 3, false, nil)
	if b.Trailers != nil {
		t.Error("trailers of the body before")
	}
}

func TestChunksAreWritten(t *testing.T) {
	for _, c := range []struct {
		n    int
		want string
	}{{1, "1"}, {15, "f"}, {16, "10"}, {255, "ff"}, {256, "100"}, {4095, "fff"}, {65536, "10000"}} {
		data := strings.Repeat("x", c.n)
		if got := string(AppendChunk(nil, []byte(data))); got != c.want+"\r\n"+data+"\r\n" {
			t.Errorf("%d bytes: %.20q", c.n, got)
		}
	}
	if got := AppendChunk(nil, nil); len(got) != 0 {
		t.Errorf("an empty chunk would end the body: %q", got)
	}
	if got := string(AppendLastChunk(nil, []route.Header{{Name: "a", Value: "b"}})); got != "0\r\na: b\r\n\r\n" {
		t.Errorf("%q", got)
	}
}
