// Package loop is the event loop that the gateway's workers run on: one goroutine that waits for many sockets, edge-triggered,
// with coarse timers and a bounded mailbox for functions from other goroutines. Everything that hangs on a loop is touched by
// its goroutine alone and needs no lock. The package knows no HTTP and no configuration.
//
// A goroutine for each connection would read until EAGAIN and park, which costs a request through a proxy two system calls and
// two switches more than its four reads and writes; at some 25 µs for the whole request that is most of what a proxy can
// save.
package loop

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"time"
)

// mailboxSize bounds how many posted functions wait for a loop.
const mailboxSize = 1024

// ErrStopped is returned for work that is given to a loop that has ended.
var ErrStopped = errors.New("the loop has ended")

// Events is a set of what happened to a socket.
type Events uint8

// The events.
const (
	Readable Events = 1 << iota // bytes, the end of the stream, or an error can be read
	Writable                    // there is room to write, or a connect has ended
	PeerDone                    // the peer has closed its sending side (FIN) or the whole connection
	Failed                      // the connection is broken: the error can be read from it
)

// Handler is told what happened to its socket. It is called on the loop's goroutine. Readable and Writable are edges: they
// are told once, and again only after the handler has read or written as much as was possible.
type Handler interface{ Ready(Events) }

// Source is the registration of one socket. The zero value is not registered. It must stay where it is while registered.
type Source struct {
	fd    int
	slot  int32
	first bool
}

// FD is the file descriptor; -1 when the source is not registered.
func (s *Source) FD() int { return s.fd - 1 }

// slot is what a number that the kernel keeps for us leads to. The generation tells a late event for a closed socket from one
// for its successor.
type slot struct {
	handler Handler
	source  *Source
	gen     uint32
}

// Loop waits for sockets and timers. Make it with New and give it a goroutine with Run; all other methods are for that
// goroutine alone, save Post, Send, Do and Stop.
type Loop struct {
	poller poller
	slots  []slot
	free   []int32
	again  []Handler // called in the next round, see Again
	spare  []Handler
	wheel  wheel

	start time.Time
	now   time.Duration // since start
	wall  int64         // milliseconds since the Unix epoch

	mail     chan func()
	awake    atomic.Bool // a wake-up is on its way, or the mailbox is being read
	stopping bool
	stopped  chan struct{}
}

// New makes a loop. It holds two file descriptors until Run has ended.
func New() (*Loop, error) {
	l := &Loop{
		mail:    make(chan func(), mailboxSize),
		stopped: make(chan struct{}),
		start:   time.Now(),
	}
	l.wheel.init()
	if err := l.poller.open(); err != nil {
		return nil, fmt.Errorf("cannot make an event loop: %w", err)
	}
	l.readClock()
	return l, nil
}

// yieldInterval is how often a busy loop gives its processor up for a moment. After 10 ms without (forcePreemptNS in
// runtime/proc.go), the Go scheduler's monitor would interrupt it, take the processor away in each wait, and itself wake up every
// 20 µs to do so, which costs some 3 µs a request.
const yieldInterval = 5 * time.Millisecond

// Run serves until Stop. It closes no socket that is still registered: that is for their owners, before Stop.
func (l *Loop) Run() {
	defer l.close()
	for yielded := l.now; !l.stopping; {
		n := l.poller.wait(l.patience())
		l.readClock()
		if l.now-yielded > yieldInterval {
			yielded = l.now
			runtime.Gosched()
		}
		l.dispatch(n)
		l.runAgain()
		l.wheel.expire(l.now)
	}
}

func (l *Loop) close() {
	close(l.stopped)
	l.poller.close()
	for { // those who wait in Do see stopped; nothing else may stay referenced
		select {
		case <-l.mail:
		default:
			return
		}
	}
}

// dispatch tells the handlers of the n events of this round. Sources that were marked First are told first.
func (l *Loop) dispatch(n int) {
	var told [eventsPerWait]bool // a source's mark may change while others are told
	for i := range n {
		if s, ev, ok := l.event(i); ok && s.source.first {
			told[i] = true
			s.handler.Ready(ev)
		}
	}
	for i := range n {
		if told[i] {
			continue
		}
		if s, ev, ok := l.event(i); ok {
			s.handler.Ready(ev)
		}
	}
	if l.poller.woken {
		l.poller.woken = false
		l.readMail()
	}
}

// event is the i-th event of the round, unless its socket was closed in the meantime.
func (l *Loop) event(i int) (s *slot, ev Events, ok bool) {
	at, gen, ev := l.poller.event(i)
	if at < 0 {
		return nil, 0, false
	}
	s = &l.slots[at]
	return s, ev, s.gen == gen && s.source != nil
}

// Now is the time since the loop was made, read once at the start of each round: what timers and durations go by.
func (l *Loop) Now() time.Duration { return l.now }

// Wall is the time of day in milliseconds since the Unix epoch as of Now. It goes by the time of day when the loop was made and by the
// monotonic clock since: a time of day that is set back or forth meanwhile makes no session live longer or shorter.
func (l *Loop) Wall() int64 { return l.wall }

func (l *Loop) readClock() {
	l.now = time.Since(l.start)
	l.wall = l.start.UnixMilli() + l.now.Milliseconds()
}

// Add registers a non-blocking socket for reading and writing, edge-triggered, and owns it from then on. What is ready already
// is told in the next round.
func (l *Loop) Add(s *Source, fd int, h Handler) error { return l.add(s, fd, h, true) }

// AddListener registers a listening socket, level-triggered: it is told in every round while a connection waits.
func (l *Loop) AddListener(s *Source, fd int, h Handler) error { return l.add(s, fd, h, false) }

func (l *Loop) add(s *Source, fd int, h Handler, stream bool) error {
	var at int32
	if n := len(l.free); n > 0 {
		at, l.free = l.free[n-1], l.free[:n-1]
	} else {
		at = int32(len(l.slots))
		l.slots = append(l.slots, slot{})
	}
	sl := &l.slots[at]
	if err := l.poller.add(fd, at, sl.gen, stream); err != nil {
		l.free = append(l.free, at)
		return err
	}
	sl.handler, sl.source = h, s
	*s = Source{fd: fd + 1, slot: at}
	return nil
}

// Pause stops the events of a listener, Resume brings them back.
func (l *Loop) Pause(s *Source) error { return l.poller.pause(s.FD(), s.slot, l.slots[s.slot].gen) }

// Resume is the inverse of Pause.
func (l *Loop) Resume(s *Source) error { return l.poller.resume(s.FD(), s.slot, l.slots[s.slot].gen) }

// First says whether the source's events are told before those of the others in a round: for idle connections, whose end
// should be known before somebody takes one of them.
func (s *Source) First(on bool) { s.first = on }

// Close closes the socket, which ends its registration; events that were on their way are not told any more. It is safe
// to call it twice.
func (l *Loop) Close(s *Source) {
	if s.fd == 0 {
		return
	}
	closeFD(s.FD())
	sl := &l.slots[s.slot]
	sl.handler, sl.source = nil, nil
	sl.gen++
	l.free = append(l.free, s.slot)
	*s = Source{}
}

// Again has h.Ready(0) called in the next round: for a handler that could go on but lets others go first. The handler must
// know by itself whether it has been closed in the meantime.
func (l *Loop) Again(h Handler) { l.again = append(l.again, h) }

func (l *Loop) runAgain() {
	if len(l.again) == 0 {
		return
	}
	l.again, l.spare = l.spare[:0], l.again
	for i, h := range l.spare {
		l.spare[i] = nil
		h.Ready(0)
	}
}

// patience is how long the round may wait for events; negative: for ever.
func (l *Loop) patience() time.Duration {
	if len(l.again) > 0 {
		return 0
	}
	return l.wheel.patience(l.now)
}

// Post has f called on the loop's goroutine soon, unless the loop is stopped before. It reports whether f was taken: not when
// the mailbox is full or the loop has ended. It may be called from any goroutine.
func (l *Loop) Post(f func()) bool {
	select {
	case <-l.stopped:
		return false
	default:
	}
	select {
	case l.mail <- f:
		l.wake()
		return true
	default:
		return false
	}
}

// Send is Post that waits for room where the mailbox is full. It may be called from any goroutine but the loop's.
func (l *Loop) Send(f func()) bool {
	select {
	case <-l.stopped:
		return false
	default:
	}
	select {
	case <-l.stopped:
		return false
	case l.mail <- f:
		l.wake()
		return true
	}
}

// Do has f called on the loop's goroutine and waits until it has returned. After an error f may still be called, unless it is
// ErrStopped. It may be called from any goroutine but the loop's.
func (l *Loop) Do(ctx context.Context, f func()) error {
	select {
	case <-l.stopped:
		return ErrStopped
	default:
	}
	done := make(chan struct{})
	select {
	case <-l.stopped:
		return ErrStopped
	case <-ctx.Done():
		return ctx.Err()
	case l.mail <- func() { f(); close(done) }:
		l.wake()
	}
	select {
	case <-done:
		return nil
	case <-l.stopped:
		select {
		case <-done: // it was the one that stopped the loop
			return nil
		default:
			return ErrStopped
		}
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Stop ends Run after the round. It is for the loop's goroutine: from elsewhere, post it.
func (l *Loop) Stop() { l.stopping = true }

// Done is closed when Run has ended.
func (l *Loop) Done() <-chan struct{} { return l.stopped }

func (l *Loop) wake() {
	if l.awake.CompareAndSwap(false, true) {
		l.poller.wake()
	}
}

// readMail calls what was posted, but no more than was there at the start, so that posts that post again starve nobody.
func (l *Loop) readMail() {
	l.awake.Store(false)
	for range len(l.mail) {
		(<-l.mail)()
		if l.stopping {
			return
		}
	}
}
