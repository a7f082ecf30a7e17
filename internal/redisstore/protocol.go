package redisstore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/redis/rueidis"
)

// otherProtocol is err, as ErrRefused where the server at addr speaks TLS and was asked without, or the other way round: all that such a server does
// is to close the connection, or to wait for more. So it is asked the other way, for nothing but whether it answers: neither a user nor a
// password is sent. A server that has answered before is not asked, and neither is one that does not take connections, or has said why.
func (s *Store) otherProtocol(addr string, err error) error {
	select {
	case <-s.ready:
		return err
	default:
	}
	var said *rueidis.RedisError
	var op *net.OpError
	if addr == "" || s.location.kind == socket || errors.As(err, &said) || errors.As(err, &op) && op.Op == "dial" {
		return err
	}
	ctx, cancel := context.WithTimeout(s.ctx, s.options.Patience)
	defer cancel()
	switch {
	case s.location.tls && answersPlainly(ctx, addr):
		return fmt.Errorf("%w: %s: the server at %s answers without TLS, and not with it; begin the URL with %s, or have the server speak TLS",
			ErrRefused, s.location.name, addr, s.location.otherScheme())
	case !s.location.tls && speaksTLS(ctx, addr):
		return fmt.Errorf("%w: %s: the server at %s speaks TLS; begin the URL with %s", ErrRefused, s.location.name, addr, s.location.otherScheme())
	}
	return err
}

// otherScheme is that of the same servers with TLS, or without, where the URL's is the one with it.
func (l *location) otherScheme() string {
	scheme, _, _ := strings.Cut(l.name, "://")
	program, servers, several := strings.Cut(scheme, "-")
	if l.tls {
		program = strings.TrimSuffix(program, "s")
	} else {
		program += "s"
	}
	if several {
		program += "-" + servers
	}
	return program + "://"
}

// speaksTLS reports whether a server takes part in a handshake, be it to refuse it.
func speaksTLS(ctx context.Context, addr string) bool {
	dialer := tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // nothing is sent that others may not read
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return isAlert(err)
	}
	_ = conn.Close() // nothing was sent
	return true
}

// isAlert reports whether err is what a server said by TLS.
func isAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "remote error"
}

// answersPlainly reports whether a server answers a PING without TLS as Redis does, be it that it wants a password first.
func answersPlainly(ctx context.Context, addr string) bool {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return false
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok && conn.SetDeadline(deadline) != nil {
		return false
	}
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return false
	}
	var first [1]byte
	n, err := conn.Read(first[:])
	return err == nil && n == 1 && (first[0] == '+' || first[0] == '-')
}
