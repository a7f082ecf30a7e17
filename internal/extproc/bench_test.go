package extproc

import (
	"fmt"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/protobuf/proto"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/doortest"
	"github.com/remora-proxy/remora/internal/extproc/rpc"
	"github.com/remora-proxy/remora/internal/session"
)

// wireRequest is the two messages of a request that its body decides.
func wireRequest(tb testing.TB, user string) (headers, body []byte) {
	tb.Helper()
	m := &corev3.HeaderMap{}
	for _, h := range [][2]string{
		{":authority", "door"},
		{":path", "/hit_backend"},
		{":method", "POST"},
		{":scheme", "http"},
		{"content-type", "application/json"},
		{"content-length", "45"},
		{"user-agent", "curl/8"},
		{"accept", "*/*"},
		{"x-forwarded-for", "192.0.2.2"},
		{"x-forwarded-proto", "http"},
		{"x-request-id", "37a749ed-849c-466b-b030-7945e714915c"},
	} {
		m.Headers = append(m.Headers, &corev3.HeaderValue{Key: h[0], RawValue: []byte(h[1])})
	}
	headers, err := proto.Marshal(&extprocv3.ProcessingRequest{
		Request:        &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: &extprocv3.HttpHeaders{Headers: m}},
		ProtocolConfig: &extprocv3.ProtocolConfiguration{RequestBodyMode: filterv3.ProcessingMode_BUFFERED},
	})
	if err != nil {
		tb.Fatal(err)
	}
	text := fmt.Sprintf(`{"target":"backend-1","username":%q}`, user)
	body, err = proto.Marshal(&extprocv3.ProcessingRequest{
		Request: &extprocv3.ProcessingRequest_RequestBody{RequestBody: &extprocv3.HttpBody{Body: []byte(text), EndOfStream: true}},
	})
	if err != nil {
		tb.Fatal(err)
	}
	return headers, body
}

func newBenchServer(tb testing.TB) *Server {
	tb.Helper()
	engine := affinity.New(affinity.Options{Store: session.NewTable(session.Options{})})
	snapshot, err := affinity.Compile(doortest.Config([]string{"127.0.1.1:8080", "127.0.1.2:8080"}))
	if err != nil {
		tb.Fatal(err)
	}
	if err := engine.Apply(snapshot, 1); err != nil {
		tb.Fatal(err)
	}
	s, err := New(Config{Engine: engine, Now: func() session.Instant { return 1 }})
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// serve serves one request as its stream would. Other than with a stream, it is always the same exchange: under the race detector a sync.Pool
// forgets some of what it is given.
func (x *exchange) serve(tb testing.TB, s *Server, headers, body, to []byte) []byte {
	tb.Helper()
	x.begin(s, 80, rpc.Call{})
	to, err := x.Message(headers, to[:0])
	if err != nil {
		tb.Fatal(err)
	}
	if to, err = x.Message(body, to); err != nil {
		tb.Fatal(err)
	}
	if !x.end() {
		tb.Fatal("a panic")
	}
	return to
}

func TestARequestOfAKnownSessionAllocatesNothing(t *testing.T) {
	s, x := newBenchServer(t), new(exchange)
	headers, body := wireRequest(t, "ann")
	to := x.serve(t, s, headers, body, nil)
	if n := testing.AllocsPerRun(200, func() { to = x.serve(t, s, headers, body, to) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkARequest(b *testing.B) {
	s, x := newBenchServer(b), new(exchange)
	headers, body := wireRequest(b, "ann")
	to := x.serve(b, s, headers, body, nil)
	b.ReportAllocs()
	for b.Loop() {
		to = x.serve(b, s, headers, body, to)
	}
}
