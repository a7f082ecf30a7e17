package gateway

import "github.com/remora-proxy/remora/internal/affinity"

// ending is how an exchange ended.
type ending uint8

const (
	endForwarded  ending = iota // the replica's response was passed on
	endAnswered                 // the gateway answered itself
	endClientGone               // the client left before it had the response
	endTruncated                // the replica's response broke off
	endBadRequest               // the request's body turned out to be malformed after the response had begun
	endStopped                  // the gateway was stopped at once
	endings
)

func (e ending) String() string {
	return [...]string{"forwarded", "answered", "client_gone", "truncated", "bad_request", "stopped"}[e]
}

// finish ends an exchange whose response has been written.
func (x *exchange) finish() {
	c := x.c
	// A client that will send no more need not be waited for.
	linger := x.outcome == endAnswered || x.req.KeepAlive || !x.reqBody.Done() || c.r < len(c.in) || c.canRead
	closes := x.close
	if c.out != nil {
		x.w.buffers.put(c.out)
		c.out = nil
	}
	x.settle()
	if closes {
		c.endAfterResponse(linger)
	}
}

// abort ends an exchange, and the client's connection with it.
func (x *exchange) abort(how ending) {
	c := x.c
	x.outcome = how
	x.dropUpstream()
	x.settle()
	c.close()
}

// service is the service that was decided on, or nil.
func (x *exchange) service() *affinity.Service {
	if x.decidedAt == 0 {
		return nil
	}
	return x.dec.Service
}

// settle releases the hold and writes the exchange into the books. x is free for another request afterwards.
func (x *exchange) settle() {
	w, c := x.w, x.c
	if x.decided {
		w.engine.Release(&x.dec, w.instant())
		x.decided = false
	}
	w.stats.count(x)
	if w.log != nil {
		x.writeLog()
	}
	c.x = nil
	w.freeExchange(x)
}
