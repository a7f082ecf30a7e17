package extproc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/extproc/rpc"
	"github.com/remora-proxy/remora/internal/session"
)

// The headers that carry a decision from this package to Envoy's other filters.
const (
	// EndpointHeader is the default name of the header with the endpoint: base64 of ip:port, as Envoy's header-based session state
	// has it.
	EndpointHeader = "x-remora-endpoint"
	// ServiceHeader has the name of the service, as in the configuration: "backend-1.default.svc.cluster.local:8080".
	ServiceHeader = "x-remora-service"
)

// PortMetadata is the gRPC metadata (initial_metadata in Envoy's configuration of the filter) that says which port of a Gateway's
// server the requests came in through, where that is not Config.Port.
const PortMetadata = "x-remora-port"

// RetriesMetadata is the gRPC metadata of the reporting filter where Envoy changes the session header itself on a retry, from
// "existing" to "moved". Its value has no meaning.
const RetriesMetadata = "x-remora-retries"

// Bounds of the gRPC server that are nobody's choice.
const (
	maxConnections   = 4096    // Envoy opens one for each of its workers, and more when one is full of streams
	maxMessage       = 2 << 20 // bytes: a body as large as Envoy buffers by default (1 MiB), or its headers
	maxMetadata      = 64 << 10
	handshakeTimeout = 10 * time.Second
	pingAfter        = 30 * time.Second // without a sign of life from Envoy
	pingTimeout      = 10 * time.Second // then its connection is closed, and what its requests hold is released
)

// DefaultMaxHeld is the default of Config.MaxHeld.
const DefaultMaxHeld = 1 << 30

// Config is what a Server is made of. Only Engine is required; a zero field means its default.
type Config struct {
	Engine *affinity.Engine
	// Port is the port of the Gateway's server that requests belong to when the stream's metadata does not say; default 80.
	Port uint16
	// EndpointHeader is the header that the filter stateful_session reads; default EndpointHeader.
	EndpointHeader string
	// PlainEndpoint has that header say ip:port as it is, which Envoy's load balancing policy override_host reads; otherwise it is in
	// base64, for the filter stateful_session.
	PlainEndpoint bool
	// MaxRequests is the number of requests in flight, each of which has a stream; default 65,536. More get 503.
	MaxRequests int
	// MaxHeld is how many bytes all requests together may hold of unfinished messages and of answers that Envoys do not take, and
	// as many again of bodies in pieces that are not decided, and of messages whose decision waits; default DefaultMaxHeld. Requests beyond it fail, or get 503.
	MaxHeld int64
	// MaxWaiting is how many decisions, and reports of what Envoys did with them, may wait for a store that gateways share; default 1,024. More
	// are made without asking it.
	MaxWaiting int
	// TLS, when it is set, is how Envoys must connect; otherwise they do without encryption. It must offer h2.
	TLS *tls.Config
	// Services, when it is set, registers further gRPC services, which Envoys find at the same addresses. When the server
	// stops, the contexts of their streams end, and they must return.
	Services func(grpc.ServiceRegistrar)
	// Now is the time that decisions are made at; the default is the time of day.
	Now func() session.Instant
	// Log takes what an operator should know; the default is to say nothing.
	Log *slog.Logger
}

// Server is an external processor. Make it with New.
type Server struct {
	engine         *affinity.Engine
	port           uint16
	endpointHeader string
	plainEndpoint  bool
	maxRequests    int64
	maxHeld        int64
	maxWaiting     int64
	now            func() session.Instant
	log            *slog.Logger

	rpc     *rpc.Server
	health  *health.Server
	paused  atomic.Bool
	held    atomic.Int64 // bytes of bodies in pieces, and of messages that wait, that are not decided yet
	waiting atomic.Int64 // decisions and reports
	stats   stats
}

// New makes a Server, which serves nobody yet.
func New(c Config) (*Server, error) {
	if c.Engine == nil {
		return nil, errors.New("extproc: Config.Engine is not set")
	}
	s := &Server{
		engine: c.Engine, port: c.Port, endpointHeader: c.EndpointHeader, plainEndpoint: c.PlainEndpoint, maxRequests: int64(c.MaxRequests),
		maxHeld: c.MaxHeld, maxWaiting: int64(c.MaxWaiting), now: c.Now, log: c.Log,
	}
	if s.maxWaiting <= 0 {
		s.maxWaiting = 1024
	}
	if s.port == 0 {
		s.port = 80
	}
	if s.endpointHeader == "" {
		s.endpointHeader = EndpointHeader
	}
	if s.maxRequests <= 0 {
		s.maxRequests = 65536
	}
	if s.maxHeld <= 0 {
		s.maxHeld = DefaultMaxHeld
	}
	if s.now == nil {
		s.now = func() session.Instant { return session.InstantOf(time.Now()) }
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.stats.init()
	s.rpc = rpc.New(rpc.Config{
		MaxConns: maxConnections, MaxStreams: uint32(s.maxRequests), MaxMessage: maxMessage, MaxHeld: s.maxHeld, MaxMetadata: maxMetadata,
		HandshakeTimeout: handshakeTimeout, PingAfter: pingAfter, PingTimeout: pingTimeout,
		TLS: c.TLS, Refused: s.refused,
	})
	s.health = health.NewServer()
	s.health.SetServingStatus(livenessService, healthv1.HealthCheckResponse_SERVING)
	s.Resume()
	healthv1.RegisterHealthServer(s.rpc, s.health)
	s.rpc.Handle(extprocv3.ExternalProcessor_Process_FullMethodName, s.open)
	if c.Services != nil {
		c.Services(s.rpc)
	}
	return s, nil
}

// Serve takes connections of l, which it closes at the end, until Shutdown or Close. It may be called for several listeners.
func (s *Server) Serve(l net.Listener) error {
	if err := s.rpc.Serve(l); err != nil {
		return fmt.Errorf("serve external processing: %w", err)
	}
	return nil
}

// Pause refuses requests with UNAVAILABLE, which Envoy tries elsewhere, and says NOT_SERVING on the health service, until Resume: for
// the time when there is no configuration to decide by.
func (s *Server) Pause() { s.setServing(healthv1.HealthCheckResponse_NOT_SERVING) }

// Resume ends a Pause. A new Server is not paused.
func (s *Server) Resume() { s.setServing(healthv1.HealthCheckResponse_SERVING) }

func (s *Server) setServing(is healthv1.HealthCheckResponse_ServingStatus) {
	s.paused.Store(is != healthv1.HealthCheckResponse_SERVING)
	s.health.SetServingStatus("", is) // the server as a whole
	s.health.SetServingStatus(extprocv3.ExternalProcessor_ServiceDesc.ServiceName, is)
	s.health.SetServingStatus(readinessService, is)
}

// Shutdown takes no new requests, which Envoys learn by GOAWAY and by the health service, and waits for those in flight; the streams of
// other services, which may be meant to last for ever, it ends. When ctx is done before, it cuts off the rest and returns its error.
func (s *Server) Shutdown(ctx context.Context) error {
	s.health.Shutdown()
	return s.rpc.Shutdown(ctx)
}

// Close cuts off what is in flight.
func (s *Server) Close() error {
	s.rpc.Close()
	return nil
}
