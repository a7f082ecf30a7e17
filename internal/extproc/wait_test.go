package extproc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/doortest"
	"github.com/remora-proxy/remora/internal/extproc"
	"github.com/remora-proxy/remora/internal/route"
	"github.com/remora-proxy/remora/internal/session"
)

// waiting is a processor with a store that can be slow, and one connection of an Envoy to it.
type waiting struct {
	t      *testing.T
	engine *affinity.Engine
	store  *doortest.Store
	server *extproc.Server
	conn   *grpc.ClientConn
}

const waitingNow = session.Instant(1_000_000)

func newWaiting(t *testing.T, change ...func(*extproc.Config)) *waiting {
	t.Helper()
	w := &waiting{t: t, store: doortest.NewStore(t)}
	w.engine = engineOn(t, w.store, doortest.Config([]string{"127.0.1.1:8080", "127.0.1.2:8080"}))
	c := extproc.Config{Engine: w.engine, Now: func() session.Instant { return waitingNow }}
	for _, f := range change {
		f(&c)
	}
	var err error
	if w.server, err = extproc.New(c); err != nil {
		t.Fatal(err)
	}
	w.conn = connect(t, run(t, w.server))
	return w
}

func hit(user string) *extprocv3.ProcessingRequest {
	return headers(true, buffered, "target", "backend-1", "x-user", user)
}

// begin sends a request, of which nothing is heard yet.
func (w *waiting) begin(user string) (extprocv3.ExternalProcessor_ProcessClient, context.CancelFunc) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	stream, err := extprocv3.NewExternalProcessorClient(w.conn).Process(ctx)
	if err == nil {
		err = stream.Send(hit(user))
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return stream, cancel
}

// hear is the next answer.
func (w *waiting) hear(stream extprocv3.ExternalProcessor_ProcessClient) string {
	w.t.Helper()
	out, err := stream.Recv()
	if err != nil {
		w.t.Fatal(err)
	}
	return describe(out)
}

// is serves a whole request, and checks what is said of the session.
func (w *waiting) is(user, state string) {
	w.t.Helper()
	stream, cancel := w.begin(user)
	defer cancel()
	if got := w.hear(stream); !strings.Contains(got, "x-remora-session="+state) {
		w.t.Errorf("the session of %s is announced as %s, want %s", user, got, state)
	}
	if err := stream.CloseSend(); err != nil {
		w.t.Fatal(err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		w.t.Errorf("the stream ends with %v", err)
	}
}

// free waits until nothing is held.
func (w *waiting) free() {
	w.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		held := 0
		for _, ep := range w.engine.Endpoints(waitingNow) {
			held += ep.Held + ep.InFlight
		}
		if held == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			w.t.Fatalf("%d are held", held)
		}
	}
}

func TestADecisionThatWaitsHoldsUpNoOtherOfItsConnection(t *testing.T) {
	w := newWaiting(t)
	w.is("ann", "new")
	w.store.Slow(true)
	bob, _ := w.begin("bob")
	q := w.store.Question("bind")
	for range 20 {
		w.is("ann", "existing")
	}
	w.store.Unasked()
	q.Answer()
	if got := w.hear(bob); !strings.Contains(got, "x-remora-session=new") {
		t.Errorf("bob's request got %s", got)
	}
	w.is("bob", "existing")
}

func TestAStreamThatEndsWhileItsDecisionWaitsLeavesNothing(t *testing.T) {
	for _, by := range []string{"a reset", "Envoy's end of it", "the end of the connection"} {
		t.Run("by "+by, func(t *testing.T) {
			w := newWaiting(t)
			w.store.Slow(true)
			stream, cancel := w.begin("bob")
			q := w.store.Question("bind")
			switch by {
			case "a reset":
				cancel()
			case "Envoy's end of it":
				if err := stream.CloseSend(); err != nil {
					t.Fatal(err)
				}
			default:
				w.conn.Close()
			}
			if _, err := stream.Recv(); err == nil {
				t.Error("there is an answer")
			}
			q.Answer()
			if err := w.server.Close(); err != nil { // which waits for it
				t.Error(err)
			}
			w.free()
			if by != "Envoy's end of it" {
				return // the others may have come later than the decision; this one has been answered
			}
			w.store.Slow(false)
			dec := new(affinity.Decision)
			if w.engine.Decide(requestOf("bob"), dec, waitingNow); dec.Session != affinity.SessionNew {
				t.Errorf("the next request is announced as %v, want new: the endpoint has not seen the first", dec.Session)
			}
		})
	}
}

// TestWhatComesBehindADecisionThatWaitsIsAnsweredInItsOrder is a body in pieces of which the first ones decide.
func TestWhatComesBehindADecisionThatWaitsIsAnsweredInItsOrder(t *testing.T) {
	w := newWaiting(t)
	w.store.Slow(true)
	long := strings.Repeat("x", 70_000)
	stream := open(t, w.conn)
	for _, m := range []*extprocv3.ProcessingRequest{
		duplexHeaders(false, "content-type", "application/json", "target", "backend-1", "x-user", "bob"),
		piece(long, false), piece("one", false), piece("two", false), trailers("checksum", "x-user"),
	} {
		if err := stream.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	w.store.Question("bind").Answer()
	var got []string
	for range 6 {
		got = append(got, w.hear(stream))
	}
	want := []string{"body of 65536 bytes", "body of 4464 bytes", `body "one"`, `body "two"`, "trailers, no x-user"}
	if !strings.HasPrefix(got[0], "headers, ") || !slices.Equal(got[1:], want) {
		t.Errorf("got\n\t%s\nwant the decision and\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// servedBy is the response's headers of a picker's request, with who served it.
func servedBy(addr string) *extprocv3.ProcessingRequest {
	m := &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: &extprocv3.HttpHeaders{}}}
	m.MetadataContext = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"envoy.lb": {Fields: map[string]*structpb.Value{
		"x-gateway-destination-endpoint-served": structpb.NewStringValue(addr),
	}}}}
	return m
}

// reportOf is a stream's first message that tells of a request that another stream decided.
func reportOf(pick, addr string) *extprocv3.ProcessingRequest {
	m := &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: &extprocv3.HttpHeaders{}}}
	m.Attributes = map[string]*structpb.Struct{"envoy.filters.http.ext_proc": {Fields: map[string]*structpb.Value{
		"upstream.address":               structpb.NewStringValue(addr),
		"upstream.request_attempt_count": structpb.NewNumberValue(2),
		"response.code_details":          structpb.NewStringValue("via_upstream"),
	}}}
	m.MetadataContext = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{
		extproc.MetadataNamespace: {Fields: map[string]*structpb.Value{extproc.PickMetadata: structpb.NewStringValue(pick)}},
	}}
	return m
}

func TestAReportMayHaveToWait(t *testing.T) {
	for _, how := range []string{"by a picker's proxy", "in a stream of its own"} {
		t.Run(how, func(t *testing.T) {
			w := newWaiting(t)
			w.is("ann", "new")
			dec := new(affinity.Decision) // as another stream decides it
			stream := open(t, w.conn)
			if got := say(t, stream, hit("bob")); !strings.Contains(got[0], "x-remora-session=new") {
				t.Fatal(got)
			}
			w.engine.Decide(requestOf("bob"), dec, waitingNow)
			picked, used := dec.Endpoint.Addr, "127.0.1.1:8080"
			if picked == used {
				used = "127.0.1.2:8080"
			}
			text := string(extproc.AppendPick(nil, dec.Pick()))
			dec.Sent = true
			w.engine.Release(dec, waitingNow)
			w.store.Slow(true)
			report := servedBy(used)
			if how != "by a picker's proxy" {
				stream, report = open(t, w.conn), reportOf(text, used)
			}
			if err := stream.Send(report); err != nil {
				t.Fatal(err)
			}
			q := w.store.Question("move")
			w.is("ann", "existing")
			q.Answer()
			if got := w.hear(stream); got != "response headers" {
				t.Errorf("got %s", got)
			}
			if v, err := w.engine.Session("backend-1", "bob", waitingNow); err != nil || v.Endpoint != used {
				t.Errorf("the session is %+v (%v), want it at %s", v, err, used)
			}
		})
	}
}

func requestOf(user string) *affinity.Request {
	r := &affinity.Request{}
	r.Port, r.Authority, r.Path = 80, "door", "/"
	r.Headers = append(r.Headers, route.Header{Name: "target", Value: "backend-1"}, route.Header{Name: "x-user", Value: user})
	return r
}

func TestTooManyDecisionsAreMadeWithoutAskingTheStore(t *testing.T) {
	w := newWaiting(t, func(c *extproc.Config) { c.MaxWaiting = 2 })
	w.store.Slow(true)
	var streams []extprocv3.ExternalProcessor_ProcessClient
	var questions []*doortest.Question
	for i := range 2 {
		stream, _ := w.begin(fmt.Sprint("user-", i))
		streams, questions = append(streams, stream), append(questions, w.store.Question("bind"))
	}
	for i := range 5 {
		w.is(fmt.Sprint("other-", i), "new")
	}
	w.store.Unasked()
	for i, q := range questions {
		q.Answer()
		w.hear(streams[i])
	}
	late, _ := w.begin("late")
	w.store.Question("bind").Answer() // there is room again
	w.hear(late)
}

func TestAProcessorThatClosesReleasesDecisionsThatWait(t *testing.T) {
	w := newWaiting(t)
	w.store.Slow(true)
	var questions []*doortest.Question
	for i := range 3 {
		_, _ = w.begin(fmt.Sprint("user-", i))
		questions = append(questions, w.store.Question("bind"))
	}
	closed := make(chan error, 1)
	go func() { closed <- w.server.Close() }()
	select {
	case <-closed:
		t.Error("it has closed, and decisions wait")
	default:
	}
	for _, q := range questions {
		q.Answer()
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
	w.free()
}

// TestWithEnvoyAFirstSightThatWaitsDelaysNoOther has all requests go over the few connections that an Envoy has.
func TestWithEnvoyAFirstSightThatWaitsDelaysNoOther(t *testing.T) {
	for _, mode := range bodyModes {
		t.Run(mode.name, func(t *testing.T) {
			store := doortest.NewStore(t)
			d := newDoorOn(t, store, doortest.Config([]string{replica(t, echo), replica(t, echo)}), mode.change...)
			if got := d.session(t); got != "new" {
				t.Fatalf("the session is %s", got)
			}
			store.Slow(true)
			const users = 8
			answers := make(chan string, users)
			for i := range users {
				go func() { answers <- d.post(fmt.Sprint("user-", i)) }()
			}
			var questions []*doortest.Question
			for range users {
				questions = append(questions, store.Question("bind"))
			}
			for range 20 {
				if got := d.session(t); got != "existing" {
					t.Fatalf("the session is %s", got)
				}
			}
			for _, q := range questions {
				q.Answer()
			}
			for range users {
				if got := <-answers; !strings.HasSuffix(got, " new") {
					t.Errorf("got %q", got)
				}
			}
			d.waitInFlight(t, 0)
		})
	}
}

// post is the answer to a request of a user.
func (d *door) post(user string) string {
	resp, err := http.Post("http://"+d.addr+"/", "application/json", strings.NewReader(`{"target":"backend-1","username":"`+user+`"}`))
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err.Error()
	}
	return string(text)
}
