package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Gateway is a running reverse proxy. Its methods may be called from any goroutine.
type Gateway struct {
	config  Config
	log     *slog.Logger
	workers []*worker
	running sync.WaitGroup
	waiting atomic.Int64 // decisions of all workers that wait for a store
	open    atomic.Int64 // client connections of all workers, those included that are on their way to one

	mu        sync.Mutex
	listeners map[net.Listener]*port
	next      int // the worker that accepts for the next listener
	stopped   bool
}

// ErrStopped is returned for what comes after Shutdown or Close.
var ErrStopped = errors.New("the gateway has been stopped")

// New makes a gateway and starts its loops. It serves nobody before Add.
func New(c Config) (*Gateway, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	if runtime.GOMAXPROCS(0) <= c.Workers {
		runtime.GOMAXPROCS(c.Workers + 1) // see Config.Workers
	}
	g := &Gateway{config: c, log: c.Log, listeners: make(map[net.Listener]*port)}
	for range c.Workers {
		w, err := newWorker(g)
		if err != nil {
			return nil, errors.Join(err, g.Close())
		}
		g.workers = append(g.workers, w)
		g.running.Go(w.loop.Run)
	}
	return g, nil
}

// Add accepts connections from ln from now on. Requests on them have come in through number, the port of a Gateway's server, whatever port ln listens
// on. ln is a TCP listener; the gateway owns it: Remove, Shutdown or Close closes it.
func (g *Gateway) Add(ln net.Listener, number uint16) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stopped {
		return ErrStopped
	}
	fd, err := takeSocket(ln)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", ln.Addr(), err)
	}
	w := g.workers[g.next%len(g.workers)]
	p := &port{g: g, w: w, number: number}
	doErr := w.loop.Do(context.Background(), func() { err = w.loop.AddListener(&p.src, fd, p) })
	if err = errors.Join(doErr, err); err != nil {
		closeSocket(fd)
		return fmt.Errorf("listen on %s: %w", ln.Addr(), err)
	}
	g.next++
	g.listeners[ln] = p
	return nil
}

// Remove stops accepting from ln and closes it. Connections that came from it end when their request under way has; idle ones
// at once. It reports whether ln was there.
func (g *Gateway) Remove(ln net.Listener) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	p, ok := g.listeners[ln]
	if ok {
		delete(g.listeners, ln)
		g.closePort(ln, p)
	}
	return ok
}

// Protect says which header fields (names in lower case) decide where requests go: those that are promoted, that routes look at,
// and that sessions have their keys in. A client may not name them in Connection, which would take them from the replica, nor send
// them as trailers. It is to be called whenever the configuration has changed.
func (g *Gateway) Protect(names []string) {
	names = slices.Clone(names)
	for _, w := range g.workers {
		_ = w.loop.Do(context.Background(), func() { w.http.Protected = names }) // fails only when the loop has ended
	}
}

// closePort stops accepting, and ends the idle connections of a port.
func (g *Gateway) closePort(ln net.Listener, p *port) {
	p.closed.Store(true)
	_ = p.w.loop.Do(context.Background(), p.close) // fails only when the loop has ended, and the socket with it
	_ = ln.Close()
	for _, w := range g.workers {
		_ = w.loop.Do(context.Background(), w.closeIdle)
	}
}

// Shutdown stops accepting, ends idle connections, and waits until the requests under way have ended; their responses say that the connection closes.
// When ctx is done before, what is left is cut off, and the error says how much.
func (g *Gateway) Shutdown(ctx context.Context) error {
	g.stopAccepting()
	for _, w := range g.workers {
		_ = w.loop.Do(ctx, func() { w.draining = true; w.closeIdle() })
	}
	tick := time.NewTicker(drainCheck)
	defer tick.Stop()
	for g.open.Load() > 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			n := g.open.Load()
			_ = g.Close()
			if n == 0 {
				return nil
			}
			return fmt.Errorf("%d connections were cut off: %w", n, ctx.Err())
		}
	}
	return g.Close()
}

// drainCheck is how often Shutdown looks whether all connections have ended.
const drainCheck = 5 * time.Millisecond

// Close stops everything at once. Requests under way are cut off; their holds are released. It waits for decisions that wait for a store that
// gateways share, which bounds their time.
func (g *Gateway) Close() error {
	g.stopAccepting()
	for _, w := range g.workers {
		_ = w.loop.Do(context.Background(), w.stop) // fails only when it was stopped before
	}
	g.running.Wait()
	return nil
}

func (g *Gateway) stopAccepting() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stopped = true
	for ln, p := range g.listeners {
		delete(g.listeners, ln)
		g.closePort(ln, p)
	}
}

// least is the worker with the fewest client connections, the given one if it is among them.
func (g *Gateway) least(w *worker) *worker {
	n := w.load.Load()
	for _, o := range g.workers {
		if m := o.load.Load(); m < n {
			w, n = o, m
		}
	}
	return w
}
