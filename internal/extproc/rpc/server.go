package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
)

// Config is the bounds of a Server. All are required, but for those about TLS.
type Config struct {
	MaxConns    int    // of all listeners; more are closed at once, so that their peers turn to another server
	MaxStreams  uint32 // at a time, on one connection; more are refused, which is safe to try again
	MaxMessage  int    // bytes; a larger one ends its stream with RESOURCE_EXHAUSTED
	MaxHeld     int64  // bytes of messages that are not whole yet and of answers that a peer does not take, in all connections together
	MaxMetadata uint32 // bytes of a stream's header list (RFC 9113, 6.5.2)

	HandshakeTimeout time.Duration // until a new connection has sent its settings
	PingAfter        time.Duration // without a frame from the peer it is sent a ping
	PingTimeout      time.Duration // without a frame after the ping its connection is closed

	TLS     *tls.Config                    // nil: none. The protocol "h2" must be negotiated
	Refused func(from net.Addr, err error) // nil: nobody wants to know of ErrTooManyConns and of errors of TLS
}

// ErrTooManyConns is why a connection was closed at once.
var ErrTooManyConns = errors.New("there are as many connections as there may be")

func (s *Server) refused(nc net.Conn, err error) {
	if s.c.Refused != nil {
		s.c.Refused(nc.RemoteAddr(), err)
	}
}

// Handler is the server's side of one stream. Its methods are called by one goroutine at a time and must not block.
type Handler interface {
	// Message takes one message and appends answers to `to`, each with its prefix (see Begin). m is valid until Message returns. An error,
	// a gRPC status, ends the stream after the answers; otherwise it stays open until its client ends it. With ErrWait it has to be a Waiter.
	Message(m, to []byte) ([]byte, error)
	// End is called exactly once, when the stream is over for whatever reason.
	End()
}

// Waiter is a Handler that has to wait at times before it can answer. Bounding how many do so at a time is its own affair.
type Waiter interface {
	Handler
	// Wait is called after ErrWait, by a goroutine of its own. It may block, for a bounded time. What the client sends meanwhile is kept for
	// later: no more than the stream's window.
	Wait()
	// Resume is called when Wait has returned, and is as Message is. Where the stream is over by then, End is called instead of it.
	Resume(to []byte) ([]byte, error)
}

// ErrWait is what Message and Resume return when the rest of the answers has to be waited for.
var ErrWait = errors.New("rpc: the answer has to be waited for")

// Server is a gRPC server. Make it with New, add methods, then Serve.
type Server struct {
	c        Config
	handled  map[string]func(Call) (Handler, error)
	services map[string]service
	held     atomic.Int64

	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	conns     map[*conn]struct{}
	stopping  bool
	gone      sync.WaitGroup // connections, and calls of Wait

	life context.Context // until the end begins; of services' streams
	stop context.CancelFunc
}

// New makes a Server that serves nobody yet.
func New(c Config) *Server {
	s := &Server{
		c: c, handled: map[string]func(Call) (Handler, error){}, services: map[string]service{},
		listeners: map[net.Listener]struct{}{}, conns: map[*conn]struct{}{},
	}
	s.life, s.stop = context.WithCancel(context.Background())
	return s
}

var _ grpc.ServiceRegistrar = (*Server)(nil)

// Handle makes open begin each stream of a method ("/package.Service/Method"). It is called by the goroutine that serves the connection; its
// error is a gRPC status. It must be called before Serve.
func (s *Server) Handle(method string, open func(Call) (Handler, error)) { s.handled[method] = open }

// Serve takes connections of l, which it closes at the end, until Shutdown or Close. It may be called for several listeners.
func (s *Server) Serve(l net.Listener) error {
	defer l.Close() // it may be closed already
	if !s.track(l) {
		return nil
	}
	for delay := time.Duration(0); ; {
		nc, err := l.Accept()
		switch {
		case err == nil:
			delay = 0
			s.begin(nc)
		case s.isStopping() || errors.Is(err, net.ErrClosed):
			return nil
		case isTemporary(err): // no file descriptor is left, or the peer has given up already
			delay = min(max(2*delay, 5*time.Millisecond), time.Second)
			select {
			case <-time.After(delay):
			case <-s.life.Done():
			}
		default:
			return err
		}
	}
}

func isTemporary(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}

func (s *Server) track(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopping {
		s.listeners[l] = struct{}{}
	}
	return !s.stopping
}

func (s *Server) isStopping() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopping
}

// begin serves a connection.
func (s *Server) begin(nc net.Conn) {
	c := newConn(s, nc)
	s.mu.Lock()
	stopping, tooMany := s.stopping, len(s.conns) >= s.c.MaxConns
	if !stopping && !tooMany {
		s.conns[c] = struct{}{}
		s.gone.Add(1)
	}
	s.mu.Unlock()
	if stopping || tooMany {
		c.end() // nothing was sent on it
		if !stopping {
			s.refused(nc, ErrTooManyConns)
		}
		return
	}
	go func() {
		defer s.gone.Done()
		defer s.forget(c)
		c.serve()
	}()
}

func (s *Server) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// halt takes no more connections and returns those that there are.
func (s *Server) halt() []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopping = true
	for l := range s.listeners {
		l.Close() // Serve closes it again
	}
	clear(s.listeners)
	conns := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		conns = append(conns, c)
	}
	return conns
}

// Shutdown takes no new streams, which peers learn by GOAWAY, ends those of services, and waits for the others. When ctx is done
// before, it cuts them off and returns its error.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stop()
	var drains sync.WaitGroup
	for _, c := range s.halt() {
		drains.Go(c.drain) // one whose peer does not read waits, and must not keep the others from it
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		drains.Wait()
		s.gone.Wait()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		s.Close()
		<-done
		return ctx.Err()
	}
}

// Close cuts off all streams and waits until they have ended.
func (s *Server) Close() {
	s.stop()
	for _, c := range s.halt() {
		c.nc.Close() // the connection's own goroutine sees that it is closed
	}
	s.gone.Wait()
}
