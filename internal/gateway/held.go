package gateway

import (
	"strings"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/fields"
	"github.com/remora-proxy/remora/internal/gateway/http1"
)

// held is the part of a request's body that the gateway keeps, decoded, until the replica has answered. It is either a piece of
// the client's in buffer, for a body of known length that fits there, or copied to segments. Neither moves, for the values
// that were read point into them.
type held struct {
	inPlace  bool
	complete bool // it is the whole body
	size     int
	segments [][]byte
	next     int // what is sent next; one place for a body that is held in place
}

func (h *held) release(b *buffers) {
	for i, s := range h.segments {
		b.put(s)
		h.segments[i] = nil
	}
	*h = held{segments: h.segments[:0]}
}

// fits reports whether the whole body can stay where it arrives.
func (x *exchange) fits() bool {
	return x.req.Framing == http1.Length && x.req.ContentLength <= int64(cap(x.c.in)-x.base)
}

// holdWhatIsThere keeps a body that need not be read if all of it has arrived with the head: then it can be sent again.
func (x *exchange) holdWhatIsThere() {
	c := x.c
	if !x.fits() || x.req.ContentLength > int64(len(c.in)-c.r) {
		return
	}
	p, _ := x.reqBody.Next(c.in[c.r:]) // bytes of known number cannot be wrong
	c.r += p.N
	x.held.inPlace, x.held.complete, x.held.size = true, true, p.N
}

// hold reads the body for its fields, as far as it is there, and decides when it is complete or known to be too large.
func (x *exchange) hold() {
	c := x.c
	for !x.reqBody.Done() {
		p, err := x.reqBody.Next(c.in[c.r:])
		if err != nil {
			x.refuse(err)
			return
		}
		if p.N == 0 {
			if !x.readBody() {
				return
			}
			continue
		}
		c.r += p.N
		if bad := x.keep(p.Data); bad != nil {
			x.answer(affinity.BodyProblem(bad))
			return
		}
		if x.held.size > x.plan.MaxBody {
			x.view.BodyState = affinity.BodyTooLarge
			x.decide()
			return
		}
	}
	x.held.complete = true
	c.wait(waitNothing, 0)
	if bad := x.scan.Close(); bad != nil {
		x.answer(affinity.BodyProblem(bad))
		return
	}
	x.view.BodyState = affinity.BodyRead
	x.decide()
}

// keep holds the next bytes of the body and reads them. A body over the limit is kept and not read.
func (x *exchange) keep(data []byte) *fields.Error {
	h := &x.held
	h.size += len(data)
	tooLarge := h.size > x.plan.MaxBody
	if h.inPlace {
		return x.scan.Write(data)
	}
	for len(data) > 0 {
		if n := len(h.segments); n == 0 || len(h.segments[n-1]) == cap(h.segments[n-1]) {
			h.segments = append(h.segments, x.w.buffers.get())
		}
		last := &h.segments[len(h.segments)-1]
		from := len(*last)
		n := min(len(data), cap(*last)-from)
		*last = append(*last, data[:n]...)
		data = data[n:]
		if tooLarge {
			continue
		}
		if err := x.scan.Write((*last)[from:]); err != nil {
			return err
		}
	}
	return nil
}

// readBody reads more of the request's body into the client's in buffer. It reports whether there are new bytes; when not,
// the connection waits for them, or the exchange is over.
func (x *exchange) readBody() bool {
	c := x.c
	x.continueOnce()
	if x.phase == phaseForward {
		x.streamBody()
	}
	if !x.held.inPlace && c.r > x.base { // what was taken is sent or copied: a rest moves down
		rest := copy(c.in[x.base:], c.in[c.r:])
		c.in, c.r = c.in[:x.base+rest], x.base
	}
	switch c.fill() {
	case progress:
		return true
	case blocked:
		if x.phase == phaseHold {
			c.wait(waitBody, x.w.timeouts.RequestBody)
		}
		if x.streamed && len(c.in) == 0 {
			x.w.buffers.put(c.in)
			c.in = nil
		}
	case ended, failed:
		x.abort(endClientGone)
	case full: // the limits of http1 leave room, see makeRoom
		x.answer(internalProblem)
	}
	return false
}

// continueOnce asks a client for the body that it waits to send (RFC 9110, 10.1.1), when it is the gateway that wants to read
// it. Otherwise the expectation goes on to the replica.
func (x *exchange) continueOnce() {
	c := x.c
	if !x.req.ExpectContinue || x.told100 || x.phase != phaseHold {
		return
	}
	x.told100 = true
	if c.out == nil {
		c.out = x.w.buffers.get()
	}
	c.out = http1.AppendContinue(c.out)
	c.flush() // what does not go out now goes with the response
}

// streamBody gives the head in the in buffer up, since a part of the body that follows has gone out and cannot be had again:
// from here on the buffer is for the body alone, and is there only while it has bytes.
func (x *exchange) streamBody() {
	c := x.c
	if !x.streamed {
		x.letHeadGo()
		old := c.in
		c.in = append(x.w.buffers.getLarge(), old[c.r:]...)
		c.r = 0
		x.w.buffers.put(old)
	} else if c.in == nil {
		c.in = x.w.buffers.getLarge()
	}
}

// letHeadGo parts from the head in the in buffer, which is about to be used for something else. What is still needed of it is
// copied.
func (x *exchange) letHeadGo() {
	if x.streamed {
		return
	}
	x.streamed, x.base = true, 0
	x.req.Method = strings.Clone(x.req.Method)
	x.view.Headers = nil
	x.req.Host, x.req.Path, x.req.Query, x.req.Target = strings.Clone(x.req.Host), "", "", ""
	x.view.Path = strings.Clone(x.view.Path)
	x.id.text = strings.Clone(x.id.text)
}
