package http1

import (
	"fmt"
	"testing"

	"github.com/remora-proxy/remora/internal/route"
)

// message is what was read of a message from a stream of bytes.
type message struct {
	head     int
	body     []byte // decoded
	raw      []byte // the body as it goes on when its framing is kept
	again    []byte // the body as it goes on when it is encoded again
	trailers []route.Header
	rest     string
	done     bool // the message is complete
	err      *Error
}

// readBody reads the body that b was begun with from the bytes of s behind the head, in pieces of step bytes.
func readBody(b *Body, s string, head, step int) message {
	m := message{head: head}
	buf := []byte(nil)
	at := head
	for !b.Done() {
		p, err := b.Next(buf)
		if err != nil {
			m.err = err
			return m
		}
		m.body = append(m.body, p.Data...)
		m.raw = append(m.raw, p.Raw...)
		if b.framing == Chunked {
			m.again = AppendChunk(m.again, p.Data)
		} else {
			m.again = append(m.again, p.Data...)
		}
		rest := buf[p.N:]
		if p.N > 0 && len(rest) > 0 || b.Done() {
			buf = rest
			continue
		}
		if at == len(s) {
			buf, m.rest = rest, string(rest)
			if err := b.EOF(); err != nil || !b.Done() {
				return m
			}
			break
		}
		end := min(len(s), at+step)
		next := append(append(make([]byte, 0, len(rest)+step), rest...), s[at:end]...)
		for i := range buf {
			buf[i] = '!' // a view that was left behind shows
		}
		buf, at = next, end
	}
	m.done = true
	m.rest = string(buf) + s[at:]
	if b.framing == Chunked {
		m.trailers = b.Trailers
		m.raw = AppendLastChunk(m.raw, m.trailers)
		m.again = AppendLastChunk(m.again, m.trailers)
	}
	return m
}

// readRequest reads one request from s.
func readRequest(s string, step int, lim *Limits) (*Request, message) {
	r := new(Request)
	buf := []byte(s)
	n, err := r.Parse(buf, lim)
	if err != nil || n == 0 {
		return r, message{err: err}
	}
	var b Body
	b.Request(r, lim)
	return r, readBody(&b, s, n, step)
}

func (m message) String() string {
	if m.err != nil {
		return "refused: " + string(m.err.Reason)
	}
	return fmt.Sprintf("body %q raw %q trailers %q rest %q done %v", m.body, m.raw, m.trailers, m.rest, m.done)
}

// Nothing of the corpus is accepted, whatever pieces it comes in.
func TestSmugglingIsRefused(t *testing.T) {
	for _, c := range smuggling {
		t.Run(c.name, func(t *testing.T) {
			for _, step := range []int{1, 2, 3, 7, 1 << 20} {
				_, m := readRequest(c.message, step, nil)
				if m.err == nil {
					t.Fatalf("steps of %d: accepted: %v", step, m)
				}
				if !m.err.Smuggling && m.err != errCodingUnknown {
					t.Errorf("steps of %d: %s is not called smuggling", step, m.err.Reason)
				}
				if m.done {
					t.Error("done after a refusal")
				}
			}
		})
	}
}

func TestRefusalsAreACatalogue(t *testing.T) {
	seen := map[Reason]bool{}
	for _, e := range Errors() {
		if seen[e.Reason] {
			t.Errorf("%s is there twice", e.Reason)
		}
		seen[e.Reason] = true
		if e.Detail == "" || e.Error() != e.Detail || e.Status < 400 || e.Status > 599 {
			t.Errorf("%+v is not complete", e)
		}
		if e.response != nil && (e.response.Status != 502 || e.response.Reason != "response_"+e.Reason) {
			t.Errorf("%s has %+v for responses", e.Reason, e.response)
		}
	}
}
