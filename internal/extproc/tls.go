package extproc

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"

	"github.com/remora-proxy/remora/internal/extproc/rpc"
)

// refusedLogInterval is the time between two lines in the log about refused connections: an Envoy tries again and again, and so does
// whoever looks for open ports.
const refusedLogInterval = time.Minute

// refused lets an operator know, for Envoy says little.
func (s *Server) refused(from net.Addr, err error) {
	if errors.Is(err, io.EOF) {
		return // whoever leaves without a word only wants to know whether the port is open
	}
	s.stats.refused.Add(1)
	now, last := time.Now().UnixNano(), s.stats.refusedLogged.Load()
	if last != 0 && now-last < int64(refusedLogInterval) || !s.stats.refusedLogged.CompareAndSwap(last, now) {
		return
	}
	what := "an Envoy cannot connect: the TLS handshake failed"
	if errors.Is(err, rpc.ErrTooManyConns) {
		what = "an Envoy cannot connect"
	}
	if plain := (tls.RecordHeaderError{}); errors.As(err, &plain) {
		what = "an Envoy cannot connect: it speaks without TLS; give its cluster of the processor a transport_socket with an UpstreamTlsContext"
	}
	s.log.Error(what+" (further failures within a minute are only counted)", "from", from.String(), "error", err)
}
