package extproc

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/remora-proxy/remora/internal/extproc/rpc"
	"github.com/remora-proxy/remora/internal/session"
)

// anyMessage is one of all that a stream can say.
func anyMessage(tb testing.TB, number func(n int) int) []byte {
	tb.Helper()
	pick := func(of ...string) string { return of[number(len(of))] }
	m := &extprocv3.ProcessingRequest{}
	fields := &corev3.HeaderMap{}
	for _, h := range [][2]string{
		{":authority", "door"},
		{":method", "POST"},
		{":scheme", "http"},
		{":path", pick("/", "/", "/", "/%00", "/a/../b", "")},
		{"content-type", pick("application/json", "application/json", "text/plain", "a,b,c")},
		{"target", pick("backend-1", "backend-1", "backend-2", "x")},
		{pick("x-user", "x_user", "x-remora-session", "upgrade"), pick("ann", "bob", "")},
	} {
		fields.Headers = append(fields.Headers, &corev3.HeaderValue{Key: h[0], RawValue: []byte(h[1])})
	}
	headers := &extprocv3.HttpHeaders{Headers: fields, EndOfStream: number(2) == 0}
	trailers := &extprocv3.HttpTrailers{Trailers: fields}
	body := &extprocv3.HttpBody{EndOfStream: number(2) == 0, Body: []byte(pick("", `{"target":"backend-1","username":"ann"}`, `{"target":"ba`, `ckend-1"}`, "{", " "))}
	if number(5) == 0 {
		body.Body = append(body.Body, bytes.Repeat([]byte(" "), number(70_000))...)
	}
	switch number(9) {
	case 0, 1, 2:
		m.Request = &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: headers}
	case 3, 4:
		m.Request = &extprocv3.ProcessingRequest_RequestBody{RequestBody: body}
	case 5:
		m.Request = &extprocv3.ProcessingRequest_RequestTrailers{RequestTrailers: trailers}
	case 6:
		m.Request = &extprocv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: headers}
	case 7:
		m.Request = &extprocv3.ProcessingRequest_ResponseBody{ResponseBody: body}
	case 8:
		m.Request = &extprocv3.ProcessingRequest_ResponseTrailers{ResponseTrailers: trailers}
	}
	if number(2) == 0 {
		mode := func() filterv3.ProcessingMode_BodySendMode { return filterv3.ProcessingMode_BodySendMode(number(6)) }
		m.ProtocolConfig = &extprocv3.ProtocolConfiguration{RequestBodyMode: mode(), ResponseBodyMode: mode()}
	}
	if number(4) == 0 {
		m.Attributes = map[string]*structpb.Struct{"f": {Fields: map[string]*structpb.Value{pick(detailsAttribute, sourceAttribute): structpb.NewStringValue(pick("127.0.0.1:1", "?"))}}}
	}
	if number(4) == 0 {
		m.MetadataContext = &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{
			pick(subsetNamespace, pickedNamespace, MetadataNamespace): {Fields: map[string]*structpb.Value{
				pick(subsetKey, servedKey, PickMetadata): structpb.NewStringValue(pick("127.0.1.1:8080", "127.0.1.9:1", "?")),
			}},
		}}
	}
	return encoded(tb, m)
}

// converse lets one stream say messages. Whatever they are and in whatever order, all answers can be read, at most one request is decided,
// and at the end nothing is held, counted or in flight. A message is overwritten when it has been answered.
func converse(t *testing.T, s *Server, number func(n int) int) {
	t.Helper()
	x, decided := new(exchange), s.stats.decided.Load()
	x.begin(s, 80, rpc.Call{})
	for range 1 + number(8) {
		m := anyMessage(t, number)
		if number(20) == 0 {
			m[number(len(m))] ^= 1 << number(8)
		}
		answers, err := x.Message(m, nil)
		for i := range m {
			m[i] = 0xff
		}
		for len(answers) > 0 {
			n := 5 + int(binary.BigEndian.Uint32(answers[1:]))
			if err := proto.Unmarshal(answers[5:n], &extprocv3.ProcessingResponse{}); err != nil {
				t.Fatalf("an answer cannot be read: %v", err)
			}
			answers = answers[n:]
		}
		if err != nil {
			break
		}
	}
	if !x.end() {
		t.Fatal("a panic")
	}
	if n := s.stats.decided.Load() - decided; n > 1 {
		t.Errorf("%d decisions", n)
	}
	if p, n, held := s.stats.panics.Load(), s.stats.streams.Load(), s.held.Load(); p != 0 || n != 0 || held != 0 {
		t.Errorf("%d panics; %d streams and %d bytes are left", p, n, held)
	}
	for _, ep := range s.engine.EndpointStats(1) {
		if ep.InFlight != 0 {
			t.Errorf("%d requests are in flight at %s", ep.InFlight, ep.Addr)
		}
	}
	later := s.now() + 3_600_000 // an hour
	s.now = func() session.Instant { return later }
	s.engine.SweepAll(later)
	if n := s.engine.Stats().Sessions; n != 0 {
		t.Errorf("%d sessions are held", n)
	}
}

func TestMessagesInAnyOrderLeaveNothing(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	s := newBenchServer(t)
	for range 1000 {
		if converse(t, s, random.IntN); t.Failed() {
			return
		}
	}
	if s.stats.decided.Load() == 0 {
		t.Error("no request was decided")
	}
}
