package gateway

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/remora-proxy/remora/internal/doortest"
	"github.com/remora-proxy/remora/internal/problem"
)

// startShared runs a gateway whose store a test can make slow, with one worker.
func startShared(t *testing.T, s services, change ...func(*Config)) (*rig, *doortest.Store) {
	t.Helper()
	store := doortest.NewStore(t)
	oneWorker := func(c *Config) { c.Workers = 1 }
	return startOn(t, store, configure(s), append(change, oneWorker)...), store
}

// serveUser is a whole request of a user.
func (r *rig) serveUser(user string) {
	r.t.Helper()
	w := r.dial()
	w.send(hit(user, "backend-1"))
	w.expect(200, "")
	w.Close()
}

// free waits until no request holds anything.
func (r *rig) free(addr string) {
	r.t.Helper()
	r.until("all is released", func() bool {
		ep := r.endpoint(addr)
		return ep.InFlight == 0 && ep.Held == 0
	})
}

func TestADecisionThatWaitsHoldsUpNobodyElse(t *testing.T) {
	b := serve(t, nil)
	r, store := startShared(t, services{{b.addr}})
	r.serveUser("ann")
	store.Slow(true)
	bob, ann := r.dial(), r.dial()
	bob.send(hit("bob", "backend-1"))
	q := store.Question("bind")
	for range 20 {
		ann.send(hit("ann", "backend-1"))
		ann.expect(200, "")
	}
	if got := len(b.requests()); got != 21 {
		t.Errorf("the replica has seen %d requests, want those of ann", got)
	}
	store.Unasked()
	q.Answer()
	bob.expect(200, "")
	if got := b.last(t).Header; got.Get("X-Remora-Session") != "new" || got.Get("X-User") != "bob" {
		t.Errorf("the replica was told %v", got)
	}
	bob.send(hit("bob", "backend-1"))
	bob.expect(200, "")
	if got := b.last(t).Header.Get("X-Remora-Session"); got != "existing" {
		t.Errorf("the next request is announced as %q", got)
	}
	if s := r.stats(); s.decisionsWaited != 2 || s.decidedAlone != 0 {
		t.Errorf("%d decisions have waited and %d were made alone, want 2 and 0", s.decisionsWaited, s.decidedAlone)
	}
}

// TestARequestIsWhatItWasAfterItsDecisionHasWaited has further bytes arrive behind each kind of body, and other requests use buffers.
func TestARequestIsWhatItWasAfterItsDecisionHasWaited(t *testing.T) {
	long := strings.Repeat("0123456789abcdef", 40<<10/16)
	fields := func(pad string) string { return `{"username":"bob","target":"backend-1","pad":"` + pad + `"}` }
	crlf := func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") }
	length := func(headers, body string) string {
		return crlf(fmt.Sprintf("POST /a?b=c HTTP/1.1\nHost: gw\n%sContent-Length: %d\n\n", headers, len(body))) + body
	}
	chunked := func(body string) string {
		return crlf("POST /a?b=c HTTP/1.1\nHost: gw\nContent-Type: application/json\nTransfer-Encoding: chunked\n\n") +
			fmt.Sprintf("%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n", 10, body[:10], len(body)-10, body[10:])
	}
	const asJSON, byHeaders = "Content-Type: application/json\n", "target: backend-1\nx-user: bob\n"
	for _, c := range []struct{ name, request, body string }{
		{"a short body", length(asJSON, fields("")), fields("")},
		{"a body in a large buffer", length(asJSON, fields(long[:30<<10])), fields(long[:30<<10])},
		{"a body in chunks", chunked(fields("")), fields("")},
		{"a long body in chunks", chunked(fields(long[:30<<10])), fields(long[:30<<10])},
		{"a body that need not be read", length(byHeaders, long), long},
		{"a body that is too large to be read", length(asJSON+byHeaders, fields(strings.Repeat(long, 3))), fields(strings.Repeat(long, 3))},
		{"no body", crlf("GET /a?b=c HTTP/1.1\nHost: gw\n" + byHeaders + "\n"), ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := serve(t, nil)
			r, store := startShared(t, services{{b.addr}})
			r.serveUser("ann")
			store.Slow(true)
			w := r.dial()
			var sending sync.WaitGroup
			sending.Go(func() { w.raw(c.request + strings.Repeat(crlf(get("/next")), 3)) })
			q := store.Question("bind")
			ann := r.dial()
			for range 10 {
				ann.send(hit("ann", "backend-1"))
				ann.expect(200, "")
			}
			q.Answer()
			w.expect(200, "")
			if got := b.requests()[11]; got.body != c.body || got.URL.String() != "/a?b=c" || got.Header.Get("X-User") != "bob" || got.Header.Get("Target") != "backend-1" {
				t.Errorf("the replica has seen %s of %v with %d bytes, want %d", got.URL, got.Header, len(got.body), len(c.body))
			}
			for range 3 {
				w.expect(200, "")
			}
			sending.Wait()
		})
	}
}

func TestPipelinedRequestsWaitForTheDecisionOfTheOneBeforeThem(t *testing.T) {
	b := serve(t, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.URL.Path) })
	r, store := startShared(t, services{{b.addr}})
	r.serveUser("ann")
	store.Slow(true)
	w := r.dial()
	w.send("GET /1 HTTP/1.1\nHost: gw\ntarget: backend-1\nx-user: bob\n\n" + get("/2") + get("/3"))
	q := store.Question("bind")
	r.serveUser("ann")
	if got := len(b.requests()); got != 2 {
		t.Errorf("the replica has seen %d requests, want the two of before", got)
	}
	q.Answer()
	for i := range 3 {
		if got := w.expect(200, "").body; got != fmt.Sprint("/", i+1) {
			t.Errorf("answer %d is that to %s", i+1, got)
		}
	}
}

func TestAClientThatLeavesWhileItsDecisionWaitsLeavesNothing(t *testing.T) {
	for name, leave := range map[string]func(*wire){
		"by closing the connection": func(w *wire) { w.Close() },
		"by closing its sending side": func(w *wire) {
			if err := w.Conn.(*net.TCPConn).CloseWrite(); err != nil {
				w.t.Error(err)
			}
		},
		"by a reset": func(w *wire) {
			if err := w.Conn.(*net.TCPConn).SetLinger(0); err != nil {
				w.t.Error(err)
			}
			w.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := serve(t, nil)
			r, store := startShared(t, services{{b.addr}})
			r.serveUser("ann")
			store.Slow(true)
			w := r.dial()
			w.send(hit("bob", "backend-1"))
			q := store.Question("bind")
			leave(w)
			r.serveUser("ann") // by then the gateway may know that bob has left
			q.Answer()
			r.until("the request ends", func() bool { return r.stats().endings[endClientGone] == 1 })
			r.free(b.addr)
			store.Slow(false)
			r.serveUser("bob")
			if got := b.last(t).Header.Get("X-Remora-Session"); got != "new" {
				t.Errorf("the next request is announced as %q, want new: the replica has not seen the first", got)
			}
		})
	}
}

func TestASessionThatMovesMayHaveToWait(t *testing.T) {
	for _, leaves := range []bool{false, true} {
		t.Run(fmt.Sprintf("the client leaves meanwhile: %v", leaves), func(t *testing.T) {
			alive, down := serve(t, nil), newReplica(t)
			r, store := startShared(t, services{{down.addr, alive.addr}}, quick)
			user := r.userOn(down)
			down.ln.Close()
			store.Slow(true)
			w := r.dial()
			w.send(hit(user, "backend-1"))
			q := store.Question("move")
			if leaves {
				w.Close()
			}
			q.Answer()
			if leaves {
				r.until("the request ends", func() bool { return r.stats().endings[endClientGone] == 1 })
				r.free(alive.addr)
				store.Slow(false)
				w = r.dial()
				w.send(hit(user, "backend-1"))
			}
			w.expect(200, "")
			if got := alive.last(t).Header.Get("X-Remora-Session"); got != "moved" {
				t.Errorf("the session is announced as %q, want moved", got)
			}
			if s := r.stats(); s.moves != 1 && !leaves {
				t.Errorf("%d moves, want 1", s.moves)
			}
		})
	}
}

func TestTooManyDecisionsAreMadeWithoutAskingTheStore(t *testing.T) {
	b := serve(t, nil)
	r, store := startShared(t, services{{b.addr}}, func(c *Config) { c.Limits.WaitingDecisions = 2 })
	store.Slow(true)
	var waiting []*wire
	var questions []*doortest.Question
	for i := range 2 {
		w := r.dial()
		w.send(hit(fmt.Sprint("user-", i), "backend-1"))
		waiting, questions = append(waiting, w), append(questions, store.Question("bind"))
	}
	for i := range 5 {
		r.serveUser(fmt.Sprint("other-", i))
	}
	store.Unasked()
	if s := r.stats(); s.decisionsWaited != 2 || s.decidedAlone != 5 {
		t.Errorf("%d decisions have waited and %d were made alone, want 2 and 5", s.decisionsWaited, s.decidedAlone)
	}
	for i, q := range questions {
		q.Answer()
		waiting[i].expect(200, "")
	}
	w := r.dial()
	w.send(hit("late", "backend-1"))
	store.Question("bind").Answer() // there is room again
	w.expect(200, "")
}

func TestNothingWaitsForAStoreThatIsKnownNotToAnswer(t *testing.T) {
	b := serve(t, nil)
	r, store := startShared(t, services{{b.addr}})
	store.Slow(true)
	store.Dead(true)
	r.serveUser("bob")
	if s := r.stats(); s.decisionsWaited != 0 {
		t.Errorf("%d decisions have waited", s.decisionsWaited)
	}
}

func TestADecisionThatHasWaitedMayBeAProblem(t *testing.T) {
	r, store := startShared(t, services{{}})
	store.Slow(true)
	w := r.dial()
	w.send(hit("bob", "backend-1") + hit("bob", "backend-1"))
	for range 2 {
		store.Question("find").Answer() // there is no endpoint here; the user may have a session at one that another gateway knows
		w.expect(503, problem.NoEndpoint)
	}
}

func TestAGatewayThatStopsReleasesDecisionsThatWait(t *testing.T) {
	b := serve(t, nil)
	r, store := startShared(t, services{{b.addr}})
	store.Slow(true)
	var questions []*doortest.Question
	for i := range 3 {
		w := r.dial()
		w.send(hit(fmt.Sprint("user-", i), "backend-1"))
		questions = append(questions, store.Question("bind"))
	}
	closed := make(chan error, 1)
	go func() { closed <- r.g.Close() }()
	r.until("the gateway stops", func() bool {
		select {
		case <-r.g.workers[0].loop.Done():
			t.Fatal("it has stopped, and decisions wait")
		default:
		}
		stopping := false
		if err := r.g.workers[0].loop.Do(context.Background(), func() { stopping = r.g.workers[0].stopping }); err != nil {
			t.Fatal(err)
		}
		return stopping
	})
	for _, q := range questions {
		q.Answer()
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	if n := r.g.workers[0].stats.endings[endStopped]; n != 3 {
		t.Errorf("%d requests ended as stopped, want 3", n)
	}
	r.nothingLeft()
	if n := r.g.waiting.Load(); n != 0 {
		t.Errorf("%d decisions are counted as waiting", n)
	}
}

func TestAGatewayThatShutsDownAnswersRequestsWhoseDecisionsWait(t *testing.T) {
	b := serve(t, nil)
	r, store := startShared(t, services{{b.addr}})
	store.Slow(true)
	w := r.dial()
	w.send(hit("bob", "backend-1"))
	q := store.Question("bind")
	done := make(chan error, 1)
	go func() { done <- r.g.Shutdown(context.Background()) }()
	r.until("the gateway takes no more", func() bool {
		c, err := net.Dial("tcp", r.addr)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	q.Answer()
	w.expect(200, "")
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestManyDecisionsThatWaitAtOnce has clients with all kinds of patience meet a slow store, for the race detector.
func TestManyDecisionsThatWaitAtOnce(t *testing.T) {
	b := serve(t, nil)
	r, store := startShared(t, services{{b.addr}}, func(c *Config) { c.Limits.WaitingDecisions = 16 })
	store.Slow(true)
	stop, answered := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(answered)
		store.AnswerAll(stop)
	}()
	var clients sync.WaitGroup
	for i := range 40 {
		w := r.dial()
		clients.Go(func() {
			for j := range 5 {
				w.send(hit(fmt.Sprintf("user-%d-%d", i, j/2), "backend-1"))
				if i%4 == 0 && j == 2 {
					w.Close() // it leaves
					return
				}
				w.expect(200, "")
			}
		})
	}
	clients.Wait()
	r.free(b.addr)
	store.Slow(false)
	close(stop)
	<-answered
}
