package extproc

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"
)

// handshakeLogInterval is the time between two lines in the log about failed handshakes: an Envoy tries again and again, and so does
// whoever looks for open ports.
const handshakeLogInterval = time.Minute

// handshakeFailed lets an operator know, for Envoy says little.
func (s *Server) handshakeFailed(from net.Addr, err error) {
	if errors.Is(err, io.EOF) {
		return // whoever leaves without a word only wants to know whether the port is open
	}
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
