//go:build linux

package load

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// poller waits for sockets and for a point in time. The time comes from a timer of the kernel's, which is exact to some
// microseconds, where epoll's own timeout counts milliseconds.
type poller struct {
	epoll, timer int
	events       [128]unix.EpollEvent
	ready        []int
}

func newPoller() (*poller, error) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, err
	}
	timer, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		unix.Close(epoll) //nolint:errcheck // the error that counts is the first
		return nil, err
	}
	p := &poller{epoll: epoll, timer: timer}
	if err := p.add(timer); err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

func (p *poller) close() {
	unix.Close(p.timer) //nolint:errcheck // nothing is left to be lost
	unix.Close(p.epoll) //nolint:errcheck // nothing is left to be lost
}

// add makes wait report when fd can be read.
func (p *poller) add(fd int) error {
	return unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)})
}

// wait returns when a socket can be read or d has passed, and at once when d is not positive. It never waits longer than a
// second. The result is valid until the next call, and may hold the timer's own descriptor.
func (p *poller) wait(d time.Duration) ([]int, error) {
	timeout := 1000
	if d <= 0 {
		timeout = 0
	} else if err := unix.TimerfdSettime(p.timer, 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(int64(d))}, nil); err != nil {
		return nil, err
	}
	n, err := unix.EpollWait(p.epoll, p.events[:], timeout)
	if err != nil && !errors.Is(err, unix.EINTR) {
		return nil, err
	}
	p.ready = p.ready[:0]
	for _, e := range p.events[:max(n, 0)] {
		p.ready = append(p.ready, int(e.Fd))
	}
	return p.ready, nil
}
