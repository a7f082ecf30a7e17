package loop

import (
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// eventsPerWait is how many events one system call brings at most.
const eventsPerWait = 256

// wakeSlot marks the events of the wake-up descriptor.
const wakeSlot = -1

// poller waits with epoll(7). Sockets are registered once, for both directions; a read or write that did less than was asked
// for says that the socket is drained (epoll(7), question 9), so the usual request needs no call that only brings EAGAIN.
type poller struct {
	epoll  int
	waker  int // eventfd; never read: with edges, each write to it is an event
	events [eventsPerWait]unix.EpollEvent
	woken  bool
}

func (p *poller) open() (err error) {
	if p.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	if p.waker, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		closeFD(p.epoll)
		return err
	}
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: wakeSlot}
	if err = unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, p.waker, &ev); err != nil {
		p.close()
	}
	return err
}

func (p *poller) close() {
	closeFD(p.waker)
	closeFD(p.epoll)
}

func (p *poller) add(fd int, slot int32, gen uint32, stream bool) error {
	ev := listenEvent(slot, gen)
	if stream {
		ev.Events |= unix.EPOLLOUT | unix.EPOLLRDHUP | unix.EPOLLET
	}
	return unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, fd, &ev)
}

func listenEvent(slot int32, gen uint32) unix.EpollEvent {
	return unix.EpollEvent{Events: unix.EPOLLIN, Fd: slot, Pad: int32(gen)}
}

func (p *poller) pause(fd int, slot int32, gen uint32) error {
	ev := listenEvent(slot, gen)
	ev.Events = 0
	return unix.EpollCtl(p.epoll, unix.EPOLL_CTL_MOD, fd, &ev)
}

func (p *poller) resume(fd int, slot int32, gen uint32) error {
	ev := listenEvent(slot, gen)
	return unix.EpollCtl(p.epoll, unix.EPOLL_CTL_MOD, fd, &ev)
}

// wait waits for events and returns how many there are. A wait that cannot block goes past the Go scheduler: it needs not know.
func (p *poller) wait(patience time.Duration) int {
	var n uintptr
	var errno syscall.Errno
	events := uintptr(unsafe.Pointer(&p.events[0]))
	if patience == 0 {
		n, _, errno = syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.epoll), events, eventsPerWait, 0, 0, 0)
	} else {
		n, _, errno = syscall.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.epoll), events, eventsPerWait, uintptr(millis(patience)), 0, 0)
	}
	if errno != 0 { // EINTR; anything else cannot be
		return 0
	}
	return int(n)
}

// millis rounds up, so that a timer is due when the wait for it ends.
func millis(d time.Duration) int {
	if d < 0 {
		return -1
	}
	return int((d + time.Millisecond - 1) / time.Millisecond)
}

func (p *poller) event(i int) (slot int32, gen uint32, ev Events) {
	e := &p.events[i]
	if e.Fd == wakeSlot {
		p.woken = true
		return -1, 0, 0
	}
	if e.Events&(unix.EPOLLIN|unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		ev |= Readable
	}
	if e.Events&(unix.EPOLLOUT|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		ev |= Writable
	}
	if e.Events&(unix.EPOLLRDHUP|unix.EPOLLHUP) != 0 {
		ev |= PeerDone
	}
	if e.Events&(unix.EPOLLERR|unix.EPOLLHUP) != 0 {
		ev |= Failed
	}
	return e.Fd, uint32(e.Pad), ev
}

func (p *poller) wake() {
	one := [8]byte{0: 1}
	_, _ = unix.Write(p.waker, one[:]) // can fail only when a wake-up waits already
}

func closeFD(fd int) { _, _, _ = syscall.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0) }
