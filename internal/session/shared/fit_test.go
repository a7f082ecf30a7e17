package shared_test

import (
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/session"
)

// When the store is back, gateways may have the same user on different endpoints, of which some may not serve any more, or not be known to all.
func TestWhichOfTwoOwnersWins(t *testing.T) {
	for _, sentence := range []struct {
		says  string
		check func(r *rig, a, b *gateway)
	}{
		{"an older claim for an endpoint that serves no more does not win", func(r *rig, a, b *gateway) {
			a.way.cut = true
			a.want(k, 1, 1, session.Bound)
			r.pass(time.Second)
			b.want(k, 2, 2, session.Bound)
			a.gone[1] = true
			a.way.cut = false
			r.pass(5 * time.Second)
			a.want(k, 3, 2, session.Existing)
			b.want(k, 3, 2, session.Existing)
		}},
		{"nor does an older session, at a store that has lost it", func(r *rig, a, b *gateway) {
			a.want(k, 1, 1, session.Bound)
			r.away()
			b.want(k, 2, 2, session.Bound)
			a.gone[1] = true
			r.store.Empty()
			r.back()
			a.want(k, 3, 2, session.Existing)
			b.want(k, 3, 2, session.Existing)
		}},
		{"nor does one that the store has: what was decided alone has moved away from there", func(r *rig, a, b *gateway) {
			a.want(k, 1, 1, session.Bound)
			r.away()
			b.want(k, 2, 2, session.Bound)
			a.gone[1], b.gone[1] = true, true
			r.back()
			a.want(k, 3, 2, session.Existing)
			b.want(k, 3, 2, session.Existing)
		}},
		{"what was decided alone wins over an owner that the gateway does not get to know", func(r *rig, a, b *gateway) {
			a.unknown[9] = true
			b.want(k, 9, 9, session.Bound)
			a.way.cut = true
			a.want(k, 1, 1, session.Bound)
			a.way.cut = false
			r.pass(interval)
			b.want(k, 2, 9, session.Existing)
			r.pass(time.Second + 2*interval)
			a.want(k, 2, 1, session.Existing)
			b.want(k, 2, 1, session.Existing)
		}},
		{"and not over one that it gets to know in time", func(r *rig, a, b *gateway) {
			a.unknown[9] = true
			b.want(k, 9, 9, session.Bound)
			a.way.cut = true
			a.want(k, 1, 1, session.Bound)
			a.way.cut = false
			r.pass(interval)
			a.unknown[9] = false
			r.pass(time.Second + 2*interval)
			a.want(k, 2, 9, session.Existing)
			b.want(k, 2, 9, session.Existing)
		}},
		{"and not over one that it gets to know in the last moment", func(r *rig, a, b *gateway) {
			a.unknown[9] = true
			b.want(k, 9, 9, session.Bound)
			a.way.cut = true
			a.want(k, 1, 1, session.Bound)
			a.way.cut = false
			r.pass(time.Second + interval) // it is waited for no longer, and given up with the next renewal
			a.unknown[9] = false
			r.pass(2 * interval)
			a.want(k, 2, 9, session.Existing)
			b.want(k, 2, 9, session.Existing)
		}},
	} {
		t.Run(sentence.says, func(t *testing.T) {
			r := newRig(t, 2)
			r.pass(time.Second)
			sentence.check(r, r.gws[0], r.gws[1])
		})
	}
}
