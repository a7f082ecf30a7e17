package extproc

import (
	"strconv"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/extproc/rpc"
	"github.com/remora-proxy/remora/internal/extproc/wire"
	"github.com/remora-proxy/remora/internal/fields"
	"github.com/remora-proxy/remora/internal/problem"
	"github.com/remora-proxy/remora/internal/session"
)

// exchange is one request, and the handler of its stream: Plan, wait for the body, Decide, and Release exactly once. It is used again for
// other requests, with its buffers.
type exchange struct {
	s        *Server
	port     uint16 // of the Gateway's server
	over     bool   // there are as many requests in flight as there may be
	retries  bool   // the stream's metadata has RetriesMetadata
	view     affinity.Request
	scan     fields.Scanner
	dec      affinity.Decision
	plan     affinity.Plan // its Spec is nil unless the body is waited for
	path     string        // as Envoy has it, without the query
	id       string        // x-request-id
	modes    modes
	begun    bool // the request's headers came
	reported bool // the stream is about a request that another stream decided
	refused  bool // Envoy was told to answer with a problem: it does not listen any more
	decided  bool // Decide was called, and Release was not

	in        wire.Request  // the message that is answered
	first     []byte        // the stream's first message, which view aliases until the decision
	last      []byte        // the one that is answered, where that is another and nothing is decided: the answer may have to wait
	later     later         // the rest of that answer
	held      []byte        // of a body in pieces, until it has been decided
	heldBytes int64         // as Server.held counts them
	reply     wire.Response // the answer that is made
	text      []byte        // what strings of reply alias
	picked    string        // one of them: the endpoints that an endpoint picker names
	out       []byte        // where answers go
}

// modes is what Envoy's first message says of how the others come.
type modes struct {
	request, response wire.BodyMode
}

// maxKept is the bytes of a buffer that is kept for the next request, maxHeaders the number of headers that there is room for.
const (
	maxKept    = 16 << 10
	maxHeaders = 256
)

var exchanges = sync.Pool{New: func() any { return new(exchange) }}

var (
	errBodyMode = status.Error(codes.FailedPrecondition, "the request's body is needed, and does not come in a way that it can be read: set request_body_mode to NONE, BUFFERED or FULL_DUPLEX_STREAMED in the filter's processing_mode")
	errFull     = status.Error(codes.ResourceExhausted, "there are far more requests in flight than there may be")
	errPaused   = status.Error(codes.Unavailable, "there is no configuration in force yet")
	errBad      = status.Error(codes.Internal, "a message is no ProcessingRequest")
)

// open begins the stream of one request.
func (s *Server) open(call rpc.Call) (rpc.Handler, error) {
	if s.paused.Load() {
		return nil, errPaused
	}
	if s.stats.streams.Load() >= 2*s.maxRequests {
		return nil, errFull
	}
	port, err := s.portOf(call)
	if err != nil {
		return nil, s.misuse(err)
	}
	x, _ := exchanges.Get().(*exchange)
	x.begin(s, port, call)
	return x, nil
}

func (x *exchange) begin(s *Server, port uint16, call rpc.Call) {
	x.s, x.port = s, port
	_, n := call.Metadata(RetriesMetadata)
	x.retries = n > 0
	x.over = s.stats.streams.Add(1) > s.maxRequests
}

// Message takes a message of Envoy's and appends the answers to it.
func (x *exchange) Message(m, to []byte) ([]byte, error) {
	return x.answering(to, func() error { return x.take(m) })
}

// take answers a message.
func (x *exchange) take(m []byte) error {
	switch {
	case !x.begun:
		x.first = append(x.first[:0], m...)
		m = x.first
	case x.plan.Spec != nil:
		x.last = append(x.last[:0], m...)
		m = x.last
	}
	if x.in.Read(m) != nil {
		return errBad
	}
	switch {
	case !x.begun && !x.reported && x.isReport():
		x.report()
	case !x.begun && x.over:
		x.refuse(overloaded)
	default:
		if err := x.hear(); err != nil {
			return x.s.misuse(err)
		}
	}
	return nil
}

// End releases what the request holds and gives x back, unless a panic has left it as it is.
func (x *exchange) End() {
	if x.end() {
		exchanges.Put(x)
	}
}

func (x *exchange) end() (isWhole bool) {
	s := x.s
	s.stats.streams.Add(-1)
	x.forget()
	err := s.guarded(func() error {
		s.engine.Release(&x.dec, s.now()) // also one that was waited for, and of which Envoy was not told any more
		return nil
	})
	if err != nil || x.later.fault != nil {
		return false
	}
	x.s, x.modes, x.later, x.last = nil, modes{}, later{}, x.last[:0]
	x.in.Clear()
	x.begun, x.reported, x.refused, x.decided = false, false, false, false
	x.dec = affinity.Decision{Promoted: x.dec.Promoted}
	return true
}

// forget drops what the decision was made from: the headers and the body. The request may go on for long.
func (x *exchange) forget() {
	headers, promoted := x.view.Headers[:0], x.dec.Promoted[:0]
	clear(headers[:cap(headers)])
	clear(promoted[:cap(promoted)])
	x.view, x.dec.Promoted = affinity.Request{}, promoted
	x.view.Headers = headers
	x.scan.Reset(nil)
	x.plan, x.path, x.id = affinity.Plan{}, "", ""
	if cap(headers) > maxHeaders {
		x.view.Headers = nil
	}
	if x.first = x.first[:0]; cap(x.first) > maxKept {
		x.first = nil
	}
	if x.heldBytes > 0 {
		x.s.held.Add(-x.heldBytes)
		x.heldBytes = 0
	}
	if x.held = x.held[:0]; cap(x.held) > maxKept {
		x.held = nil
	}
}

// misuse counts a stream that Envoy's configuration is to blame for, and logs the first one.
func (s *Server) misuse(err error) error {
	if s.stats.misuses.Add(1) == 1 {
		s.log.Error("an Envoy is not configured as it must be; further streams like this one are only counted", "error", err)
	}
	return err
}

// portOf is the port of the Gateway's server that a stream's request came in through.
func (s *Server) portOf(call rpc.Call) (uint16, error) {
	value, count := call.Metadata(PortMetadata)
	if count == 0 {
		return s.port, nil
	}
	n, err := strconv.ParseUint(value, 10, 16)
	if err != nil || n == 0 || count > 1 {
		return 0, status.Errorf(codes.InvalidArgument, "the metadata %s is not one port of 1 to 65535", PortMetadata)
	}
	return uint16(n), nil
}

// hear answers one message of Envoy's. The error, a gRPC status, is about how Envoy is configured.
func (x *exchange) hear() error {
	if x.refused {
		return nil // sent before Envoy heard of it
	}
	in := &x.in
	if in.HasConfig {
		x.modes = modes{in.RequestBody, in.ResponseBody}
	}
	switch in.Kind {
	case wire.RequestHeaders:
		if x.begun {
			return status.Error(codes.InvalidArgument, "the request's headers came twice in one stream")
		}
		return x.headers()
	case wire.RequestBody:
		if x.begun {
			x.requestBody()
			return nil
		}
	case wire.RequestTrailers:
		if x.begun {
			x.requestTrailers()
			return nil
		}
	case wire.ResponseHeaders:
		x.servedBy()
		return nil
	case wire.ResponseBody:
		if x.modes.response == wire.FullDuplexStreamed {
			x.echo(wire.ResponseBody, in.Body, in.EndOfStream)
		} else {
			x.pass(wire.ResponseBody)
		}
		return nil
	case wire.ResponseTrailers:
		x.pass(wire.ResponseTrailers)
		return nil
	}
	return status.Error(codes.FailedPrecondition, "the stream does not begin with the request's headers: set request_header_mode to SEND in the filter's processing_mode")
}

// refuse makes Envoy answer the request with a problem. It is the last that Envoy is told.
func (x *exchange) refuse(p problem.Problem) {
	x.s.stats.problems[problem.Index(p.Code)].Add(1)
	x.immediate(p)
	x.begun, x.refused = true, true
	x.forget()
}

// headers plans the request, and decides it unless the body is to be read before.
func (x *exchange) headers() error {
	x.begun = true
	if !x.describe() {
		x.refuse(badPath)
		return nil
	}
	if x.plan = x.s.engine.Plan(&x.view); !x.plan.Problem.IsZero() {
		x.refuse(x.plan.Problem)
		return nil
	}
	length, known := x.contentLength()
	isDuplex := x.modes.request == wire.FullDuplexStreamed
	switch {
	case x.plan.Spec == nil:
	case x.in.EndOfStream || known && length == 0 || !known && x.isUpgrade():
		x.plan.Spec = nil // there is no body
	case length > int64(x.plan.MaxBody):
		x.plan.Spec = nil
		x.view.BodyState = affinity.BodyTooLarge
	case isDuplex:
		return nil // told with the body's end
	case x.modes.request == wire.Buffered, x.modes.request == wire.None, !x.in.HasConfig: // or an Envoy that does not say
		x.askForBody()
		return nil
	default:
		return errBodyMode
	}
	if isDuplex {
		x.decide(passPicked, rest{})
	} else {
		x.decide(passHeaders, rest{})
	}
	return nil
}

// requestBody takes a message with the request's body: the whole of it in mode BUFFERED, else a piece.
func (x *exchange) requestBody() {
	body := x.in.Body
	switch {
	case x.modes.request == wire.FullDuplexStreamed:
		x.requestPiece(body, x.in.EndOfStream)
	case x.plan.Spec == nil: // already decided: allow_mode_override is off, so the body came nevertheless
		x.pass(wire.RequestBody)
	case len(body) > x.plan.MaxBody:
		x.tooLarge(passBody, rest{})
	default:
		x.read(body, passBody, rest{})
	}
}

// requestTrailers takes the request's trailers, which end a body without a last piece.
func (x *exchange) requestTrailers() {
	switch {
	case x.plan.Spec == nil:
		x.passTrailers()
	case x.modes.request == wire.FullDuplexStreamed:
		x.bodyEnded(false)
	default: // the body is empty: Envoy does not send it, and with the trailers no headers can be set any more
		x.refuse(onlyTrailers)
	}
}

// read reads the whole body and decides.
func (x *exchange) read(body []byte, how passing, behind rest) {
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
	x.decide(how, behind)
}

// tooLarge decides when the body has turned out to be too large to be read.
func (x *exchange) tooLarge(how passing, behind rest) {
	x.view.BodyState = affinity.BodyTooLarge
	x.decide(how, behind)
}

// decide asks the engine where the request goes, and tells Envoy: now, or when the answer has come.
func (x *exchange) decide(how passing, behind rest) {
	now := x.s.now()
	x.ask(affinity.NoWait, now)
	if x.dec.Waits && x.decideLater(how, behind, now) {
		return
	}
	if x.dec.Waits {
		x.ask(affinity.Alone, now)
	}
	x.tellAll(how, behind)
}

func (x *exchange) ask(p affinity.Patience, now session.Instant) {
	x.view.Patience = p
	x.s.engine.Decide(&x.view, &x.dec, now)
}

// tellAll tells Envoy what was decided, and gives back what goes on behind that.
func (x *exchange) tellAll(how passing, behind rest) {
	if !x.dec.Problem.IsZero() {
		x.refuse(x.dec.Problem)
		return
	}
	x.decided, x.dec.Sent = true, true // Envoy does not say whether any byte has reached the endpoint: from here on it may have
	if !x.dec.Passed {
		x.s.stats.decided.Add(1)
	}
	x.tell(how)
	x.forget()
	x.giveBack(behind)
}

var (
	badPath      = problem.Problem{Code: problem.BadPath, Detail: "The path of the request has a character, or an escape of one, that a path must not have."}
	onlyTrailers = problem.Problem{Code: problem.MalformedJSON, Detail: "The body, which is JSON by its content type, is empty, and trailers follow it; leave them out."}
	noRoom       = problem.Problem{Code: problem.Overloaded, Detail: "The bodies of too many requests have to be read at a time; try again."}
	overloaded   = problem.Problem{Code: problem.Overloaded, Detail: "There are as many requests in flight as there may be; try again."}
)
