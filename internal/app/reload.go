package app

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/remora-proxy/remora/internal/config"
	"github.com/remora-proxy/remora/internal/diag"
)

// refuse says why a configuration is not used, and its warnings when it is. It reports whether it is not used.
func (p *program) refuse(c *Loaded) bool {
	if p.source.cluster != nil {
		p.sayOnce(c.Diagnostics)
		if c.Snapshot == nil {
			p.board.refused(c.Diagnostics, time.Now())
		}
		return c.Snapshot == nil
	}
	for _, d := range c.Diagnostics {
		if d.Severity == diag.Error {
			p.log.Error("invalid configuration", "finding", d.String())
		} else {
			p.log.Warn("configuration", "finding", d.String())
		}
	}
	if !c.Diagnostics.HasErrors() {
		return false
	}
	p.board.refused(c.Diagnostics, time.Now())
	return true
}

// reload loads the configuration again. One that is invalid, or whose ports cannot be opened, changes nothing. worked is the time that it
// took without that for which others were waited for.
func (p *program) reload(ctx context.Context, why string) (worked time.Duration) {
	began := time.Now()
	p.log.Log(ctx, p.loadLevel(), "loading the configuration", "why", why)
	next := p.load(ctx)
	if next == nil {
		return 0
	}
	p.use(next)
	p.report(next)
	return time.Since(began) - next.waited
}

// use applies a configuration that was loaded again, or refuses it.
func (p *program) use(next *Loaded) {
	if p.refuse(next) {
		p.log.Error("the configuration is refused and is as it was before")
		return
	}
	if err := p.apply(next); err != nil {
		d := diag.Diagnostic{Severity: diag.Error, What: err.Error()}
		next.Diagnostics.Add(d)
		next.errors.Add(d)
		p.board.refused(next.Diagnostics, time.Now())
		p.log.Error("the configuration is refused and is as it was before", "error", err)
	}
}

// apply makes c the configuration. Its new ports are opened first, since that can fail; they are served when it is in force, and
// then the ports that it does not have are closed.
func (p *program) apply(c *Loaded) error {
	addresses, opened, err := p.place(c)
	if err != nil {
		return err
	}
	p.announce(c)
	p.protect(p.current, c) // a decision by either finds the headers that it looks at
	if err := p.engine.Apply(c.Snapshot, p.clock.instant()); err != nil {
		opened.close()
		p.protect(p.current)
		p.settle()
		return fmt.Errorf("apply the configuration: %w", err)
	}
	p.protect(c)
	p.dropOutdated()
	p.sharing.begin()
	for port, l := range opened {
		if err := p.gateway.Add(l, port); err != nil {
			// What failed is the system's (descriptors, memory): the configuration is in force, one port of it is not served.
			p.log.Error("a port is not served", "port", port, "error", err)
			l.Close()
			delete(opened, port)
			continue
		}
		p.ports[port] = l
	}
	for port, l := range p.ports {
		if _, ok := addresses[port]; !ok {
			p.gateway.Remove(l)
			delete(p.ports, port)
		}
	}
	p.source.resolver.Retain(c.DNSNames)
	before := p.current
	p.current = c
	p.settle()
	p.board.applied(c, slices.Concat(p.ports.list(), p.envoys, p.monitoring), time.Now())
	p.sayApplied(before, c)
	for _, l := range opened.list() {
		p.log.Info("listening", "address", l.Address, "gatewayPort", l.Port)
	}
	return nil
}

// loadLevel is the level at which a load is logged. With a cluster there is one with every change of an endpoint.
func (p *program) loadLevel() slog.Level {
	if p.source.cluster != nil {
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

// sayApplied says that a configuration is in force. before is the one that was.
func (p *program) sayApplied(before, c *Loaded) {
	level, source := slog.LevelInfo, slog.Int("files", len(c.Sources.Files))
	if p.source.cluster != nil {
		source = slog.Int("refusedObjects", c.Refused)
		if before != nil && before.Routes == c.Routes && before.Services == c.Services && before.Refused == c.Refused {
			level = slog.LevelDebug // endpoints come and go all the time
		}
	}
	p.log.Log(context.Background(), level, "configuration applied", source, "routes", c.Routes, "services", c.Services, "endpoints", c.Endpoints)
}

// protect has the gateway protect the headers that these configurations look at; nil looks at none.
func (p *program) protect(configurations ...*Loaded) {
	var names []string
	for _, c := range configurations {
		if c != nil {
			names = append(names, c.protected...)
		}
	}
	if p.gateway != nil {
		p.gateway.Protect(names)
	}
}

// readdress applies the configuration in force with the addresses that DNS gives now.
func (p *program) readdress() {
	next := p.source.compile(p.current.Set)
	next.Sources, next.Refused = p.current.Sources, p.current.Refused
	if next.Diagnostics.HasErrors() {
		p.log.Error("new addresses are not used", "error", next.Diagnostics.Err())
		return
	}
	p.announce(next)
	if err := p.engine.Apply(next.Snapshot, p.clock.instant()); err != nil {
		p.settle()
		p.log.Error("new addresses are not used", "error", err)
		return
	}
	p.current = next
	p.settle()
	p.board.readdressed(next)
	p.log.Info("addresses of hosts have changed", "endpoints", next.Endpoints)
}

// dnsFailed says that a host has begun (err is not nil) or ceased to have no answer from DNS.
func (p *program) dnsFailed(host string, err error, kept int) {
	if err == nil {
		p.log.Info("a host is resolved again", "host", host)
		return
	}
	p.log.Warn("a host is not resolved, its last addresses stay", "host", host, "addresses", kept, "error", err)
}

// watch tells when the files have changed. Where they cannot be watched, SIGHUP still works.
func (p *program) watch() (changes <-chan struct{}, stop func()) {
	if p.source.cluster != nil {
		return p.watchCluster()
	}
	w, err := config.NewWatcher(p.o.Files)
	if err != nil {
		p.log.Warn("changes are not seen", "error", err)
		return nil, func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	ch := make(chan struct{}, 1)
	go func() {
		err := w.Run(ctx, func() { nudge(ch) })
		if err != nil {
			p.log.Warn("changes are no longer seen", "error", err)
		}
	}()
	return ch, func() {
		cancel()
		if err := w.Close(); err != nil {
			p.log.Warn("the watch of the files was not closed", "error", err)
		}
	}
}
