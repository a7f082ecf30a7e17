package gateway

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The reads and writes of non-blocking sockets go past the Go scheduler: they cannot block, so it needs not know of them.

// recv reads into p, which is not empty. n is 0 at the end of the stream.
func recv(fd int, p []byte) (n int, errno syscall.Errno) {
	r, _, e := syscall.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), 0, 0, 0)
	if e != 0 {
		return 0, e
	}
	return int(r), 0
}

// send writes from p, which is not empty. A broken connection is an error, not a signal.
func send(fd int, p []byte) (n int, errno syscall.Errno) {
	r, _, e := syscall.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), unix.MSG_NOSIGNAL, 0, 0)
	if e != 0 {
		return 0, e
	}
	return int(r), 0
}

// accept takes a waiting connection from a listening socket. It inherits the listener's TCP_NODELAY and SO_KEEPALIVE.
func accept(fd int) (conn int, peer unix.Sockaddr, err error) {
	return unix.Accept4(fd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
}

// newSocket makes a non-blocking TCP socket.
func newSocket(family int) (fd int, err error) {
	return unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
}
