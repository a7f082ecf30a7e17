package extproc_test

import (
	"context"
	"io"
	"slices"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/doortest"
	"github.com/remora-proxy/remora/internal/extproc"
	"github.com/remora-proxy/remora/internal/session"
)

// fakeStream is an Envoy that sends its messages whatever it is told, as with FULL_DUPLEX_STREAMED, and keeps apart what it was told
// after each.
type fakeStream struct {
	grpc.ServerStream
	in  []*extprocv3.ProcessingRequest
	out [][]*extprocv3.ProcessingResponse
}

func (s *fakeStream) Context() context.Context { return context.Background() }

func (s *fakeStream) Recv() (*extprocv3.ProcessingRequest, error) {
	if len(s.out) == len(s.in) {
		return nil, io.EOF
	}
	s.out = append(s.out, nil)
	return s.in[len(s.out)-1], nil
}

func (s *fakeStream) Send(m *extprocv3.ProcessingResponse) error {
	s.out[len(s.out)-1] = append(s.out[len(s.out)-1], m)
	return nil
}

// lines describes what was told after each message; a stream that was refused ends with its status.
func (s *fakeStream) lines(p *extproc.Server) []string {
	err := p.Process(s)
	var lines []string
	for _, answers := range s.out {
		var texts []string
		for _, m := range answers {
			texts = append(texts, describe(m))
		}
		lines = append(lines, strings.Join(texts, " | "))
	}
	if err != nil {
		lines[len(lines)-1] += status.Code(err).String()
	}
	return lines
}

const duplex = filterv3.ProcessingMode_FULL_DUPLEX_STREAMED

// duplexHeaders is the message with a request's headers where both bodies come in FULL_DUPLEX_STREAMED.
func duplexHeaders(end bool, pairs ...string) *extprocv3.ProcessingRequest {
	m := headers(end, duplex, pairs...)
	m.ProtocolConfig.ResponseBodyMode = duplex
	return m
}

func piece(text string, end bool) *extprocv3.ProcessingRequest {
	return &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestBody{
		RequestBody: &extprocv3.HttpBody{Body: []byte(text), EndOfStream: end},
	}}
}

func responsePiece(text string, end bool) *extprocv3.ProcessingRequest {
	return &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseBody{
		ResponseBody: &extprocv3.HttpBody{Body: []byte(text), EndOfStream: end},
	}}
}

func trailers(names ...string) *extprocv3.ProcessingRequest {
	m := &corev3.HeaderMap{}
	for _, name := range names {
		m.Headers = append(m.Headers, &corev3.HeaderValue{Key: name, RawValue: []byte("1")})
	}
	return &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_RequestTrailers{
		RequestTrailers: &extprocv3.HttpTrailers{Trailers: m},
	}}
}

func TestBodiesInPieces(t *testing.T) {
	const (
		picked    = "x-remora-endpoint=127.0.1.1:8080, x-remora-service=backend-1, x-remora-session=new, x-gateway-destination-endpoint=127.0.1.1:8080, route anew, picked 127.0.1.1:8080"
		toAnn     = "headers, " + picked
		readToAnn = "headers, target=backend-1, x-user=ann, " + picked
		annBody   = `{"target":"backend-1","username":"ann"}`
	)
	isJSON := []string{"content-type", "application/json"}
	ann := []string{"target", "backend-1", "x-user", "ann"}
	join := slices.Concat[[]string]
	responseHeaders := &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: &extprocv3.HttpHeaders{}}}
	responseTrailers := &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseTrailers{ResponseTrailers: &extprocv3.HttpTrailers{}}}
	long := strings.Repeat("x", 150_000)
	for _, c := range []struct {
		name string
		say  []*extprocv3.ProcessingRequest
		want []string
	}{
		{"no body: the headers decide", []*extprocv3.ProcessingRequest{duplexHeaders(true, join(isJSON, ann)...)}, []string{toAnn}},
		{
			"the body is in one piece: the answer to the headers waits for it",
			[]*extprocv3.ProcessingRequest{duplexHeaders(false, isJSON...), piece(annBody, true)},
			[]string{"", readToAnn + ` | body "{\"target\":\"backend-1\",\"username\":\"ann\"}" and its end`},
		},
		{
			"the body is in pieces: it goes back whole",
			[]*extprocv3.ProcessingRequest{duplexHeaders(false, isJSON...), piece(annBody[:5], false), piece("", false), piece(annBody[5:20], false), piece(annBody[20:], true)},
			[]string{"", "", "", "", readToAnn + ` | body "{\"target\":\"backend-1\",\"username\":\"ann\"}" and its end`},
		},
		{
			"the end comes by itself",
			[]*extprocv3.ProcessingRequest{duplexHeaders(false, isJSON...), piece(annBody, false), piece("", true)},
			[]string{"", "", readToAnn + ` | body "{\"target\":\"backend-1\",\"username\":\"ann\"}" and its end`},
		},
		{
			"trailers end the body",
			[]*extprocv3.ProcessingRequest{duplexHeaders(false, isJSON...), piece(annBody, false), trailers("checksum")},
			[]string{"", "", readToAnn + ` | body "{\"target\":\"backend-1\",\"username\":\"ann\"}" | trailers`},
		},
		{
			"trailers end a body that is empty: the headers decide",
			[]*extprocv3.ProcessingRequest{duplexHeaders(false, join(isJSON, ann)...), trailers("checksum")},
			[]string{"", toAnn + " | trailers"},
		},
		{
			"a body that turns out to be empty: the headers decide",
			[]*extprocv3.ProcessingRequest{duplexHeaders(false, join(isJSON, ann)...), piece("", true)},
			[]string{"", toAnn + ` | body "" and its end`},
		},
		{
			"trailers that some servers would take for headers",
			[]*extprocv3.ProcessingRequest{duplexHeaders(false, ann...), trailers("x-user", "target", "x_user", "x-remora-session", "x-remora-q", "x-gateway-q", "x-other")},
			[]string{toAnn, "trailers, no x-user, no target, no x_user, no x-remora-session, no x-remora-q, no x-gateway-q"},
		},
		{
			"what need not be read passes through",
			[]*extprocv3.ProcessingRequest{duplexHeaders(false, ann...), piece("one", false), piece("", false), piece("two", true)},
			[]string{toAnn, `body "one"`, "", `body "two" and its end`},
		},
		{
			"large pieces go back in messages of 64 KiB",
			[]*extprocv3.ProcessingRequest{duplexHeaders(false, ann...), piece(long, false), piece(long[:65536], false), piece("", true)},
			[]string{toAnn, "body of 65536 bytes | body of 65536 bytes | body of 18928 bytes", "body of 65536 bytes", `body "" and its end`},
		},
		{
			"a body over the limit, announced: the headers decide at once",
			[]*extprocv3.ProcessingRequest{duplexHeaders(false, join(isJSON, ann, []string{"content-length", "70000"})...), piece(long[:70000], true)},
			[]string{toAnn, "body of 65536 bytes | body of 4464 bytes and its end"},
		},
		{
			"a body that grows over the limit: what was held goes back, the rest passes through",
			[]*extprocv3.ProcessingRequest{duplexHeaders(false, join(isJSON, ann)...), piece(long[:65536], false), piece("{", false), piece("}", true)},
			[]string{"", "", toAnn + ` | body of 65536 bytes | body "{"`, `body "}" and its end`},
		},
		{
			"a body that grows over the limit, and no header",
			[]*extprocv3.ProcessingRequest{duplexHeaders(false, isJSON...), piece(long[:65536], false), piece("{", false), piece("}", true)},
			[]string{"", "", "body_too_large", ""},
		},
		{
			"after a problem Envoy is told nothing",
			[]*extprocv3.ProcessingRequest{duplexHeaders(false, ":path", "/%00"), piece("x", true), trailers("checksum")},
			[]string{"bad_path", "", ""},
		},
		{"a bad body", []*extprocv3.ProcessingRequest{duplexHeaders(false, isJSON...), piece("{", false), piece("{", true)}, []string{"", "", "malformed_json"}},
		{
			"the response passes through",
			[]*extprocv3.ProcessingRequest{
				duplexHeaders(true, ann...), responseHeaders, responsePiece("one", false), responsePiece(long, false), responsePiece("", false), responsePiece("", true),
			},
			[]string{
				toAnn, "response headers", `response body "one"`, "response body of 65536 bytes | response body of 65536 bytes | response body of 18928 bytes", "",
				`response body "" and its end`,
			},
		},
		{
			"the response has trailers",
			[]*extprocv3.ProcessingRequest{duplexHeaders(true, ann...), responseHeaders, responsePiece("one", false), responseTrailers},
			[]string{toAnn, "response headers", `response body "one"`, "response trailers"},
		},
		{
			"a response comes before the request's end, as Envoy's own to a request that takes too long",
			[]*extprocv3.ProcessingRequest{duplexHeaders(false, isJSON...), responseHeaders, responsePiece("408", true)},
			[]string{"", "response headers", `response body "408" and its end`},
		},
		{
			"only the request comes so",
			[]*extprocv3.ProcessingRequest{headers(true, duplex, ann...), responseHeaders, responsePiece("whole", true)},
			[]string{toAnn, "response headers", "response body"},
		},
		{
			"an upgrade passes through in both directions",
			[]*extprocv3.ProcessingRequest{duplexHeaders(false, join(isJSON, ann, []string{"upgrade", "websocket"})...), responseHeaders, piece("ping", false), responsePiece("pong", false)},
			[]string{toAnn, "response headers", `body "ping"`, `response body "pong"`},
		},
		{"headers twice", []*extprocv3.ProcessingRequest{duplexHeaders(false, isJSON...), duplexHeaders(false, isJSON...)}, []string{"", "InvalidArgument"}},
		{"a piece without headers", []*extprocv3.ProcessingRequest{piece("x", false)}, []string{"FailedPrecondition"}},
		{"trailers without headers", []*extprocv3.ProcessingRequest{trailers()}, []string{"FailedPrecondition"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			// The second engine has a store that it has to wait for.
			for _, e := range []*affinity.Engine{newEngine(t), engineOn(t, doortest.NewStore(t), twoBackends())} {
				stream := &fakeStream{in: c.say}
				if got := stream.lines(newServer(t, e)); !slices.Equal(got, c.want) {
					t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(c.want, "\n\t"))
				}
			}
		})
	}
}

func newServer(t testing.TB, e *affinity.Engine) *extproc.Server {
	t.Helper()
	p, err := extproc.New(extproc.Config{Engine: e, Now: func() session.Instant { return 1_000_000 }})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// hint is the subset that the endpoint must be one of.
func hint(value *structpb.Value) *corev3.Metadata {
	return &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{
		"envoy.lb.subset_hint": {Fields: map[string]*structpb.Value{"x-gateway-destination-endpoint-subset": value}},
	}}
}

func TestTheSubsetHint(t *testing.T) {
	list := func(addrs ...string) *structpb.Value {
		l := &structpb.ListValue{}
		for _, addr := range addrs {
			l.Values = append(l.Values, structpb.NewStringValue(addr))
		}
		return structpb.NewListValue(l)
	}
	for _, c := range []struct {
		name string
		hint *corev3.Metadata
		want string // the endpoints, or a problem; with … for those after the first
	}{
		{"none", nil, "127.0.1.1:8080,…,…"},
		{"other metadata", &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"envoy.lb.subset_hint": {}}}, "127.0.1.1:8080,…,…"},
		{"a list of two", hint(list("127.0.1.3:8080", "127.0.1.1:8080")), "127.0.1.1:8080,127.0.1.3:8080"},
		{"a list", hint(list("127.0.9.9:1", "127.0.1.3:8080")), "127.0.1.3:8080"},
		{"a list in a text", hint(structpb.NewStringValue("127.0.9.9:1, 127.0.1.2:8080")), "127.0.1.2:8080"},
		{"an IPv6 address", hint(list("[2001:DB8::1]:8080")), "[2001:db8::1]:8080"},
		{"an IPv4 address as IPv6 has it", hint(list("[::ffff:127.0.1.2]:8080")), "127.0.1.2:8080"},
		{"nobody's address", hint(list("127.0.9.9:1")), "no_endpoint"},
		{"an empty list", hint(list()), "no_endpoint"},
		{"an empty text", hint(structpb.NewStringValue("")), "no_endpoint"},
		{"no list", hint(structpb.NewBoolValue(true)), "no_endpoint"},
		{"no addresses", hint(list("replica-1", "127.0.1.1")), "no_endpoint"},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := affinity.New(affinity.Options{Store: session.NewTable(session.Options{})})
			config := doortest.Config([]string{"127.0.1.1:8080", "127.0.1.2:8080", "127.0.1.3:8080", "[2001:db8::1]:8080"})
			config.Services[0].Endpoints[0].Weight = 1 << 30 // whoever is free to choose chooses the first
			snapshot, err := affinity.Compile(config)
			if err != nil {
				t.Fatal(err)
			}
			if err := e.Apply(snapshot, 1); err != nil {
				t.Fatal(err)
			}
			m := duplexHeaders(true, "target", "backend-1", "x-user", "ann")
			m.MetadataContext = c.hint
			got := (&fakeStream{in: []*extprocv3.ProcessingRequest{m}}).lines(newServer(t, e))[0]
			if _, picked, ok := strings.Cut(got, "picked "); ok {
				got = picked
			}
			addrs, want := strings.Split(got, ","), strings.Split(c.want, ",")
			same := func(addr, want string) bool { return addr == want || want == "…" }
			if !slices.EqualFunc(addrs, want, same) || len(slices.Compact(slices.Sorted(slices.Values(addrs)))) != len(addrs) {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
}
