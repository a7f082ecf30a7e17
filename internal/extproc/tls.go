package extproc

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"

	"google.golang.org/grpc/credentials"
)

// handshakeLogInterval is the time between two lines in the log about failed handshakes: an Envoy tries again and again, and so does
// whoever looks for open ports.
const handshakeLogInterval = time.Minute

// countedTLS is TLS whose failures an operator gets to know. gRPC itself says nothing of them, and Envoy says little.
type countedTLS struct {
	credentials.TransportCredentials
	s *Server
}

// ServerHandshake implements credentials.TransportCredentials.
func (c *countedTLS) ServerHandshake(conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	secured, info, err := c.TransportCredentials.ServerHandshake(conn)
	if err != nil && !errors.Is(err, io.EOF) { // whoever leaves without a word only wants to know whether the port is open
		c.s.handshakeFailed(conn.RemoteAddr(), err)
	}
	return secured, info, err
}

// Clone implements credentials.TransportCredentials.
func (c *countedTLS) Clone() credentials.TransportCredentials {
	return &countedTLS{c.TransportCredentials.Clone(), c.s}
}

func (s *Server) handshakeFailed(from net.Addr, err error) {
	s.stats.handshakes.Add(1)
	now, last := time.Now().UnixNano(), s.stats.handshakeLogged.Load()
	if last != 0 && now-last < int64(handshakeLogInterval) || !s.stats.handshakeLogged.CompareAndSwap(last, now) {
		return
	}
	what := "an Envoy cannot connect: the TLS handshake failed"
	if plain := (tls.RecordHeaderError{}); errors.As(err, &plain) {
		what = "an Envoy cannot connect: it speaks without TLS; give its cluster of the processor a transport_socket with an UpstreamTlsContext"
	}
	s.log.Error(what+" (further failures within a minute are only counted)", "from", from.String(), "error", err)
}
