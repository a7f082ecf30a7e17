package app

import (
	"cmp"
	"context"
	"fmt"
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/remora-proxy/remora/internal/gateway"
	"github.com/remora-proxy/remora/internal/gateway/accesslog"
	"github.com/remora-proxy/remora/internal/redisstore"
)

// door is a front door of the program: the gateway, or the processor for Envoy.
type door interface {
	prometheus.Collector
	Shutdown(ctx context.Context) error
	Close() error
}

func (p *program) addDoor(d door) {
	p.doors = append(p.doors, d)
	p.metrics.MustRegister(d)
}

// newGateway makes the gateway, if there is to be one. It serves nobody yet.
func (p *program) newGateway(c *Loaded) (err error) {
	if p.o.Gateway == nil {
		return nil
	}
	front := *p.o.Gateway
	front.Engine, front.Log = p.engine, p.log
	p.boundConnections(&front.Limits)
	front.Limits.WaitingDecisions = redisstore.MaxWaiting
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
	p.addDoor(p.gateway)
	return nil
}

// stopDoors lets requests in flight finish until cut is done, at all front doors at once: they share the time that there is for it.
// The error says that some were cut off.
func (p *program) stopDoors(cut context.Context) error {
	ctx, cancel := context.WithTimeout(cut, p.o.ShutdownTimeout)
	defer cancel()
	errs := make([]error, len(p.doors))
	var stopping sync.WaitGroup
	for i, d := range p.doors {
		stopping.Go(func() { errs[i] = d.Shutdown(ctx) })
	}
	stopping.Wait()
	if err := cmp.Or(errs...); err != nil {
		return fmt.Errorf("requests in flight were cut off: %w", err)
	}
	return nil
}

// closeDoors cuts off what is left at any front door.
func (p *program) closeDoors() {
	for _, d := range p.doors {
		if err := d.Close(); err != nil {
			p.log.Error("a front door was not closed", "error", err)
		}
	}
}
