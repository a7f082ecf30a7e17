//go:build linux

package asenvoy

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"golang.org/x/sys/unix"

	"github.com/remora-proxy/remora/bench/load"
)

// conn is one connection to a processor. What it has to say is gathered and written at once, after all that was read has been
// looked at, as Envoy does in each round of its event loop.
type conn struct {
	fd      int
	next    uint32 // the next stream's id
	streams map[uint32]*stream
	headers func(id uint32, to []byte) []byte

	in, out []byte
	queued  []message // waits for the connection's window
	window  int       // bytes that may be sent
	initial int       // window of a new stream
	unacked int       // bytes received since the last WINDOW_UPDATE
}

type message struct {
	s    *stream
	data []byte
}

// stream is one request.
type stream struct {
	id      uint32
	c       *conn
	r       *request
	index   int
	due     time.Duration
	answers int
	buf     []byte // an answer that is not whole yet
	window  int
}

const frameHeader = 9

// receiveWindow is what the processor may send before it hears more; Envoy's is larger.
const receiveWindow = 1 << 24

func appendFrame(to []byte, t http2.FrameType, flags http2.Flags, stream uint32, payload []byte) []byte {
	n := len(payload)
	to = append(to, byte(n>>16), byte(n>>8), byte(n), byte(t), byte(flags))
	to = binary.BigEndian.AppendUint32(to, stream)
	return append(to, payload...)
}

func dial(to netip.AddrPort) (*conn, error) {
	fd, err := load.Dial(to)
	if err != nil {
		return nil, err
	}
	c := &conn{fd: fd, next: 1, streams: map[uint32]*stream{}, window: 65535, initial: 65535, headers: headerBlocks()}
	c.out = append(c.out, http2.ClientPreface...)
	setting := binary.BigEndian.AppendUint32([]byte{0, byte(http2.SettingInitialWindowSize)}, receiveWindow)
	c.out = appendFrame(c.out, http2.FrameSettings, 0, 0, setting)
	c.out = appendFrame(c.out, http2.FrameWindowUpdate, 0, 0, binary.BigEndian.AppendUint32(nil, receiveWindow))
	return c, nil
}

// headerBlocks makes HEADERS frames. The first puts the fields into the peer's table; all others are the same few bytes.
func headerBlocks() func(id uint32, to []byte) []byte {
	var block []byte
	w := &sliceWriter{&block}
	e := hpack.NewEncoder(w)
	return func(id uint32, to []byte) []byte {
		if id <= 3 {
			block = block[:0]
			for _, f := range [][2]string{
				{":method", "POST"},
				{":path", "/envoy.service.ext_proc.v3.ExternalProcessor/Process"},
				{":authority", "remora"},
				{":scheme", "http"},
				{"te", "trailers"},
				{"content-type", "application/grpc"},
				{"x-remora-port", "80"},
				{"x-envoy-internal", "true"},
				{"x-forwarded-for", "192.0.2.2"},
				{"x-envoy-expected-rq-timeout-ms", "50"},
			} {
				e.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}) //nolint:errcheck // a slice takes all
			}
		}
		return appendFrame(to, http2.FrameHeaders, http2.FlagHeadersEndHeaders, id, block)
	}
}

type sliceWriter struct{ to *[]byte }

func (w *sliceWriter) Write(b []byte) (int, error) {
	*w.to = append(*w.to, b...)
	return len(b), nil
}

// open begins a stream with the message of the request's headers.
func (c *conn) open(r *request, index int, due time.Duration) {
	s := &stream{id: c.next, c: c, r: r, index: index, due: due, window: c.initial}
	c.next += 2
	c.streams[s.id] = s
	c.out = c.headers(s.id, c.out)
	c.say(s, r.headers)
}

// say sends a message, when the windows let it.
func (c *conn) say(s *stream, data []byte) {
	c.queued = append(c.queued, message{s, data})
	c.drain()
}

func (c *conn) drain() {
	n := 0
	for _, m := range c.queued {
		if len(m.data) > c.window || len(m.data) > m.s.window {
			break
		}
		c.window -= len(m.data)
		m.s.window -= len(m.data)
		c.out = appendFrame(c.out, http2.FrameData, 0, m.s.id, m.data)
		n++
	}
	c.queued = c.queued[:copy(c.queued, c.queued[n:])]
}

// end is what Envoy sends when the request is over.
func (c *conn) end(s *stream) {
	c.out = appendFrame(c.out, http2.FrameData, http2.FlagDataEndStream, s.id, nil)
	c.out = appendFrame(c.out, http2.FrameRSTStream, 0, s.id, []byte{0, 0, 0, 0})
	delete(c.streams, s.id)
}

// flush writes what there is to say.
func (c *conn) flush() error {
	for len(c.out) > 0 {
		n, err := unix.Write(c.fd, c.out)
		if errors.Is(err, unix.EAGAIN) {
			return nil // the next round tries again
		}
		if err != nil {
			return fmt.Errorf("sending: %w", err)
		}
		c.out = c.out[:copy(c.out, c.out[n:])]
	}
	return nil
}

// receive reads what is there and calls answered for each message of a stream.
func (c *conn) receive(room []byte, answered func(*stream, []byte) error) error {
	for {
		n, err := unix.Read(c.fd, room)
		switch {
		case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR):
			return nil
		case err != nil:
			return fmt.Errorf("receiving: %w", err)
		case n == 0:
			return errors.New("receiving: the processor closed a connection")
		}
		c.in = append(c.in, room[:n]...)
		if err := c.frames(answered); err != nil {
			return err
		}
		if n < len(room) {
			return nil
		}
	}
}

func (c *conn) frames(answered func(*stream, []byte) error) error {
	at := 0
	for len(c.in)-at >= frameHeader {
		h := c.in[at:]
		n := int(h[0])<<16 | int(h[1])<<8 | int(h[2])
		if len(h) < frameHeader+n {
			break
		}
		id := binary.BigEndian.Uint32(h[5:]) & (1<<31 - 1)
		if err := c.frame(http2.FrameType(h[3]), http2.Flags(h[4]), id, h[frameHeader:frameHeader+n], answered); err != nil {
			return err
		}
		at += frameHeader + n
	}
	c.in = c.in[:copy(c.in, c.in[at:])]
	return nil
}

func (c *conn) frame(t http2.FrameType, flags http2.Flags, id uint32, p []byte, answered func(*stream, []byte) error) error {
	s := c.streams[id]
	switch t {
	case http2.FrameData:
		if c.unacked += len(p); c.unacked > receiveWindow/2 {
			c.out = appendFrame(c.out, http2.FrameWindowUpdate, 0, 0, binary.BigEndian.AppendUint32(nil, uint32(c.unacked)))
			c.unacked = 0
		}
		if s == nil {
			return nil
		}
		s.buf = append(s.buf, p...)
		for len(s.buf) >= 5 {
			n := 5 + int(binary.BigEndian.Uint32(s.buf[1:]))
			if len(s.buf) < n {
				break
			}
			m := s.buf[5:n]
			s.buf = s.buf[n:]
			if err := answered(s, m); err != nil {
				return err
			}
		}
	case http2.FrameHeaders:
		if s != nil && flags.Has(http2.FlagHeadersEndStream) {
			return fmt.Errorf("the processor ended stream %d by itself", id)
		}
	case http2.FrameRSTStream:
		if s != nil {
			return fmt.Errorf("the processor reset stream %d", id)
		}
	case http2.FrameGoAway:
		return errors.New("the processor sent GOAWAY")
	case http2.FramePing:
		if !flags.Has(http2.FlagPingAck) {
			c.out = appendFrame(c.out, http2.FramePing, http2.FlagPingAck, 0, p)
		}
	case http2.FrameWindowUpdate:
		if by := int(binary.BigEndian.Uint32(p)); id == 0 {
			c.window += by
		} else if s != nil {
			s.window += by
		}
		c.drain()
	case http2.FrameSettings:
		if flags.Has(http2.FlagSettingsAck) {
			return nil
		}
		for ; len(p) >= 6; p = p[6:] {
			if http2.SettingID(binary.BigEndian.Uint16(p)) == http2.SettingInitialWindowSize {
				by := int(binary.BigEndian.Uint32(p[2:])) - c.initial
				c.initial += by
				for _, s := range c.streams {
					s.window += by
				}
			}
		}
		c.out = appendFrame(c.out, http2.FrameSettings, http2.FlagSettingsAck, 0, nil)
		c.drain()
	}
	return nil
}
