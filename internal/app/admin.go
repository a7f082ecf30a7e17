package app

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/remora-proxy/remora/internal/admin"
)

// adminGrace is what answers of the admin API may still take when the gateway has stopped.
const adminGrace = 2 * time.Second

// openAdmin opens the admin API. stop ends it.
func (p *program) openAdmin() (stop func(), err error) {
	if !p.o.Admin.IsValid() {
		return func() {}, nil
	}
	if !p.o.Admin.Addr().Unmap().IsLoopback() {
		p.log.Warn("the admin API has no passwords, and whoever reaches its address can move sessions and drain replicas; --admin is not on the loopback interface",
			"address", p.o.Admin.String())
	}
	_, stop, err = p.serveAdmin(p.o.Admin, "admin API", "admin", admin.Config{
		Engine: p.engine, Status: p.status, Metrics: p.metrics, Swept: p.swept.wait, Now: p.clock.now,
		Names: p.o.AdminNames, Profiles: p.o.Profiles, Shared: p.sharing.shares(),
	})
	return stop, err
}

// openMetrics opens the address for monitoring. stop ends it.
func (p *program) openMetrics() (stop func(), err error) {
	if !p.o.Metrics.IsValid() {
		return func() {}, nil
	}
	addr, stop, err := p.serveAdmin(p.o.Metrics, "metrics", "metrics", admin.Config{
		Engine: p.engine, Status: p.status, Metrics: p.metrics, Now: p.clock.now, Names: p.o.AdminNames, Shared: p.sharing.shares(), Monitoring: true,
	})
	if err == nil {
		p.monitoring = []admin.Listener{{Door: "metrics", Address: addr}}
	}
	return stop, err
}

// serveAdmin serves the admin API, or the part of it that c says, at an address that a flag has given.
func (p *program) serveAdmin(at netip.AddrPort, what, flag string, c admin.Config) (addr string, stop func(), err error) {
	l, err := listenAdmin(at, what, flag)
	if err != nil {
		return "", nil, err
	}
	server := admin.New(c)
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := server.Serve(l); err != nil {
			p.log.Error("an address is not served any more", "of", what, "error", err)
		}
	}()
	p.log.Info(what, "address", l.Addr().String())
	return l.Addr().String(), func() {
		ctx, cancel := context.WithTimeout(context.Background(), adminGrace)
		defer cancel()
		server.Shutdown(ctx)
		<-served
	}, nil
}

// listenAdmin opens an address. The error says which flag helps.
func listenAdmin(addr netip.AddrPort, what, flag string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr.String())
	switch {
	case err == nil:
		return l, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%s, the address of the %s, is in use; give another with --%s, or --%[3]s off", addr, what, flag)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("no permission to listen on %s for the %s; give --%s a port of 1024 or higher", addr, what, flag)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("%s, for the %s, is not an address of this machine; give --%s one that is, or 0.0.0.0 for all", addr.Addr(), what, flag)
	}
	return nil, fmt.Errorf("listen for the %s (--%s): %w", what, flag, err)
}
