package extproc

import (
	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/extproc/rpc"
	"github.com/remora-proxy/remora/internal/session"
)

// Decisions and reports may have to wait for a store that gateways share. Then a goroutine of its own waits, and what Envoy sends meanwhile on
// the stream waits as well; all other streams go on. Until it has returned, it has the exchange, and the messages that this points into.

// later is what is left of a message when it has to be waited for.
type later struct {
	wait  func()
	then  func()
	fault error // of wait
}

// await has the message's answer wait, unless too many do. It reports whether it does.
func (x *exchange) await(wait, then func()) bool {
	s := x.s
	if s.waiting.Add(1) > s.maxWaiting || !x.hold(len(x.first)+len(x.last)) {
		s.waiting.Add(-1)
		s.stats.alone.Add(1)
		return false
	}
	s.stats.waited.Add(1)
	x.later = later{wait: wait, then: then}
	return true
}

// decideLater has the decision wait, if it may.
func (x *exchange) decideLater(how passing, behind rest, now session.Instant) bool {
	return x.await(func() { x.ask(affinity.Wait, now) }, func() { x.tellAll(how, behind) })
}

// Wait implements rpc.Waiter.
func (x *exchange) Wait() {
	defer x.s.waiting.Add(-1)
	x.later.fault = x.s.guarded(func() error {
		x.later.wait()
		return nil
	})
}

// Resume implements rpc.Waiter.
func (x *exchange) Resume(to []byte) ([]byte, error) {
	l := x.later
	x.later = later{}
	if l.fault != nil {
		return to, l.fault
	}
	return x.answering(to, func() error {
		l.then()
		return nil
	})
}

// answering makes answers, as far as they need not wait.
func (x *exchange) answering(to []byte, answer func() error) ([]byte, error) {
	x.out = to
	err := x.s.guarded(answer)
	to, x.out = x.out, nil
	if err == nil && x.later.wait != nil {
		return to, rpc.ErrWait
	}
	x.in.Clear() // the request may go on for long, and this may be a large body
	if x.last = x.last[:0]; cap(x.last) > maxKept {
		x.last = nil
	}
	return to, err
}

// served takes a report on a pick to the engine, and goes on then.
func (x *exchange) served(p affinity.Pick, u affinity.Used, then func(known bool)) {
	engine, now := x.s.engine, x.s.now()
	u.Patience = affinity.NoWait
	_, sequel, known := engine.Served(p, u, now)
	if sequel == affinity.Waits {
		wait := func() {
			u.Patience = affinity.Wait
			_, _, known = engine.Served(p, u, now)
		}
		if x.await(wait, func() { then(known) }) {
			return
		}
		u.Patience = affinity.Alone
		_, _, known = engine.Served(p, u, now)
	}
	then(known)
}
