package app

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/remora-proxy/remora/internal/admin"
	"github.com/remora-proxy/remora/internal/certificate"
	"github.com/remora-proxy/remora/internal/extproc"
	"github.com/remora-proxy/remora/internal/xds"
)

// Processor is what a processor for Envoy is started with.
type Processor struct {
	// DrainingLabelled says that the Envoy is Istio's, which has draining endpoints only of Services with the label istio.DrainingLabel.
	DrainingLabelled bool
	// Istio says that the Envoy is Istio's and forwards requests by its own reading of the same objects. Not beside a gateway, which
	// would have to do it too.
	Istio bool

	Listen []Address         // at least one
	TLS    certificate.Files // Cert is empty: no TLS
	Config extproc.Config    // its limits; what else it needs is filled in
}

// Address is where a processor listens: an ip:port, or the path of a Unix socket.
type Address struct {
	tcp  netip.AddrPort
	unix string // when it is not empty
}

const (
	unixPrefix = "unix:"
	// maxUnixPath is the longest path of a Unix socket that every system takes (sun_path of the BSDs; Linux has 107).
	maxUnixPath = 103
)

// ParseAddress reads ip:port or unix:/path.
func ParseAddress(s string) (Address, error) {
	path, isUnix := strings.CutPrefix(s, unixPrefix)
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
	return Address{unix: path}, nil
}

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
		return listenUnix(a.unix)
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
func listenUnix(path string) (net.Listener, error) {
	l, err := net.Listen("unix", path)
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
			l, err = net.Listen("unix", path)
		default: // another user's, or one with a full queue
			return nil, fmt.Errorf("unix:%s, an address for Envoy, is there, and whether it is in use is not to be found out (%w); remove it if it is not, or give another path", path, dialErr)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("listen for Envoy on unix:%s (its folder must exist and be writable): %w", path, err)
	}
	return l, nil
}

// openProcessor makes the processor for Envoy, if there is to be one, and opens its addresses. Until it is resumed, Envoys are told to
// ask elsewhere: an Envoy that is answered is answered by a configuration.
func (p *program) openProcessor() error {
	if p.o.Processor == nil {
		return nil
	}
	c := p.o.Processor.Config
	discovery := xds.New(xds.Config{Log: p.log})
	c.Engine, c.Log, c.Now, c.Services = p.engine, p.log, p.clock.instant, discovery.Register
	var err error
	if c.TLS, err = p.keepCertificate(p.o.Processor.TLS); err != nil {
		return err
	}
	processor, err := extproc.New(c)
	if err != nil {
		return fmt.Errorf("start the processor: %w", err)
	}
	processor.Pause()
	var opened []net.Listener
	for _, a := range p.o.Processor.Listen {
		l, err := a.listen()
		if err != nil {
			for _, l := range opened {
				l.Close()
			}
			return err
		}
		opened = append(opened, l)
	}
	p.processor, p.discovery = processor, discovery
	p.addDoor(processor)
	p.metrics.MustRegister(discovery)
	for _, l := range opened {
		go func() {
			if err := processor.Serve(l); err != nil {
				p.log.Error("an address for Envoy is not served any more", "address", spell(l.Addr()), "error", err)
			}
		}()
		p.envoys = append(p.envoys, admin.Listener{Door: "extproc", Port: c.Port, Address: spell(l.Addr())})
		p.log.Info("listening for Envoy", "address", spell(l.Addr()))
	}
	return nil
}

// spell writes an address as ParseAddress reads it.
func spell(a net.Addr) string {
	if a.Network() == "unix" {
		return unixPrefix + a.String()
	}
	return a.String()
}
