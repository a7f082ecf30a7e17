package extproc

import (
	filterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
)

const (
	buffered = filterv3.ProcessingMode_BUFFERED
	duplex   = filterv3.ProcessingMode_FULL_DUPLEX_STREAMED
)

// maxPiece is how many bytes of a body one message gives back, as Envoy recommends for FULL_DUPLEX_STREAMED.
const maxPiece = 64 << 10

// requestPiece takes a piece of the request's body. While the body is waited for it is held, and Envoy is told nothing: the
// first that it hears is the answer to the headers. What is held is at most Plan.MaxBody and one message.
func (x *exchange) requestPiece(piece []byte, end bool) {
	switch {
	case x.plan.Spec == nil: // decided: it goes on
		x.echo(requestPiece, piece, end)
	case len(x.held)+len(piece) > x.plan.MaxBody:
		held := x.held
		if x.tooLarge(x.passPicked); !x.refused {
			x.echo(requestPiece, held, false)
			x.echo(requestPiece, piece, end)
		}
	default:
		if len(x.held) == 0 {
			x.held = piece[:len(piece):len(piece)] // most bodies have one piece: it need not be copied
		} else {
			x.held = append(x.held, piece...)
		}
		if end {
			x.bodyEnded(true)
		}
	}
}

// bodyEnded decides with the body that is held, and gives it back. end says that no trailers follow.
func (x *exchange) bodyEnded(end bool) {
	body := x.held
	if x.read(body, x.passPicked); !x.refused {
		x.echo(requestPiece, body, end)
	}
}

// echo gives a body, or a part of it, back as it came. Nothing is to be said of a part that is empty and not the last.
func (x *exchange) echo(message func(*extprocv3.StreamedBodyResponse) *extprocv3.ProcessingResponse, body []byte, end bool) {
	for len(body) > maxPiece {
		x.say(message(&extprocv3.StreamedBodyResponse{Body: body[:maxPiece]}))
		body = body[maxPiece:]
	}
	if len(body) > 0 || end {
		x.say(message(&extprocv3.StreamedBodyResponse{Body: body, EndOfStream: end}))
	}
}

func requestPiece(p *extprocv3.StreamedBodyResponse) *extprocv3.ProcessingResponse {
	return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_RequestBody{RequestBody: streamed(p)}}
}

func responsePiece(p *extprocv3.StreamedBodyResponse) *extprocv3.ProcessingResponse {
	return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ResponseBody{ResponseBody: streamed(p)}}
}

func streamed(p *extprocv3.StreamedBodyResponse) *extprocv3.BodyResponse {
	return &extprocv3.BodyResponse{Response: &extprocv3.CommonResponse{BodyMutation: &extprocv3.BodyMutation{
		Mutation: &extprocv3.BodyMutation_StreamedResponse{StreamedResponse: p},
	}}}
}
