package gateway

import (
	"errors"
	"fmt"
	"net"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/remora-proxy/remora/internal/gateway/loop"
)

// acceptsPerTurn is how many connections are taken from a listener before others get their turn.
const acceptsPerTurn = 64

// acceptPause is how long a listener rests when there can be no more connections.
const acceptPause = 50 * time.Millisecond

// port is a listening socket. One worker accepts for it and gives each connection to the worker that has the fewest: with
// a socket for each worker (SO_REUSEPORT), the kernel would spread a few dozen connections unevenly, and reset those that
// wait in the backlog of a socket that is closed.
type port struct {
	g      *Gateway
	w      *worker // accepts
	src    loop.Source
	timer  loop.Timer
	number uint16      // of the Gateway's server
	closed atomic.Bool // read by all workers
}

// takeSocket makes a listening socket out of ln that is ours alone, and closes ln.
func takeSocket(ln net.Listener) (fd int, err error) {
	sc, ok := ln.(syscall.Conn)
	if !ok {
		return -1, fmt.Errorf("a %T has no socket", ln)
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return -1, err
	}
	var dupErr error
	if err = raw.Control(func(orig uintptr) { fd, dupErr = unix.FcntlInt(orig, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return -1, err
	}
	if dupErr != nil {
		return -1, dupErr
	}
	if err = errors.Join(unix.SetNonblock(fd, true), prepare(fd), ln.Close()); err != nil {
		closeSocket(fd)
		return -1, err
	}
	return fd, nil
}

// Ready accepts the connections that wait. It runs on the accepting worker's goroutine.
func (p *port) Ready(loop.Events) {
	for range acceptsPerTurn {
		if p.g.open.Load() >= int64(p.g.config.Limits.Connections) {
			p.w.stats.acceptPauses++
			p.rest()
			return
		}
		fd, peer, err := accept(p.src.FD())
		switch {
		case err == nil:
			p.g.open.Add(1)
			p.give(fd, peer)
		case errors.Is(err, unix.EAGAIN):
			return
		case errors.Is(err, unix.ECONNABORTED), errors.Is(err, unix.EINTR), errors.Is(err, unix.EPROTO):
		default: // no more descriptors or memory
			p.w.stats.acceptErrors++
			p.g.log.Warn("cannot accept connections; trying again", "port", p.number, "error", err)
			p.rest()
			return
		}
	}
}

// give hands a connection to the worker that has the fewest.
func (p *port) give(fd int, peer unix.Sockaddr) {
	w := p.g.least(p.w)
	w.load.Add(1)
	if w == p.w {
		w.addClient(p, fd, peer)
		return
	}
	if !w.loop.Post(func() { w.addClient(p, fd, peer) }) { // its mailbox is full: it has enough to do
		w.load.Add(-1)
		p.w.load.Add(1)
		p.w.addClient(p, fd, peer)
	}
}

// rest stops accepting for a moment.
func (p *port) rest() {
	if err := p.w.loop.Pause(&p.src); err != nil {
		p.g.log.Warn("cannot pause accepting", "port", p.number, "error", err)
	}
	p.w.loop.SetTimer(&p.timer, p, p.w.loop.Now()+acceptPause)
}

// Expired ends the rest.
func (p *port) Expired(*loop.Timer) {
	if err := p.w.loop.Resume(&p.src); err != nil {
		p.g.log.Error("cannot accept connections any more", "port", p.number, "error", err)
	}
}

// close closes the socket. It runs on the accepting worker's goroutine.
func (p *port) close() {
	p.w.loop.StopTimer(&p.timer)
	p.w.loop.Close(&p.src)
}
