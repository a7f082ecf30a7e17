package affinity_test

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/session"
)

// patience says whether a shared store answers from now on, and draws how the next decision goes on where it must not wait.
func (l *randomLife) patience() affinity.Patience {
	if l.shared == nil {
		return affinity.Wait
	}
	l.shared.dead.Store(l.IntN(4) == 0)
	p := affinity.Wait
	if l.IntN(4) == 0 {
		p = affinity.Alone
	}
	l.oracle.alone = l.shared.dead.Load() || p == affinity.Alone
	return p
}

// decide decides as a front door does: first without waiting.
func (l *randomLife) decide(step int, req *affinity.Request, dec *affinity.Decision, p affinity.Patience, asks bool) {
	req.Patience = affinity.NoWait
	l.unchanged(step, asks, func() bool {
		l.engine.Decide(req, dec, l.now)
		return dec.Waits
	})
	if dec.Waits {
		l.engine.Release(dec, l.now) // does nothing
		req.Patience = p
		l.engine.Decide(req, dec, l.now)
	}
}

// move gives up on an endpoint in the same way.
func (l *randomLife) move(step int, dec *affinity.Decision, p affinity.Patience) {
	dec.Patience = affinity.NoWait
	l.unchanged(step, true, func() bool {
		l.engine.Move(dec, l.now)
		return dec.Waits
	})
	if dec.Waits {
		dec.Patience = p
		l.engine.Move(dec, l.now)
	}
}

// served reports in the same way.
func (l *randomLife) served(step int, p affinity.Pick, u affinity.Used, diverted bool) (why affinity.Diversion, then affinity.Sequel, known bool) {
	patience := u.Patience
	u.Patience = affinity.NoWait
	l.unchanged(step, diverted, func() bool {
		why, then, known = l.engine.Served(p, u, l.now)
		return then == affinity.Waits
	})
	if then == affinity.Waits {
		u.Patience = patience
		why, then, known = l.engine.Served(p, u, l.now)
	}
	return why, then, known
}

// unchanged tries something without waiting. It must ask nothing, and has to say that it would have to ask, and then have changed nothing,
// where a store that answers has to be asked.
func (l *randomLife) unchanged(step int, asks bool, try func() (waits bool)) {
	if l.shared == nil {
		if try() {
			l.fail(step, errors.New("a decision waits for no other store"))
		}
		return
	}
	before, asked := l.all(), l.shared.asked.Load()
	switch waits := try(); {
	case l.shared.asked.Load() != asked:
		l.fail(step, errors.New("a decision that must not wait has asked"))
	case waits != (asks && l.shared.Waits()):
		l.fail(step, fmt.Errorf("a decision waits: %v, want %v with a store that answers: %v", waits, asks, l.shared.Waits()))
	case waits && !reflect.DeepEqual(before, l.all()):
		l.fail(step, fmt.Errorf("a decision that only said that it would have to wait has changed %v to %v", before, l.all()))
	}
}

// all is what a decision could change, but for the times when sessions were seen.
func (l *randomLife) all() any {
	sessions := map[session.Key][2]int{}
	l.shared.Range(func(e session.Entry) bool {
		sessions[e.Key] = [2]int{int(e.Endpoint), e.Holds}
		return true
	})
	return []any{sessions, l.engine.Endpoints(l.now), l.engine.Ailing(l.now), l.engine.Stats()}
}
