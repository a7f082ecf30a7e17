package http1

import "github.com/remora-proxy/remora/internal/route"

// Body walks over a body as its bytes arrive, in any framing. It holds no bytes.
type Body struct {
	// Trailers are the fields of the trailer section once Done: views of the buffer that the last piece came from. Those
	// that must not be in a trailer (RFC 9110, 6.5.1) are not there.
	Trailers []route.Header
}

// Piece is a step through a body.
type Piece struct {
	N    int    // how many bytes of the buffer the piece takes; the next piece starts after them
	Data []byte // the decoded bytes in it; may be empty
	// Raw are the bytes to send on by a caller that keeps the framing: for Chunked, the chunk with its size line and without
	// extensions. The last chunk and the trailers are not in any piece: when the body is done, the caller writes AppendLastChunk.
	Raw []byte
}

// Request begins the body of r. lim may be nil.
func (b *Body) Request(r *Request, lim *Limits) {}

// Response begins the body of r. lim may be nil.
func (b *Body) Response(r *Response, lim *Limits) {}

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
func (b *Body) Next(buf []byte) (Piece, *Error) { return Piece{}, nil }

// Done says that the body has ended. Bytes that follow belong to the next message.
func (b *Body) Done() bool { return true }

// Remaining is how many bytes of a Length body are still to come; -1 for the other framings that have a body.
func (b *Body) Remaining() int64 { return 0 }

// EOF says that the connection has ended: an UntilClose body is then done, every other that is not done is cut short.
func (b *Body) EOF() *Error { return nil }
