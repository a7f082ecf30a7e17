package gateway

import (
	"github.com/remora-proxy/remora/internal/gateway/http1"
	"github.com/remora-proxy/remora/internal/problem"
	"github.com/remora-proxy/remora/internal/route"
)

// maxInterim bounds the informational responses to one request.
const maxInterim = 64

// pumpDown sends the response on as far as it goes: until the client takes no more, the replica has sent no more, or all of it
// is in the client's out buffer. The replica is read only when nothing waits for the client, so what the gateway holds of a
// response is at most two buffers.
func (x *exchange) pumpDown() {
	c := x.c
	for steps := 0; ; steps++ {
		if !c.flush() {
			if c.cannot {
				x.abort(endClientGone)
			}
			return
		}
		x.passed = x.headSent
		if steps >= x.w.turn {
			c.again()
			return
		}
		if !x.loadDown() {
			return
		}
	}
}

// loadDown puts more of the response into the client's out buffer. It reports whether there is something to write; otherwise the
// replica's next bytes are waited for, or the exchange has gone on to another phase.
func (x *exchange) loadDown() bool {
	for {
		var more bool
		if x.headSent {
			more = x.takeBody()
		} else {
			more = x.takeHead()
		}
		if x.phase != phaseForward {
			return false
		}
		if !more || x.c.pending() { // what is there goes out at once: a server-sent event must not wait for the next
			return true
		}
		if !x.readResponse() {
			return false
		}
	}
}

// takeHead takes the response's head from what is in the upstream's in buffer, and what of the body follows. It reports whether
// more bytes are needed.
func (x *exchange) takeHead() (more bool) {
	u := x.u
	for u.r < len(u.in) {
		n, err := x.resp.Parse(u.in[u.r:], x.req.Method, &x.w.http)
		if err != nil {
			x.badResponse(err.Detail)
			return false
		}
		if n == 0 {
			break
		}
		u.r += n
		if x.resp.Status >= 200 {
			x.passHead(n)
			return x.takeBody()
		}
		if !x.passInterim(n) || x.c.pending() {
			return false
		}
	}
	return true
}

// passInterim sends an informational response on, to clients that know such. A 100 (Continue) that the gateway has sent
// itself is not repeated.
func (x *exchange) passInterim(size int) bool {
	if x.interim++; x.interim > maxInterim {
		x.badResponse("more than 64 informational responses")
		return false
	}
	if x.req.Minor > 0 && (x.resp.Status != 100 || !x.told100) {
		x.told100 = x.told100 || x.resp.Status == 100
		o := &x.w.responseOptions
		o.Add = o.Add[:0]
		x.c.out = http1.AppendResponse(x.w.buffers.growOut(x.c.out, size+headRoom), &x.resp, o)
	}
	x.resp.Reset()
	return true
}

// passHead puts the head of the final response into the client's out buffer. A response that comes before the request has been
// sent is the last one on the client's connection: whether the client goes on sending cannot be known.
func (x *exchange) passHead(size int) {
	c, o := x.c, &x.w.responseOptions
	framing, mustClose := http1.ClientFraming(&x.resp, &x.req)
	x.close = x.close || mustClose || !x.sentAll || c.closing()
	x.framing, x.headSent = framing, true
	x.status = x.resp.Status
	x.respBody.Response(&x.resp, &x.w.http)
	o.Framing, o.Close, o.ClientHTTP = framing, x.close, x.req.Minor
	o.Date = x.w.dates.text(x.w.loop.Wall())
	o.Add = o.Add[:0]
	if x.dec.SetCookie != "" {
		o.Add = append(o.Add, route.Header{Name: "set-cookie", Value: x.dec.SetCookie})
	}
	c.out = x.w.buffers.growOut(c.out, size+headRoom)
	x.headFrom = len(c.out)
	c.out = http1.AppendResponse(c.out, &x.resp, o)
}

// takeBody moves the response's body from the upstream's in buffer to the client's out buffer. It reports whether more bytes are
// needed: not when the out buffer is full, or the body complete and with it the exchange in phaseDrain.
func (x *exchange) takeBody() (more bool) {
	c, u := x.c, x.u
	if c.out == nil {
		c.out = x.w.buffers.get()
	}
	chunked := x.framing == http1.Chunked
	for {
		for len(x.respPiece) > 0 {
			x.respPiece = c.pour(x.respPiece, chunked)
			if len(x.respPiece) > 0 || c.tail != nil {
				return false
			}
		}
		if x.respBody.Done() {
			if chunked {
				c.out = http1.AppendLastChunk(c.out, x.respBody.Trailers)
			}
			x.responseLoaded()
			return false
		}
		p, err := x.respBody.Next(u.in[u.r:])
		if err != nil {
			x.bodyFailed(err.Detail)
			return false
		}
		if p.N == 0 {
			return true
		}
		u.r += p.N
		x.respPiece = p.Data
	}
}

// readResponse reads from the replica. It reports whether there are new bytes, or the end of a body that ends so.
func (x *exchange) readResponse() bool {
	u := x.u
	x.roomForResponse()
	for {
		switch u.fill() {
		case progress:
			if x.firstByte == 0 {
				x.firstByte = x.w.loop.Now()
			}
			return true
		case blocked:
			x.waitForReplica()
			return false
		case full:
			u.in = x.w.buffers.growIn(u.in, &u.r)
		case ended:
			if x.headSent && x.respBody.EOF() == nil {
				return true
			}
			x.responseCut()
			return false
		case failed:
			x.responseCut()
			return false
		}
	}
}

// roomForResponse makes the in buffer ready. After a read that filled it there is likely more, for which a large one is taken.
func (x *exchange) roomForResponse() {
	u := x.u
	if u.r < len(u.in) {
		return
	}
	if u.in == nil {
		u.in = x.w.buffers.get()
	} else if cap(u.in) == smallBuffer && len(u.in) == cap(u.in) {
		x.w.buffers.put(u.in)
		u.in = x.w.buffers.getLarge()
	}
	u.in, u.r = u.in[:0], 0
}

// waitForReplica gives back the buffers that are empty: an exchange that waits for the next event of a stream holds none.
func (x *exchange) waitForReplica() {
	c, u := x.c, x.u
	if u.r == len(u.in) {
		x.w.buffers.put(u.in)
		u.in, u.r = nil, 0
	}
	if c.out != nil {
		x.w.buffers.put(c.out)
		c.out = nil
	}
	if x.headSent && x.sentAll && !u.pending() && c.in != nil && c.r == len(c.in) {
		x.letHeadGo()
		x.w.buffers.put(c.in)
		c.in, c.r = nil, 0
	}
}

// responseLoaded parts from the replica: its whole response is here, and the connection can serve another request.
func (x *exchange) responseLoaded() {
	u := x.u
	x.detach()
	if x.sentAll && x.resp.KeepAlive && u.reusable() {
		u.pool.put(u)
	} else {
		u.close()
	}
	x.phase = phaseDrain
	x.drain()
}

// responseCut goes on when the replica's connection ended too early.
func (x *exchange) responseCut() {
	switch {
	case x.headSent:
		x.truncate()
	default:
		x.lost()
	}
}

// badResponse answers for a replica whose response is malformed, which is not passed on in any part.
func (x *exchange) badResponse(detail string) {
	x.answer(problem.Problem{Code: problem.BadResponse, Detail: "The replica's response cannot be passed on: " + detail + "."})
}

// bodyFailed goes on when the response's body turns out to be malformed. If nothing of the response has gone out yet, the
// client gets an answer instead.
func (x *exchange) bodyFailed(detail string) {
	c := x.c
	if x.passed || c.sent > x.headFrom {
		c.flush()
		x.truncate()
		return
	}
	c.out, x.respPiece, x.headSent, x.status = c.out[:x.headFrom], nil, false, 0
	x.badResponse(detail)
}

// truncate ends a response in the middle in a way that the client can see: the connection ends before the length that was
// announced, or without the last chunk; where the end of the connection is the end of the body, by a reset.
func (x *exchange) truncate() {
	if x.framing == http1.UntilClose {
		breakOff(x.c.src.FD())
	}
	x.abort(endTruncated)
}

// drain writes the rest of the response, or the gateway's own answer, and ends the exchange.
func (x *exchange) drain() {
	c := x.c
	switch {
	case c.flush():
		x.finish()
	case c.cannot:
		x.abort(endClientGone)
	default:
		c.await(waitWrite, c.delivered, x.w.timeouts.Write)
	}
}
