package loop

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const patience = 20 * time.Second

// run makes a loop and runs it until the test's end.
func run(t *testing.T) *Loop {
	t.Helper()
	l, err := New()
	if err != nil {
		t.Fatal(err)
	}
	go l.Run()
	t.Cleanup(func() {
		if err := l.Do(context.Background(), l.Stop); err != nil && !errors.Is(err, ErrStopped) {
			t.Error(err)
		}
		<-l.Done()
	})
	return l
}

func do(t *testing.T, l *Loop, f func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := l.Do(ctx, f); err != nil {
		t.Fatal(err)
	}
}

// stall makes the loop stand still until the channel is closed.
func stall(t *testing.T, l *Loop) (release chan struct{}) {
	t.Helper()
	release = make(chan struct{})
	entered := make(chan struct{})
	if !l.Post(func() { close(entered); <-release }) {
		t.Fatal("not posted")
	}
	<-entered
	return release
}

// pair makes two connected sockets: the first is non-blocking, the second is the test's.
func pair(t *testing.T) (ours, theirs int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fds[1]) })
	return fds[0], fds[1]
}

func write(t *testing.T, fd int, s string) {
	t.Helper()
	if _, err := unix.Write(fd, []byte(s)); err != nil {
		t.Fatal(err)
	}
}

// recorder is a handler that passes its events on, and reads nothing.
type recorder struct {
	src    Source
	events chan Events
	name   string
	order  *[]string
}

func (r *recorder) Ready(ev Events) {
	if r.order != nil {
		*r.order = append(*r.order, r.name)
	}
	r.events <- ev
}

func (r *recorder) next(t *testing.T) Events {
	t.Helper()
	select {
	case ev := <-r.events:
		return ev
	case <-time.After(patience):
		t.Fatal("no event")
		return 0
	}
}

func TestEventsAreEdges(t *testing.T) {
	l := run(t)
	ours, theirs := pair(t)
	r := &recorder{events: make(chan Events, 10)}
	do(t, l, func() {
		if err := l.Add(&r.src, ours, r); err != nil {
			t.Error(err)
		}
	})
	if ev := r.next(t); ev&Writable == 0 || ev&Readable != 0 {
		t.Errorf("a new socket: %b", ev)
	}
	write(t, theirs, "x")
	if ev := r.next(t); ev&Readable == 0 {
		t.Errorf("bytes came: %b", ev)
	}
	do(t, l, func() {}) // a further round, with the byte still unread
	select {
	case ev := <-r.events:
		t.Errorf("told twice: %b", ev)
	default:
	}
	write(t, theirs, "y")
	if ev := r.next(t); ev&Readable == 0 {
		t.Errorf("more bytes came: %b", ev)
	}
	if err := unix.Shutdown(theirs, unix.SHUT_WR); err != nil {
		t.Fatal(err)
	}
	if ev := r.next(t); ev&(Readable|PeerDone) != Readable|PeerDone {
		t.Errorf("the peer has ended its stream: %b", ev)
	}
	do(t, l, func() {
		l.Close(&r.src)
		l.Close(&r.src) // is nothing
		if r.src.FD() != -1 {
			t.Error("a closed source has a descriptor")
		}
	})
}

// Within a round a handler may close another socket whose event is on its way, and a new socket may get its place.
func TestAClosedSocketGetsNoEvent(t *testing.T) {
	l := run(t)
	var a, b killer
	aFD, aPeer := pair(t)
	bFD, bPeer := pair(t)
	replacement := &recorder{events: make(chan Events, 10)}
	replacementFD, replacementPeer := pair(t)
	do(t, l, func() {
		if err := errors.Join(l.Add(&a.src, aFD, &a), l.Add(&b.src, bFD, &b)); err != nil {
			t.Error(err)
		}
	})
	do(t, l, func() {}) // the first events are over
	both := func(other *killer) func() {
		return func() {
			l.Close(&other.src)
			if err := l.Add(&replacement.src, replacementFD, replacement); err != nil {
				t.Error(err)
			}
		}
	}
	release := stall(t, l) // while both sockets become readable
	a.act, b.act = both(&b), both(&a)
	write(t, aPeer, "x")
	write(t, bPeer, "x")
	close(release)
	if ev := replacement.next(t); ev&Readable != 0 {
		t.Errorf("the new socket got the event of the old one: %b", ev)
	}
	write(t, replacementPeer, "x")
	if ev := replacement.next(t); ev&Readable == 0 {
		t.Errorf("the new socket: %b", ev)
	}
	do(t, l, func() {
		if n := a.told + b.told; n != 1 {
			t.Errorf("%d of the two were told, want 1", n)
		}
		l.Close(&a.src)
		l.Close(&b.src)
		l.Close(&replacement.src)
	})
}

// killer acts at its first readable event.
type killer struct {
	src  Source
	act  func()
	told int
}

func (k *killer) Ready(ev Events) {
	if ev&Readable != 0 {
		k.told++
		k.act()
	}
}

func TestSourcesThatAreMarkedAreToldFirst(t *testing.T) {
	l := run(t)
	var order []string
	var peers []int
	var all []*recorder
	for _, name := range []string{"a", "b", "first", "c"} {
		fd, peer := pair(t)
		r := &recorder{name: name, events: make(chan Events, 10)}
		do(t, l, func() {
			if err := l.Add(&r.src, fd, r); err != nil {
				t.Error(err)
			}
			r.src.First(name == "first")
		})
		r.next(t)
		peers = append(peers, peer)
		all = append(all, r)
	}
	release := stall(t, l)
	for i, peer := range peers {
		all[i].order = &order
		write(t, peer, "x")
	}
	close(release)
	for _, r := range all {
		r.next(t)
	}
	do(t, l, func() {
		if order[0] != "first" || !slices.Contains(order, "a") || len(order) != 4 {
			t.Errorf("told in the order %v", order)
		}
		for _, r := range all {
			l.Close(&r.src)
		}
	})
}

// turns asks for another turn a number of times.
type turns struct {
	l    *Loop
	left int
	done chan struct{}
}

func (h *turns) Ready(ev Events) {
	if ev != 0 {
		return
	}
	if h.left--; h.left == 0 {
		close(h.done)
		return
	}
	h.l.Again(h)
}

func TestATurnIsTakenInTheNextRound(t *testing.T) {
	l := run(t)
	h := &turns{l: l, left: 5, done: make(chan struct{})}
	do(t, l, func() { l.Again(h) })
	<-h.done
}

func TestTimersOfARunningLoop(t *testing.T) {
	l := run(t)
	fired := make(chan time.Duration, 1)
	var p *probe
	p = &probe{fired: func(*probe) { fired <- l.Now() - p.due }}
	do(t, l, func() {
		p.due = l.Now() + 30*time.Millisecond
		l.SetTimer(&p.Timer, p, p.due)
	})
	select {
	case late := <-fired:
		if late < 0 {
			t.Errorf("%v too early", -late)
		}
	case <-time.After(patience):
		t.Error("the timer did not fire")
	}
	before := time.Now().UnixMilli()
	do(t, l, func() {
		if w := l.Wall(); w < before-1 || w > time.Now().UnixMilli() {
			t.Errorf("the time of day is %d, want %d", w, before)
		}
	})
}

func TestTheMailboxIsBounded(t *testing.T) {
	l := run(t)
	release := stall(t, l)
	var ran atomic.Int32
	posted := 0
	for l.Post(func() { ran.Add(1) }) {
		posted++
	}
	if posted != mailboxSize {
		t.Errorf("%d were posted before it was full, want %d", posted, mailboxSize)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	if err := l.Do(ctx, func() {}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Do with a full mailbox: %v", err)
	}
	sent := make(chan bool)
	go func() { sent <- l.Send(func() { ran.Add(1) }) }()
	close(release)
	if !<-sent {
		t.Error("Send has not waited for room")
	}
	do(t, l, func() {})
	if n := int(ran.Load()); n != posted+1 {
		t.Errorf("%d of %d posts ran", n, posted+1)
	}
}

func TestPostsWakeALoopThatSleeps(t *testing.T) {
	l := run(t)
	for range 1000 { // each finds the loop asleep, or about to be
		do(t, l, func() {})
	}
}

func TestAStoppedLoopTakesNothing(t *testing.T) {
	l, err := New()
	if err != nil {
		t.Fatal(err)
	}
	go l.Run()
	do(t, l, l.Stop)
	<-l.Done()
	if l.Post(func() { t.Error("ran") }) {
		t.Error("a post was taken")
	}
	if l.Send(func() { t.Error("ran") }) {
		t.Error("what was sent was taken")
	}
	if err := l.Do(context.Background(), func() { t.Error("ran") }); !errors.Is(err, ErrStopped) {
		t.Errorf("Do: %v", err)
	}
}

func BenchmarkRound(b *testing.B) {
	l, err := New()
	if err != nil {
		b.Fatal(err)
	}
	go l.Run()
	defer l.Do(context.Background(), l.Stop)
	b.ReportAllocs()
	for b.Loop() {
		l.Do(context.Background(), func() {})
	}
}
