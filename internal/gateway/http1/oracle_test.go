package http1

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"testing"

	"github.com/remora-proxy/remora/internal/route"
)

// FuzzRequestAgainstNetHTTP: whatever is accepted here, net/http accepts with the same meaning, and so it does with what goes
// on to a server; and what goes on is accepted here again with the same meaning.
func FuzzRequestAgainstNetHTTP(f *testing.F) {
	for _, s := range requestSeeds() {
		f.Add(s, uint8(5))
	}
	f.Fuzz(func(t *testing.T, s string, step uint8) {
		r, m := readRequest(s, int(step)+1, nil)
		if m.err != nil || !m.done {
			return
		}
		checkAgainstNetHTTP(t, s[r.begun:], r, m)

		for _, body := range [][]byte{m.raw, m.again} {
			on := AppendRequest(nil, r, &RequestOptions{DefaultHost: "default"})
			on = append(append(on, body...), m.rest...)
			r2, m2 := readRequest(string(on), 1<<20, nil)
			if m2.err != nil || !m2.done {
				t.Fatalf("what goes on is refused: %v\n%q", m2, on)
			}
			if r.Host == "" {
				r.Host = "default"
			}
			if got, want := meaning(r2, m2), meaning(r, m); got != want {
				t.Fatalf("what goes on means\n%s\nwhat came meant\n%s\n%q", got, want, on)
			}
			checkAgainstNetHTTP(t, string(on), r2, m2)
		}
	})
}

// meaning is what of a message must be the same behind the gateway.
func meaning(r *Request, m message) string {
	var fields []route.Header
	for i, h := range r.Fields {
		if k := r.kinds[i]; !hopByHop.has(k) && k != Expect && k != Trailer && k != Host {
			fields = append(fields, h)
		}
	}
	return fmt.Sprintf("%s %q %q %q %q %d %d %q %q %q %v", r.Method, r.Path, r.Query, r.Host, fields, r.Framing, r.ContentLength, m.body,
		m.trailers, m.rest, r.Trailers)
}

func checkAgainstNetHTTP(t *testing.T, s string, r *Request, m message) {
	t.Helper()
	br := bufio.NewReader(strings.NewReader(s))
	q, err := http.ReadRequest(br)
	if err != nil {
		t.Fatalf("net/http refuses it: %v\n%q", err, s)
	}
	if q.Method != r.Method || q.RequestURI != r.Target || q.ProtoMinor != int(r.Minor) || !strings.EqualFold(q.Host, r.Host) {
		t.Fatalf("net/http reads %s %q 1.%d %q, not %s %q 1.%d %q", q.Method, q.RequestURI, q.ProtoMinor, q.Host, r.Method, r.Target, r.Minor, r.Host)
	}
	if q.URL.RawQuery != r.Query {
		t.Fatalf("net/http reads the query %q, not %q", q.URL.RawQuery, r.Query)
	}
	checkFields(t, q.Header, &r.Section)
	body, err := io.ReadAll(q.Body)
	if err != nil || !bytes.Equal(body, m.body) {
		t.Fatalf("net/http reads the body %q, %v, not %q", body, err, m.body)
	}
	rest, err := io.ReadAll(br)
	if err != nil || string(rest) != m.rest {
		t.Fatalf("net/http leaves %q, %v, not %q", rest, err, m.rest)
	}
	for _, f := range m.trailers {
		if got := q.Trailer[textproto.CanonicalMIMEHeaderKey(f.Name)]; !slices.Contains(got, f.Value) {
			t.Fatalf("net/http reads the trailer %q as %q, not %q", f.Name, got, f.Value)
		}
	}
}

// checkFields compares fields, but for those that net/http takes out or changes, and those that Connection names.
func checkFields(t *testing.T, theirs http.Header, s *Section) {
	t.Helper()
	want := http.Header{}
	for i, f := range s.Fields {
		if k := s.kinds[i]; k != Host && k != TransferEncoding && k != Trailer && k != Connection && k != ContentLength {
			name := textproto.CanonicalMIMEHeaderKey(f.Name)
			want[name] = append(want[name], f.Value)
		}
	}
	dropped := map[string]bool{"Host": true, "Transfer-Encoding": true, "Trailer": true, "Connection": true, "Content-Length": true, "Cache-Control": true}
	for _, list := range theirs["Connection"] {
		for _, name := range strings.Split(list, ",") {
			dropped[textproto.CanonicalMIMEHeaderKey(strings.Trim(name, " \t"))] = true
		}
	}
	maps.DeleteFunc(theirs, func(name string, _ []string) bool { return dropped[name] })
	maps.DeleteFunc(want, func(name string, _ []string) bool { return dropped[name] })
	if !maps.EqualFunc(theirs, want, slices.Equal[[]string]) {
		t.Fatalf("net/http reads the fields %q, not %q", theirs, want)
	}
}

// FuzzResponseAgainstNetHTTP is FuzzRequestAgainstNetHTTP for responses.
func FuzzResponseAgainstNetHTTP(f *testing.F) {
	for _, s := range responseSeeds() {
		f.Add(s, "GET", uint8(5), true)
		f.Add(s, "HEAD", uint8(200), false)
	}
	f.Fuzz(func(t *testing.T, s, method string, step uint8, client11 bool) {
		r, m := readResponse(s, method, int(step)+1)
		if m.err != nil || !m.done {
			return
		}
		checkResponse(t, s, method, r, m)

		client := &Request{Minor: 0}
		if client11 {
			client.Minor = 1
		}
		framing, mustClose := ClientFraming(r, client)
		on := AppendResponse(nil, r, &ResponseOptions{Framing: framing, Close: mustClose, ClientHTTP: client.Minor})
		switch {
		case framing != Chunked:
			on = append(on, m.body...)
		case r.Framing == Chunked:
			on = append(on, m.raw...)
		default:
			on = AppendLastChunk(AppendChunk(on, m.body), nil)
		}
		r2, m2 := readResponse(string(on), method, 1<<20)
		if m2.err != nil || !m2.done || r2.Status != r.Status || r2.Phrase != r.Phrase || !bytes.Equal(m2.body, m.body) || m2.rest != "" {
			t.Fatalf("what goes on is\n%q\nread as %v, from %v", on, m2, m)
		}
		checkResponse(t, string(on), method, r2, m2)
	})
}

func readResponse(s, method string, step int) (*Response, message) {
	r := new(Response)
	n, err := r.Parse([]byte(s), method, nil)
	if err != nil || n == 0 {
		return r, message{err: err}
	}
	var b Body
	b.Response(r, nil)
	return r, readBody(&b, s, n, step)
}

func checkResponse(t *testing.T, s, method string, r *Response, m message) {
	t.Helper()
	br := bufio.NewReader(strings.NewReader(s))
	q, err := http.ReadResponse(br, &http.Request{Method: method})
	if err != nil {
		t.Fatalf("net/http refuses it: %v\n%q", err, s)
	}
	phrase := strings.TrimPrefix(q.Status, fmt.Sprint(q.StatusCode))
	if q.StatusCode != r.Status || q.ProtoMinor != int(r.Minor) || strings.TrimSpace(phrase) != strings.TrimSpace(r.Phrase) {
		t.Fatalf("net/http reads 1.%d %q, not 1.%d %d %q", q.ProtoMinor, q.Status, r.Minor, r.Status, r.Phrase)
	}
	checkFields(t, q.Header, &r.Section)
	body, err := io.ReadAll(q.Body)
	if err != nil || !bytes.Equal(body, m.body) {
		t.Fatalf("net/http reads the body %q, %v, not %q", body, err, m.body)
	}
	rest, _ := io.ReadAll(br)
	if string(rest) != m.rest {
		t.Fatalf("net/http leaves %q, not %q", rest, m.rest)
	}
}

// FuzzChunksAgainstNetHTTP: a chunked body that is accepted is read by net/http's reader with the same bytes and the same end,
// and is accepted alike in all pieces.
func FuzzChunksAgainstNetHTTP(f *testing.F) {
	for _, s := range requestSeeds() {
		if _, body, ok := strings.Cut(s, post("")); ok {
			f.Add(body)
		}
	}
	f.Fuzz(func(t *testing.T, body string) {
		lim := &Limits{MaxTrailer: 64, MaxChunkExtensions: 16, MaxFields: 4}
		read := func(step int) message {
			var b Body
			b.Request(&Request{Framing: Chunked}, lim)
			return readBody(&b, body, 0, step)
		}
		whole := read(1 << 20)
		for _, step := range []int{1, 2, 3, 5, 8} {
			if got := read(step); (got.err != nil || got.done) && got.String() != whole.String() || got.done != whole.done || got.err != whole.err {
				t.Fatalf("steps of %d: %v\nin one: %v", step, got, whole)
			}
		}
		if !whole.done {
			return
		}
		br := bufio.NewReader(strings.NewReader(post(body)))
		q, err := http.ReadRequest(br)
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(q.Body)
		if err != nil || !bytes.Equal(data, whole.body) {
			t.Fatalf("net/http reads %q, %v, not %q", data, err, whole.body)
		}
		if rest, _ := io.ReadAll(br); string(rest) != whole.rest {
			t.Fatalf("net/http leaves %q, not %q", rest, whole.rest)
		}
	})
}
