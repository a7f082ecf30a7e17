package shared_test

import (
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/session"
	"github.com/remora-proxy/remora/internal/session/shared"
)

// away has the store not answer, and the gateways notice.
func (r *rig) away() {
	for _, g := range r.gws {
		g.way.cut = true
	}
	r.pass(3 * interval)
	for _, g := range r.gws {
		if g.Waits() {
			r.t.Fatal("the store is away, and requests wait for it")
		}
	}
}

// back has it answer again, and lets the gateways reconcile.
func (r *rig) back() {
	for _, g := range r.gws {
		g.way.cut = false
	}
	r.pass(5 * time.Second)
	for _, g := range r.gws {
		if s := g.Status(); s.Down || s.Telling || s.Undecided != 0 {
			r.t.Fatalf("after the store is back: %+v", s)
		}
	}
}

func TestTheStoreIsAway(t *testing.T) {
	for _, sentence := range []struct {
		says  string
		check func(t *testing.T, r *rig, a, b *gateway)
	}{
		{"known sessions go on, and no request waits", func(t *testing.T, r *rig, a, b *gateway) {
			a.want(k, 1, 1, session.Bound)
			b.want(k, 2, 1, session.Existing)
			r.away()
			calls := a.way.calls.Load()
			for range 10 {
				r.pass(50 * time.Second)
				a.want(k, 2, 1, session.Existing)
				b.want(k, 2, 1, session.Existing)
				a.want(session.Key(r.now), 2, 2, session.Bound)
			}
			if n := a.way.calls.Load(); n != calls {
				t.Errorf("%d requests have asked the store", n-calls)
			}
		}},
		{"three requests in a row find out, and no more ask", func(t *testing.T, _ *rig, a, _ *gateway) {
			a.way.cut = true
			for i := range session.Key(100) {
				a.want(i, 2, 2, session.Bound)
			}
			if n := a.way.calls.Load(); n != 3 || !a.Status().Down || a.Status().Why == nil {
				t.Errorf("the store was asked %d times; %+v", n, a.Status())
			}
		}},
		{"of two gateways that decided alone the first one's decision holds, also for the other", func(t *testing.T, r *rig, a, b *gateway) {
			r.away()
			b.want(k, 2, 2, session.Bound)
			r.pass(time.Second)
			a.want(k, 1, 1, session.Bound)
			r.back()
			a.want(k, 3, 2, session.Existing)
			b.want(k, 3, 2, session.Existing)
			if a.Status().Followed != 1 || b.Status().Followed != 0 {
				t.Errorf("followed: %d and %d, want 1 and 0", a.Status().Followed, b.Status().Followed)
			}
		}},
		{"what one decided alone holds when another decided later with the store", func(_ *testing.T, r *rig, a, b *gateway) {
			a.way.cut = true
			r.pass(3 * interval)
			a.want(k, 1, 1, session.Bound)
			r.pass(time.Second)
			b.want(k, 2, 2, session.Bound)
			r.back()
			b.want(k, 3, 1, session.Existing)
		}},
		{"a session that was there before holds against one that began meanwhile", func(_ *testing.T, r *rig, a, b *gateway) {
			a.want(k, 1, 1, session.Bound)
			r.pass(interval)
			r.away()
			r.pass(30 * time.Second)
			b.want(k, 2, 2, session.Bound) // which has never seen the user
			a.want(k, 2, 1, session.Existing)
			r.pass(idle / 2)
			b.want(k, 2, 2, session.Existing)
			a.want(k, 2, 1, session.Existing)
			r.back()
			b.want(k, 3, 1, session.Existing)
		}},
		{"a move made alone is made for all", func(t *testing.T, r *rig, a, b *gateway) {
			a.want(k, 1, 1, session.Bound)
			b.want(k, 2, 1, session.Existing)
			r.pass(interval)
			r.away()
			if at, moved := a.Move(k, 1, 3, r.now, idle); at != 3 || !moved {
				t.Errorf("Move: %d, %v", at, moved)
			}
			if at, moved := a.Move(k, 3, 4, r.now, idle); at != 4 || !moved {
				t.Errorf("Move: %d, %v", at, moved)
			}
			r.back()
			b.want(k, 2, 4, session.Existing)
		}},
		{"a store that is restarted empty is told all sessions", func(_ *testing.T, r *rig, a, b *gateway) {
			a.want(k, 1, 1, session.Bound)
			r.pass(interval)
			r.store.Empty()
			r.pass(2 * interval)
			b.want(k, 2, 1, session.Existing)
		}},
		{"and a session that began at the empty store before that gives way", func(_ *testing.T, r *rig, a, b *gateway) {
			a.want(k, 1, 1, session.Bound)
			r.pass(time.Second)
			r.store.Empty()
			r.now += 10
			b.want(k, 2, 2, session.Bound)
			r.pass(2 * interval)
			b.want(k, 3, 1, session.Existing)
		}},
		{"a store that fails over to a replica that lags behind is told what that has missed", func(_ *testing.T, r *rig, a, b *gateway) {
			replica := r.store.Clone()
			a.want(k, 1, 1, session.Bound)
			r.pass(interval)
			r.store.Restore(replica)
			r.pass(2 * interval)
			b.want(k, 2, 1, session.Existing)
		}},
		{"while its memory is used up new sessions are decided alone, and are told when there is room", func(t *testing.T, r *rig, a, b *gateway) {
			a.want(k, 1, 1, session.Bound)
			r.store.Full(true)
			a.want(k+1, 1, 1, session.Bound)
			r.pass(time.Second)
			b.want(k, 2, 1, session.Existing)
			if !a.Waits() {
				t.Error("a store that is full is not one that is away")
			}
			r.store.Full(false)
			a.want(k+1, 1, 1, session.Existing)
			r.pass(interval)
			b.want(k+1, 2, 1, session.Existing)
		}},
		{"a move made alone while a renewal is on its way is told with the next one", func(t *testing.T, r *rig, a, b *gateway) {
			a.want(k, 1, 1, session.Bound)
			b.want(k, 2, 1, session.Existing)
			a.way.after = func() {
				if at, moved := a.Alone().Move(k, 1, 3, r.now, idle); at != 3 || !moved {
					t.Errorf("Move: %d, %v", at, moved)
				}
			}
			r.pass(interval)
			a.want(k, 2, 3, session.Existing)
			r.pass(interval)
			a.want(k, 2, 3, session.Existing)
			b.want(k, 2, 3, session.Existing)
		}},
		{"a session that begins while all is told again is not told to be older than it is", func(_ *testing.T, r *rig, a, b *gateway) {
			a.want(k+1, 1, 1, session.Bound)
			r.pass(interval)
			r.away()
			for _, g := range r.gws {
				g.way.cut = false
			}
			a.way.mute = true // all but renewals is answered
			r.pass(2 * interval)
			a.want(k, 1, 1, session.Bound)
			b.want(k, 2, 1, session.Existing)
			a.way.mute = false
			a.way.before = func() { b.Move(k, 1, 3, r.now, idle) }
			r.pass(interval)
			a.want(k, 2, 3, session.Existing)
			b.want(k, 2, 3, session.Existing)
		}},
		{"nor is one that begins while the store is asked whether it has forgotten something", func(_ *testing.T, r *rig, a, b *gateway) {
			at := r.now
			a.way.asked = func() {
				r.now = r.now.Add(time.Second)
				a.want(k, 1, 1, session.Bound)
				b.want(k, 2, 1, session.Existing)
			}
			a.way.before = func() { b.Move(k, 1, 3, r.now, idle) }
			a.Flush(at)
			r.add(9).want(k, 2, 3, session.Existing)
		}},
		{"a gateway that meets the store for the first time tells it nothing that is older than it is", func(_ *testing.T, r *rig, a, b *gateway) {
			c := r.unswept(9)
			c.want(k+1, 1, 1, session.Bound) // the store answers, before Flush has asked it anything
			c.Sweep(0, 1, r.now, idleOf)
			c.way.asked = func() {
				r.now = r.now.Add(time.Second)
				c.want(k, 1, 1, session.Bound)
				b.want(k, 2, 1, session.Existing)
			}
			c.way.before = func() { b.Move(k, 1, 3, r.now, idle) }
			c.Flush(r.now)
			a.want(k, 2, 3, session.Existing)
		}},
		{"a move made alone of a session that nobody holds is told too", func(t *testing.T, r *rig, a, b *gateway) {
			a.want(k, 1, 1, session.Bound)
			b.want(k, 2, 1, session.Existing)
			r.pass(interval)
			a.way.cut = true
			if at, moved := a.Move(k, 1, 3, r.now, idle); at != 3 || !moved {
				t.Errorf("Move: %d, %v", at, moved)
			}
			a.way.cut = false
			r.pass(interval)
			b.want(k, 2, 3, session.Existing)
		}},
		{"a session that began alone, of which the store has heard after all, and then moved, stays moved", func(t *testing.T, r *rig, a, b *gateway) {
			a.want(k+1, 1, 1, session.Bound)
			if at, how := a.Alone().Bind(k, 1, r.now, idle); at != 1 || how != session.Bound {
				t.Errorf("Bind: %d, %v", at, how)
			}
			b.want(k, 1, 1, session.Bound) // as a claim of a's would have been that failed and was carried out
			if at, moved := a.Alone().Move(k, 1, 3, r.now, idle); at != 3 || !moved {
				t.Errorf("Move: %d, %v", at, moved)
			}
			a.Release(k, r.now)
			r.pass(2 * interval)
			a.want(k, 2, 3, session.Existing)
			b.want(k, 2, 3, session.Existing)
		}},
		{"news that overtake an older answer of the store are heeded, also where nobody uses the session", func(_ *testing.T, r *rig, a, _ *gateway) {
			other := r.store.Gateway(9, func(shared.News) {})
			r.away()
			a.want(k, 2, 2, session.Bound)
			a.way.after = func() {
				_, _ = other.Renew(r.now, []shared.Claim{{Key: k, Owner: 1, Claimed: start, Until: r.now.Add(idle)}}) // the model does not fail
			}
			r.back()
			a.want(k, 3, 1, session.Existing)
		}},
		{"what was decided alone of a session that has ended is forgotten", func(t *testing.T, r *rig, a, b *gateway) {
			for _, g := range r.gws {
				g.unknown[9] = true
			}
			b.unknown[9] = false
			b.want(k, 9, 9, session.Bound)
			if at, how := a.Alone().Bind(k, 1, r.now, idle); at != 1 || how != session.Bound {
				t.Errorf("Bind: %d, %v", at, how)
			}
			a.Release(k, r.now)
			r.now = r.now.Add(2 * idle)
			r.pass(2 * interval)
			if n := a.Status().Undecided; n != 0 {
				t.Errorf("%d decisions are remembered, want none", n)
			}
		}},
		{"news are heard before it is known how long sessions live", func(_ *testing.T, r *rig, a, _ *gateway) {
			c := r.unswept(9)
			c.want(k, 1, 1, session.Bound)
			a.want(k, 2, 1, session.Existing)
			a.Move(k, 1, 3, r.now, idle)
			c.want(k, 2, 3, session.Existing)
		}},
		{"renewals wait until it is known how long sessions live", func(_ *testing.T, r *rig, a, b *gateway) {
			c := r.unswept(9)
			c.want(k, 1, 1, session.Bound)
			c.Flush(r.now)
			r.store.Empty()
			c.Flush(r.now)
			c.Sweep(0, 1, r.now, idleOf)
			c.Flush(r.now)
			a.want(k, 2, 1, session.Existing)
		}},
		{"which of two is older is known also when the first has spoken with the store that is empty", func(_ *testing.T, r *rig, a, b *gateway) {
			a.want(k, 1, 1, session.Bound)
			r.pass(10 * time.Second)
			r.store.Empty()
			r.now += 20
			b.want(k, 2, 2, session.Bound)
			r.now += 20
			a.want(k+1, 1, 1, session.Bound)
			r.pass(2 * interval)
			b.want(k, 3, 1, session.Existing)
			a.want(k, 3, 1, session.Existing)
		}},
		{"and a session that began at the empty store is not taken for an older one", func(_ *testing.T, r *rig, a, b *gateway) {
			b.want(k, 2, 2, session.Bound)
			r.pass(interval)
			r.store.Empty()
			r.now += 20
			a.want(k, 1, 1, session.Bound)
			r.pass(2 * interval)
			a.want(k, 3, 2, session.Existing)
		}},
		{"after three failed calls the sessions of that time alone are told again", func(t *testing.T, r *rig, a, b *gateway) {
			for i := range session.Key(1000) {
				a.want(i, 1, 1, session.Bound)
			}
			r.pass(10 * time.Second)
			before := a.Status().Renewals
			a.way.cut = true
			for i := range session.Key(3) {
				a.want(2000+i, 1, 1, session.Bound)
			}
			a.way.cut = false
			r.pass(2 * time.Second)
			if n := a.Status().Renewals - before; n > 10 || a.Status().Opens != 1 {
				t.Errorf("%d renewals, %d opens; want a few, and one", n, a.Status().Opens)
			}
			b.want(2001, 2, 1, session.Existing)
		}},
		{"too many calls at once are no failure of the store", func(t *testing.T, _ *rig, a, _ *gateway) {
			a.way.busy = true
			for i := range session.Key(10) {
				a.want(i, 1, 1, session.Bound)
			}
			if !a.Waits() {
				t.Error("the store is taken for one that does not answer")
			}
		}},
		{"what was decided alone of a session that has ended says nothing of the next one", func(t *testing.T, r *rig, a, _ *gateway) {
			r.store.Full(true)
			a.want(k, 1, 1, session.Bound)
			r.pass(3 * idle)
			r.store.Full(false)
			a.want(k, 1, 1, session.Bound)
			r.pass(interval)
			if n := a.Status().Undecided; n != 0 || r.store.Session(k).Claimed < start.Add(3*idle) {
				t.Errorf("%d decisions are left, and it was claimed at %d", n, r.store.Session(k).Claimed-start)
			}
		}},
		{"a gateway that is started again has the sessions of the others", func(_ *testing.T, r *rig, a, _ *gateway) {
			a.want(k, 1, 1, session.Bound)
			r.pass(interval)
			r.add(9).want(k, 2, 1, session.Existing)
		}},
	} {
		t.Run(sentence.says, func(t *testing.T) {
			r := newRig(t, 2)
			r.pass(time.Second)
			sentence.check(t, r, r.gws[0], r.gws[1])
		})
	}
}
