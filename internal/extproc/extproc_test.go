package extproc_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/doortest"
	"github.com/remora-proxy/remora/internal/extproc"
	"github.com/remora-proxy/remora/internal/session"
)

const buffered = filterv3.ProcessingMode_BUFFERED

// newEngine makes an engine with the use case: backend-1 has a replica, backend-2 has none.
func newEngine(t *testing.T) *affinity.Engine {
	t.Helper()
	return engineOf(t, twoBackends())
}

func twoBackends() affinity.Config { return doortest.Config([]string{"127.0.1.1:8080"}, nil) }

func engineOf(t *testing.T, c affinity.Config) *affinity.Engine {
	t.Helper()
	return engineOn(t, session.NewTable(session.Options{}), c)
}

func engineOn(t *testing.T, store session.Store, c affinity.Config) *affinity.Engine {
	t.Helper()
	e := affinity.New(affinity.Options{Store: store})
	snapshot, err := affinity.Compile(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Apply(snapshot, 1); err != nil {
		t.Fatal(err)
	}
	return e
}

// connect is an Envoy's connection to a processor.
func connect(t *testing.T, addr string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// open begins a request.
func open(t *testing.T, conn *grpc.ClientConn, pairs ...string) extprocv3.ExternalProcessor_ProcessClient {
	t.Helper()
	stream, err := extprocv3.NewExternalProcessorClient(conn).Process(metadata.AppendToOutgoingContext(t.Context(), pairs...))
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

// headers is the message with a request's headers: name, value, name, value …
func headers(end bool, mode filterv3.ProcessingMode_BodySendMode, pairs ...string) *extprocv3.ProcessingRequest {
	all := append([]string{":method", "POST", ":path", "/", ":authority", "door", ":scheme", "http"}, pairs...)
	m := &corev3.HeaderMap{}
	for i := 0; i < len(all); i += 2 {
		m.Headers = append(m.Headers, &corev3.HeaderValue{Key: all[i], RawValue: []byte(all[i+1])})
	}
	return &extprocv3.ProcessingRequest{
		Request:        &extprocv3.ProcessingRequest_RequestHeaders{RequestHeaders: &extprocv3.HttpHeaders{Headers: m, EndOfStream: end}},
		ProtocolConfig: &extprocv3.ProtocolConfiguration{RequestBodyMode: mode},
	}
}

func bodyOf(text string) *extprocv3.ProcessingRequest {
	return &extprocv3.ProcessingRequest{
		Request: &extprocv3.ProcessingRequest_RequestBody{RequestBody: &extprocv3.HttpBody{Body: []byte(text), EndOfStream: true}},
	}
}

// say sends messages and describes the answers, one line each.
func say(t *testing.T, stream extprocv3.ExternalProcessor_ProcessClient, messages ...*extprocv3.ProcessingRequest) []string {
	t.Helper()
	var lines []string
	for _, m := range messages {
		if err := stream.Send(m); err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		out, err := stream.Recv()
		if err != nil {
			return append(lines, status.Code(err).String())
		}
		lines = append(lines, describe(out))
	}
	return lines
}

func describe(out *extprocv3.ProcessingResponse) string {
	var line string
	var r *extprocv3.CommonResponse
	switch m := out.GetResponse().(type) {
	case *extprocv3.ProcessingResponse_ImmediateResponse:
		_, code, _ := strings.Cut(string(m.ImmediateResponse.GetBody()), `"code":"`)
		code, _, _ = strings.Cut(code, `"`)
		return code
	case *extprocv3.ProcessingResponse_RequestHeaders:
		line, r = "headers", m.RequestHeaders.GetResponse()
	case *extprocv3.ProcessingResponse_RequestBody:
		line, r = "body", m.RequestBody.GetResponse()
	case *extprocv3.ProcessingResponse_ResponseHeaders:
		line = "response headers"
	case *extprocv3.ProcessingResponse_ResponseBody:
		line, r = "response body", m.ResponseBody.GetResponse()
	case *extprocv3.ProcessingResponse_RequestTrailers:
		line = "trailers"
		for _, name := range m.RequestTrailers.GetHeaderMutation().GetRemoveHeaders() {
			line += ", no " + name
		}
	case *extprocv3.ProcessingResponse_ResponseTrailers:
		line = "response trailers"
	}
	if p := r.GetBodyMutation().GetStreamedResponse(); p != nil {
		line += " " + short(p.GetBody())
		if p.GetEndOfStream() {
			line += " and its end"
		}
	}
	switch m := out.GetModeOverride(); {
	case m == nil:
	case m.GetRequestBodyMode() == buffered:
		line += ", body wanted"
	default:
		line += ", body not wanted"
	}
	if r == nil {
		return line
	}
	for _, h := range r.GetHeaderMutation().GetSetHeaders() {
		value := string(h.GetHeader().GetRawValue())
		if h.GetHeader().GetKey() == extproc.EndpointHeader {
			if plain, err := base64.StdEncoding.DecodeString(value); err == nil {
				value = string(plain)
			}
		}
		line += ", " + h.GetHeader().GetKey() + "=" + value
	}
	for _, name := range r.GetHeaderMutation().GetRemoveHeaders() {
		line += ", no " + name
	}
	if r.GetClearRouteCache() {
		line += ", route anew"
	}
	if picked := out.GetDynamicMetadata().GetFields()["envoy.lb"].GetStructValue().GetFields()[extproc.PickedKey]; picked != nil {
		line += ", picked " + picked.GetStringValue()
	}
	return line
}

// short is a body, or how long it is.
func short(body []byte) string {
	if len(body) > 60 {
		return fmt.Sprintf("of %d bytes", len(body))
	}
	return strconv.Quote(string(body))
}

func TestWhatEnvoyIsTold(t *testing.T) {
	const (
		toAnn   = "x-remora-endpoint=127.0.1.1:8080, x-remora-service=backend-1, x-remora-session=new, route anew"
		annBody = `{"target":"backend-1","username":"ann"}`
	)
	isJSON := []string{"content-type", "application/json"}
	ann := []string{"target", "backend-1", "x-user", "ann"}
	join := slices.Concat[[]string]
	responseHeaders := &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseHeaders{ResponseHeaders: &extprocv3.HttpHeaders{}}}
	responseTrailers := &extprocv3.ProcessingRequest{Request: &extprocv3.ProcessingRequest_ResponseTrailers{ResponseTrailers: &extprocv3.HttpTrailers{}}}
	for _, c := range []struct {
		name string
		say  []*extprocv3.ProcessingRequest
		want []string
	}{
		{"no body: the headers decide", []*extprocv3.ProcessingRequest{headers(true, buffered, join(isJSON, ann)...)}, []string{"headers, body not wanted, " + toAnn}},
		{"an empty body", []*extprocv3.ProcessingRequest{headers(false, buffered, join(isJSON, ann, []string{"content-length", "0"})...)}, []string{"headers, body not wanted, " + toAnn}},
		{"a body that is not JSON", []*extprocv3.ProcessingRequest{headers(false, buffered, ann...)}, []string{"headers, body not wanted, " + toAnn}},
		{
			"the body decides, over the headers",
			[]*extprocv3.ProcessingRequest{headers(false, buffered, join(isJSON, []string{"target", "backend-2", "x-user", "bob"})...), bodyOf(annBody)},
			[]string{"headers, body wanted", "body, target=backend-1, x-user=ann, " + toAnn},
		},
		{
			"a body over the limit, announced",
			[]*extprocv3.ProcessingRequest{headers(false, buffered, join(isJSON, ann, []string{"content-length", "70000"})...)},
			[]string{"headers, body not wanted, " + toAnn},
		},
		{
			"a body over the limit, not announced",
			[]*extprocv3.ProcessingRequest{headers(false, buffered, join(isJSON, ann)...), bodyOf(strings.Repeat(" ", 70000))},
			[]string{"headers, body wanted", "body, " + toAnn},
		},
		{"a body over the limit, and no header", []*extprocv3.ProcessingRequest{headers(false, buffered, join(isJSON, []string{"content-length", "70000"})...)}, []string{"body_too_large"}},
		{"an upgrade", []*extprocv3.ProcessingRequest{headers(false, buffered, join(isJSON, ann, []string{"upgrade", "websocket"})...)}, []string{"headers, body not wanted, " + toAnn}},
		{
			"an upgrade with a body",
			[]*extprocv3.ProcessingRequest{headers(false, buffered, join(isJSON, []string{"upgrade", "websocket", "content-length", "39"})...), bodyOf(annBody)},
			[]string{"headers, body wanted", "body, target=backend-1, x-user=ann, " + toAnn},
		},
		{"a bad body", []*extprocv3.ProcessingRequest{headers(false, buffered, isJSON...), bodyOf("{")}, []string{"headers, body wanted", "malformed_json"}},
		{"a bad path", []*extprocv3.ProcessingRequest{headers(true, buffered, ":path", "/%00")}, []string{"bad_path"}},
		{"no route", []*extprocv3.ProcessingRequest{headers(true, buffered)}, []string{"no_route"}},
		{"no endpoint", []*extprocv3.ProcessingRequest{headers(true, buffered, "target", "backend-2")}, []string{"no_endpoint"}},
		{"two content types that Envoy has joined", []*extprocv3.ProcessingRequest{headers(false, buffered, "content-type", "text/plain,application/json", "target", "backend-1")}, []string{"duplicate_header"}},
		{
			"a comma in a content type's parameter is no second one",
			[]*extprocv3.ProcessingRequest{headers(true, buffered, join(ann, []string{"content-type", `multipart/mixed; boundary="a,b"`})...)},
			[]string{"headers, body not wanted, " + toAnn},
		},
		{
			"forged headers are taken away",
			[]*extprocv3.ProcessingRequest{headers(true, buffered, "target", "backend-1", "x-remora-session", "moved", "x-remora-q", "1", "x_user", "ann")},
			[]string{"headers, body not wanted, x-remora-endpoint=127.0.1.1:8080, x-remora-service=backend-1, no x-remora-session, no x-remora-q, no x_user, route anew"},
		},
		{
			"a path that is not in normal form",
			[]*extprocv3.ProcessingRequest{headers(true, buffered, ":path", "/a/../b?c=..", "target", "backend-1")},
			[]string{"headers, body not wanted, x-remora-endpoint=127.0.1.1:8080, x-remora-service=backend-1, :path=/b?c=.., route anew"},
		},
		{
			"what comes after the decision is waved through",
			[]*extprocv3.ProcessingRequest{headers(false, buffered, ann...), bodyOf("text"), responseHeaders, responseTrailers},
			[]string{"headers, body not wanted, " + toAnn, "body", "response headers", "response trailers"},
		},
		{
			"trailers behind an empty body, which Envoy does not send",
			[]*extprocv3.ProcessingRequest{headers(false, buffered, join(isJSON, ann)...), trailers("checksum")},
			[]string{"headers, body wanted", "malformed_json"},
		},
		{
			"a body is needed that is not sent: it is asked for",
			[]*extprocv3.ProcessingRequest{headers(false, filterv3.ProcessingMode_NONE, isJSON...), bodyOf(annBody)},
			[]string{"headers, body wanted", "body, target=backend-1, x-user=ann, " + toAnn},
		},
		{"bodies are not sent, and need not be", []*extprocv3.ProcessingRequest{headers(false, filterv3.ProcessingMode_NONE, ann...)}, []string{"headers, body not wanted, " + toAnn}},
		{"a body is needed that comes in pieces", []*extprocv3.ProcessingRequest{headers(false, filterv3.ProcessingMode_STREAMED, isJSON...)}, []string{"FailedPrecondition"}},
		{"a body without headers", []*extprocv3.ProcessingRequest{bodyOf(annBody)}, []string{"FailedPrecondition"}},
		{"headers twice", []*extprocv3.ProcessingRequest{headers(true, buffered, ann...), headers(true, buffered, ann...)}, []string{"headers, body not wanted, " + toAnn, "InvalidArgument"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, e := range []*affinity.Engine{newEngine(t), engineOn(t, doortest.NewStore(t), twoBackends())} {
				stream := open(t, connect(t, serve(t, extproc.Config{Engine: e})))
				if got := say(t, stream, c.say...); !slices.Equal(got, c.want) {
					t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(c.want, "\n\t"))
				}
			}
		})
	}
}

// TestOtherSpellingsOfWhatDecidesAreTakenAway has headers that CGI makes the same as one that decides, or that says where the body ends.
func TestOtherSpellingsOfWhatDecidesAreTakenAway(t *testing.T) {
	c := doortest.Config([]string{"127.0.1.1:8080"})
	c.Listeners[0].Promote = append(c.Listeners[0].Promote, affinity.Promotion{Field: "room", Header: "x-room"})
	stream := open(t, connect(t, serve(t, extproc.Config{Engine: engineOf(t, c)})))
	got := say(t, stream, headers(true, buffered, "target", "backend-1", "x-room", "1", "x_room", "2", "content_length", "3", "transfer_encoding", "chunked", "x_other", "4"))
	const want = "headers, body not wanted, x-remora-endpoint=127.0.1.1:8080, x-remora-service=backend-1, no x_room, no content_length, no transfer_encoding, route anew"
	if got[0] != want {
		t.Errorf("got\n\t%s\nwant\n\t%s", got[0], want)
	}
}

func TestThePortIsThatOfTheMetadata(t *testing.T) {
	conn := connect(t, serve(t, extproc.Config{Engine: newEngine(t), Port: 8443}))
	ask := headers(true, filterv3.ProcessingMode_BUFFERED, "target", "backend-1")
	for _, c := range []struct {
		name     string
		metadata []string
		want     string
	}{
		{"none: the configured one, which has no routes", nil, "no_route"},
		{"a port", []string{extproc.PortMetadata, "80"}, "headers, body not wanted, x-remora-endpoint=127.0.1.1:8080, x-remora-service=backend-1, route anew"},
		{"no port", []string{extproc.PortMetadata, "http"}, "InvalidArgument"},
		{"port 0", []string{extproc.PortMetadata, "0"}, "InvalidArgument"},
		{"two ports", []string{extproc.PortMetadata, "80", extproc.PortMetadata, "81"}, "InvalidArgument"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := say(t, open(t, conn, c.metadata...), ask); got[0] != c.want {
				t.Errorf("got %s, want %s", got[0], c.want)
			}
		})
	}
}

func TestThereIsALimitOnRequestsInFlight(t *testing.T) {
	addr := serve(t, extproc.Config{Engine: newEngine(t), MaxRequests: 1})
	ask := headers(true, filterv3.ProcessingMode_BUFFERED, "target", "backend-1")
	first := open(t, connect(t, addr))
	if got := say(t, first, ask); !strings.HasPrefix(got[0], "headers") {
		t.Fatalf("the first got %s", got[0])
	}
	if got := say(t, open(t, connect(t, addr)), ask); got[0] != "overloaded" { // a connection of its own: each has as many streams
		t.Errorf("the second got %s", got[0])
	}
}

func TestFurtherServicesAreServedAtTheSameAddress(t *testing.T) {
	addr := serve(t, extproc.Config{Engine: newEngine(t), Services: func(r grpc.ServiceRegistrar) {
		r.RegisterService(&grpc.ServiceDesc{ServiceName: "further", HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{{
			MethodName: "Ask",
			Handler: func(any, context.Context, func(any) error, grpc.UnaryServerInterceptor) (any, error) {
				return &healthv1.HealthCheckResponse{Status: healthv1.HealthCheckResponse_SERVING}, nil
			},
		}}}, nil)
	}})
	var answer healthv1.HealthCheckResponse
	if err := connect(t, addr).Invoke(t.Context(), "/further/Ask", &healthv1.HealthCheckRequest{}, &answer); err != nil {
		t.Fatal(err)
	}
	if answer.GetStatus() != healthv1.HealthCheckResponse_SERVING {
		t.Errorf("the service answers %v", answer.GetStatus())
	}
}

func TestWithoutAConfigurationRequestsAreForOthers(t *testing.T) {
	p, err := extproc.New(extproc.Config{Engine: newEngine(t)})
	if err != nil {
		t.Fatal(err)
	}
	p.Pause()
	conn := connect(t, run(t, p))
	for _, c := range []struct {
		change func()
		health healthv1.HealthCheckResponse_ServingStatus
		answer string
	}{
		{func() {}, healthv1.HealthCheckResponse_NOT_SERVING, "Unavailable"},
		{p.Resume, healthv1.HealthCheckResponse_SERVING, "headers"},
		{p.Pause, healthv1.HealthCheckResponse_NOT_SERVING, "Unavailable"},
	} {
		c.change()
		for service, want := range map[string]healthv1.HealthCheckResponse_ServingStatus{
			"": c.health, extprocv3.ExternalProcessor_ServiceDesc.ServiceName: c.health, "readiness": c.health,
			"liveness": healthv1.HealthCheckResponse_SERVING,
		} {
			is, err := healthv1.NewHealthClient(conn).Check(t.Context(), &healthv1.HealthCheckRequest{Service: service})
			if err != nil || is.GetStatus() != want {
				t.Errorf("the health of %q is %v, %v, want %v", service, is.GetStatus(), err, want)
			}
		}
		if got := say(t, open(t, conn), headers(true, filterv3.ProcessingMode_BUFFERED, "target", "backend-1")); !strings.HasPrefix(got[0], c.answer) {
			t.Errorf("got %s, want %s", got[0], c.answer)
		}
	}
}

func TestAFaultEndsOneRequest(t *testing.T) {
	var faulty atomic.Bool
	conn := connect(t, serve(t, extproc.Config{Engine: newEngine(t), Now: func() session.Instant {
		if faulty.Load() {
			panic("a fault")
		}
		return 1
	}}))
	ask := headers(true, filterv3.ProcessingMode_BUFFERED, "target", "backend-1")
	other := open(t, conn)
	if got := say(t, other, headers(false, filterv3.ProcessingMode_BUFFERED, "content-type", "application/json")); got[0] != "headers, body wanted" {
		t.Fatalf("got %s", got[0])
	}
	faulty.Store(true)
	if got := say(t, open(t, conn), ask); got[0] != "Internal" {
		t.Errorf("the request with the fault got %s", got[0])
	}
	faulty.Store(false)
	if got := say(t, other, bodyOf(`{"target":"backend-1"}`)); !strings.HasPrefix(got[0], "body, target=backend-1") {
		t.Errorf("the other one got %s", got[0])
	}
}

func TestShutdownWaitsForRequestsInFlight(t *testing.T) {
	p, err := extproc.New(extproc.Config{Engine: newEngine(t)})
	if err != nil {
		t.Fatal(err)
	}
	ln := listen(t)
	served := make(chan error, 1)
	go func() { served <- p.Serve(ln) }()
	conn := connect(t, ln.Addr().String())
	health, err := healthv1.NewHealthClient(conn).Watch(t.Context(), &healthv1.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if is, err := health.Recv(); err != nil || is.GetStatus() != healthv1.HealthCheckResponse_SERVING {
		t.Fatalf("the health is %v, %v", is, err)
	}
	stream := open(t, conn)
	const want = "headers, body wanted"
	if got := say(t, stream, headers(false, filterv3.ProcessingMode_BUFFERED, "content-type", "application/json")); got[0] != want {
		t.Fatalf("got %s", got[0])
	}
	stopped := make(chan error, 1)
	go func() { stopped <- p.Shutdown(context.Background()) }()
	// A watch of the health ends, for it would end by itself only when its connection does. It may say why before.
	if is, err := health.Recv(); err == nil && is.GetStatus() != healthv1.HealthCheckResponse_NOT_SERVING {
		t.Fatalf("the health is %v", is)
	}
	if got := say(t, stream, bodyOf(`{"target":"backend-1"}`)); !strings.HasPrefix(got[0], "body, target=backend-1") {
		t.Errorf("while it stops, the request in flight got %s", got[0])
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := stream.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("the stream ended with %v", err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestShutdownCutsOffWhatTakesTooLong(t *testing.T) {
	p, err := extproc.New(extproc.Config{Engine: newEngine(t)})
	if err != nil {
		t.Fatal(err)
	}
	ln := listen(t)
	served := make(chan error, 1)
	go func() { served <- p.Serve(ln) }()
	stream := open(t, connect(t, ln.Addr().String()))
	say(t, stream, headers(true, filterv3.ProcessingMode_BUFFERED, "target", "backend-1"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := p.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	if _, err := stream.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("the stream ended with %v", err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}
