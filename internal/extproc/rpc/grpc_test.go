package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func text(s string) *wrapperspb.StringValue { return wrapperspb.String(s) }

// connect is grpc-go's client.
func connect(t *testing.T, addr string, options ...grpc.DialOption) *grpc.ClientConn {
	t.Helper()
	options = append([]grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}, options...)
	conn, err := grpc.NewClient(addr, options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func newStream(t *testing.T, conn *grpc.ClientConn, method string) grpc.ClientStream {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, method)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// slow is a service of grpc-go's kind: a stream that echoes, one that says much, and a method.
var slow = grpc.ServiceDesc{
	ServiceName: "test.Slow",
	HandlerType: (*any)(nil),
	Methods: []grpc.MethodDesc{{MethodName: "Hello", Handler: func(_ any, ctx context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		in := text("")
		if err := dec(in); err != nil {
			return nil, err
		}
		if in.GetValue() == "" {
			return nil, status.Error(codes.NotFound, "nobody")
		}
		md, _ := metadata.FromIncomingContext(ctx)
		_, isPeerKnown := peer.FromContext(ctx)
		return text(fmt.Sprint("hello ", in.GetValue(), md.Get("from"), []byte(md.Get("x-bin")[0]), isPeerKnown)), nil
	}}},
	Streams: []grpc.StreamDesc{
		{StreamName: "Echo", Handler: func(_ any, s grpc.ServerStream) error {
			if err := s.SetHeader(metadata.Pairs("h", "1")); err != nil {
				return err
			}
			s.SetTrailer(metadata.Pairs("t-bin", "\x00\xff"))
			for {
				m := text("")
				if err := s.RecvMsg(m); err != nil {
					if errors.Is(err, io.EOF) {
						return nil
					}
					return err
				}
				if err := s.SendMsg(m); err != nil {
					return err
				}
			}
		}},
		{StreamName: "Forever", Handler: func(_ any, s grpc.ServerStream) error {
			if err := s.SendHeader(nil); err != nil {
				return err
			}
			<-s.Context().Done()
			return s.Context().Err()
		}},
	},
}

func register(s *Server) { s.RegisterService(&slow, nil) }

// TestMessagesOfEverySizeComeBack sends them all before it reads any, so that windows are exhausted in both directions.
func TestMessagesOfEverySizeComeBack(t *testing.T) {
	s := start(t, config(), register)
	var messages []string
	for i, size := range []int{0, 1, 100, maxFrame - 10, maxFrame, maxFrame + 1, firstWindow, streamWindow - 7, streamWindow, streamWindow + 1, 1 << 19, 1<<20 - 10, 3} {
		messages = append(messages, strings.Repeat(string(rune('a'+i)), size))
	}
	for _, method := range []string{echoMethod, "/test.Slow/Echo"} {
		t.Run(method, func(t *testing.T) {
			conn := connect(t, s.addr)
			var all sync.WaitGroup
			for range 4 {
				st := newStream(t, conn, method)
				all.Go(func() {
					for _, m := range messages {
						if err := st.SendMsg(text(m)); err != nil {
							t.Error(err)
						}
					}
					if err := st.CloseSend(); err != nil {
						t.Error(err)
					}
				})
				all.Go(func() {
					for i, m := range messages {
						got := text("")
						if err := st.RecvMsg(got); err != nil || got.GetValue() != m {
							t.Errorf("message %d: got %d bytes, %v", i, len(got.GetValue()), err)
							return
						}
					}
					if err := st.RecvMsg(text("")); !errors.Is(err, io.EOF) {
						t.Errorf("at the end: %v", err)
					}
				})
			}
			all.Wait()
		})
	}
}

func TestServicesOfGRPCGoAreServed(t *testing.T) {
	s := start(t, config(), register, func(s *Server) { healthv1.RegisterHealthServer(s, health.NewServer()) })
	conn := connect(t, s.addr)
	ctx := metadata.AppendToOutgoingContext(t.Context(), "from", "ann", "x-bin", "\x00\x01")
	got := text("")
	if err := conn.Invoke(ctx, "/test.Slow/Hello", text("you"), got); err != nil || got.GetValue() != "hello you[ann] [0 1] true" {
		t.Errorf("got %q, %v", got.GetValue(), err)
	}
	if err := conn.Invoke(ctx, "/test.Slow/Hello", text(""), got); status.Code(err) != codes.NotFound || status.Convert(err).Message() != "nobody" {
		t.Errorf("got %v", err)
	}
	if err := conn.Invoke(ctx, "/test.Slow/None", text(""), got); status.Code(err) != codes.Unimplemented {
		t.Errorf("got %v", err)
	}
	if err := conn.Invoke(ctx, "/test.Slow/Hello", text("you"), got, grpc.UseCompressor("gzip")); status.Code(err) == codes.OK {
		t.Error("a compressed call was served")
	}
	is, err := healthv1.NewHealthClient(conn).Check(t.Context(), &healthv1.HealthCheckRequest{})
	if err != nil || is.GetStatus() != healthv1.HealthCheckResponse_SERVING {
		t.Errorf("the health is %v, %v", is, err)
	}
	st := newStream(t, conn, "/test.Slow/Echo")
	st.SendMsg(text("x"))
	st.CloseSend()
	var err2 error
	for err2 == nil {
		err2 = st.RecvMsg(got)
	}
	if !errors.Is(err2, io.EOF) {
		t.Errorf("at the end: %v", err2)
	}
	if md, err := st.Header(); err != nil || md.Get("h")[0] != "1" {
		t.Errorf("the header is %v, %v", md, err)
	}
	if md := st.Trailer(); len(md.Get("t-bin")) != 1 || md.Get("t-bin")[0] != "\x00\xff" {
		t.Errorf("the trailer is %v", md)
	}
}

func TestACallThatItsClientCancelsEnds(t *testing.T) {
	ended := make(chan error, 1)
	s := start(t, config(), func(s *Server) {
		s.RegisterService(&grpc.ServiceDesc{ServiceName: "test.Wait", HandlerType: (*any)(nil), Streams: []grpc.StreamDesc{{StreamName: "Wait", Handler: func(_ any, s grpc.ServerStream) error {
			err := s.RecvMsg(text(""))
			ended <- err
			return err
		}}}}, nil)
	})
	ctx, cancel := context.WithCancel(t.Context())
	if _, err := connect(t, s.addr).NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/test.Wait/Wait"); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(patience); s.running() == 0; {
		if time.Now().After(deadline) {
			t.Fatal("the call does not begin")
		}
	}
	cancel()
	if err := <-ended; status.Code(err) != codes.Canceled {
		t.Errorf("the service heard %v", err)
	}
}

// running is the number of services' goroutines.
func (s *served) running() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.mu.Lock()
		n += c.running
		c.mu.Unlock()
	}
	return n
}

func TestTLSNeedsHTTP2(t *testing.T) {
	certificates := httptest.NewUnstartedServer(nil)
	certificates.StartTLS()
	defer certificates.Close()
	c := config()
	c.TLS = &tls.Config{Certificates: certificates.TLS.Certificates, NextProtos: []string{http2.NextProtoTLS}, MinVersion: tls.VersionTLS12}
	s := start(t, c, register)
	trust := &tls.Config{InsecureSkipVerify: true}
	st := newStream(t, connect(t, s.addr, grpc.WithTransportCredentials(credentials.NewTLS(trust))), echoMethod)
	st.SendMsg(text("hi"))
	got := text("")
	if err := st.RecvMsg(got); err != nil || got.GetValue() != "hi" {
		t.Errorf("got %q, %v", got.GetValue(), err)
	}
	conn, err := tls.Dial("tcp", s.addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, http2.ClientPreface)
	if b, _ := io.ReadAll(conn); len(b) > 0 {
		t.Errorf("a client that did not negotiate HTTP/2 was sent %q", b)
	}
}
