package http1

import "github.com/remora-proxy/remora/internal/route"

// Body walks over a body as its bytes arrive, in any framing. It holds no bytes. Reset it by beginning another one.
type Body struct {
	// Trailers are the fields of the trailer section once Done: views of the buffer that the last piece came from. Those that
	// must not be in a trailer (RFC 9110, 6.5.1), and the Protected ones, are not there.
	Trailers []route.Header

	framing Framing
	state   bodyState
	server  bool  // the body is a server's
	left    int64 // bytes to come: of a Length body, of a chunk
	lim     *Limits
	extra   int // bytes of chunk extensions so far
	trailer Section
}

type bodyState uint8

const (
	bodyDone     bodyState = iota
	bodyData               // in a Length or UntilClose body
	chunkSize              // at a size line
	chunkLineEnd           // at the CRLF of a size line: what stood between was an extension
	chunkData              // in the data of a chunk, left > 0
	chunkEnd               // at the CRLF behind the data
	trailers               // in the trailer section
)

// Piece is a step through a body.
type Piece struct {
	N    int    // how many bytes of the buffer the piece takes; the next piece starts after them
	Data []byte // the decoded bytes in it; may be empty
	// Raw are the bytes to send on by a caller that keeps the framing: for Chunked, the chunk with its size line and without
	// extensions. The last chunk and the trailers are not in any piece: when the body is done, the caller writes AppendLastChunk.
	Raw []byte
}

// Request begins the body of r. lim may be nil.
func (b *Body) Request(r *Request, lim *Limits) { b.begin(r.Framing, r.ContentLength, false, lim) }

// Response begins the body of r. lim may be nil.
func (b *Body) Response(r *Response, lim *Limits) { b.begin(r.Framing, r.ContentLength, true, lim) }

func (b *Body) begin(f Framing, length int64, server bool, lim *Limits) {
	if lim == nil {
		lim = &defaultLimits
	}
	b.Trailers, b.framing, b.server, b.left, b.lim, b.extra = nil, f, server, 0, lim, 0
	switch f {
	case Length:
		b.state, b.left = bodyData, length
	case UntilClose:
		b.state = bodyData
	case Chunked:
		b.state = chunkSize
		if b.trailer.base != nil {
			b.trailer.reset()
		}
	default:
		b.state = bodyDone
	}
}

// Next takes the next piece from the start of buf. A piece with N == 0 says that more bytes are needed: the caller keeps those
// that it has, and calls again with more after them. Such a rest is never longer than the limits allow. A caller goes on
// until Done or until N is 0:
//
//	for !b.Done() {
//		p, err := b.Next(buf)
//		if err != nil || p.N == 0 { ... }
//		use p.Data or p.Raw
//		buf = buf[p.N:]
//	}
//
// After an error, what was sent on is the beginning of a message that never ends: the caller closes both connections.
func (b *Body) Next(buf []byte) (Piece, *Error) {
	switch b.state {
	case bodyDone:
		return Piece{}, nil
	case bodyData:
		if b.framing == Length {
			if int64(len(buf)) >= b.left {
				buf = buf[:b.left]
				b.state = bodyDone
			}
			b.left -= int64(len(buf))
		}
		return Piece{N: len(buf), Data: buf, Raw: buf}, nil
	}
	p, err := b.chunked(buf)
	if err != nil && b.server {
		err = err.response
	}
	return p, err
}

// Done says that the body has ended. Bytes that follow belong to the next message.
func (b *Body) Done() bool { return b.state == bodyDone }

// Remaining is how many bytes of a Length body are still to come; 0 when the body is done; -1 when that is not known.
func (b *Body) Remaining() int64 {
	if b.framing == Length || b.Done() {
		return b.left
	}
	return -1
}

// EOF says that the connection has ended: an UntilClose body is then done, every other that is not done is cut short.
func (b *Body) EOF() *Error {
	switch {
	case b.Done():
		return nil
	case b.framing == UntilClose:
		b.state = bodyDone
		return nil
	case b.server:
		return errCut.response
	}
	return errCut
}
