package app

import (
	"fmt"
	"math"
	"net"
	"runtime/debug"

	"github.com/remora-proxy/remora/internal/admin"
	"github.com/remora-proxy/remora/internal/certificate"
	"github.com/remora-proxy/remora/internal/extproc"
	"github.com/remora-proxy/remora/internal/redisstore"
	"github.com/remora-proxy/remora/internal/xds"
)

// Processor is what a processor for Envoy is started with.
type Processor struct {
	// DrainingLabelled says that the Envoy is Istio's, which has draining endpoints only of Services with the label istio.DrainingLabel.
	DrainingLabelled bool
	// Proxied says that the Envoy, Istio's or Envoy Gateway's, forwards requests by its own reading of the same objects. Not beside a
	// gateway, which would have to do it too.
	Proxied bool

	Listen []Address         // at least one
	TLS    certificate.Files // Cert is empty: no TLS
	Config extproc.Config    // its limits; what else it needs is filled in
}

// heldWithin is how much the requests of a processor may hold, so that it ends none by running out of memory: what is held twice at
// most leaves a half of Go's memory limit (GOMEMLIMIT, in bytes; MaxInt64 where there is none) for everything else.
func heldWithin(limit int64) int64 {
	if limit == math.MaxInt64 {
		return extproc.DefaultMaxHeld
	}
	return min(limit/4, extproc.DefaultMaxHeld)
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
	c.MaxHeld, c.MaxWaiting = heldWithin(debug.SetMemoryLimit(-1)), redisstore.MaxWaiting
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
