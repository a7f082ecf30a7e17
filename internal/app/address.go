package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Address is where a processor listens: an ip:port, or the path of a Unix socket.
type Address struct {
	tcp  netip.AddrPort
	unix string      // when it is not empty
	mode fs.FileMode // of the socket
}

const (
	unixPrefix = "unix:"
	// maxUnixPath is the longest path of a Unix socket that every system takes (sun_path of the BSDs; Linux has 107).
	maxUnixPath = 103
	// defaultSocketMode lets the process's user and group connect, whatever the umask: an Envoy is usually another user.
	defaultSocketMode fs.FileMode = 0o660
)

// ParseAddress reads ip:port, or unix:/path with the socket's permissions behind it where they are not 0660: ?mode=0600.
func ParseAddress(s string) (Address, error) {
	path, isUnix := strings.CutPrefix(s, unixPrefix)
	path, query, asked := strings.Cut(path, "?")
	switch {
	case !isUnix:
		addr, err := netip.ParseAddrPort(s)
		if err != nil {
			return Address{}, fmt.Errorf("%q is neither ip:port nor unix:/path; give one like 127.0.0.1:9002 or unix:/run/remora/extproc.sock", s)
		}
		return Address{tcp: addr}, nil
	case !filepath.IsAbs(path):
		return Address{}, fmt.Errorf("%q has no absolute path; give one like unix:/run/remora/extproc.sock", s)
	case len(path) > maxUnixPath:
		return Address{}, fmt.Errorf("%q: the path of a socket has at most %d bytes; give a shorter one", s, maxUnixPath)
	}
	mode := defaultSocketMode
	if asked {
		digits, isMode := strings.CutPrefix(query, "mode=")
		n, err := strconv.ParseUint(digits, 8, 16)
		mode = fs.FileMode(n)
		if !isMode || err != nil || mode&^fs.ModePerm != 0 || mode&0o600 != 0o600 {
			return Address{}, fmt.Errorf("%q: behind the ? belongs mode=, with an octal number of 0600 to 0777 by which its owner may read and write; "+
				"give one like mode=0600", s)
		}
	}
	return Address{unix: path, mode: mode}, nil
}

// String writes the address as an Envoy has it: without the mode.
func (a Address) String() string {
	if a.unix != "" {
		return unixPrefix + a.unix
	}
	return a.tcp.String()
}

// IsFixed reports whether there can be one listener at the address only: a TCP port of 0 takes a free one each time.
func (a Address) IsFixed() bool { return a.unix != "" || a.tcp.Port() != 0 }

// listen opens the address. A socket is removed again when its listener is closed.
func (a Address) listen() (net.Listener, error) {
	if a.unix != "" {
		return listenUnix(a.unix, a.mode)
	}
	l, err := net.Listen("tcp", a.tcp.String())
	switch {
	case err == nil:
		return l, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%s, an address for Envoy, is in use; end the process that listens there, or give another address", a)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("no permission to listen for Envoy on %s; give a port of 1024 or higher", a)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("%s, to listen for Envoy on, is not an address of this machine; give one that is, or 0.0.0.0 for all", a.tcp.Addr())
	}
	return nil, fmt.Errorf("listen for Envoy on %s: %w", a, err)
}

// listenUnix opens a socket. One that a killed process has left behind is replaced.
func listenUnix(path string, mode fs.FileMode) (net.Listener, error) {
	l, err := bindUnix(path, mode)
	if errors.Is(err, syscall.EADDRINUSE) {
		info, statErr := os.Lstat(path)
		if statErr == nil && info.Mode().Type() != fs.ModeSocket {
			return nil, fmt.Errorf("unix:%s, an address for Envoy, is there and is not a socket; remove it, or give another path", path)
		}
		conn, dialErr := net.Dial("unix", path)
		switch {
		case dialErr == nil:
			conn.Close()
			return nil, fmt.Errorf("unix:%s, an address for Envoy, is in use; end the process that listens there, or give another path", path)
		case errors.Is(dialErr, syscall.ECONNREFUSED): // nobody's
			if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, fmt.Errorf("remove the socket that nobody listens on any more: %w", err)
			}
			l, err = bindUnix(path, mode)
		default: // another user's, or one with a full queue
			return nil, fmt.Errorf("unix:%s, an address for Envoy, is there, and whether it is in use is not to be found out (%w); remove it if it is not, or give another path", path, dialErr)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("listen for Envoy on unix:%s (its folder must exist and be writable): %w", path, err)
	}
	return l, nil
}

// bindUnix listens on a path where nothing is. At no time can somebody connect whom mode does not let.
func bindUnix(path string, mode fs.FileMode) (net.Listener, error) {
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		// Linux makes the file with the socket's own mode, less the umask. Other systems do not take it, and there the umask
		// alone holds until the file gets its mode.
		return c.Control(func(fd uintptr) { _ = syscall.Fchmod(int(fd), uint32(mode)) })
	}}
	l, err := config.Listen(context.Background(), "unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, mode); err != nil { // what the umask has taken
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// spell writes an address as ParseAddress reads it.
func spell(a net.Addr) string {
	if a.Network() == "unix" {
		return unixPrefix + a.String()
	}
	return a.String()
}
