package extproc

import "github.com/remora-proxy/remora/internal/extproc/wire"

// maxPiece is how many bytes of a body one message gives back, as Envoy recommends for FULL_DUPLEX_STREAMED.
const maxPiece = 64 << 10

// requestPiece takes a piece of the request's body. While the body is waited for it is held, and Envoy is told nothing: the
// first that it hears is the answer to the headers. What is held is at most Plan.MaxBody and one message.
func (x *exchange) requestPiece(piece []byte, end bool) {
	switch {
	case x.plan.Spec == nil: // decided: it goes on
		x.echo(wire.RequestBody, piece, end)
	case len(x.held)+len(piece) > x.plan.MaxBody:
		held := x.held
		x.held = nil
		if x.tooLarge(passPicked); !x.refused {
			x.echo(wire.RequestBody, held, false)
			x.echo(wire.RequestBody, piece, end)
		}
	case !x.hold(len(piece)):
		x.refuse(noRoom)
	default:
		if x.held = append(x.held, piece...); end {
			x.bodyEnded(true)
		}
	}
}

// hold counts bytes of a body that are to be held, and reports whether there may be so many.
func (x *exchange) hold(n int) bool {
	x.heldBytes += int64(n)
	return x.s.held.Add(int64(n)) <= x.s.maxHeld
}

// bodyEnded decides with the body that is held, and gives it back. end says that no trailers follow.
func (x *exchange) bodyEnded(end bool) {
	body := x.held
	x.held = nil
	if x.read(body, passPicked); !x.refused {
		x.echo(wire.RequestBody, body, end)
	}
	if cap(body) <= maxKept {
		x.held = body[:0]
	}
}

// echo gives a body, or a part of it, back as it came. Nothing is to be said of a part that is empty and not the last.
func (x *exchange) echo(kind wire.Kind, body []byte, end bool) {
	for len(body) > maxPiece {
		x.piece(kind, body[:maxPiece], false)
		body = body[maxPiece:]
	}
	if len(body) > 0 || end {
		x.piece(kind, body, end)
	}
}

func (x *exchange) piece(kind wire.Kind, piece []byte, end bool) {
	r := x.answer(kind)
	r.HasPiece, r.Piece, r.End = true, piece, end
	x.say()
}
