package extproc_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/remora-proxy/remora/internal/doortest"
)

// grpcReplica is a replica that talks gRPC: it sends back each message, and first of all what it was told of the session.
func grpcReplica(t *testing.T) string {
	t.Helper()
	s := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		md, _ := metadata.FromIncomingContext(stream.Context())
		told := strings.Join(append(md.Get("x-user"), md.Get("x-remora-session")...), " ")
		if err := stream.SendMsg(wrapperspb.String(told)); err != nil {
			return err
		}
		for {
			m := new(wrapperspb.StringValue)
			switch err := stream.RecvMsg(m); {
			case errors.Is(err, io.EOF):
				return status.Error(codes.DataLoss, "the end") // goes to the client in the trailers
			case err != nil:
				return err
			}
			if err := stream.SendMsg(m); err != nil {
				return err
			}
		}
	}))
	ln := listen(t)
	go s.Serve(ln)
	t.Cleanup(s.Stop)
	return ln.Addr().String()
}

// call is a gRPC call of ann's, or of another user's.
func call(t *testing.T, d *door, contentSubtype string) grpc.ClientStream {
	t.Helper()
	ctx := metadata.AppendToOutgoingContext(t.Context(), "target", "backend-1", "x-user", "ann")
	stream, err := connect(t, d.addr).NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/test.Talk/Talk",
		grpc.CallContentSubtype(contentSubtype))
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

func hear(t *testing.T, stream grpc.ClientStream, want string) {
	t.Helper()
	m := new(wrapperspb.StringValue)
	if err := stream.RecvMsg(m); err != nil || m.GetValue() != want {
		t.Fatalf("got %.60q, %v; want %.60q", m.GetValue(), err, want)
	}
}

// TestGRPC is a call in which both sides speak in turn: nobody may wait for the end of the body.
func TestGRPC(t *testing.T) {
	for _, mode := range bodyModes {
		t.Run(mode.name, func(t *testing.T) {
			c := doortest.Config([]string{grpcReplica(t), grpcReplica(t)})
			c.Services[0].HTTP2 = true
			d := newDoor(t, c, mode.change...)
			first := call(t, d, "")
			hear(t, first, "ann new")
			for _, word := range []string{"one", strings.Repeat("x", 1_000_000), ""} {
				if err := first.SendMsg(wrapperspb.String(word)); err != nil {
					t.Fatal(err)
				}
				hear(t, first, word)
				d.pass(5 * time.Minute)
				d.waitInFlight(t, 1)
			}
			second := call(t, d, "")
			hear(t, second, "ann existing")
			for _, stream := range []grpc.ClientStream{second, first} {
				if err := stream.CloseSend(); err != nil {
					t.Fatal(err)
				}
				if err := stream.RecvMsg(new(wrapperspb.StringValue)); status.Code(err) != codes.DataLoss {
					t.Errorf("the call ended with %v, want what the replica said in its trailers", err)
				}
			}
			d.waitInFlight(t, 0)
			d.pass(time.Minute)
			hear(t, call(t, d, ""), "ann new")
		})
	}
}

// withoutRetries takes the routes' retries away: with FULL_DUPLEX_STREAMED, Envoy 1.40 sends the body of a request that has trailers
// twice where a route has them.
var withoutRetries = []string{"retry_on: connect-failure,refused-stream,reset-before-request", "retry_on: ''"}

// TestHTTP2 is requests of HTTP/2 without TLS, the body of which ends with trailers or without, and whose response has trailers.
func TestHTTP2(t *testing.T) {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	ln := listen(t)
	srv := &http.Server{Protocols: protocols, ReadHeaderTimeout: patience, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		w.Header().Set("Trailer", "X-Sum")
		fmt.Fprintf(w, "%s %s %s %d %v, trailers %v", r.Proto, r.Header.Get("X-User"), r.Header.Get("X-Remora-Session"), n, err, r.Trailer)
		w.Header().Set("X-Sum", "sum")
	})}
	go srv.Serve(ln)
	t.Cleanup(func() { srv.Close() })

	const ann = `{"target":"backend-1","username":"ann"}`
	for _, mode := range bodyModes {
		c := doortest.Config([]string{ln.Addr().String()})
		c.Services[0].HTTP2 = true
		d := newDoor(t, c, append(withoutRetries, mode.change...)...)
		transport := &http.Transport{Protocols: protocols}
		t.Cleanup(transport.CloseIdleConnections)
		for _, request := range []struct {
			name     string
			body     string
			trailers http.Header
			want     string
		}{
			{"a body", ann, nil, "HTTP/2.0 ann new 39 <nil>, trailers map[]"},
			{"a body, and trailers", ann, http.Header{"X-Client": {"1"}}, "HTTP/2.0 ann new 39 <nil>, trailers map[X-Client:[1]]"},
			{"a body over the limit, and trailers", ann + strings.Repeat(" ", 100_000), http.Header{"X-Client": {"1"}}, "HTTP/2.0 bob new 100039 <nil>, trailers map[X-Client:[1]]"},
			{"an empty body, and trailers", "", http.Header{"X-Client": {"1"}}, map[bool]string{
				true:  "HTTP/2.0 bob new 0 <nil>, trailers map[X-Client:[1]]",
				false: "malformed_json", // Envoy sends no empty body to the processor, and with the trailers it is too late
			}[mode.name == "FULL_DUPLEX_STREAMED"]},
		} {
			t.Run(request.name+", "+mode.name, func(t *testing.T) {
				d.pass(time.Hour)
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+d.addr+"/", io.MultiReader(strings.NewReader(request.body))) // of unknown length
				if err != nil {
					t.Fatal(err)
				}
				req.ContentLength, req.Trailer = -1, request.trailers
				req.Header = http.Header{"Content-Type": {"application/json"}, "Target": {"backend-1"}, "X-User": {"bob"}}
				resp, err := transport.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				text, err := io.ReadAll(resp.Body)
				if resp.StatusCode == http.StatusBadRequest && strings.Contains(string(text), request.want) {
					return
				}
				if err != nil || resp.StatusCode != http.StatusOK || string(text) != request.want {
					t.Errorf("got %d %q, %v; want %q", resp.StatusCode, text, err, request.want)
				}
				if resp.Trailer.Get("X-Sum") != "sum" {
					t.Errorf("the response's trailers are %v", resp.Trailer)
				}
				d.waitInFlight(t, 0)
			})
		}
	}
}
