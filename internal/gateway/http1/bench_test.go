package http1

import (
	"strings"
	"testing"

	"github.com/remora-proxy/remora/internal/route"
)

// What wrk sends in the side-by-side measurement.
const wrkPost = "POST /hit_backend HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nContent-Type: application/json\r\nContent-Length: 43\r\n\r\n"

// An ordinary POST of a client library.
const ordinaryPost = "POST /hit-backend?trace=1 HTTP/1.1\r\nHost: api.example.com:8080\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n" +
	"Accept-Encoding: gzip, deflate\r\nContent-Type: application/json\r\nAuthorization: Bearer abcdefghijklmnopqrstuvwxyz\r\n" +
	"Connection: keep-alive\r\nContent-Length: 60\r\n\r\n"

const browserGet = "GET /assets/app.js?v=12 HTTP/1.1\r\nHost: shop.example.com\r\nConnection: keep-alive\r\n" +
	"sec-ch-ua: \"Chromium\";v=\"124\", \"Not-A.Brand\";v=\"99\"\r\nsec-ch-ua-mobile: ?0\r\nsec-ch-ua-platform: \"Linux\"\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/124.0.0.0 Safari/537.36\r\n" +
	"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nSec-Fetch-Site: none\r\nSec-Fetch-Mode: navigate\r\n" +
	"Accept-Encoding: gzip, deflate, br\r\nAccept-Language: en-GB,en;q=0.9\r\nCookie: session=0123456789abcdef; theme=dark\r\n\r\n"

const ordinaryResponse = "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 23 Nov 2026 05:00:00 GMT\r\nContent-Type: application/json\r\n" +
	"Content-Length: 120\r\nConnection: keep-alive\r\n\r\n"

// eachHead calls parse with fresh copies of head. They are made well before they are parsed, as a kernel does it: a load from
// bytes that were stored a moment ago waits for the store.
func eachHead(b *testing.B, head string, parse func(buf []byte)) {
	var bufs [64][]byte
	for i := range bufs {
		bufs[i] = make([]byte, len(head))
	}
	b.SetBytes(int64(len(head)))
	b.ReportAllocs()
	for i := range b.N {
		k := i % len(bufs)
		if k == 0 {
			for j := range bufs {
				copy(bufs[j], head)
			}
		}
		parse(bufs[k])
	}
}

func BenchmarkParseRequest(b *testing.B) {
	for _, c := range []struct{ name, head string }{{"wrk", wrkPost}, {"ordinary", ordinaryPost}, {"browser", browserGet}} {
		b.Run(c.name, func(b *testing.B) {
			var r Request
			eachHead(b, c.head, func(buf []byte) {
				r.Reset()
				if n, err := r.Parse(buf, nil); n != len(buf) || err != nil {
					b.Fatal(n, err)
				}
			})
		})
	}
}

func BenchmarkParseResponse(b *testing.B) {
	var r Response
	eachHead(b, ordinaryResponse, func(buf []byte) {
		r.Reset()
		if n, err := r.Parse(buf, "POST", nil); n != len(buf) || err != nil {
			b.Fatal(n, err)
		}
	})
}

func BenchmarkAppendRequest(b *testing.B) {
	o := &RequestOptions{
		Set:        []route.Header{{Name: "target", Value: "backend-1"}, {Name: "x-user", Value: "user-17"}, {Name: "x-remora-session", Value: "existing"}},
		DropPrefix: "x-remora-", ForwardedFor: "127.0.0.1", ForwardedProto: "http", ForwardedHost: "127.0.0.1:8080", RequestID: "0123456789abcdef0123456789abcdef",
	}
	for _, c := range []struct{ name, head string }{{"wrk", wrkPost}, {"ordinary", ordinaryPost}, {"browser", browserGet}} {
		b.Run(c.name, func(b *testing.B) {
			var r Request
			if _, err := r.Parse([]byte(c.head), nil); err != nil {
				b.Fatal(err)
			}
			dst := make([]byte, 0, 4096)
			b.ReportAllocs()
			for b.Loop() {
				dst = AppendRequest(dst[:0], &r, o)
			}
		})
	}
}

func BenchmarkAppendResponse(b *testing.B) {
	var r Response
	if _, err := r.Parse([]byte(ordinaryResponse), "POST", nil); err != nil {
		b.Fatal(err)
	}
	o := &ResponseOptions{Framing: r.Framing, ClientHTTP: 1, Drop: []string{"x-remora-session"}}
	dst := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		dst = AppendResponse(dst[:0], &r, o)
	}
}

func BenchmarkChunkedBody(b *testing.B) {
	for _, c := range []struct {
		name   string
		size   int
		chunks int
	}{{"60 bytes", 60, 1}, {"16 x 4 KiB", 4096, 16}} {
		b.Run(c.name, func(b *testing.B) {
			var buf []byte
			for range c.chunks {
				buf = AppendChunk(buf, []byte(strings.Repeat("x", c.size)))
			}
			buf = AppendLastChunk(buf, nil)
			r := Request{Framing: Chunked}
			var body Body
			b.SetBytes(int64(len(buf)))
			b.ReportAllocs()
			for b.Loop() {
				body.Request(&r, nil)
				rest := buf
				for !body.Done() {
					p, err := body.Next(rest)
					if err != nil || p.N == 0 {
						b.Fatal(p, err)
					}
					rest = rest[p.N:]
				}
			}
		})
	}
}
