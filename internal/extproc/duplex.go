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
		x.tooLarge(passPicked, rest{held: held, piece: piece, end: end})
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

// bodyEnded decides with the body that is held, and gives it back. end says that no trailers follow: otherwise they are the message that is
// being answered.
func (x *exchange) bodyEnded(end bool) {
	body := x.held
	x.held = nil
	x.read(body, passPicked, rest{held: body, end: end, trailers: !end})
}

// rest is what goes back behind a decision, in this order.
type rest struct {
	held, piece []byte // of the body
	end         bool   // with them the request ends
	trailers    bool   // those of x.in
}

// giveBack gives back what was waiting for the decision.
func (x *exchange) giveBack(r rest) {
	x.echo(wire.RequestBody, r.held, r.end && len(r.piece) == 0)
	if len(r.piece) > 0 {
		x.echo(wire.RequestBody, r.piece, r.end)
	}
	if r.trailers {
		x.passTrailers()
	}
	if cap(r.held) > 0 && cap(r.held) <= maxKept {
		x.held = r.held[:0]
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
