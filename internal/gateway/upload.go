package gateway

import (
	"slices"
	"strings"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/gateway/http1"
	"github.com/remora-proxy/remora/internal/route"
)

// send writes the request's head, and as much of the body as there is, to the replica.
func (x *exchange) send() {
	x.phase = phaseForward
	u, w, o := x.u, x.w, &x.w.requestOptions
	session := x.dec.Service.SessionHeader
	o.Set = append(o.Set[:0], x.dec.Promoted...)
	o.Drop = append(o.Drop[:0], session)
	if x.dec.Session != affinity.SessionNone {
		o.Set = append(o.Set, route.Header{Name: session, Value: x.dec.Session.String()})
	}
	x.dropAliases(o)
	o.Target = ""
	if x.view.Path != x.req.Path {
		o.Target = x.target()
	}
	o.DefaultHost = x.dec.Endpoint.Addr
	if o.ForwardedFor, o.ForwardedHost = x.c.addrText, x.req.Host; x.req.Host == "" {
		o.Drop = append(o.Drop, "x-forwarded-host") // HTTP/1.0 can do without Host; the client's word for it is not taken
	}
	o.RequestID = x.id.text
	o.ExpectContinue = x.req.ExpectContinue && !x.told100
	u.out = http1.AppendRequest(w.buffers.getFor(x.headSize+headRoom), &x.req, o)
	if x.loadUp() { // so that the head and an ordinary body go in one write
		x.pumpUp()
	}
	x.limit()
}

// dropAliases drops fields that some servers take for those that the gateway sets, or for those that decide.
func (x *exchange) dropAliases(o *http1.RequestOptions) {
	for i := range x.req.Fields {
		if name := x.req.Fields[i].Name; strings.IndexByte(name, '_') >= 0 && x.passesForOurs(name) {
			o.Drop = append(o.Drop, name)
		}
	}
}

// passesForOurs reports whether a server could take a name for that of a header which the gateway sets or which decides: CGI and what
// comes from it (WSGI, PHP) make "-" and "_" in names the same.
func (x *exchange) passesForOurs(name string) bool {
	real := strings.ReplaceAll(name, "_", "-")
	return strings.HasPrefix(real, x.w.requestOptions.DropPrefix) || strings.HasPrefix(real, "x-forwarded-") || real == "x-request-id" ||
		real == "content-length" || real == "transfer-encoding" ||
		real == x.dec.Service.SessionHeader || real == x.dec.Service.Key.Name ||
		x.w.engine.Promotes(x.view.Port, real) || slices.Contains(x.w.http.Protected, real)
}

// trailers are the trailers that go on: none that a server which makes headers of them could take for the gateway's words.
func (x *exchange) trailers() []route.Header {
	bad := func(h route.Header) bool { return x.passesForOurs(h.Name) }
	if !slices.ContainsFunc(x.reqBody.Trailers, bad) {
		return x.reqBody.Trailers
	}
	return slices.DeleteFunc(slices.Clone(x.reqBody.Trailers), bad) // the request may be sent once more, from the originals
}

// target is the request target with the path in its normal form.
func (x *exchange) target() string {
	if x.req.Query == "" {
		return x.view.Path
	}
	return x.view.Path + "?" + x.req.Query // a path that is not in normal form is rare enough to allocate
}

// pumpUp sends the request on as far as it goes: until the replica takes no more, the client has sent no more, or all is sent.
func (x *exchange) pumpUp() {
	u := x.u
	for steps := 0; !x.cutOff; steps++ {
		if !u.flush() {
			if u.cannot {
				x.sendingFailed()
			}
			return
		}
		if steps >= x.w.turn {
			x.c.again()
			return
		}
		if x.sentAll {
			x.requestSent()
			return
		}
		if !x.loadUp() {
			return
		}
	}
}

// loadUp puts more of the request into the upstream's out buffer. It reports whether there is something to go on with;
// otherwise the client's next bytes are waited for, or the exchange is over.
func (x *exchange) loadUp() bool {
	u := x.u
	if u.out == nil {
		u.out = x.w.buffers.get()
	}
	chunked := x.req.Framing == http1.Chunked
	for {
		for len(x.piece) > 0 {
			x.piece = u.pour(x.piece, chunked)
			if len(x.piece) > 0 || u.tail != nil {
				return true
			}
		}
		switch found, done := x.nextPiece(); {
		case x.phase != phaseForward:
			return false
		case found:
		case done:
			if chunked {
				u.out = http1.AppendLastChunk(u.out, x.trailers())
			}
			x.sentAll = true
			return true
		case u.pending():
			return true
		case !x.readBody():
			return false
		}
	}
}

// nextPiece finds the next piece of the request's body: what is held, then what is in the client's in buffer.
func (x *exchange) nextPiece() (found, done bool) {
	h, c := &x.held, x.c
	switch {
	case h.inPlace:
		if h.next > 0 {
			return false, true
		}
		h.next = 1
		x.piece = c.in[x.base : x.base+h.size]
		return true, false
	case h.next < len(h.segments):
		x.piece = h.segments[h.next]
		h.next++
		return true, false
	}
	for !x.reqBody.Done() {
		p, err := x.reqBody.Next(c.in[c.r:])
		if err != nil {
			x.badBody(err)
			return false, false
		}
		if p.N == 0 {
			return false, false
		}
		c.r += p.N
		if len(p.Data) > 0 {
			x.piece = p.Data
			return true, false
		}
	}
	return false, true
}

// badBody ends an exchange whose request turned out to be malformed after a part of it had gone to the replica: the replica
// must not take that part for a whole request.
func (x *exchange) badBody(err *http1.Error) {
	if x.headSent {
		x.abort(endBadRequest)
		return
	}
	x.refuse(err)
}

// requestSent goes on when the whole request is written.
func (x *exchange) requestSent() {
	u := x.u
	if u.out != nil {
		x.w.buffers.put(u.out)
		u.out = nil
		x.sentAt = x.w.loop.Now()
	}
}

// sendingFailed goes on when the replica takes no more of the request: it may have answered before it closed the connection, so
// that answer is looked for.
func (x *exchange) sendingFailed() {
	u := x.u
	x.cutOff = true
	x.w.buffers.put(u.out)
	u.out, u.tail, u.sent = nil, nil, 0
	u.canRead = true
	if !x.c.pending() {
		x.pumpDown()
	}
}
