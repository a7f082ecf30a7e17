//go:build darwin || freebsd

package gateway

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// recv reads into p, which is not empty. n is 0 at the end of the stream.
func recv(fd int, p []byte) (n int, errno syscall.Errno) {
	n, err := unix.Read(fd, p)
	return max(n, 0), errnoOf(err)
}

// send writes from p, which is not empty. (SIGPIPE is ignored by the Go runtime for descriptors other than 1 and 2.)
func send(fd int, p []byte) (n int, errno syscall.Errno) {
	n, err := unix.Write(fd, p)
	return max(n, 0), errnoOf(err)
}

func errnoOf(err error) (errno syscall.Errno) {
	if err != nil && !errors.As(err, &errno) {
		errno = syscall.EIO
	}
	return errno
}

// accept takes a waiting connection from a listening socket. It inherits the listener's TCP_NODELAY and SO_KEEPALIVE.
func accept(fd int) (conn int, peer unix.Sockaddr, err error) {
	if conn, peer, err = unix.Accept(fd); err != nil {
		return -1, nil, err
	}
	return conn, peer, setNonblocking(conn)
}

// newSocket makes a non-blocking TCP socket.
func newSocket(family int) (fd int, err error) {
	if fd, err = unix.Socket(family, unix.SOCK_STREAM, 0); err != nil {
		return -1, err
	}
	return fd, setNonblocking(fd)
}

func setNonblocking(fd int) error {
	unix.CloseOnExec(fd)
	if err := unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return err
	}
	return nil
}
