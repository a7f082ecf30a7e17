package demo

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sync"
	"time"
)

// crowd is users of one service who call on their own, each again and again until they leave. It keeps books of its own, and
// judges each answer: while a session lives, its user stays on one replica, which counts on.
type crowd struct {
	t       *tour
	service string

	mu       sync.Mutex
	callers  []*caller
	calls    int
	sessions int
	lapses   int // calls that came later than the idle time after the one before: the session may have ended
	broken   []error
}

// caller is one user of the crowd. The fields from gone on are the crowd's to guard.
type caller struct {
	seat
	burn  time.Duration // CPU that each call asks the replica to use
	pause time.Duration // between two calls
	leave chan struct{} // closed: no call is begun any more
	done  chan struct{} // closed: the last call is over

	gone   bool
	at     string // the replica of the session
	visits uint64 // that it counted last
	calls  int
	asked  time.Time // when the last call that was answered was sent
	heard  time.Time // when it was answered
}

// maxCrowd bounds the users of a crowd.
const maxCrowd = 200

// join lets a user come, who has called once when it returns.
func (c *crowd) join(ctx context.Context, burn, pause time.Duration) error {
	c.mu.Lock()
	if len(c.callers) == maxCrowd {
		c.mu.Unlock()
		return fmt.Errorf("%d users have come in vain", maxCrowd)
	}
	m := &caller{
		seat: seat{fmt.Sprintf("u%d", len(c.callers)+1), c.service}, burn: burn, pause: pause,
		leave: make(chan struct{}), done: make(chan struct{}),
	}
	c.callers = append(c.callers, m)
	c.mu.Unlock()
	c.call(ctx, m)
	go func() {
		defer close(m.done)
		timer := time.NewTimer(m.pause)
		defer timer.Stop()
		for {
			select {
			case <-timer.C:
				c.call(ctx, m)
				timer.Reset(m.pause)
			case <-m.leave:
				return
			case <-ctx.Done():
				return
			}
		}
	}()
	return ctx.Err()
}

// call sends one request of a user and enters the answer into the books.
func (c *crowd) call(ctx context.Context, m *caller) {
	r := inBody(m.seat)
	if m.burn > 0 {
		r.query = "?" + url.Values{"burn": {m.burn.String()}}.Encode()
	}
	a := answer{request: r}
	asked := time.Now()
	a.reply, a.err = c.t.exchange(ctx, r)
	heard := time.Now()
	if ctx.Err() != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls++
	if err := c.judge(m, a, heard); err != nil {
		c.broken = append(c.broken, err)
	}
	if a.err != nil {
		return
	}
	m.at, m.visits, m.asked, m.heard = a.reply.PodID, a.reply.Visits, asked, heard
	m.calls++
}

// judge says what is wrong with an answer, and counts sessions.
func (c *crowd) judge(m *caller, a answer, heard time.Time) error {
	a.before, a.visits = m.at, a.reply.Visits // what a replica counts is judged only where the session lives
	switch {
	case m.calls == 0:
		c.sessions++
		a.visits = 1
		return a.began()
	case heard.Sub(m.asked) < c.t.idle:
		a.visits = m.visits + 1
		return a.stayed()
	}
	c.lapses++
	if a.reply.Session == "new" {
		c.sessions++
	}
	return a.served()
}

// dismiss lets users leave, and returns when their last calls are over.
func (c *crowd) dismiss(who func(*caller) bool) {
	var leaving []*caller
	c.mu.Lock()
	for _, m := range c.callers {
		if !m.gone && who(m) {
			m.gone = true
			leaving = append(leaving, m)
		}
	}
	c.mu.Unlock()
	for _, m := range leaving {
		close(m.leave)
	}
	for _, m := range leaving {
		<-m.done
	}
}

// count is how many users there are of whom something is so.
func (c *crowd) count(is func(*caller) bool) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.callers {
		if is(m) {
			n++
		}
	}
	return n
}

// each shows all users, one after the other.
func (c *crowd) each(show func(*caller)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, m := range c.callers {
		show(m)
	}
}

// surely is how many sessions lived on a replica without doubt all the time from a moment until now.
func (c *crowd) surely(r *replica, from time.Time) int {
	now := time.Now()
	return c.count(func(m *caller) bool { return m.at == r.name && m.heard.Before(from) && now.Sub(m.asked) < c.t.idle })
}

// atMost is how many sessions can have lived on a replica at a moment or since.
func (c *crowd) atMost(r *replica, from time.Time) int {
	return c.count(func(m *caller) bool { return m.at == r.name && (!m.gone || from.Sub(m.heard) < c.t.idle) })
}

// verdict is nil when no session was broken and no call failed; of many that were, it names three.
func (c *crowd) verdict() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	wrong := slices.Clone(c.broken)
	if more := len(wrong) - 3; more > 0 {
		wrong = append(wrong[:3], fmt.Errorf("and %d more", more))
	}
	return errors.Join(wrong...)
}
