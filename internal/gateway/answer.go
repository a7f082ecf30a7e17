package gateway

import (
	"github.com/remora-proxy/remora/internal/gateway/http1"
	"github.com/remora-proxy/remora/internal/problem"
)

var internalProblem = problem.Problem{Code: problem.Internal, Detail: "The gateway has come into a state that it does not know; this is a bug in it."}

// answer ends the exchange with a problem of the gateway's own. The response's head must not have gone out.
func (x *exchange) answer(p problem.Problem) {
	w, c := x.w, x.c
	x.dropUpstream()
	x.skipBody()
	entry := problem.Lookup(p.Code)
	x.status, x.code, x.outcome = entry.Status, p.Code, endAnswered
	w.stats.countProblem(p.Code)
	w.problemBody = problem.AppendJSON(w.problemBody[:0], p, x.id.text)
	a := http1.Answer{
		Status: entry.Status, ContentType: problem.ContentType, Body: w.problemBody,
		Date: w.dates.text(w.loop.Wall()), Head: x.req.Method == "HEAD", Close: x.close, ClientHTTP: x.req.Minor,
	}
	c.out = http1.AppendAnswer(w.buffers.growOut(c.out, len(w.problemBody)+answerHead), &a)
	x.phase = phaseDrain
	x.drain()
}

// answerHead is the room for the head of an answer.
const answerHead = 512

// refuse answers a request that is malformed. Where the next one would begin is not known, so it was the last.
func (x *exchange) refuse(err *http1.Error) {
	x.close = true
	x.c.r = len(x.c.in)
	if x.id.text == "" {
		x.id.generate(&x.w.ids)
	}
	if err.Smuggling {
		x.w.stats.smuggling++
	}
	x.answer(problem.Problem{Code: codeOf(err), Detail: sentence(err.Detail)})
}

// codeOf is the catalogue's code for a refusal of the message layer: the same word.
func codeOf(err *http1.Error) problem.Code { return problem.Code(err.Reason) }

// timedOut answers a client that was too slow with its request.
func (x *exchange) timedOut(detail string) {
	c := x.c
	x.close = true
	if x.headSent {
		x.truncate()
		return
	}
	if x.phase == phaseHead {
		c.requests++
		c.r = len(c.in)
		x.dropHead()
		x.id.generate(&x.w.ids)
	}
	x.answer(problem.Problem{Code: problem.RequestTimeout, Detail: detail})
	c.serve()
}

// skipBody passes over the rest of the request's body when it is in the in buffer. When it is not, the connection ends with the
// answer: reading on would cost as much as the client likes.
func (x *exchange) skipBody() {
	c := x.c
	for !x.close && !x.reqBody.Done() {
		p, err := x.reqBody.Next(c.in[c.r:])
		if err != nil || p.N == 0 {
			x.close = true
			return
		}
		c.r += p.N
	}
}

// sentence makes a sentence of a refusal's detail.
func sentence(s string) string {
	if s == "" {
		return ""
	}
	return "The request is refused: " + s + "."
}
