package http1

import (
	"fmt"
	"strings"
	"testing"
)

func TestAResponseIsRead(t *testing.T) {
	for _, c := range []struct{ name, method, head, want string }{
		{"a body of a known length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", `200 "OK" 1.1 Length 5 keep`},
		{"no body by its length", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", `200 "OK" 1.1 NoBody 0 keep`},
		{"a chunked body", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n", `200 "OK" 1.1 Chunked 0 keep`},
		{"a body that lasts until the connection ends", "GET", "HTTP/1.1 200 OK\r\n\r\n", `200 "OK" 1.1 UntilClose 0 close`},
		{"the answer to HEAD has no body (RFC 9112, 6.3)", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", `200 "OK" 1.1 NoBody 5 keep`},
		{"the answer to HEAD is not chunked", "HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", `200 "OK" 1.1 NoBody 0 keep`},
		{"304 has no body", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", `304 "Not Modified" 1.1 NoBody 5 keep`},
		{"204 has no body", "GET", "HTTP/1.1 204 No Content\r\n\r\n", `204 "No Content" 1.1 NoBody 0 keep`},
		{"204 that announces one may send one", "GET", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", `204 "No Content" 1.1 NoBody 5 close`},
		{"204 with a coding may send one", "GET", "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", `204 "No Content" 1.1 NoBody 0 close`},
		{"204 with a length in HTTP/1.0 too", "GET", "HTTP/1.0 204 No\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\n", `204 "No" 1.0 NoBody 5 close`},
		{"informational responses have no body", "GET", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", `103 "Early Hints" 1.1 NoBody 0 keep`},
		{"an empty phrase", "GET", "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", `200 "" 1.1 NoBody 0 keep`},
		{"no phrase and no space", "GET", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", `200 "" 1.1 NoBody 0 keep`},
		{"a phrase in another language", "GET", "HTTP/1.1 404 Nicht gefunden, \xc3\xa4h\r\nContent-Length: 0\r\n\r\n", `404 "Nicht gefunden, äh" 1.1 NoBody 0 keep`},
		{"a status that nobody registered", "GET", "HTTP/1.1 999 X\r\nContent-Length: 0\r\n\r\n", `999 "X" 1.1 NoBody 0 keep`},
		{"HTTP/1.0 closes", "GET", "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", `200 "OK" 1.0 Length 5 close`},
		{"HTTP/1.0 with keep-alive does not", "GET", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\n", `200 "OK" 1.0 Length 5 keep`},
		{"HTTP/1.1 with close does", "GET", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\n", `200 "OK" 1.1 Length 5 close`},
		{"the same length twice is one length (RFC 9112, 6.3)", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nA: b\r\nContent-Length: 5\r\n\r\n", `200 "OK" 1.1 Length 5 keep`},
		{"connection options of the server take nothing that is needed", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: content-length, x\r\nX: y\r\n\r\n", `200 "OK" 1.1 Length 5 keep`},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := new(Response)
			n, err := r.Parse([]byte(c.head), c.method, nil)
			if n != len(c.head) || err != nil {
				t.Fatal(n, err)
			}
			got := fmt.Sprintf("%d %q 1.%d %s %d %s", r.Status, r.Phrase, r.Minor,
				[...]string{"NoBody", "Length", "Chunked", "UntilClose"}[r.Framing], r.ContentLength,
				map[bool]string{true: "keep", false: "close"}[r.KeepAlive])
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if strings.Count(strings.ToLower(c.head), "content-length: 5") > 0 {
				if v, ok := r.Get(ContentLength); v != "5" || !ok || r.repeated.has(ContentLength) {
					t.Errorf("Content-Length is %q", v)
				}
			}
		})
	}
}

func TestAResponseIsRefused(t *testing.T) {
	for _, c := range []struct {
		name, head string
		reason     Reason
	}{
		{"another protocol", "ICY 200 OK\r\n\r\n", "response_bad_status_line"},
		{"bytes that are not HTTP", "\x00\x00", "response_bad_status_line"},
		{"HTTP/2", "HTTP/2.0 200 OK\r\n\r\n", "response_bad_status_line"},
		{"two spaces", "HTTP/1.1  200 OK\r\n\r\n", "response_bad_status_line"},
		{"a status of two digits", "HTTP/1.1 99 OK\r\n\r\n", "response_bad_status_line"},
		{"a status of four digits", "HTTP/1.1 2000 OK\r\n\r\n", "response_bad_status_line"},
		{"a status below 100", "HTTP/1.1 099 OK\r\n\r\n", "response_bad_status_line"},
		{"a phrase with a control character", "HTTP/1.1 200 O\x00K\r\n\r\n", "response_bad_status_line"},
		{"a switch of protocols", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", "response_switches_protocols"},
		{"LF alone", "HTTP/1.1 200 OK\n\n", "response_bare_lf"},
		{"CR alone in the status line", "HTTP/1.1 200 O\rK\r\n\r\n", "response_bare_cr"},
		{"LF alone in the fields", "HTTP/1.1 200 OK\r\nA: b\n\r\n", "response_bare_lf"},
		{"a space before a colon", "HTTP/1.1 200 OK\r\nA : b\r\n\r\n", "response_space_before_colon"},
		{"line folding", "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", "response_line_folding"},
		{"NUL in a value", "HTTP/1.1 200 OK\r\nA: \x00\r\n\r\n", "response_bad_field_value"},
		{"two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", "response_content_length_repeated"},
		{"a length and a coding", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", "response_content_length_with_transfer_encoding"},
		{"a length that is not a number", "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "response_bad_content_length"},
		{"a list of lengths", "HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n", "response_bad_content_length"},
		{"another coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "response_transfer_coding_not_supported"},
		{"a coding that is not chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n", "response_bad_transfer_encoding"},
		{"two codings", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", "response_bad_transfer_encoding"},
		{"a coding in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "response_transfer_encoding_in_http_1_0"},
		{"Trailer with a length", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: content-length\r\n\r\n", "response_bad_trailer"},
		{"a connection option that is not a token", "HTTP/1.1 200 OK\r\nConnection: a b\r\n\r\n", "response_bad_connection_option"},
		{"a head over the limit", "HTTP/1.1 200 OK\r\nA: " + strings.Repeat("b", 40<<10), "response_head_too_large"},
		{"a status line over the limit", "HTTP/1.1 200 " + strings.Repeat("b", 40<<10), "response_head_too_large"},
		{"101 fields", "HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", 101) + "\r\n", "response_too_many_fields"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n, err := new(Response).Parse([]byte(c.head), "GET", nil)
			if err == nil || err.Reason != c.reason || err.Status != 502 {
				t.Errorf("got %d, %+v; want %s", n, err, c.reason)
			}
		})
	}
}

func TestAResponseFollowsAnInformationalOne(t *testing.T) {
	buf := []byte("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")
	r := new(Response)
	var got []int
	for {
		r.Reset()
		n, err := r.Parse(buf, "GET", nil)
		if err != nil || n == 0 {
			t.Fatal(n, err)
		}
		got = append(got, r.Status)
		buf = buf[n:]
		if r.Status >= 200 {
			break
		}
	}
	if fmt.Sprint(got) != "[100 103 200]" || string(buf) != "x" {
		t.Errorf("got %v and %q", got, buf)
	}
}

func TestAServersChunkedBodyIsRefusedWith502(t *testing.T) {
	var b Body
	b.Response(&Response{Framing: Chunked}, nil)
	if _, err := b.Next([]byte("x\r\n")); err == nil || err.Status != 502 {
		t.Errorf("got %v", err)
	}
}

func TestAResponseKeepsItsMemory(t *testing.T) {
	r := new(Response)
	buf := []byte(ordinaryResponse)
	if allocs := testing.AllocsPerRun(100, func() {
		r.Reset()
		if n, err := r.Parse(buf, "GET", nil); n != len(buf) || err != nil {
			t.Fatal(n, err)
		}
	}); allocs != 0 {
		t.Errorf("%v allocations for a response", allocs)
	}
}
