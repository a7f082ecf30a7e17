package rpc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// patience is how long a test waits for what must happen.
const patience = time.Minute

const echoMethod = "/test.Echo/Echo"

// echo answers a message with itself; "twice" with two messages, "fail" with an error, "big N" with N bytes.
type echo struct {
	began, ended *atomic.Int64
	once         sync.Once
}

func (e *echo) Message(m, to []byte) ([]byte, error) {
	answer := func(b []byte) {
		at := len(to)
		to = End(append(Begin(to), b...), at)
	}
	var n int
	switch {
	case string(m) == "fail":
		return to, status.Error(codes.InvalidArgument, "50% of it\nfailed")
	case string(m) == "silent":
		return to, nil
	case string(m) == "twice":
		answer(m)
	}
	if _, err := fmt.Sscanf(string(m), "big %d", &n); err == nil && len(m) < 20 {
		m = bytes.Repeat([]byte("b"), n)
	}
	answer(m)
	return to, nil
}

func (e *echo) End() {
	e.once.Do(func() { e.ended.Add(1); e.ended = nil })
}

// served is a Server with the method echo, on a listener of its own.
type served struct {
	*Server
	addr         string
	began, ended atomic.Int64
	done         chan error
}

func config() Config {
	return Config{
		MaxConns: 10, MaxStreams: 100, MaxMessage: 1 << 20, MaxHeld: 8 << 20, MaxMetadata: 16 << 10,
		HandshakeTimeout: patience, PingAfter: patience, PingTimeout: patience,
	}
}

func newServed(c Config) *served {
	s := &served{Server: New(c), done: make(chan error, 1)}
	s.Handle(echoMethod, func(call Call) (Handler, error) {
		if v, _ := call.Metadata("refuse"); v != "" {
			return nil, status.Error(codes.PermissionDenied, v)
		}
		s.began.Add(1)
		return &echo{began: &s.began, ended: &s.ended}, nil
	})
	return s
}

// start serves until the test has ended; then every stream that began must have ended, and nothing be held.
func start(t *testing.T, c Config, register ...func(*Server)) *served {
	t.Helper()
	s := newServed(c)
	for _, f := range register {
		f(s.Server)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.addr = ln.Addr().String()
	go func() { s.done <- s.Serve(ln) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-s.done; err != nil {
			t.Error(err)
		}
		s.checkEnd(t)
	})
	return s
}

func (s *served) checkEnd(t *testing.T) {
	t.Helper()
	if began, ended := s.began.Load(), s.ended.Load(); began != ended {
		t.Errorf("%d streams began and %d ended", began, ended)
	}
	if n := s.held.Load(); n != 0 {
		t.Errorf("%d bytes are held at the end", n)
	}
}

// client is a peer that can say what it likes.
type client struct {
	t    *testing.T
	conn net.Conn
	*http2.Framer
	enc   *hpack.Encoder
	block bytes.Buffer
	dec   *hpack.Decoder
}

// rawDial connects and says nothing.
func (s *served) rawDial(t *testing.T) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", s.addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// dial connects, and sends and takes settings.
func (s *served) dial(t *testing.T) *client {
	t.Helper()
	conn := s.rawDial(t)
	c := newClient(t, conn)
	io.WriteString(conn, http2.ClientPreface)
	c.WriteSettings()
	return c
}

func newClient(t *testing.T, conn net.Conn) *client {
	c := &client{t: t, conn: conn, Framer: http2.NewFramer(conn, conn), dec: hpack.NewDecoder(4096, nil)}
	c.AllowIllegalWrites = true
	c.enc = hpack.NewEncoder(&c.block)
	return c
}

// fields is a header block: name, value, name, value …
func (c *client) fields(pairs ...string) []byte {
	c.block.Reset()
	for i := 0; i < len(pairs); i += 2 {
		c.enc.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
	}
	return c.block.Bytes()
}

// call is the fields of a call of echo, changed: an empty value removes a field.
func (c *client) call(changes ...string) []byte {
	pairs := []string{":method", "POST", ":scheme", "http", ":path", echoMethod, ":authority", "door", "content-type", "application/grpc", "te", "trailers"}
	for i := 0; i < len(changes); i += 2 {
		at := len(pairs)
		for j := 0; j < len(pairs); j += 2 {
			if pairs[j] == changes[i] {
				at = j
			}
		}
		switch {
		case changes[i+1] == "":
			pairs = append(pairs[:at], pairs[at+2:]...)
		case at == len(pairs):
			pairs = append(pairs, changes[i], changes[i+1])
		default:
			pairs[at+1] = changes[i+1]
		}
	}
	return c.fields(pairs...)
}

func (c *client) open(id uint32, changes ...string) {
	c.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: c.call(changes...), EndHeaders: true})
}

func prefixed(text string) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(text))), text...)
}

func (c *client) say(id uint32, text string) { c.WriteData(id, false, prefixed(text)) }

// hear reads frames until one is worth to be told of, and tells it. Windows, settings and answers to pings are not.
func (c *client) hear() string {
	for {
		f, err := c.ReadFrame()
		if err != nil {
			if errors.Is(err, io.EOF) || strings.Contains(err.Error(), "reset by peer") {
				return "closed"
			}
			return "error: " + err.Error()
		}
		switch f := f.(type) {
		case *http2.HeadersFrame:
			fields, err := c.dec.DecodeFull(f.HeaderBlockFragment())
			if err != nil {
				return "error: " + err.Error()
			}
			var told []string
			for _, h := range fields {
				if h.Name != "content-type" && h != (hpack.HeaderField{Name: ":status", Value: "200"}) {
					told = append(told, h.Name+"="+h.Value)
				}
			}
			if len(told) == 0 {
				continue
			}
			return fmt.Sprintf("%d %s", f.StreamID, strings.Join(told, " "))
		case *http2.DataFrame:
			return fmt.Sprintf("%d data %s", f.StreamID, bytes.ReplaceAll(f.Data(), []byte{0}, nil))
		case *http2.RSTStreamFrame:
			return fmt.Sprintf("%d reset %s", f.StreamID, f.ErrCode)
		case *http2.GoAwayFrame:
			return fmt.Sprintf("goaway %d %s", f.LastStreamID, f.ErrCode)
		case *http2.PingFrame:
			if !f.IsAck() {
				return fmt.Sprintf("ping %q", strings.TrimRight(string(f.Data[:]), "\x00 "))
			}
		}
	}
}

// expect hears these, in this order.
func (c *client) expect(want ...string) {
	c.t.Helper()
	for _, w := range want {
		if got := c.hear(); got != w {
			c.t.Fatalf("heard %q, want %q", got, w)
		}
	}
}
