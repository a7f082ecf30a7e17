package gateway

import (
	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/session"
)

// decide asks the engine where the request goes.
func (x *exchange) decide() {
	x.resume, x.resumeAt = x.c.r, x.reqBody
	x.ask()
}

// ask asks the engine where the request goes, or, when it has been decided, where instead. Where the engine would have to wait for a store that
// gateways share, a goroutine of its own does, within the limit on such; beyond it the store is not asked.
//
// Until the answer is here, the goroutine has the request's view and decision, and the bytes in buffers that these point into: the loop
// leaves alone the exchange, and the client's in buffer, whatever happens to the connection. Store and limit see to it that this does not last.
func (x *exchange) ask() {
	w, now := x.w, x.w.instant()
	if x.put(affinity.NoWait, now); !x.dec.Waits {
		x.answered()
		return
	}
	if w.g.waiting.Add(1) > int64(w.limits.WaitingDecisions) {
		w.g.waiting.Add(-1)
		w.stats.decidedAlone++
		x.put(affinity.Alone, now)
		x.answered()
		return
	}
	x.phase = phaseDecide
	x.c.wait(waitNothing, 0)
	w.waiting++
	w.stats.decisionsWaited++
	go func() {
		x.put(affinity.Wait, now)
		w.loop.Send(x.waited) // the loop does not end before
	}()
}

// put asks the engine.
func (x *exchange) put(p affinity.Patience, now session.Instant) {
	if x.decided {
		x.dec.Patience = p
		x.w.engine.Move(&x.dec, now)
		return
	}
	x.view.Patience = p
	x.w.engine.Decide(&x.view, &x.dec, now)
}

// waited goes on when an answer that was waited for is here.
func (x *exchange) waited() {
	w, c := x.w, x.c
	w.waiting--
	w.g.waiting.Add(-1)
	x.answered()
	c.serve()
	if w.stopping {
		w.stop()
	}
}

// answered goes on with what the engine has said.
func (x *exchange) answered() {
	isMove := x.decided
	x.decided = x.dec.Problem.IsZero()
	if !isMove {
		x.req.Fields = x.view.Headers[:len(x.req.Fields)] // where the engine has made room for more, that room is kept
		x.decidedAt = x.w.loop.Now()
	}
	switch {
	case x.w.stopping:
		x.abort(endStopped)
	case !x.decided:
		x.answer(x.dec.Problem)
	case x.c.peerDone:
		x.abort(endClientGone)
	default:
		if isMove {
			x.w.stats.moves++
		}
		x.connect()
	}
}
