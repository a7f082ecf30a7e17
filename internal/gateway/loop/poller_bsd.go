//go:build darwin || freebsd

package loop

import (
	"time"

	"golang.org/x/sys/unix"
)

// eventsPerWait is how many events one system call brings at most.
const eventsPerWait = 256

// wakeIdent is the identifier of the user event that wakes the loop.
const wakeIdent = 0

// poller waits with kqueue(2). EV_CLEAR gives edges. A socket has two filters there, so its reading and its writing side may
// come as two events of one round.
type poller struct {
	queue  int
	events [eventsPerWait]unix.Kevent_t
	owners []owner // by descriptor: the kernel's own field for this holds pointers, which it must not keep for Go
	round  uint64
	woken  bool
}

// owner is the slot that a descriptor belongs to since a round. Events that were fetched in that round are those of its
// predecessor, which was closed.
type owner struct {
	slot  int32
	gen   uint32
	round uint64
}

func (p *poller) open() (err error) {
	if p.queue, err = unix.Kqueue(); err != nil {
		return err
	}
	unix.CloseOnExec(p.queue)
	if err = p.change(wakeIdent, unix.EVFILT_USER, unix.EV_ADD|unix.EV_CLEAR, 0); err != nil {
		p.close()
	}
	return err
}

func (p *poller) close() { closeFD(p.queue) }

func (p *poller) change(ident, filter, flags int, fflags uint32) error {
	var ev [1]unix.Kevent_t
	unix.SetKevent(&ev[0], ident, filter, flags)
	ev[0].Fflags = fflags
	_, err := unix.Kevent(p.queue, ev[:], nil, nil)
	return err
}

func (p *poller) add(fd int, slot int32, gen uint32, stream bool) error {
	for len(p.owners) <= fd {
		p.owners = append(p.owners, owner{})
	}
	p.owners[fd] = owner{slot: slot, gen: gen, round: p.round}
	if !stream {
		return p.change(fd, unix.EVFILT_READ, unix.EV_ADD, 0)
	}
	var ev [2]unix.Kevent_t
	unix.SetKevent(&ev[0], fd, unix.EVFILT_READ, unix.EV_ADD|unix.EV_CLEAR)
	unix.SetKevent(&ev[1], fd, unix.EVFILT_WRITE, unix.EV_ADD|unix.EV_CLEAR)
	_, err := unix.Kevent(p.queue, ev[:], nil, nil)
	return err
}

func (p *poller) pause(fd int, _ int32, _ uint32) error {
	return p.change(fd, unix.EVFILT_READ, unix.EV_DISABLE, 0)
}

func (p *poller) resume(fd int, _ int32, _ uint32) error {
	return p.change(fd, unix.EVFILT_READ, unix.EV_ENABLE, 0)
}

// wait waits for events and returns how many there are.
func (p *poller) wait(patience time.Duration) int {
	var limit *unix.Timespec
	if patience >= 0 {
		ts := unix.NsecToTimespec(int64(patience))
		limit = &ts
	}
	p.round++
	n, err := unix.Kevent(p.queue, nil, p.events[:], limit)
	if err != nil { // EINTR; anything else cannot be
		return 0
	}
	return n
}

func (p *poller) event(i int) (slot int32, gen uint32, ev Events) {
	e := &p.events[i]
	if e.Filter == unix.EVFILT_USER {
		p.woken = true
		return -1, 0, 0
	}
	if e.Ident >= uint64(len(p.owners)) || p.owners[e.Ident].round == p.round {
		return -1, 0, 0
	}
	switch e.Filter {
	case unix.EVFILT_READ:
		ev = Readable
		if e.Flags&unix.EV_EOF != 0 {
			ev |= PeerDone
		}
	case unix.EVFILT_WRITE:
		ev = Writable
	}
	if e.Flags&unix.EV_EOF != 0 && e.Fflags != 0 {
		ev |= Failed | Readable | Writable
	}
	return p.owners[e.Ident].slot, p.owners[e.Ident].gen, ev
}

func (p *poller) wake() {
	_ = p.change(wakeIdent, unix.EVFILT_USER, 0, unix.NOTE_TRIGGER) // can fail only when the loop has ended
}

func closeFD(fd int) { _ = unix.Close(fd) }
