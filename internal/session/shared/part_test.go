package shared_test

import (
	"errors"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/session"
)

// The store may answer, and yet not do all that it is asked for.
func TestAStoreThatDoesAPart(t *testing.T) {
	const users = 2000
	t.Run("renews what it can, and says what it cannot", func(t *testing.T) {
		r := newRig(t, 1)
		a := r.gws[0]
		a.way.spoilt = func(k session.Key) bool { return k%100 == 0 }
		for range 10 {
			for user := range session.Key(users) {
				a.request(user, 1)
			}
			r.pass(10 * time.Second)
		}
		for user := range session.Key(users) {
			lives := r.store.Session(user).Until > r.now
			if lives == (user%100 == 0) {
				t.Fatalf("user %d lives there: %v", user, lives)
			}
		}
		if st := a.Status(); st.Down || !errors.Is(st.Refusal, errSpoilt) || st.Pending != users/100 {
			t.Errorf("%+v", st)
		}
		a.way.spoilt = nil
		r.pass(interval)
		if st := a.Status(); st.Refusal != nil || st.Pending != 0 || r.store.Session(100).Until < r.now {
			t.Errorf("when it does all again: %+v, %+v", st, r.store.Session(100))
		}
	})
	t.Run("and renews nothing is one that does not answer", func(t *testing.T) {
		r := newRig(t, 1)
		a := r.gws[0]
		a.want(k, 1, 1, session.Bound)
		a.way.mute = true
		r.pass(3 * interval)
		if st := a.Status(); !st.Down || st.Why == nil {
			t.Errorf("%+v", st)
		}
		a.way.mute = false
		r.pass(10 * time.Second)
		if st := a.Status(); st.Down || st.Telling || st.Pending != 0 || r.store.Session(k).Until != start.Add(idle) {
			t.Errorf("when it does again: %+v, %+v", st, r.store.Session(k))
		}
	})
	t.Run("and counts what it can", func(t *testing.T) {
		r := newRig(t, 2)
		a, b := r.gws[0], r.gws[1]
		for user := range session.Key(160) {
			a.request(user, 1)
		}
		a.way.spoilt = func(session.Key) bool { return false } // but the first of the 16 parts cannot be counted
		r.pass(20 * time.Second)
		if n := b.Live(1); n != 150 {
			t.Errorf("the other gateway counts %d sessions, want 150", n)
		}
	})
	t.Run("and counts no more, so that what was counted is forgotten when those sessions have ended", func(t *testing.T) {
		r := newRig(t, 2)
		a, b := r.gws[0], r.gws[1]
		for user := range session.Key(100) {
			a.request(user, 1)
		}
		r.pass(20 * time.Second)
		a.way.cut, b.way.cut = true, true
		r.pass(idle - time.Second)
		if n := b.Live(1); n != 100 {
			t.Errorf("at first: %d sessions, want 100", n)
		}
		r.pass(20 * time.Second)
		if n := b.Live(1); n != 0 {
			t.Errorf("later: %d sessions, want none", n)
		}
	})
}
