package app

import (
	"context"
	"errors"
	"os"
	"time"
)

// stopSignal is the cause of a context that a signal has ended.
type stopSignal struct{ os.Signal }

func (s stopSignal) Error() string { return s.String() }

// echo is how long the same signal once more is taken for the first one: programs such as timeout(1) send it to their child and
// then to the group that the child is in.
const echo = 500 * time.Millisecond

// obeyStops gives a context that ends with the first signal that asks to stop or with parent, and one that ends with the next
// signal; forget ends both. Signals are obeyed at any time, whatever the program is doing.
func (p *program) obeyStops(parent context.Context) (_, _ context.Context, forget func()) {
	stopped, stop := context.WithCancelCause(parent)
	cut, cutOff := context.WithCancel(context.WithoutCancel(parent))
	forgotten := make(chan struct{})
	go func() {
		var first os.Signal
		var came time.Time
		for cut.Err() == nil {
			select {
			case sig := <-p.o.Stop:
				if stopped.Err() == nil {
					first, came = sig, time.Now()
					stop(stopSignal{sig})
					continue
				}
				if sig == first && time.Since(came) < echo {
					continue
				}
				p.log.Warn("stopping at once", "why", sig.String()+", while it stops already")
				cutOff()
			case <-forgotten:
				return
			}
		}
	}()
	return stopped, cut, func() {
		close(forgotten)
		stop(nil)
		cutOff()
	}
}

// sayStopping logs why ctx, which obeyStops gave, has ended.
func (p *program) sayStopping(ctx context.Context) {
	p.board.notReady("the gateway is stopping") // before it is said
	why := "the program that started this one has ended, or asked for it"
	if sig := (stopSignal{}); errors.As(context.Cause(ctx), &sig) {
		why = sig.String()
	}
	p.log.Info("stopping", "why", why)
}

// load loads the configuration; nil says that ctx has ended. Files are not read nor compiled any faster for that, so such a
// load is left to end by itself.
func (p *program) load(ctx context.Context) *Loaded {
	if ctx.Err() != nil { // a load may still be on its way
		return nil
	}
	loaded := make(chan *Loaded, 1)
	go func() { loaded <- p.source.load(ctx) }()
	select {
	case l := <-loaded:
		if ctx.Err() == nil { // else it may lack addresses that it would have waited for
			if p.source.cluster == nil && l.Snapshot != nil { // a cluster's Gateways come and go
				l.Diagnostics = append(l.Diagnostics, p.o.Ports.Unused(l.Ports)...)
			}
			return l
		}
	case <-ctx.Done():
	}
	return nil
}

// untilStop does what signals and changes of the configuration ask for, until one asks to stop. Changes of a cluster gather in the
// pauses between two loads; the first one is acted on at once.
func (p *program) untilStop(ctx context.Context, changes, resolved <-chan struct{}) {
	pace, why := newPacer(changes), "the files changed"
	if p.source.cluster != nil {
		why = "the cluster's objects changed"
	}
	for {
		select {
		case <-ctx.Done():
			p.sayStopping(ctx)
			return
		case <-p.o.Reload:
			for len(p.o.Reload) > 0 { // the load that begins now is for these as well
				<-p.o.Reload
			}
			p.reloadCertificate()
			p.reload(ctx, "SIGHUP")
		case <-pace.heeded:
			if took := p.reload(ctx, why); p.source.cluster != nil {
				pace.rest(took)
			}
		case <-pace.paused:
			pace.resume()
		case <-resolved:
			p.readdress()
		}
	}
}

// nudge puts a token into a channel that holds one, unless one waits there already: it will stand for this as well.
func nudge(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}
