package gateway

import (
	"errors"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// dial starts a connection to addr. The socket is non-blocking: that it is connected, or why not, shows in a later event.
func dial(addr netip.AddrPort) (fd int, err error) {
	family, to := unix.AF_INET6, unix.Sockaddr(nil)
	if ip := addr.Addr().Unmap(); ip.Is4() {
		family, to = unix.AF_INET, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: ip.As4()}
	} else {
		to = &unix.SockaddrInet6{Port: int(addr.Port()), Addr: ip.As16()}
	}
	if fd, err = newSocket(family); err != nil {
		return -1, err
	}
	if err = prepare(fd); err == nil {
		if err = unix.Connect(fd, to); err == nil || errors.Is(err, unix.EINPROGRESS) || errors.Is(err, unix.EINTR) {
			return fd, nil
		}
	}
	_ = unix.Close(fd)
	return -1, err
}

// isShortage reports whether a connection could not be made because something has run out on this side: descriptors, memory,
// local ports.
func isShortage(err error) bool {
	for _, e := range [...]error{unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM, unix.EADDRNOTAVAIL} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// prepare sets what all sockets of the gateway have: no waiting for more bytes before a segment goes out (a proxy writes whole
// messages), and probes that find out when a peer has vanished.
func prepare(fd int) error {
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return err
	}
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
}

// connectError is how a connect ended.
func connectError(fd int) error {
	errno, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return err
	}
	if errno != 0 {
		return syscall.Errno(errno)
	}
	return nil
}

// endSending tells the peer that nothing more is coming (FIN), while it can still be read from.
func endSending(fd int) { _ = unix.Shutdown(fd, unix.SHUT_WR) } // fails only when the connection is gone already

// breakOff makes the close of the socket a reset, which a peer cannot take for the end of a response.
func breakOff(fd int) {
	_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}) // without it the close is a FIN
}

// addrOf is a peer's address.
func addrOf(sa unix.Sockaddr) netip.Addr {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrFrom4(sa.Addr)
	case *unix.SockaddrInet6:
		return netip.AddrFrom16(sa.Addr).Unmap()
	}
	return netip.Addr{}
}

func closeSocket(fd int) { _ = unix.Close(fd) } // for descriptors that no loop has; nothing is left to do when it fails
