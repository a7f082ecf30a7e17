package extproc

import (
	"errors"
	"io"
	"strconv"
	"sync"

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
	view    affinity.Request
	scan    fields.Scanner
	dec     affinity.Decision
	plan    affinity.Plan
	head    *extprocv3.HttpHeaders // what the strings of view alias
	path    string                 // as Envoy has it, without the query
	id      string                 // x-request-id
	decided bool                   // Decide was called, and Release was not
}

var exchanges = sync.Pool{New: func() any { return new(exchange) }}

var errNoBodies = status.Error(codes.FailedPrecondition, "the request's body is needed and is not sent: set request_body_mode to BUFFERED in the filter's processing_mode")

// Process serves the stream of one request.
func (s *Server) Process(stream extprocv3.ExternalProcessor_ProcessServer) error {
	over := s.stats.streams.Add(1) > s.maxRequests
	defer s.stats.streams.Add(-1)
	x, _ := exchanges.Get().(*exchange)
	x.s = s
	defer x.end()
	port, err := s.portOf(stream)
	if err != nil {
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
		var out *extprocv3.ProcessingResponse
		switch {
		case over && x.head == nil:
			out = x.answer(overloaded)
		default:
			if out, err = x.reply(in, port); err != nil {
				return s.misuse(err)
			}
		}
		if err := stream.Send(out); err != nil {
			return err
		}
	}
}

// end releases what the request holds and gives x back.
func (x *exchange) end() {
	if x.decided {
		x.s.engine.Release(&x.dec, x.s.now())
	}
	headers, promoted := x.view.Headers[:0], x.dec.Promoted[:0]
	clear(headers[:cap(headers)])
	clear(promoted[:cap(promoted)])
	x.s, x.head, x.path, x.id, x.decided = nil, nil, "", "", false
	x.plan = affinity.Plan{}
	x.dec = affinity.Decision{Promoted: promoted}
	x.view = affinity.Request{}
	x.view.Headers = headers
	exchanges.Put(x)
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

// reply is the answer to one message. The error, a gRPC status, is about how Envoy is configured.
func (x *exchange) reply(in *extprocv3.ProcessingRequest, port uint16) (*extprocv3.ProcessingResponse, error) {
	switch m := in.GetRequest().(type) {
	case *extprocv3.ProcessingRequest_RequestHeaders:
		if x.head != nil {
			return nil, status.Error(codes.InvalidArgument, "the request's headers came twice in one stream")
		}
		return x.headers(in, m.RequestHeaders, port)
	case *extprocv3.ProcessingRequest_RequestBody:
		if x.head == nil {
			break
		}
		if x.plan.Spec == nil { // already decided: allow_mode_override is off, so the body came nevertheless
			return passBody(nil), nil
		}
		return x.body(m.RequestBody.GetBody()), nil
	case *extprocv3.ProcessingRequest_ResponseHeaders:
		return x.responseHeaders(), nil
	case *extprocv3.ProcessingRequest_RequestTrailers:
		return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_RequestTrailers{RequestTrailers: &extprocv3.TrailersResponse{}}}, nil
	case *extprocv3.ProcessingRequest_ResponseBody:
		return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ResponseBody{ResponseBody: &extprocv3.BodyResponse{}}}, nil
	case *extprocv3.ProcessingRequest_ResponseTrailers:
		return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ResponseTrailers{ResponseTrailers: &extprocv3.TrailersResponse{}}}, nil
	}
	return nil, status.Error(codes.FailedPrecondition, "the stream does not begin with the request's headers: set request_header_mode to SEND in the filter's processing_mode")
}

// headers plans the request, and decides it unless the body is to be read before.
func (x *exchange) headers(in *extprocv3.ProcessingRequest, h *extprocv3.HttpHeaders, port uint16) (*extprocv3.ProcessingResponse, error) {
	x.head = h
	if !x.describe(in, h, port) {
		return x.answer(badPath), nil
	}
	if x.plan = x.s.engine.Plan(&x.view); !x.plan.Problem.IsZero() {
		return x.answer(x.plan.Problem), nil
	}
	length, known := x.contentLength()
	switch {
	case x.plan.Spec == nil:
	case h.GetEndOfStream() || known && length == 0 || !known && x.isUpgrade():
		x.plan.Spec = nil // there is no body
	case length > int64(x.plan.MaxBody):
		x.plan.Spec = nil
		x.view.BodyState = affinity.BodyTooLarge
	default:
		mode := filterv3.ProcessingMode_BUFFERED // of an Envoy that does not say
		if c := in.GetProtocolConfig(); c != nil {
			mode = c.GetRequestBodyMode()
		}
		if mode != filterv3.ProcessingMode_BUFFERED {
			return nil, errNoBodies
		}
		return waitForBody(), nil
	}
	return x.decide(passHeaders), nil
}

// body reads the whole body, which is what a message of mode BUFFERED has, and decides.
func (x *exchange) body(body []byte) *extprocv3.ProcessingResponse {
	if len(body) > x.plan.MaxBody {
		x.view.BodyState = affinity.BodyTooLarge
	} else {
		x.scan.Reset(x.plan.Spec)
		err := x.scan.Write(body)
		if err == nil {
			err = x.scan.Close()
		}
		if err != nil {
			return x.answer(affinity.BodyProblem(err))
		}
		x.view.BodyState, x.view.Body = affinity.BodyRead, &x.scan
	}
	x.plan.Spec = nil
	return x.decide(passBody)
}

// decide asks the engine where the request goes. pass makes a message of what Envoy is told.
func (x *exchange) decide(pass func(*extprocv3.CommonResponse) *extprocv3.ProcessingResponse) *extprocv3.ProcessingResponse {
	x.s.engine.Decide(&x.view, &x.dec, x.s.now())
	if !x.dec.Problem.IsZero() {
		return x.answer(x.dec.Problem)
	}
	x.decided, x.dec.Sent = true, true // Envoy does not say whether any byte has reached the endpoint: from here on it may have
	x.s.stats.decided.Add(1)
	out := pass(x.tell())
	if out.ModeOverride != nil && x.dec.SetCookie != "" {
		out.ModeOverride.ResponseHeaderMode = filterv3.ProcessingMode_SEND // the cookie goes with them
	}
	return out
}

var (
	badPath    = problem.Problem{Code: problem.BadPath, Detail: "The path of the request has a character, or an escape of one, that a path must not have."}
	overloaded = problem.Problem{Code: problem.Overloaded, Detail: "There are as many requests in flight as there may be; try again."}
)
