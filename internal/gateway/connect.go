package gateway

import (
	"time"

	"github.com/remora-proxy/remora/internal/gateway/loop"
	"github.com/remora-proxy/remora/internal/problem"
)

// connect finds a connection to the decision's endpoint: one that is idle, or a new one.
func (x *exchange) connect() {
	x.phase = phaseConnect
	p := x.w.poolOf(x.dec.Endpoint.Addr)
	if u := p.take(); u != nil {
		x.takeOver(u)
		return
	}
	x.open(p)
}

// takeOver goes on with a connection that was idle.
func (x *exchange) takeOver(u *upstream) {
	x.w.stats.upstreamReused++
	x.attach(u)
	x.send()
}

// open begins a new connection, or waits for a turn when the endpoint has as many as it may have.
func (x *exchange) open(p *pool) {
	switch {
	case p.err != nil:
		x.connectFailed(problem.ConnectFailed)
	case p.total < x.w.limits.UpstreamPerEndpoint:
		x.dial(p)
	case !p.enqueue(x):
		x.answer(problem.Problem{Code: problem.Overloaded, Detail: "Too many requests wait for a connection to the replica; try again."})
	default:
		x.queue = p
		x.w.loop.SetTimer(&x.timer, x, x.w.loop.Now()+x.w.timeouts.Queue)
	}
}

// openAgain is open after a wait or a failure, in which the endpoint may have been taken away.
func (x *exchange) openAgain() {
	if x.stranded() {
		x.move(problem.ConnectFailed)
		return
	}
	x.open(x.w.poolOf(x.dec.Endpoint.Addr))
}

// stranded reports whether the endpoint was taken away since the decision.
func (x *exchange) stranded() bool { return !x.w.engine.Stands(&x.dec, x.w.instant()) }

// dial begins a new connection. When that fails for want of something here, the endpoint is not to blame.
func (x *exchange) dial(p *pool) {
	u, err := p.dial()
	switch {
	case err == nil:
		x.attach(u)
		u.wait(waitConnect, x.w.timeouts.Connect)
	case isShortage(err):
		x.w.g.log.Warn("cannot make a connection to a replica", "endpoint", p.address, "error", err)
		x.answer(problem.Problem{Code: problem.Overloaded, Detail: "The gateway can make no more connections now; try again."})
	default:
		x.connectFailed(problem.ConnectFailed)
	}
}

// attach makes u the exchange's connection.
func (x *exchange) attach(u *upstream) {
	x.u, u.x = u, x
	x.counted.fromReplica, x.counted.toReplica = u.received, u.delivered
}

// connected goes on when a new connection is established.
func (x *exchange) connected() {
	x.w.engine.Connected(&x.dec)
	x.send()
}

// connectFailed goes on when a connection could not be made: another attempt after a pause, or another endpoint. A connect that
// ran into its timeout has waited long enough; an endpoint that is known to be unhealthy gets one attempt.
func (x *exchange) connectFailed(code problem.Code) {
	x.dropUpstream()
	x.attempts++
	x.failures++
	x.w.stats.connectFailures++
	r := &x.w.retry
	if code == problem.ConnectTimeout || x.attempts >= r.Attempts || x.dec.Endpoint.Unhealthy(x.w.instant()) {
		x.move(code)
		return
	}
	x.w.stats.connectRetries++
	pause := min(r.Backoff<<min(x.attempts-1, 16), maxBackoff)
	x.w.loop.SetTimer(&x.timer, x, x.w.loop.Now()+pause)
}

// maxBackoff bounds the pause between two attempts to connect.
const maxBackoff = 2 * time.Second

// move has the engine give up on the endpoint, and goes on to the one that it names instead.
func (x *exchange) move(code problem.Code) {
	if x.moves >= x.w.retry.Moves {
		x.answer(problem.Problem{Code: code, Detail: "No replica of " + x.dec.Service.Name + " could be connected to; try again."})
		return
	}
	x.moves++
	x.attempts = 0
	x.ask()
}

// Expired takes the end of the pause before the next attempt, or of the wait for a turn.
func (x *exchange) Expired(*loop.Timer) {
	c := x.c
	if x.queue != nil {
		x.answer(problem.Problem{Code: problem.Overloaded, Detail: "No connection to the replica became free in time; try again."})
	} else {
		x.openAgain()
	}
	c.serve()
}

// turn goes on when the pool has room for one more connection.
func (x *exchange) turn(p *pool) {
	c := x.c
	x.queue = nil
	x.w.loop.SetTimer(&x.timer, x, loop.Never)
	if x.stranded() {
		x.move(problem.ConnectFailed)
	} else if u := p.take(); u != nil {
		x.takeOver(u)
	} else {
		x.open(p)
	}
	c.again()
}

// lost goes on when the connection failed before any byte of a response. The request is sent once more, on a new connection,
// when the replica cannot have seen any of it, or when it may be seen twice: its method is idempotent (RFC 9110, 9.2.2; RFC 9112,
// 9.3.1) and all of it is still here.
func (x *exchange) lost() {
	untouched := x.u.delivered == x.counted.toReplica
	silent := x.u.received == x.counted.fromReplica
	x.dropUpstream()
	again := silent && !x.streamed && (untouched || x.held.complete && idempotent(x.req.Method))
	if !again || x.resends >= maxResends {
		x.answer(problem.Problem{
			Code:   problem.UpstreamReset,
			Detail: "The replica closed the connection without an answer; it may have seen the request, so it was not sent again.",
		})
		return
	}
	x.w.stats.resends++
	x.resends++
	x.rewind()
	x.phase = phaseConnect
	x.openAgain()
}

// maxResends is how often a request is sent again after a connection failed under it.
const maxResends = 1

// rewind makes the request ready to be sent from its start.
func (x *exchange) rewind() {
	x.c.r, x.reqBody = x.resume, x.resumeAt
	x.held.next, x.piece = 0, nil
	x.sentAll, x.cutOff = false, false
	x.resp.Reset()
}

func idempotent(method string) bool {
	switch method {
	case "GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE":
		return true
	}
	return false
}

// dropUpstream closes the exchange's connection, or leaves the queue for one.
func (x *exchange) dropUpstream() {
	if x.queue != nil {
		x.queue.leave(x)
		x.queue = nil
	}
	if u := x.u; u != nil {
		x.detach()
		u.close()
	}
}

// detach parts from the connection.
func (x *exchange) detach() {
	if x.u.delivered != x.counted.toReplica {
		x.dec.Sent = true
	}
	x.u.x, x.u = nil, nil
}
