package app

import (
	"fmt"

	"github.com/remora-proxy/remora/internal/extproc"
	"github.com/remora-proxy/remora/internal/gateway"
	"github.com/remora-proxy/remora/internal/gateway/accesslog"
)

// newFront makes the front door, which serves nobody yet.
func (p *program) newFront(c *Loaded) (err error) {
	if p.o.Processor.IsValid() {
		err = p.newProcessor()
	} else {
		err = p.newGateway(c)
	}
	if err == nil {
		p.metrics.MustRegister(p.front)
	}
	return err
}

func (p *program) newGateway(c *Loaded) (err error) {
	front := p.o.Gateway
	front.Engine, front.Log = p.engine, p.log
	p.boundConnections(&front.Limits)
	front.HTTP.Protected = c.protected
	if p.o.AccessLog != "" {
		format, err := accesslog.ParseFormat(p.o.AccessLog)
		if err != nil {
			return err
		}
		p.access = accesslog.New(p.o.AccessLogTo, format)
		front.AccessLog = p.access.Log
		p.metrics.MustRegister(p.access.Collector())
	}
	if p.gateway, err = gateway.New(front); err != nil {
		return fmt.Errorf("start the gateway: %w", err)
	}
	p.front = p.gateway
	return nil
}

func (p *program) newProcessor() error {
	c := p.o.ExtProc
	c.Engine, c.Log, c.Now = p.engine, p.log, p.clock.instant
	processor, err := extproc.New(c)
	if err != nil {
		return fmt.Errorf("start the processor: %w", err)
	}
	p.front, p.processor = processor, processor
	return nil
}

// openProcessor begins to serve Envoys, if that is what the program is for. It comes after the first configuration is in force:
// an Envoy that is answered is answered by it.
func (p *program) openProcessor() error {
	if p.processor == nil {
		return nil
	}
	l, err := listenProcessor(p.o.Processor)
	if err != nil {
		return err
	}
	go func() {
		if err := p.processor.Serve(l); err != nil {
			p.log.Error("the processor has ended", "error", err)
		}
	}()
	p.log.Info("listening for Envoy", "address", l.Addr().String())
	return nil
}
