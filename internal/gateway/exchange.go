package gateway

import (
	"time"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/fields"
	"github.com/remora-proxy/remora/internal/gateway/http1"
	"github.com/remora-proxy/remora/internal/gateway/loop"
	"github.com/remora-proxy/remora/internal/problem"
	"github.com/remora-proxy/remora/internal/route"
)

// phase says how far an exchange is.
type phase uint8

const (
	phaseHead    phase = iota // the head is being read
	phaseHold                 // the body is read for its fields
	phaseDecide               // the engine waits for a store that gateways share: see ask
	phaseConnect              // a connection to the replica is waited for: its turn, its connect, or the next attempt
	phaseForward              // the request goes to the replica, and its response comes back
	phaseDrain                // all that the client gets is in the out buffer
)

// exchange is one request and its response. It is the front door's side of affinity's life cycle: Plan, hold the body, Decide,
// connect or Move, forward, and Release exactly once, in settle.
//
// Its methods are called from the events and timers of the two connections and of itself. A method that may end the
// exchange leaves it in phaseHead without connections; the callers look at the phase before they go on, and only the
// outermost one begins the next request.
type exchange struct {
	w *worker
	c *client
	exchangeState
	timer loop.Timer // the next attempt to connect, or the end of the wait for a turn

	// What keeps its memory for the next exchange.
	req      http1.Request
	resp     http1.Response
	reqBody  http1.Body
	respBody http1.Body
	view     affinity.Request
	scan     fields.Scanner
	dec      affinity.Decision
	held     held
	id       requestID
	resumeAt http1.Body // the state of reqBody at resume
}

// exchangeState is the part of an exchange that begins at zero.
type exchangeState struct {
	phase   phase
	u       *upstream // the connection to the replica, while it is this exchange's
	plan    affinity.Plan
	decided bool // Decide was called, and Release was not

	headSize int
	base     int    // where the body's bytes begin in the client's in buffer; the head before them stays while it may be needed
	piece    []byte // of the request's body: to be sent next
	sentAll  bool   // the request is written, or waits in the upstream's out buffer
	cutOff   bool   // the replica takes no more of the request
	told100  bool   // the gateway has sent 100 (Continue)
	streamed bool   // the head in the in buffer was given up: nothing can be sent again
	resume   int    // where in the in buffer the body goes on behind what is held

	queue    *pool // the pool in which a turn is waited for
	attempts int   // to connect to this endpoint
	failures int   // to connect to any
	moves    int
	resends  int

	respPiece []byte
	framing   http1.Framing // of the response to the client
	headSent  bool          // the response's head has gone to the out buffer
	headFrom  int           // where it began there
	passed    bool          // it has gone out
	interim   int           // informational responses
	close     bool          // the client's connection ends with the response

	outcome   ending
	status    int
	code      problem.Code
	start     time.Duration // the times are those of the loop
	decidedAt time.Duration
	sentAt    time.Duration
	firstByte time.Duration
	counted   byteCounts // of the connections, before this exchange
}

// byteCounts are the bytes that went through the two connections.
type byteCounts struct{ fromClient, toClient, fromReplica, toReplica uint64 }

// forget makes x ready for another exchange and keeps its memory.
func (x *exchange) forget() {
	x.w.loop.StopTimer(&x.timer)
	x.req.Reset()
	x.resp.Reset()
	x.held.release(&x.w.buffers)
	x.exchangeState = exchangeState{}
	x.view.Request = route.Request{}
	x.dec.Service, x.dec.Endpoint, x.dec.Session, x.dec.Promoted = nil, nil, affinity.SessionNone, x.dec.Promoted[:0]
	x.id.text = ""
	x.c = nil
}

// readHead goes on reading the request's head. It reports whether the head is complete or refused; otherwise more bytes are
// needed.
func (x *exchange) readHead() bool {
	c := x.c
	n, err := x.req.Parse(c.in[c.r:], &x.w.http)
	switch {
	case err != nil:
		c.requests++
		x.dropHead()
		x.refuse(err)
	case n == 0:
		return false
	default:
		x.headSize = n
		c.r += n
		x.begin()
	}
	return true
}

// dropHead forgets what was read of a head that is not complete, or malformed.
func (x *exchange) dropHead() {
	x.req.Reset()
	x.req.Method, x.req.Target, x.req.Path, x.req.Query, x.req.Minor = "", "", "", "", 0
}

// begin plans the request whose head is complete.
func (x *exchange) begin() {
	c, w := x.c, x.w
	c.requests++
	c.wait(waitNothing, 0)
	x.phase = phaseHold
	x.close = !x.req.KeepAlive || c.closing()
	x.reqBody.Request(&x.req, &w.http)
	if x.req.Framing != http1.NoBody {
		x.makeRoom()
	}
	x.base = c.r
	x.id.set(&w.ids, &x.req)
	x.view.BodyState, x.view.Body = affinity.BodyNotRead, &x.scan
	path, ok := route.NormalizePath(x.req.Path)
	x.view.Request = route.Request{
		Port: c.via.number, Scheme: "http", Method: x.req.Method, Authority: x.req.Host, Path: path, Query: x.req.Query,
		Headers: x.req.Fields, Source: c.addr,
	}
	if ok {
		x.plan = w.engine.Plan(&x.view)
	} else {
		x.plan.Problem = badPath
	}
	switch {
	case !x.plan.Problem.IsZero():
		x.answer(x.plan.Problem)
	case x.req.Framing == http1.NoBody:
		x.held.complete = true
		x.decide()
	case x.plan.Spec == nil:
		x.holdWhatIsThere()
		x.decide()
	case x.req.Framing == http1.Length && x.req.ContentLength > int64(x.plan.MaxBody):
		x.view.BodyState = affinity.BodyTooLarge
		x.decide()
	default:
		x.held.inPlace = x.fits()
		x.scan.Reset(x.plan.Spec)
		x.hold()
	}
}

// makeRoom sees to it that the in buffer has room behind the head to read a body in reasonable pieces, and for the longest rest
// that a chunked body can leave.
func (x *exchange) makeRoom() {
	c := x.c
	if cap(c.in)-c.r >= restRoom(&x.w.http) || x.req.Framing == http1.Length && x.req.ContentLength <= int64(len(c.in)-c.r) {
		return
	}
	old, start := c.in, c.r-x.headSize
	c.in = append(x.w.buffers.getLarge(), old[start:]...)
	c.r = x.headSize
	x.req.Rebase(c.in)
	x.w.buffers.put(old)
}

// badPath answers a path that could mean something else to the replica than it does here.
var badPath = problem.Problem{Code: problem.BadPath, Detail: "The path of the request has a character, or an escape of one, that a path must not have."}

// clientReady goes on after an event of the client's socket, or at the turn that was asked for.
func (x *exchange) clientReady(turn bool) {
	c := x.c
	if c.peerDone && x.phase != phaseDrain && x.phase != phaseDecide {
		x.abort(endClientGone)
		return
	}
	switch x.phase {
	case phaseHold:
		x.hold()
	case phaseForward:
		if !x.sentAll || turn && x.u.out != nil {
			x.pumpUp()
		}
		if x.phase == phaseForward && (c.pending() || turn) {
			x.pumpDown()
		}
		x.limit()
	case phaseDrain:
		x.drain()
	case phaseHead, phaseDecide, phaseConnect: // readHead goes on elsewhere; a client that waits says nothing
	}
}

// upstreamReady goes on after an event of the replica's socket.
func (x *exchange) upstreamReady() {
	if !x.sentAll || x.u.pending() {
		x.pumpUp()
	}
	if x.phase == phaseForward && x.u.canRead && !x.c.pending() {
		x.pumpDown()
	}
	x.limit()
}

// limit sets the timers of both connections by what an exchange that is being forwarded waits for now. Whatever it is, some
// time limits it.
func (x *exchange) limit() {
	if x.phase != phaseForward {
		return
	}
	c, u, t := x.c, x.u, &x.w.timeouts
	switch {
	case c.pending():
		c.await(waitWrite, c.delivered, t.Write)
	case !x.sentAll && !x.cutOff && !u.pending():
		c.await(waitBody, c.received, t.RequestBody)
	default:
		c.wait(waitNothing, 0)
	}
	switch {
	case u.pending():
		u.await(waitWrite, u.delivered, t.Write)
	case c.pending():
		u.wait(waitNothing, 0) // the client is slow, not the replica
	case x.headSent:
		u.await(waitMore, u.received, t.ResponseIdle)
	case x.sentAll || x.cutOff:
		u.await(waitResponse, 0, t.ResponseHead)
	default:
		u.wait(waitNothing, 0)
	}
}
