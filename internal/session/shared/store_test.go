package shared_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/session"
	"github.com/remora-proxy/remora/internal/session/storetest"
)

func TestContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) session.Store { return newRig(t, 1).gws[0].Store })
}

// The contract holds for a gateway whose store is away, too: it is a Table then.
func TestContractWithoutTheStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) session.Store {
		r := newRig(t, 1)
		r.gws[0].way.cut = true
		return r.gws[0].Store
	})
}

const k = session.Key(7)

func TestSeveralGateways(t *testing.T) {
	for _, sentence := range []struct {
		says  string
		check func(t *testing.T, r *rig, a, b *gateway)
	}{
		{"the first gateway that sees a user decides, and the others follow", func(_ *testing.T, _ *rig, a, b *gateway) {
			a.want(k, 1, 1, session.Bound)
			b.want(k, 2, 1, session.Existing)
		}},
		{"a request of a session that the gateway has asks nobody", func(t *testing.T, r *rig, a, b *gateway) {
			a.want(k, 1, 1, session.Bound)
			b.want(k, 2, 1, session.Existing)
			for range 100 {
				a.want(k, 2, 1, session.Existing)
				b.want(k, 2, 1, session.Existing)
				r.pass(time.Second)
			}
			if n := a.way.calls.Load() + b.way.calls.Load(); n != 2 {
				t.Errorf("the store was asked %d times, want 2", n)
			}
		}},
		{"a session lives as long as its user calls any of them", func(_ *testing.T, r *rig, a, b *gateway) {
			a.want(k, 1, 1, session.Bound)
			r.pass(50 * time.Second)
			for range 5 {
				b.want(k, 2, 1, session.Existing)
				r.pass(59 * time.Second)
			}
			a.want(k, 2, 1, session.Existing)
		}},
		{"where one gateway alone has had it, it ends when its idle time has passed, to the millisecond", func(_ *testing.T, r *rig, a, _ *gateway) {
			a.want(k, 1, 1, session.Bound)
			r.pass(idle - time.Millisecond)
			a.want(k, 2, 1, session.Existing)
			r.pass(idle)
			a.want(k, 2, 2, session.Bound)
		}},
		{"where several have, later by two intervals, for each", func(_ *testing.T, r *rig, a, b *gateway) {
			b.want(k, 1, 1, session.Bound)
			a.want(k, 2, 1, session.Existing)
			r.pass(idle + 2*interval - time.Millisecond)
			a.want(k, 2, 1, session.Existing)
		}},
		{"a gateway that had it first, and long ago, counts what another has seen and not told yet", func(_ *testing.T, r *rig, a, b *gateway) {
			a.want(k, 1, 1, session.Bound)
			r.now = r.now.Add(time.Second)
			b.want(k, 2, 1, session.Existing)
			r.now = r.now.Add(time.Second)
			a.want(k, 2, 1, session.Existing)
			a.Flush(r.now)
			r.now = r.now.Add(idle - time.Second - time.Millisecond)
			b.want(k, 2, 1, session.Existing)
			r.now = r.now.Add(time.Second + time.Millisecond)
			a.want(k, 2, 1, session.Existing)
		}},
		{"for another it ends later by two intervals, in which a renewal may be on its way", func(_ *testing.T, r *rig, a, b *gateway) {
			a.want(k, 1, 1, session.Bound)
			a.want(k+1, 1, 1, session.Bound)
			r.pass(idle + 2*interval - time.Millisecond)
			b.want(k, 2, 1, session.Existing)
			r.pass(time.Millisecond)
			b.want(k+1, 2, 2, session.Bound)
		}},
		{"a renewal in the last moment counts, though the store hears of it late", func(_ *testing.T, r *rig, a, b *gateway) {
			a.want(k, 1, 1, session.Bound)
			r.pass(idle - time.Millisecond)
			a.want(k, 2, 1, session.Existing)
			r.now += 2
			b.want(k, 2, 1, session.Existing)
		}},
		{"also one by a request that goes on", func(_ *testing.T, r *rig, a, b *gateway) {
			a.want(k, 1, 1, session.Bound)
			b.want(k, 2, 1, session.Existing)
			r.now = r.now.Add(idle - time.Millisecond)
			a.Acquire(k, r.now, idle)
			for range 8 { // flushes, and no sweep comes to it
				r.now = r.now.Add(interval)
				a.Flush(r.now)
			}
			b.want(k, 2, 1, session.Existing)
		}},
		{"a session that is held does not end, at any of them", func(_ *testing.T, r *rig, a, b *gateway) {
			a.Bind(k, 1, r.now, idle)
			r.pass(10 * time.Minute)
			b.want(k, 2, 1, session.Existing)
			r.pass(10 * time.Minute)
			a.Release(k, r.now)
			r.pass(idle - time.Millisecond)
			b.want(k, 2, 1, session.Existing)
		}},
		{"a move is heard by the others", func(t *testing.T, r *rig, a, b *gateway) {
			a.want(k, 1, 1, session.Bound)
			b.want(k, 2, 1, session.Existing)
			if at, moved := a.Move(k, 1, 3, r.now, idle); at != 3 || !moved {
				t.Errorf("Move: %d, %v", at, moved)
			}
			b.want(k, 2, 3, session.Existing)
		}},
		{"of two that move it at once one is first, and the other follows", func(t *testing.T, r *rig, a, b *gateway) {
			a.want(k, 1, 1, session.Bound)
			b.way.deaf = true
			b.want(k, 2, 1, session.Existing)
			a.Move(k, 1, 3, r.now, idle)
			if at, moved := b.Move(k, 1, 2, r.now, idle); at != 3 || moved {
				t.Errorf("Move: %d, %v; want 3, false", at, moved)
			}
			b.want(k, 2, 3, session.Existing)
		}},
		{"a gateway that did not hear of a move is corrected at its next renewal", func(_ *testing.T, r *rig, a, b *gateway) {
			a.want(k, 1, 1, session.Bound)
			b.way.deaf = true
			b.want(k, 2, 1, session.Existing)
			r.pass(interval)
			a.Move(k, 1, 3, r.now, idle)
			b.want(k, 2, 1, session.Existing)
			r.pass(interval)
			b.want(k, 2, 3, session.Existing)
		}},
		{"Find shows a session of another gateway, and does not renew it", func(t *testing.T, r *rig, a, b *gateway) {
			a.want(k, 1, 1, session.Bound)
			r.pass(10 * time.Second)
			if e, ok := b.Find(k, r.now, idle); !ok || e != (session.Entry{Key: k, Endpoint: 1, LastSeen: start}) {
				t.Errorf("Find: %+v, %v", e, ok)
			}
			if _, ok := b.Find(k+1, r.now, idle); ok {
				t.Error("Find: a session that is not there")
			}
			r.pass(idle)
			if _, ok := b.Find(k, r.now, idle); ok {
				t.Error("Find: a session that has ended")
			}
		}},
		{"what Find has shown may be used here from then on, and is not lost elsewhere", func(_ *testing.T, r *rig, a, b *gateway) {
			a.want(k, 1, 1, session.Bound)
			r.now = r.now.Add(idle - 2*time.Millisecond)
			b.Find(k, r.now, idle)
			b.want(k, 2, 1, session.Existing)
			r.now = r.now.Add(3 * time.Millisecond)
			a.want(k, 2, 1, session.Existing)
		}},
		{"an endpoint's sessions are counted over all gateways, each once", func(t *testing.T, r *rig, a, b *gateway) {
			for i := range session.Key(30) {
				a.want(i, 1, 1, session.Bound)
				if i < 10 {
					b.want(i, 2, 1, session.Existing)
				}
			}
			for i := range session.Key(5) {
				b.want(100+i, 2, 2, session.Bound)
			}
			r.pass(5 * time.Second)
			for _, g := range []*gateway{a, b} {
				if g.Live(1) != 30 || g.Live(2) != 5 || g.Status().Total != 35 {
					t.Errorf("got %d, %d, total %d; want 30, 5, 35", g.Live(1), g.Live(2), g.Status().Total)
				}
			}
			r.pass(2 * idle)
			if a.Live(1) != 0 || b.Live(2) != 0 {
				t.Errorf("got %d and %d after their end", a.Live(1), b.Live(2))
			}
		}},
	} {
		t.Run(sentence.says, func(t *testing.T) {
			r := newRig(t, 2)
			sentence.check(t, r, r.gws[0], r.gws[1])
		})
	}
}

// A gateway's configuration may be behind the others'.
func TestAnEndpointThatIsNotKnown(t *testing.T) {
	t.Run("is waited for", func(t *testing.T) {
		r := newRig(t, 2)
		a, b := r.gws[0], r.gws[1]
		a.want(k, 1, 1, session.Bound)
		b.unknown[1] = true
		b.waiting = func() { b.unknown[1] = b.pauses < 5 }
		b.want(k, 2, 1, session.Existing)
		if b.pauses != 5 {
			t.Errorf("it has waited %d times, want 5", b.pauses)
		}
	})
	t.Run("for a second; then its session moves", func(t *testing.T) {
		r := newRig(t, 2)
		a, b := r.gws[0], r.gws[1]
		a.want(k, 1, 1, session.Bound)
		b.unknown[1] = true
		b.want(k, 2, 2, session.Rebound)
		b.want(k, 3, 2, session.Existing)
		a.want(k, 3, 2, session.Existing)
		if b.pauses != 20 {
			t.Errorf("it has waited %d times, want 20", b.pauses)
		}
	})
	t.Run("by one of its users, and by another one when that was long ago", func(t *testing.T) {
		r := newRig(t, 2)
		a, b := r.gws[0], r.gws[1]
		b.unknown[1] = true
		for user, at := range []struct {
			seconds session.Instant
			pauses  int
		}{{0, 20}, {1, 20}, {9, 20}, {10, 40}, {29, 40}, {30, 60}, {69, 60}, {70, 80}} { // for 10 s, 20, 40 …
			r.now = start + at.seconds*1000
			a.want(session.Key(user), 1, 1, session.Bound)
			b.want(session.Key(user), 2, 2, session.Rebound)
			if b.pauses != at.pauses {
				t.Errorf("after %d s: it has waited %d times, want %d", at.seconds, b.pauses, at.pauses)
			}
		}
	})
	t.Run("loses no session without a request", func(t *testing.T) {
		r := newRig(t, 2)
		a, b := r.gws[0], r.gws[1]
		a.want(k, 1, 1, session.Bound)
		b.want(k, 2, 1, session.Existing)
		b.unknown[9] = true
		a.Move(k, 1, 9, r.now, idle)
		r.pass(10 * time.Second)
		a.want(k, 2, 9, session.Existing)
		b.unknown[9] = false
		b.want(k, 2, 9, session.Existing)
	})
	t.Run("loses none while a gateway holds it either", func(t *testing.T) {
		r := newRig(t, 2)
		a, b := r.gws[0], r.gws[1]
		a.want(k, 1, 1, session.Bound)
		b.want(k, 2, 1, session.Existing)
		b.Acquire(k, r.now, idle)
		b.unknown[9] = true
		a.Move(k, 1, 9, r.now, idle)
		r.pass(time.Second)
		b.want(k, 2, 1, session.Existing) // where the request is that holds it
		a.want(k, 2, 9, session.Existing)
		b.Release(k, r.now)
		r.pass(interval)
		a.want(k, 2, 9, session.Existing)
		b.want(k, 2, 2, session.Rebound)
	})
	t.Run("to which another gateway has moved a session is waited for too", func(t *testing.T) {
		r := newRig(t, 2)
		a, b := r.gws[0], r.gws[1]
		a.want(k, 1, 1, session.Bound)
		b.want(k, 1, 1, session.Existing)
		b.unknown[3] = true
		a.Move(k, 1, 3, r.now, idle)
		b.waiting = func() { b.unknown[3] = false }
		if at, moved := b.Move(k, 1, 2, r.now, idle); at != 3 || moved {
			t.Errorf("Move: %d, %v; want 3, false", at, moved)
		}
	})
}

func TestManyUsersAtOnce(t *testing.T) {
	r := newRig(t, 3)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	owner := map[session.Key]session.EndpointID{}
	for range 5000 {
		key := session.Key(random.IntN(300))
		place := session.EndpointID(1 + random.IntN(5))
		at, how := r.gws[random.IntN(3)].request(key, place)
		if was, live := owner[key]; live != (how == session.Existing) || live && at != was {
			t.Fatalf("user %d goes to %d, outcome %d; was at %d, %v", key, at, how, was, live)
		}
		owner[key] = at
		if random.IntN(50) == 0 {
			r.pass(interval)
		}
	}
}

func TestTheTotalIsKnownWhileSomebodyCounts(t *testing.T) {
	r := newRig(t, 2)
	a, b := r.gws[0], r.gws[1]
	is := func(when string, want bool) {
		t.Helper()
		if st := a.Status(); st.Counted != want {
			t.Errorf("%s it is counted: %v", when, st.Counted)
		}
	}
	is("at the start", false)
	r.pass(15 * time.Second)
	is("after some walks", true)
	a.way.deaf = true
	r.pass(10 * time.Second)
	is("when one walk was not heard of", true)
	r.pass(10 * time.Second)
	is("when several were not", false)
	a.way.deaf = false
	r.pass(15 * time.Second)
	is("when they are heard of again", true)
	a.way.cut, b.way.cut = true, true
	r.pass(2 * time.Second)
	is("when the store does not answer", false)
}
