//go:build linux

package load

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// conn is one connection, with at most one request in flight.
type conn struct {
	fd   int
	due  time.Duration // of the request in flight
	buf  []byte        // what was read of its answer
	room [16 << 10]byte
}

// Dial connects, and makes the connection non-blocking. It returns the socket.
func Dial(to netip.AddrPort) (fd int, err error) {
	fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, err
	}
	err = errors.Join(
		unix.Connect(fd, &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}),
		unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1),
		unix.SetNonblock(fd, true),
	)
	if err != nil {
		unix.Close(fd) //nolint:errcheck // the error that counts is the first
		return 0, err
	}
	return fd, nil
}

// write sends a request. It is far smaller than a socket's buffer, which is empty: it goes out at once or not at all.
func (c *conn) write(request []byte) error {
	n, err := unix.Write(c.fd, request)
	if err != nil {
		return fmt.Errorf("sending: %w", err)
	}
	if n < len(request) {
		return fmt.Errorf("sending: only %d of %d bytes fitted", n, len(request))
	}
	return nil
}

// read takes what arrived and reports whether the answer is whole.
func (c *conn) read() (whole bool, err error) {
	n, err := unix.Read(c.fd, c.room[:])
	switch {
	case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("receiving: %w", err)
	case n == 0:
		return false, errors.New("receiving: the server closed a connection")
	}
	c.buf = append(c.buf, c.room[:n]...)
	length, err := responseLength(c.buf)
	if err != nil || length == 0 || len(c.buf) < length {
		return false, err
	}
	if len(c.buf) > length {
		return false, fmt.Errorf("receiving: %d bytes after the answer", len(c.buf)-length)
	}
	c.buf = c.buf[:0]
	return true, nil
}

// responseLength is the length of the response that b begins with: its head and its body. It is 0 while the head is not
// whole. A status other than 200 and a body without a Content-Length are errors.
func responseLength(b []byte) (int, error) {
	head, _, ok := bytes.Cut(b, []byte("\r\n\r\n"))
	if !ok {
		return 0, nil
	}
	if !bytes.HasPrefix(head, []byte("HTTP/1.1 200 ")) {
		return 0, fmt.Errorf("the answer is not 200: %q", b)
	}
	const name = "content-length:"
	for line := range bytes.SplitSeq(head, []byte("\r\n")) {
		if len(line) < len(name) || !bytes.EqualFold(line[:len(name)], []byte(name)) {
			continue
		}
		n, err := strconv.Atoi(string(bytes.TrimSpace(line[len(name):])))
		if err != nil || n < 0 {
			return 0, fmt.Errorf("the answer has a bad Content-Length: %q", line)
		}
		return len(head) + 4 + n, nil
	}
	return 0, fmt.Errorf("the answer has no Content-Length: %q", head)
}
