package extproc_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/doortest"
	"github.com/remora-proxy/remora/internal/extproc"
	"github.com/remora-proxy/remora/internal/session"
)

// splitMaxBody is the limit on bodies in the tests of this file.
const splitMaxBody = 48

// FuzzPieces cuts a body into pieces in any way, and asks for what the same body gets in mode BUFFERED: the same decision. The
// body must come back as it was, behind the answer to the headers.
func FuzzPieces(f *testing.F) {
	for _, body := range splitBodies {
		f.Add([]byte(body), []byte{1, 0, 7}, byte(0))
		f.Add([]byte(body), []byte{}, byte(7))
		f.Add([]byte(body), []byte{200, 3}, byte(2))
	}
	f.Fuzz(func(t *testing.T, body, cuts []byte, how byte) { checkPieces(t, string(body), cuts, how) })
}

var splitBodies = []string{
	"", " ", "{", "{}", `{"target":"backend-1"}`, `{"target":"backend-1","username":"ann"}`, `{"target":"backend-2"}`,
	`{"target":"backend-1","target":"backend-1"}`, `{"target":"backend-1","username":"ann","more":"and more"}`,
	strings.Repeat(" ", splitMaxBody), strings.Repeat("{", splitMaxBody+1), "\xff",
}

func TestRandomPieces(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 500 {
		cuts := make([]byte, r.IntN(8))
		for i := range cuts {
			cuts[i] = byte(r.IntN(12))
		}
		checkPieces(t, splitBodies[r.IntN(len(splitBodies))], cuts, byte(r.IntN(8)))
	}
}

// checkPieces sends a body in pieces whose lengths are cuts, again and again. The bits of how: with routing headers, with trailers,
// with a content-length.
func checkPieces(t *testing.T, body string, cuts []byte, how byte) {
	pairs := []string{"content-type", "application/json"}
	if how&1 != 0 {
		pairs = append(pairs, "target", "backend-1", "x-user", "bob")
	}
	if how&4 != 0 {
		pairs = append(pairs, "content-length", fmt.Sprint(len(body)))
	}
	withTrailers := how&2 != 0
	say := []*extprocv3.ProcessingRequest{duplexHeaders(false, pairs...)}
	for i, rest := 0, body; ; i++ {
		n := len(rest)
		if i < len(cuts) {
			n = min(n, int(cuts[i]))
		}
		last := i >= len(cuts)
		say = append(say, piece(rest[:n], last && !withTrailers))
		if rest = rest[n:]; last {
			break
		}
	}
	if withTrailers {
		say = append(say, trailers())
	}
	want := decided(splitServer(t), headers(false, buffered, pairs...), bodyOf(body))
	got := decided(splitServer(t), say...)
	if got.what != want.what {
		t.Fatalf("%q in pieces %v, how %d: got %s, want %s", body, cuts, how, got.what, want.what)
	}
	if got.problem {
		return
	}
	if got.body != body || got.ended == withTrailers || got.trailers != withTrailers {
		t.Fatalf("%q in pieces %v, how %d: got back %+v", body, cuts, how, got)
	}
}

// splitOutcome is what Envoy was told of a request.
type splitOutcome struct {
	what     string // the decision as headers, or the problem
	problem  bool
	body     string // that came back
	ended    bool   // with a last piece
	trailers bool
}

// decided lets a server decide a request, and holds it to the order of the messages.
func decided(p *extproc.Server, say ...*extprocv3.ProcessingRequest) (o splitOutcome) {
	stream := &fakeStream{in: say}
	if err := p.Process(stream); err != nil {
		return splitOutcome{what: err.Error()}
	}
	for _, answers := range stream.out {
		for _, m := range answers {
			line := describe(m)
			r := m.GetRequestHeaders().GetResponse()
			if r == nil {
				r = m.GetRequestBody().GetResponse()
			}
			piece := r.GetBodyMutation().GetStreamedResponse()
			switch {
			case o.problem || o.trailers || o.ended && piece != nil:
				o.what += ", and then " + line
			case m.GetImmediateResponse() != nil:
				o.what, o.problem = o.what+line, true
			case r.GetHeaderMutation() != nil:
				for _, h := range r.GetHeaderMutation().GetSetHeaders() {
					if name := h.GetHeader().GetKey(); name != extproc.PickedKey { // the buffered one does not have it
						o.what += name + "=" + string(h.GetHeader().GetRawValue()) + " "
					}
				}
			case piece != nil && o.what == "":
				o.what = "a piece before the answer to the headers"
			case piece != nil:
				o.body += string(piece.GetBody())
				o.ended = piece.GetEndOfStream()
			case m.GetRequestTrailers() != nil:
				o.trailers = true
			}
		}
	}
	return o
}

// splitServer is a server whose engine has a replica of backend-1 alone, and no sessions.
func splitServer(t *testing.T) *extproc.Server {
	t.Helper()
	e := affinity.New(affinity.Options{Store: session.NewTable(session.Options{})})
	c := doortest.Config([]string{"127.0.1.1:8080"}, nil)
	c.Listeners[0].MaxBody = splitMaxBody
	snapshot, err := affinity.Compile(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Apply(snapshot, 1); err != nil {
		t.Fatal(err)
	}
	return newServer(t, e)
}
