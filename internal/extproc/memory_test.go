package extproc

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"weak"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/remora-proxy/remora/internal/extproc/rpc"
)

func encoded(tb testing.TB, m *extprocv3.ProcessingRequest) []byte {
	tb.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// jsonRequest is the messages of a request with a body, and with headers and a body of at least so many bytes.
func jsonRequest(tb testing.TB, mode filterv3.ProcessingMode_BodySendMode, header, body int) (first, second []byte) {
	tb.Helper()
	m := &corev3.HeaderMap{}
	for _, h := range [][2]string{
		{":authority", "door"},
		{":path", "/"},
		{":method", "POST"},
		{":scheme", "http"},
		{"content-type", "application/json"},
		{"x-long", strings.Repeat("h", header)},
	} {
		m.Headers = append(m.Headers, &corev3.HeaderValue{Key: h[0], RawValue: []byte(h[1])})
	}
	first = encoded(tb, &extprocv3.ProcessingRequest{
		Request:        &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: &extprocv3.HttpHeaders{Headers: m}},
		ProtocolConfig: &extprocv3.ProtocolConfiguration{RequestBodyMode: mode},
	})
	text := fmt.Sprintf(`{"target":"backend-1","username":"ann","text":%q}`, strings.Repeat("b", body))
	second = encoded(tb, &extprocv3.ProcessingRequest{
		Request: &extprocv3.ProcessingRequest_RequestBody{RequestBody: &extprocv3.HttpBody{Body: []byte(text), EndOfStream: true}},
	})
	return first, second
}

func message(tb testing.TB, x *exchange, m []byte) {
	tb.Helper()
	if _, err := x.Message(m, nil); err != nil {
		tb.Fatal(err)
	}
}

// TestARequestThatGoesOnHoldsNoneOfWhatDecidedIt has requests in flight whose headers and bodies were large.
func TestARequestThatGoesOnHoldsNoneOfWhatDecidedIt(t *testing.T) {
	for _, mode := range []filterv3.ProcessingMode_BodySendMode{filterv3.ProcessingMode_BUFFERED, filterv3.ProcessingMode_FULL_DUPLEX_STREAMED} {
		t.Run(mode.String(), func(t *testing.T) {
			s, x := newBenchServer(t), new(exchange)
			x.begin(s, 80, rpc.Call{})
			body := func() weak.Pointer[byte] {
				first, second := jsonRequest(t, mode, 100_000, 60_000)
				message(t, x, first)
				message(t, x, second)
				return weak.Make(&second[0])
			}()
			if !x.decided {
				t.Fatal("the request is not decided")
			}
			runtime.GC()
			if body.Value() != nil {
				t.Error("the message with the body is still held")
			}
			if n := cap(x.first) + cap(x.held); n > 2*maxKept {
				t.Errorf("%d bytes are held", n)
			}
			if !x.end() {
				t.Fatal("a panic")
			}
			runtime.KeepAlive(x)
		})
	}
}

func TestBodiesThatAreWaitedForHaveALimit(t *testing.T) {
	s, x := newBenchServer(t), new(exchange)
	first, second := jsonRequest(t, filterv3.ProcessingMode_FULL_DUPLEX_STREAMED, 0, 100)
	others := s.maxHeld - 50
	s.held.Store(others)
	x.begin(s, 80, rpc.Call{})
	message(t, x, first)
	answer, err := x.Message(second, nil)
	if err != nil || !strings.Contains(string(answer), `"code":"overloaded"`) {
		t.Errorf("got %q, %v", answer, err)
	}
	if n := s.held.Load(); n != others {
		t.Errorf("%d bytes are counted afterwards, not %d", n, others)
	}
	x.end()
	s.held.Store(0)
	x.begin(s, 80, rpc.Call{})
	message(t, x, first)
	piece := encoded(t, &extprocv3.ProcessingRequest{
		Request: &extprocv3.ProcessingRequest_RequestBody{RequestBody: &extprocv3.HttpBody{Body: []byte(`{"tar`)}},
	})
	message(t, x, piece)
	if n := s.held.Load(); n != 5 {
		t.Errorf("%d bytes are counted, not 5", n)
	}
	x.end()
	if n := s.held.Load(); n != 0 {
		t.Errorf("%d bytes are counted of a request that has ended", n)
	}
}

func TestFarMoreStreamsThanRequestsAreRefused(t *testing.T) {
	s := newBenchServer(t)
	s.stats.streams.Store(2 * s.maxRequests)
	if _, err := s.open(rpc.Call{}); status.Code(err) != codes.ResourceExhausted {
		t.Errorf("got %v", err)
	}
}

func TestAStreamHasOneReport(t *testing.T) {
	s, x := newBenchServer(t), new(exchange)
	report := encoded(t, &extprocv3.ProcessingRequest{
		Request: &extprocv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: &extprocv3.HttpHeaders{}},
		Attributes: map[string]*structpb.Struct{"envoy.filters.http.ext_proc": {Fields: map[string]*structpb.Value{
			detailsAttribute: structpb.NewStringValue("via_upstream"),
		}}},
	})
	x.begin(s, 80, rpc.Call{})
	for range 3 {
		message(t, x, report)
	}
	if n := s.stats.reports.Load(); n != 1 {
		t.Errorf("%d reports are counted", n)
	}
	x.end()
}
