package gateway

import (
	"net/netip"
	"time"

	"github.com/remora-proxy/remora/internal/gateway/loop"
)

// clientState says what a client connection is doing.
type clientState uint8

const (
	clientServing   clientState = iota // between requests, reading one, or in an exchange
	clientLingering                    // the last response is written; what still comes is thrown away
	clientClosed
)

// wait is what the timer of a connection is for.
type wait uint8

const (
	waitNothing  wait = iota
	waitRequest       // client: the first byte of the next request
	waitHead          // client: the rest of a head
	waitBody          // client: more of a body
	waitWrite         // both: room to write
	waitLinger        // client: the peer's end of a closing connection
	waitConnect       // upstream: the end of the connect
	waitResponse      // upstream: the head of the response
	waitMore          // upstream: more of the response
	waitReuse         // upstream: another request
)

// turnSteps is how many steps (a read, or a request that is answered at once) a connection takes before others get their turn.
const turnSteps = 32

// client is a connection from a client. Requests on it are served one after the other; those that were sent ahead wait in
// the in buffer and the socket.
//
// A client that ends its sending side while its request is under way is taken as gone, as Envoy and nginx do: it cannot be
// told from one that has closed the connection, and the work for that one must stop.
type client struct {
	stream
	w          *worker
	via        *port
	prev, next *client // list of the worker's connections

	state   clientState
	waiting wait
	mark    uint64 // the progress at which the wait began
	queued  bool   // a turn was asked for
	timer   loop.Timer
	x       *exchange // the request that is being read or under way

	addr     netip.Addr
	addrText string
	requests int // that were begun
	drained  int // bytes that were thrown away while lingering
}

// Ready takes an event of the client's socket or, without one, its next turn.
func (c *client) Ready(ev loop.Events) {
	if ev == 0 {
		c.queued = false
	}
	c.note(ev)
	switch {
	case c.state == clientClosed:
		return
	case c.state == clientLingering:
		c.linger()
		return
	case ev&loop.Failed != 0:
		c.gone()
		return
	case c.x != nil && c.x.phase != phaseHead:
		c.x.clientReady(ev == 0)
	}
	c.serve()
}

// serve goes on with requests until one is under way that has to wait, or there is no more to read.
func (c *client) serve() {
	for steps := 0; c.state == clientServing && (c.x == nil || c.x.phase == phaseHead); steps++ {
		if steps >= c.w.turn {
			c.again()
			return
		}
		if c.r < len(c.in) {
			if c.x == nil {
				c.x = c.w.newExchange(c)
			}
			if c.x.readHead() {
				continue
			}
		}
		if !c.readMore() {
			return
		}
	}
}

// again asks for another turn.
func (c *client) again() {
	if !c.queued {
		c.queued = true
		c.w.loop.Again(c)
	}
}

// readMore reads more of a head, or the start of the next one. It reports whether there are new bytes; when not, the
// connection waits for them or is closed.
func (c *client) readMore() bool {
	if c.r == len(c.in) {
		if !c.canRead {
			c.idle()
			return false
		}
		if c.in == nil {
			c.in = c.w.buffers.get()
		}
		c.in, c.r = c.in[:0], 0
	}
	for {
		switch c.fill() {
		case progress:
			return true
		case blocked:
			if c.r == len(c.in) {
				c.idle()
			} else if c.waiting != waitHead {
				c.wait(waitHead, c.w.timeouts.RequestHead)
			}
			return false
		case full:
			c.makeRoom()
		default:
			c.gone()
			return false
		}
	}
}

// makeRoom makes room behind a head that is not complete. http1 refuses a head before it fills the large buffer.
func (c *client) makeRoom() {
	old := c.in
	if c.r == 0 {
		c.in = c.w.buffers.getLarge()
	}
	c.in = append(c.in[:0], old[c.r:]...)
	if c.r == 0 {
		c.w.buffers.put(old)
	}
	c.r = 0
}

// idle is the state between two requests: without buffers, and not for ever.
func (c *client) idle() {
	c.w.buffers.put(c.in)
	c.in, c.r = nil, 0
	if c.closing() {
		c.close()
		return
	}
	c.wait(waitRequest, c.w.timeouts.Idle)
}

// closing says that the connection takes no further request.
func (c *client) closing() bool {
	limit := c.w.limits.RequestsPerConnection
	return c.w.draining || c.via.closed.Load() || limit > 0 && c.requests >= limit
}

// gone ends a connection that its client has left: where a decision is waited for, when that is here.
func (c *client) gone() {
	switch {
	case c.x == nil || c.x.phase == phaseHead:
		c.close()
	case c.x.phase == phaseDecide:
		c.peerDone = true
	default:
		c.x.abort(endClientGone)
	}
}

// await is wait for something that comes bit by bit: the time begins anew when there was progress since, or something else was
// waited for.
func (c *client) await(what wait, progress uint64, d time.Duration) {
	if c.waiting != what || c.mark != progress {
		c.mark = progress
		c.wait(what, d)
	}
}

// wait sets what the timer is for, and how long.
func (c *client) wait(what wait, d time.Duration) {
	if what == waitNothing && c.waiting == waitNothing {
		return
	}
	c.waiting = what
	c.w.setTimer(&c.timer, c, what, d)
}

// Expired takes the end of the timer.
func (c *client) Expired(*loop.Timer) {
	waited := c.waiting
	c.waiting = waitNothing
	switch waited {
	case waitHead:
		c.x.timedOut("The head of the request did not arrive in time.")
	case waitBody:
		c.x.timedOut("The body of the request stopped arriving.")
	case waitWrite:
		c.gone()
	default: // idle for too long, or lingered for long enough
		c.close()
	}
}

// endAfterResponse closes the connection when the last response is written. A client that may still be sending gets the
// time to read the response: closing with unread bytes in the socket would be a reset, which can overtake it (RFC 9112, 9.6).
func (c *client) endAfterResponse(linger bool) {
	if !linger || c.peerDone {
		c.close()
		return
	}
	c.state = clientLingering
	c.w.buffers.put(c.in)
	c.w.buffers.put(c.out)
	c.in, c.out, c.r, c.sent = nil, nil, 0, 0
	endSending(c.src.FD())
	c.wait(waitLinger, c.w.timeouts.Linger)
	c.linger()
}

// linger throws away what comes, within bounds.
func (c *client) linger() {
	c.in = c.w.buffers.get()
	for {
		c.in = c.in[:0]
		switch c.fill() {
		case progress:
			c.drained += len(c.in)
			if c.drained <= c.w.limits.Linger {
				continue
			}
		case blocked:
			c.w.buffers.put(c.in)
			c.in = nil
			return
		}
		c.close()
		return
	}
}

// close ends the connection at once. An exchange must be over.
func (c *client) close() {
	if c.state == clientClosed {
		return
	}
	c.state = clientClosed
	if c.x != nil {
		c.w.freeExchange(c.x)
		c.x = nil
	}
	c.w.buffers.put(c.in)
	c.w.buffers.put(c.out)
	c.in, c.out, c.r, c.sent = nil, nil, 0, 0
	c.w.removeClient(c)
}
