package gateway

import (
	"net/netip"
	"slices"
	"time"

	"github.com/remora-proxy/remora/internal/gateway/loop"
	"github.com/remora-proxy/remora/internal/problem"
)

// upstreamState says what a connection to a replica is doing.
type upstreamState uint8

const (
	upstreamConnecting upstreamState = iota
	upstreamBusy                     // in an exchange
	upstreamIdle                     // in its pool
	upstreamClosed
)

// upstream is a connection to a replica.
type upstream struct {
	stream
	pool       *pool
	prev, next *upstream // in the pool's list of idle connections
	state      upstreamState
	waiting    wait
	mark       uint64 // the progress at which the wait began
	timer      loop.Timer
	x          *exchange
}

// Ready takes an event of the replica's socket.
func (u *upstream) Ready(ev loop.Events) {
	u.note(ev)
	switch u.state {
	case upstreamIdle:
		// Nothing may come here. What does is the end of the connection, or an answer to no request.
		if ev&loop.Readable != 0 {
			u.pool.w.stats.upstreamClosedIdle++
			u.close()
		}
	case upstreamConnecting:
		if ev&loop.Writable != 0 {
			u.connected()
		}
	case upstreamBusy:
		c := u.x.c
		u.x.upstreamReady()
		c.serve()
	case upstreamClosed:
	}
}

// connected takes the end of the connect.
func (u *upstream) connected() {
	x := u.x
	c := x.c
	if err := connectError(u.src.FD()); err != nil {
		x.connectFailed(problem.ConnectFailed)
	} else {
		u.state = upstreamBusy
		u.wait(waitNothing, 0)
		x.connected()
		if x.u == u && x.phase == phaseForward && u.canRead && !c.pending() { // it answers at once, before it has read anything
			x.pumpDown()
			x.limit()
		}
	}
	c.serve()
}

// wait sets what the timer is for, and how long.
func (u *upstream) wait(what wait, d time.Duration) {
	if what == waitNothing && u.waiting == waitNothing {
		return
	}
	u.waiting = what
	u.pool.w.setTimer(&u.timer, u, what, d)
}

// await is wait for something that comes bit by bit, as for a client.
func (u *upstream) await(what wait, progress uint64, d time.Duration) {
	if u.waiting != what || u.mark != progress {
		u.mark = progress
		u.wait(what, d)
	}
}

// Expired takes the end of the timer.
func (u *upstream) Expired(*loop.Timer) {
	waited := u.waiting
	u.waiting = waitNothing
	if waited == waitReuse {
		u.close()
		return
	}
	x := u.x
	c := x.c
	switch {
	case waited == waitConnect:
		x.connectFailed(problem.ConnectTimeout)
	case x.headSent:
		x.truncate()
	case waited == waitWrite:
		x.answer(problem.Problem{Code: problem.ResponseTimeout, Detail: "The replica stopped reading the request."})
	default:
		x.answer(problem.Problem{Code: problem.ResponseTimeout, Detail: "The replica did not begin its response in time; it may have acted on the request."})
	}
	c.serve()
}

// reusable reports whether nothing is left of the last exchange.
func (u *upstream) reusable() bool {
	if u.pending() || u.cannot || u.r < len(u.in) {
		return false
	}
	if u.canRead {
		u.in, u.r = u.in[:0], 0
		return u.fill() == blocked
	}
	return !u.peerDone
}

// close ends the connection at once. It must have parted from its exchange.
func (u *upstream) close() {
	p := u.pool
	if u.state == upstreamClosed {
		return
	}
	if u.state == upstreamIdle {
		p.remove(u)
	}
	u.state = upstreamClosed
	u.giveBack()
	p.w.loop.StopTimer(&u.timer)
	p.w.loop.Close(&u.src)
	p.w.stats.upstreams--
	p.total--
	p.changed()
}

// giveBack returns the buffers.
func (u *upstream) giveBack() {
	b := &u.pool.w.buffers
	b.put(u.in)
	b.put(u.out)
	u.in, u.out, u.tail, u.r, u.sent = nil, nil, nil, 0, 0
}

// pool is a worker's connections to one address. Endpoints of several services may share it.
type pool struct {
	w       *worker
	address string
	addr    netip.AddrPort
	err     error       // why there can be none
	idle    upstream    // sentinel of the list of idle connections, the one used last first
	total   int         // connections, busy, idle and those being established
	queue   []*exchange // wait for a turn
	queued  bool        // a turn of the queue was asked for
}

// poolOf is the pool for an endpoint's address.
func (w *worker) poolOf(address string) *pool {
	if p, ok := w.pools[address]; ok {
		return p
	}
	p := &pool{w: w, address: address}
	p.addr, p.err = netip.ParseAddrPort(address)
	p.idle.prev, p.idle.next = &p.idle, &p.idle
	w.pools[address] = p
	return p
}

// take gives the idle connection that was used last, or nil. The ones at the other end of the list run into their timeout.
func (p *pool) take() *upstream {
	u := p.idle.next
	if u == &p.idle {
		return nil
	}
	p.remove(u)
	u.state = upstreamBusy
	u.src.First(false)
	u.wait(waitNothing, 0)
	return u
}

func (p *pool) remove(u *upstream) {
	u.prev.next, u.next.prev = u.next, u.prev
	u.prev, u.next = nil, nil
	p.w.stats.upstreamsIdle--
}

// put makes a connection idle. Its events come first in a round from now on, so that the end of a connection is known before a
// request of the same round takes it.
func (p *pool) put(u *upstream) {
	u.giveBack()
	u.state = upstreamIdle
	u.src.First(true)
	u.prev, u.next = &p.idle, p.idle.next
	u.prev.next, u.next.prev = u, u
	p.w.stats.upstreamsIdle++
	u.wait(waitReuse, p.w.timeouts.UpstreamIdle)
	p.changed()
}

// dial begins a new connection.
func (p *pool) dial() (*upstream, error) {
	fd, err := dial(p.addr)
	if err != nil {
		return nil, err
	}
	u := &upstream{pool: p}
	u.traffic = &p.w.stats.replicaBytes
	if err := p.w.loop.Add(&u.src, fd, u); err != nil {
		closeSocket(fd)
		return nil, err
	}
	p.total++
	p.w.stats.upstreams++
	p.w.stats.upstreamOpened++
	return u, nil
}

// enqueue has x wait for a turn, unless too many do.
func (p *pool) enqueue(x *exchange) bool {
	if len(p.queue) >= p.w.limits.QueuePerEndpoint {
		return false
	}
	p.queue = append(p.queue, x)
	return true
}

// leave takes x out of the queue.
func (p *pool) leave(x *exchange) {
	if i := slices.Index(p.queue, x); i >= 0 {
		p.queue = slices.Delete(p.queue, i, i+1)
	}
	p.changed()
}

// changed says that a connection has become idle or gone: somebody in the queue has a turn, or the pool is done with.
func (p *pool) changed() {
	switch {
	case len(p.queue) > 0:
		if !p.queued {
			p.queued = true
			p.w.loop.Again(p)
		}
	case p.total == 0 && p.w.pools[p.address] == p:
		delete(p.w.pools, p.address)
	}
}

// Ready gives those at the front of the queue their turn.
func (p *pool) Ready(loop.Events) {
	p.queued = false
	for len(p.queue) > 0 && (p.idle.next != &p.idle || p.total < p.w.limits.UpstreamPerEndpoint) {
		x := p.queue[0]
		p.queue = slices.Delete(p.queue, 0, 1)
		x.turn(p)
	}
	p.changed()
}
