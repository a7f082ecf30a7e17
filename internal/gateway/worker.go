package gateway

import (
	crand "crypto/rand"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/gateway/http1"
	"github.com/remora-proxy/remora/internal/gateway/loop"
	"github.com/remora-proxy/remora/internal/session"
)

// spareExchanges bounds the exchanges that a worker keeps for reuse.
const spareExchanges = 1024

// worker is one event loop with everything that hangs on it: connections, buffers, pools of upstream connections, counters.
// Save load, nothing of it is shared, so nothing of it is locked.
type worker struct {
	g        *Gateway
	loop     *loop.Loop
	load     atomic.Int64 // client connections, those on their way included
	engine   *affinity.Engine
	timeouts Timeouts
	limits   Limits
	retry    Retry
	http     http1.Limits
	log      func(*Record)

	buffers   buffers
	exchanges []*exchange // for reuse
	clients   client      // sentinel of the list
	pools     map[string]*pool
	draining  bool
	stopping  bool
	waiting   int // exchanges in phaseDecide
	turn      int // turnSteps

	ids         idSource
	dates       dateCache
	problemBody []byte
	record      Record
	stats       stats

	// Reused for each head; what is the same for all is set once.
	requestOptions  http1.RequestOptions
	responseOptions http1.ResponseOptions
}

func newWorker(g *Gateway) (*worker, error) {
	l, err := loop.New()
	if err != nil {
		return nil, err
	}
	c := &g.config
	w := &worker{
		g: g, loop: l, engine: c.Engine, timeouts: c.Timeouts, limits: c.Limits, retry: c.Retry, http: c.HTTP, log: c.AccessLog,
		pools: make(map[string]*pool), stats: newStats(), turn: turnSteps,
	}
	w.clients.prev, w.clients.next = &w.clients, &w.clients
	w.buffers.largeSize = largeBuffer(&c.HTTP)
	var seed [32]byte
	crand.Read(seed[:]) // never fails
	w.ids.rng = rand.NewChaCha8(seed)
	w.requestOptions.DropPrefix = "x-remora-" // what Remora tells a replica nobody else may
	w.requestOptions.ForwardedProto = "http"
	w.requestOptions.Via, w.responseOptions.Via = c.Via, c.Via
	return w, nil
}

// instant is the time of this round as the engine counts it.
func (w *worker) instant() session.Instant {
	if w.g.config.Now != nil {
		return w.g.config.Now()
	}
	return session.Instant(w.loop.Wall())
}

// setTimer sets a connection's timer. A negative duration is no limit.
func (w *worker) setTimer(t *loop.Timer, owner loop.Expirer, what wait, d time.Duration) {
	if what == waitNothing || d < 0 {
		w.loop.SetTimer(t, owner, loop.Never)
		return
	}
	w.loop.SetTimer(t, owner, w.loop.Now()+d)
}

func (w *worker) newExchange(c *client) *exchange {
	var x *exchange
	if n := len(w.exchanges); n > 0 {
		x = w.exchanges[n-1]
		w.exchanges = w.exchanges[:n-1]
	} else {
		x = new(exchange)
	}
	x.w, x.c = w, c
	x.start = w.loop.Now()
	x.counted.fromClient, x.counted.toClient = c.received-uint64(len(c.in)-c.r), c.delivered
	return x
}

func (w *worker) freeExchange(x *exchange) {
	x.forget()
	if len(w.exchanges) < spareExchanges {
		w.exchanges = append(w.exchanges, x)
	}
}

// addClient takes a new connection over.
func (w *worker) addClient(via *port, fd int, peer unix.Sockaddr) {
	c := &client{w: w, via: via, addr: addrOf(peer)}
	c.addrText = c.addr.String()
	c.traffic = &w.stats.clientBytes
	c.prev, c.next = w.clients.prev, &w.clients
	c.prev.next, c.next.prev = c, c
	w.stats.clients++
	w.stats.accepted++
	if err := w.loop.Add(&c.src, fd, c); err != nil {
		w.g.log.Warn("cannot serve a connection", "error", err)
		closeSocket(fd)
		c.close()
		return
	}
	c.wait(waitRequest, w.timeouts.Idle)
}

func (w *worker) removeClient(c *client) {
	w.loop.StopTimer(&c.timer)
	w.loop.Close(&c.src)
	c.prev.next, c.next.prev = c.next, c.prev
	c.prev, c.next = nil, nil
	w.stats.clients--
	w.load.Add(-1)
	w.g.open.Add(-1)
}

// closeIdle closes the connections that take no further request and have none under way.
func (w *worker) closeIdle() {
	for c, next := w.clients.next, (*client)(nil); c != &w.clients; c = next {
		next = c.next
		if c.state == clientServing && c.x == nil && !c.canRead && c.closing() {
			c.close()
		}
	}
}

// stop cuts everything off and ends the loop; where decisions are waited for, with the last of them.
func (w *worker) stop() {
	w.stopping = true
	for c, next := w.clients.next, (*client)(nil); c != &w.clients; c = next {
		next = c.next
		switch {
		case c.x == nil || c.x.phase == phaseHead:
			c.close()
		case c.x.phase != phaseDecide:
			c.x.abort(endStopped)
		}
	}
	for _, p := range w.pools {
		for p.idle.next != &p.idle {
			p.idle.next.close()
		}
	}
	if w.waiting == 0 {
		w.loop.Stop()
	}
}

// dateCache makes the text of a Date field once a second.
type dateCache struct {
	second int64
	s      string
}

// text is the Date (RFC 9110, 6.6.1) for a time in milliseconds since the Unix epoch.
func (d *dateCache) text(wall int64) string {
	if second := wall / 1000; second != d.second {
		d.second = second
		d.s = time.Unix(second, 0).UTC().Format(http.TimeFormat)
	}
	return d.s
}
