package rpc

import (
	"encoding/binary"
	"errors"

	"golang.org/x/net/http2"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// prefixLen is the length of what stands before each message: whether it is compressed, and how long it is.
const prefixLen = 5

// Begin appends room for a message's prefix; the message is to be appended then.
func Begin(to []byte) []byte { return append(to, 0, 0, 0, 0, 0) }

// End writes the prefix of the message that Begin was called for when to had start bytes.
func End(to []byte, start int) []byte {
	binary.BigEndian.PutUint32(to[start+1:], uint32(len(to)-start-prefixLen))
	return to
}

// stream is one stream. Its connection's mutex guards it.
type stream struct {
	id   uint32
	c    *conn
	h    Handler // nil for one of a service
	call *call   // nil for one with a Handler

	part       []byte // the beginning of a message whose end is to come
	recvWindow int    // bytes that the peer may send
	recvd      int    // bytes that it has not been given back yet
	isEnded    bool   // by the client: it sends nothing more

	sendWindow int
	pending    []byte         // answers that wait for a window
	status     *status.Status // to be sent after them; nil while the stream is served
	isAnswered bool           // the response's headers were sent
	isBlocked  bool           // it is in conn.blocked
	isWaiting  bool           // its Handler waits: part has all that was received meanwhile
	isGone     bool           // and it was removed meanwhile
}

func (c *conn) add(id uint32) *stream {
	var s *stream
	if n := len(c.free); n > 0 {
		s, c.free = c.free[n-1], c.free[:n-1]
	} else {
		s = &stream{}
	}
	*s = stream{id: id, c: c, recvWindow: streamWindow, sendWindow: c.peerWindow, part: s.part, pending: s.pending}
	c.streams[id] = s
	return s
}

// maxFree bounds the streams that are kept for the next ones, maxKept the bytes of a buffer that is kept with one.
const (
	maxFree = 256
	maxKept = 4 << 10
)

// remove forgets a stream, whose handler hears of it.
func (c *conn) remove(s *stream) {
	delete(c.streams, s.id)
	c.hold(-(len(s.part) + len(s.pending)))
	s.part, s.pending = s.part[:0], s.pending[:0]
	switch {
	case s.call != nil:
		s.call.cancel()
		return // a goroutine still has it
	case s.isWaiting:
		s.isGone = true
		return // as well
	}
	if s.h != nil {
		s.h.End()
		s.h = nil
	}
	if len(c.free) < maxFree && cap(s.part) <= maxKept && cap(s.pending) <= maxKept {
		c.free = append(c.free, s)
	}
}

// hold counts bytes that wait in memory, and reports whether there may be so many.
func (c *conn) hold(n int) bool {
	return n == 0 || c.s.held.Add(int64(n)) <= c.s.c.MaxHeld
}

// data takes a frame of a stream's messages.
func (c *conn) data(f *http2.DataFrame) error {
	n := int(f.Length) // with the padding
	if c.recvWindow -= n; c.recvWindow < 0 {
		return http2.ConnectionError(http2.ErrCodeFlowControl)
	}
	if c.recvd += n; c.recvd >= connWindow/2 {
		c.giveWindow(0, c.recvd)
		c.recvWindow += c.recvd
		c.recvd = 0
	}
	if c.isIdle(f.StreamID) {
		return http2.ConnectionError(http2.ErrCodeProtocol)
	}
	s := c.streams[f.StreamID]
	switch {
	case s == nil && len(f.Data()) > 0 && c.state != drained:
		return http2.StreamError{StreamID: f.StreamID, Code: http2.ErrCodeStreamClosed}
	case s == nil:
		return c.count()
	case s.isEnded:
		return http2.StreamError{StreamID: s.id, Code: http2.ErrCodeStreamClosed}
	}
	if s.recvWindow -= n; s.recvWindow < 0 {
		return http2.StreamError{StreamID: s.id, Code: http2.ErrCodeFlowControl}
	}
	s.recvd += n
	if len(f.Data()) == 0 && !f.StreamEnded() {
		return c.count()
	}
	switch err := s.take(f.Data()); {
	case errors.Is(err, errSlow):
		return http2.StreamError{StreamID: s.id, Code: http2.ErrCodeEnhanceYourCalm}
	case err != nil:
		c.finish(s, status.Convert(err))
		return nil
	}
	s.giveWindow()
	if f.StreamEnded() {
		c.clientEnds(s)
	}
	return nil
}

// take takes bytes of messages. The error, a gRPC status, ends the stream.
func (s *stream) take(p []byte) error {
	for len(p) > 0 && s.status == nil {
		if s.isWaiting {
			return s.keep(p)
		}
		if len(s.part) == 0 {
			n, err := s.length(p)
			if err != nil {
				return err
			}
			if n > 0 && n <= len(p) {
				if err := s.message(p[prefixLen:n]); err != nil {
					return err
				}
				p = p[n:]
				continue
			}
		}
		// The message goes on in the next frame.
		n, err := s.length(s.part)
		if err != nil {
			return err
		}
		more := min(len(p), max(n, prefixLen)-len(s.part))
		if err := s.keep(p[:more]); err != nil {
			return err
		}
		p = p[more:]
		if n, err = s.length(s.part); err != nil {
			return err
		}
		if n == 0 || len(s.part) < n {
			continue
		}
		err = s.message(s.part[prefixLen:])
		s.c.hold(-n)
		if s.part = s.part[:0]; cap(s.part) > maxKept {
			s.part = nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// keep keeps bytes until the others of their message are here, or the stream's Handler has waited.
func (s *stream) keep(p []byte) error {
	s.part = append(s.part, p...)
	if !s.c.hold(len(p)) {
		return status.Error(codes.ResourceExhausted, "too many bytes of unfinished messages")
	}
	return nil
}

// length is the length of the message that b begins with, with its prefix; 0 while that is not there.
func (s *stream) length(b []byte) (int, error) {
	if len(b) < prefixLen {
		return 0, nil
	}
	n := binary.BigEndian.Uint32(b[1:])
	switch {
	case b[0] != 0:
		return 0, status.Error(codes.Internal, "a message says that it is compressed, and the stream that none is")
	case n > uint32(s.c.s.c.MaxMessage):
		return 0, status.Errorf(codes.ResourceExhausted, "a message of %d bytes is over the limit of %d", n, s.c.s.c.MaxMessage)
	}
	return prefixLen + int(n), nil
}

// message gives a message to who serves the stream.
func (s *stream) message(m []byte) error {
	c := s.c
	c.unproductive = 0
	if s.call != nil {
		s.call.receive(m)
		return nil
	}
	return s.answered(s.h.Message(m, c.scratch[:0]))
}

// answered takes what a Handler says.
func (s *stream) answered(answers []byte, err error) error {
	c := s.c
	if c.scratch = answers; cap(answers) > 4*flushAt {
		c.scratch = nil
	}
	if sendErr := s.send(answers); sendErr != nil {
		return sendErr
	}
	if errors.Is(err, ErrWait) {
		s.wait()
		return nil
	}
	return err
}

// wait has the Handler wait, and goes on with the stream then.
func (s *stream) wait() {
	c, h := s.c, s.h.(Waiter) // it has said so
	s.isWaiting = true
	c.s.gone.Add(1)
	go func() {
		defer c.s.gone.Done()
		h.Wait()
		c.mu.Lock()
		defer c.mu.Unlock()
		s.isWaiting = false
		switch {
		case s.isGone:
			h.End()
		case s.status == nil: // else it ends when its answers are sent
			s.resume(h)
		}
	}()
}

// resume goes on when the Handler has waited: with its answers, and with what was received meanwhile.
func (s *stream) resume(h Waiter) {
	c := s.c
	err := s.answered(h.Resume(c.scratch[:0]))
	if err == nil && !s.isWaiting {
		kept := s.part
		s.part = nil
		c.hold(-len(kept))
		err = s.take(kept)
	}
	switch {
	case errors.Is(err, errSlow):
		c.reset(s.id, http2.ErrCodeEnhanceYourCalm)
		c.remove(s)
	case err != nil:
		c.finish(s, status.Convert(err))
	default:
		s.giveWindow()
	}
	c.writeOrClose()
	c.endWhenDrained()
}

// clientEnds is the end of what the client sends. A stream with a Handler is over then.
func (c *conn) clientEnds(s *stream) {
	s.isEnded = true
	switch {
	case s.call != nil:
		s.call.ends()
	case s.isWaiting: // nobody listens any more
		c.ending = append(c.ending, s.id)
	case s.status != nil: // it ends when its answers are sent
	case len(s.part) > 0:
		c.finish(s, status.New(codes.Internal, "the stream ended within a message"))
	default:
		s.h.End()
		s.h = nil
		c.ending = append(c.ending, s.id)
	}
}
