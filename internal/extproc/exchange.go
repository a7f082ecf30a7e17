package extproc

import (
	"errors"
	"io"
	"strconv"
	"sync"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/fields"
	"github.com/remora-proxy/remora/internal/problem"
)

// exchange is one request: Plan, wait for the body, Decide, and Release exactly once. It belongs to the goroutine of its stream.
type exchange struct {
	s       *Server
	port    uint16 // of the Gateway's server
	view    affinity.Request
	scan    fields.Scanner
	dec     affinity.Decision
	plan    affinity.Plan // its Spec is nil unless the body is waited for
	path    string        // as Envoy has it, without the query
	id      string        // x-request-id
	modes   modes
	held    []byte // of a body in pieces, until it has been decided
	begun   bool   // the request's headers came
	refused bool   // Envoy was told to answer with a problem: it does not listen any more
	decided bool   // Decide was called, and Release was not

	out []*extprocv3.ProcessingResponse // the answer to one message of Envoy's
}

// modes is what Envoy's first message says of how the others come.
type modes struct {
	request, response filterv3.ProcessingMode_BodySendMode
}

var exchanges = sync.Pool{New: func() any { return new(exchange) }}

var errBodyMode = status.Error(codes.FailedPrecondition, "the request's body is needed, and does not come in a way that it can be read: set request_body_mode to NONE, BUFFERED or FULL_DUPLEX_STREAMED in the filter's processing_mode")

// Process serves the stream of one request.
func (s *Server) Process(stream extprocv3.ExternalProcessor_ProcessServer) error {
	over := s.stats.streams.Add(1) > s.maxRequests
	defer s.stats.streams.Add(-1)
	x, _ := exchanges.Get().(*exchange)
	x.s = s
	defer x.end()
	var err error
	if x.port, err = s.portOf(stream); err != nil {
		return s.misuse(err)
	}
	for {
		in, err := stream.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err // the request is over: Envoy has reset the stream, or is gone
		}
		if !x.begun && isReport(in) {
			x.say(s.report(stream.Context(), in))
		} else if over && !x.begun {
			x.refuse(overloaded)
		} else if err := x.hear(in); err != nil {
			return s.misuse(err)
		}
		if err := x.send(stream); err != nil {
			return err
		}
	}
}

// send sends the answer to one message.
func (x *exchange) send(stream extprocv3.ExternalProcessor_ProcessServer) error {
	for i, out := range x.out {
		if err := stream.Send(out); err != nil {
			return err
		}
		x.out[i] = nil
	}
	x.out = x.out[:0]
	return nil
}

// end releases what the request holds and gives x back.
func (x *exchange) end() {
	if x.decided {
		x.s.engine.Release(&x.dec, x.s.now())
	}
	x.forget()
	clear(x.out)
	x.s, x.out, x.modes = nil, x.out[:0], modes{}
	x.begun, x.refused, x.decided = false, false, false
	x.dec = affinity.Decision{Promoted: x.dec.Promoted}
	exchanges.Put(x)
}

// forget drops what the decision was made from: the headers and the body. The request may go on for long.
func (x *exchange) forget() {
	headers, promoted := x.view.Headers[:0], x.dec.Promoted[:0]
	clear(headers[:cap(headers)])
	clear(promoted[:cap(promoted)])
	x.view, x.dec.Promoted = affinity.Request{}, promoted
	x.view.Headers = headers
	x.scan.Reset(nil)
	x.plan, x.path, x.id, x.held = affinity.Plan{}, "", "", nil
}

// misuse counts a stream that Envoy's configuration is to blame for, and logs the first one.
func (s *Server) misuse(err error) error {
	if s.stats.misuses.Add(1) == 1 {
		s.log.Error("an Envoy is not configured as it must be; further streams like this one are only counted", "error", err)
	}
	return err
}

// portOf is the port of the Gateway's server that a stream's request came in through.
func (s *Server) portOf(stream extprocv3.ExternalProcessor_ProcessServer) (uint16, error) {
	values := metadata.ValueFromIncomingContext(stream.Context(), PortMetadata)
	if len(values) == 0 {
		return s.port, nil
	}
	n, err := strconv.ParseUint(values[0], 10, 16)
	if err != nil || n == 0 || len(values) > 1 {
		return 0, status.Errorf(codes.InvalidArgument, "the metadata %s is not one port of 1 to 65535", PortMetadata)
	}
	return uint16(n), nil
}

// hear takes one message of Envoy's and makes the answer to it. The error, a gRPC status, is about how Envoy is configured.
func (x *exchange) hear(in *extprocv3.ProcessingRequest) error {
	if x.refused {
		return nil // sent before Envoy heard of it
	}
	if c := in.GetProtocolConfig(); c != nil {
		x.modes = modes{c.GetRequestBodyMode(), c.GetResponseBodyMode()}
	}
	switch m := in.GetRequest().(type) {
	case *extprocv3.ProcessingRequest_RequestHeaders:
		if x.begun {
			return status.Error(codes.InvalidArgument, "the request's headers came twice in one stream")
		}
		return x.headers(in, m.RequestHeaders)
	case *extprocv3.ProcessingRequest_RequestBody:
		if x.begun {
			x.requestBody(m.RequestBody)
			return nil
		}
	case *extprocv3.ProcessingRequest_RequestTrailers:
		if x.begun {
			x.requestTrailers(m.RequestTrailers.GetTrailers())
			return nil
		}
	case *extprocv3.ProcessingRequest_ResponseHeaders:
		x.say(x.responseHeaders())
		return nil
	case *extprocv3.ProcessingRequest_ResponseBody:
		if x.modes.response == duplex {
			x.echo(responsePiece, m.ResponseBody.GetBody(), m.ResponseBody.GetEndOfStream())
		} else {
			x.say(passResponseBody())
		}
		return nil
	case *extprocv3.ProcessingRequest_ResponseTrailers:
		x.say(passResponseTrailers())
		return nil
	}
	return status.Error(codes.FailedPrecondition, "the stream does not begin with the request's headers: set request_header_mode to SEND in the filter's processing_mode")
}

// say appends a message to the answer.
func (x *exchange) say(out *extprocv3.ProcessingResponse) { x.out = append(x.out, out) }

// refuse makes Envoy answer the request with a problem. It is the last that Envoy is told.
func (x *exchange) refuse(p problem.Problem) {
	x.s.stats.problems[problem.Index(p.Code)].Add(1)
	x.say(immediate(p, x.id))
	x.begun, x.refused = true, true
	x.forget()
}

// headers plans the request, and decides it unless the body is to be read before.
func (x *exchange) headers(in *extprocv3.ProcessingRequest, h *extprocv3.HttpHeaders) error {
	x.begun = true
	if !x.describe(in, h, x.port) {
		x.refuse(badPath)
		return nil
	}
	if x.plan = x.s.engine.Plan(&x.view); !x.plan.Problem.IsZero() {
		x.refuse(x.plan.Problem)
		return nil
	}
	length, known := x.contentLength()
	switch {
	case x.plan.Spec == nil:
	case h.GetEndOfStream() || known && length == 0 || !known && x.isUpgrade():
		x.plan.Spec = nil // there is no body
	case length > int64(x.plan.MaxBody):
		x.plan.Spec = nil
		x.view.BodyState = affinity.BodyTooLarge
	case x.modes.request == duplex:
		return nil // told with the body's end
	case x.modes.request == buffered || in.GetProtocolConfig() == nil: // or an Envoy that does not say
		x.say(waitForBody())
		return nil
	case x.modes.request == filterv3.ProcessingMode_NONE:
		x.say(askForBody())
		return nil
	default:
		return errBodyMode
	}
	if x.modes.request == duplex {
		x.decide(x.passPicked)
	} else {
		x.decide(passHeaders)
	}
	return nil
}

// requestBody takes a message with the request's body: the whole of it in mode BUFFERED, else a piece.
func (x *exchange) requestBody(b *extprocv3.HttpBody) {
	switch {
	case x.modes.request == duplex:
		x.requestPiece(b.GetBody(), b.GetEndOfStream())
	case x.plan.Spec == nil: // already decided: allow_mode_override is off, so the body came nevertheless
		x.say(passBody(nil))
	case len(b.GetBody()) > x.plan.MaxBody:
		x.tooLarge(passBody)
	default:
		x.read(b.GetBody(), passBody)
	}
}

// requestTrailers takes the request's trailers, which end a body without a last piece.
func (x *exchange) requestTrailers(trailers *corev3.HeaderMap) {
	switch {
	case x.plan.Spec == nil:
	case x.modes.request == duplex:
		x.bodyEnded(false)
	default: // the body is empty: Envoy does not send it, and with the trailers no headers can be set any more
		x.refuse(onlyTrailers)
	}
	if !x.refused {
		x.say(passRequestTrailers(x.forgedOf(trailers)))
	}
}

// read reads the whole body and decides. pass makes a message of what Envoy is told.
func (x *exchange) read(body []byte, pass passing) {
	x.scan.Reset(x.plan.Spec)
	err := x.scan.Write(body)
	if err == nil {
		err = x.scan.Close()
	}
	if err != nil {
		x.refuse(affinity.BodyProblem(err))
		return
	}
	x.view.BodyState, x.view.Body = affinity.BodyRead, &x.scan
	x.decide(pass)
}

// tooLarge decides when the body has turned out to be too large to be read.
func (x *exchange) tooLarge(pass passing) {
	x.view.BodyState = affinity.BodyTooLarge
	x.decide(pass)
}

// decide asks the engine where the request goes, and tells Envoy in a message that pass makes.
func (x *exchange) decide(pass passing) {
	x.s.engine.Decide(&x.view, &x.dec, x.s.now())
	if !x.dec.Problem.IsZero() {
		x.refuse(x.dec.Problem)
		return
	}
	x.decided, x.dec.Sent = true, true // Envoy does not say whether any byte has reached the endpoint: from here on it may have
	x.s.stats.decided.Add(1)
	out := pass(x.tell())
	addPick(out, x.dec.Pick())
	if out.ModeOverride != nil && x.dec.SetCookie != "" {
		out.ModeOverride.ResponseHeaderMode = filterv3.ProcessingMode_SEND // the cookie goes with them
	}
	x.say(out)
	x.forget()
}

var (
	badPath      = problem.Problem{Code: problem.BadPath, Detail: "The path of the request has a character, or an escape of one, that a path must not have."}
	onlyTrailers = problem.Problem{Code: problem.MalformedJSON, Detail: "The body, which is JSON by its content type, is empty, and trailers follow it; leave them out."}
	overloaded   = problem.Problem{Code: problem.Overloaded, Detail: "There are as many requests in flight as there may be; try again."}
)
