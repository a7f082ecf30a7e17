package rpc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// maxPending is the bytes of answers that a stream may keep waiting for its window.
const maxPending = 4 << 20

// errSlow is the end of a stream whose client does not take its answers. No status is sent after them: it would have to wait as well.
var errSlow = errors.New("rpc: too many answers wait for a client that does not take them")

// count counts a frame that brings nothing.
func (c *conn) count() error {
	c.unproductive++
	switch {
	case c.unproductive == 1:
		c.countedFrom = time.Now()
	case c.unproductive <= maxUnproductive:
	case time.Since(c.countedFrom) < c.s.c.PingAfter:
		return http2.ConnectionError(http2.ErrCodeEnhanceYourCalm)
	default:
		c.unproductive = 0
	}
	return nil
}

// giveWindow lets the peer send n bytes more, on a stream or on the connection (0).
func (c *conn) giveWindow(stream uint32, n int) {
	c.out = appendFrameHeader(c.out, http2.FrameWindowUpdate, 0, stream, 4)
	c.out = binary.BigEndian.AppendUint32(c.out, uint32(n))
}

// giveWindow gives back what was received, as long as it is read and the peer takes the answers to it.
func (s *stream) giveWindow() {
	isRead := len(s.pending) == 0 && !s.isWaiting && (s.call == nil || len(s.call.received) == 0)
	if s.recvd < streamWindow/2 || !isRead || s.isEnded || s.status != nil {
		return
	}
	s.c.giveWindow(s.id, s.recvd)
	s.recvWindow += s.recvd
	s.recvd = 0
}

// send sends messages with their prefixes, or keeps them until there is a window for them.
func (s *stream) send(p []byte) error {
	if len(p) == 0 {
		return nil
	}
	s.answer()
	if len(s.pending) == 0 {
		p = p[s.sendNow(p):]
		if len(p) == 0 {
			return nil
		}
		s.block()
	}
	if n := len(s.pending); n > 0 && n+len(p) > maxPending {
		return errSlow
	}
	s.pending = append(s.pending, p...)
	if !s.c.hold(len(p)) {
		return errSlow
	}
	return nil
}

// sendNow sends as much as the windows let it.
func (s *stream) sendNow(p []byte) (sent int) {
	c := s.c
	for sent < len(p) {
		n := min(len(p)-sent, s.sendWindow, c.sendWindow, c.peerFrame)
		if n <= 0 {
			break
		}
		c.out = appendFrameHeader(c.out, http2.FrameData, 0, s.id, n)
		c.out = append(c.out, p[sent:sent+n]...)
		s.sendWindow -= n
		c.sendWindow -= n
		sent += n
		c.unproductive = 0 // pings and windows are what a peer says to it
		c.writeIfMuch()
	}
	return sent
}

// unblock sends what waited for the connection's window, the longest waiting first.
func (c *conn) unblock() {
	for len(c.blocked) > 0 && c.sendWindow > 0 {
		s := c.streams[c.blocked[0]]
		c.blocked = c.blocked[1:]
		if s != nil {
			s.isBlocked = false
			s.unblock()
		}
	}
}

// unblock sends what waited for a window.
func (s *stream) unblock() {
	if len(s.pending) == 0 {
		return
	}
	c := s.c
	n := s.sendNow(s.pending)
	c.hold(-n)
	if s.pending = s.pending[n:]; len(s.pending) > 0 {
		s.block()
		return
	}
	s.pending = nil
	if s.call != nil {
		s.call.changed.Broadcast()
	}
	if s.status != nil {
		c.close(s)
		return
	}
	s.giveWindow()
}

// block puts a stream that has a window of its own among those that wait for the connection's. Streams that are gone are taken out when
// they are more than the others.
func (s *stream) block() {
	c := s.c
	if s.sendWindow <= 0 || s.isBlocked {
		return
	}
	s.isBlocked = true
	if len(c.blocked) > 2*len(c.streams) {
		c.blocked = slices.DeleteFunc(c.blocked, func(id uint32) bool { return c.streams[id] == nil })
	}
	c.blocked = append(c.blocked, s.id)
}

// answer sends the response's headers, once.
func (s *stream) answer() {
	if s.isAnswered {
		return
	}
	s.isAnswered = true
	s.c.fields(s.id, 0, func(e *hpack.Encoder) {
		writeField(e, ":status", "200")
		writeField(e, "content-type", "application/grpc")
		if s.call != nil {
			writeMetadata(e, s.call.header)
		}
	})
}

// finish ends a stream with a status (nil: OK), after its answers.
func (c *conn) finish(s *stream, st *status.Status) {
	if s.status != nil {
		return
	}
	if st == nil {
		st = status.New(codes.OK, "")
	}
	s.status = st
	if len(s.pending) == 0 {
		c.close(s)
	}
}

// close sends a stream's status and forgets it.
func (c *conn) close(s *stream) {
	c.fields(s.id, http2.FlagHeadersEndStream, func(e *hpack.Encoder) {
		if !s.isAnswered {
			writeField(e, ":status", "200")
			writeField(e, "content-type", "application/grpc")
		}
		writeField(e, "grpc-status", strconv.Itoa(int(s.status.Code())))
		if m := s.status.Message(); m != "" {
			writeField(e, "grpc-message", escape(m))
		}
		if s.call != nil {
			writeMetadata(e, s.call.trailer)
		}
	})
	c.hangUp(s)
}

// refuse answers a request that is not gRPC.
func (c *conn) refuse(s *stream, code string) {
	c.fields(s.id, http2.FlagHeadersEndStream, func(e *hpack.Encoder) { writeField(e, ":status", code) })
	c.hangUp(s)
}

// hangUp forgets a stream that the server has ended. Its client is told that nobody listens any more (RFC 9113, 8.1).
func (c *conn) hangUp(s *stream) {
	if !s.isEnded {
		c.reset(s.id, http2.ErrCodeNo)
	}
	c.remove(s)
}

func (c *conn) reset(id uint32, code http2.ErrCode) {
	c.out = appendFrameHeader(c.out, http2.FrameRSTStream, 0, id, 4)
	c.out = binary.BigEndian.AppendUint32(c.out, uint32(code))
}

// resetStream ends one stream because of what its client did.
func (c *conn) resetStream(err http2.StreamError) error {
	c.reset(err.StreamID, err.Code)
	if s := c.streams[err.StreamID]; s != nil {
		c.remove(s)
	}
	return c.count()
}

// fields sends a header block. Only a service's metadata, or a message about what a client has sent, needs more than one frame.
func (c *conn) fields(stream uint32, flags http2.Flags, write func(*hpack.Encoder)) {
	at := len(c.out)
	c.out = appendFrameHeader(c.out, http2.FrameHeaders, flags|http2.FlagHeadersEndHeaders, stream, 0)
	write(c.enc)
	n := len(c.out) - at - frameHeaderLen
	if n <= c.peerFrame {
		c.out[at], c.out[at+1], c.out[at+2] = byte(n>>16), byte(n>>8), byte(n)
		return
	}
	block, kind := bytes.Clone(c.out[at+frameHeaderLen:]), http2.FrameHeaders
	c.out = c.out[:at]
	for len(block) > 0 {
		n := min(len(block), c.peerFrame)
		if n == len(block) {
			flags |= http2.FlagHeadersEndHeaders
		}
		c.out = appendFrameHeader(c.out, kind, flags, stream, n)
		c.out = append(c.out, block[:n]...)
		block, kind, flags = block[n:], http2.FrameContinuation, 0
	}
}

func writeField(e *hpack.Encoder, name, value string) {
	e.WriteField(hpack.HeaderField{Name: name, Value: value}) //nolint:errcheck // it writes to a slice
}

// escape is a message as gRPC's trailers have it: percent-encoded, but for printable ASCII.
func escape(m string) string {
	var b strings.Builder
	for i := range len(m) {
		if c := m[i]; c < ' ' || c > '~' || c == '%' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// output is a conn as what HPACK writes to.
type output conn

func (o *output) Write(b []byte) (int, error) {
	o.out = append(o.out, b...)
	return len(b), nil
}

func appendFrameHeader(to []byte, t http2.FrameType, flags http2.Flags, stream uint32, n int) []byte {
	to = append(to, byte(n>>16), byte(n>>8), byte(n), byte(t), byte(flags))
	return binary.BigEndian.AppendUint32(to, stream)
}
