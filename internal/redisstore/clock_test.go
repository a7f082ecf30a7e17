package redisstore_test

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/redisstore"
	"github.com/remora-proxy/remora/internal/redistest"
	"github.com/remora-proxy/remora/internal/session"
	"github.com/remora-proxy/remora/internal/session/shared"
)

// A script goes by the later of the server's clock and the call's time: with calls of a time to come it does what it would on a server whose
// clock goes back afterwards.
func TestWhenTheStoresClockGoesBack(t *testing.T) {
	t.Parallel()
	const back = time.Hour
	server := redistest.Start(t, redistest.Options{})
	a, b := open(t, redisstore.Options{URL: server.URL(), ID: 1}), open(t, redisstore.Options{URL: server.URL(), ID: 2})
	before := claimOf(user, 11, now().Add(back))
	if _, first, err := a.Claim(now().Add(back), before); err != nil || !first {
		t.Fatal(first, err)
	}
	if leads, err := a.Lead(now().Add(back), 5000); err != nil || !leads {
		t.Fatal(leads, err)
	}

	// Sessions stay where they are, and live for longer. Their claims are of the new time from the next renewal on.
	if got := claims(t, b, user, 12); got != 11 {
		t.Errorf("a user who comes to another gateway is on %d, was on 11", got)
	}
	after := claimOf(user, 11, now())
	bs, err := a.Renew(now(), []shared.Claim{after})
	if want := (shared.Binding{Owner: 11, Claimed: after.Claimed, Until: before.Until}); err != nil || bs[0] != want {
		t.Errorf("a renewal: got %+v, %v; want %+v", bs, err, want)
	}
	if counted, err := b.Count(now(), 0, 1); err != nil || counted[11] != 1 {
		t.Errorf("counted %v, %v", counted, err)
	}
	// And another gateway may count when the one that did has died.
	if leads, err := b.Lead(now(), 5000); err != nil || !leads {
		t.Errorf("the other gateway leads: %v, %v", leads, err)
	}
	if leads, err := a.Lead(now(), 5000); err != nil || leads {
		t.Errorf("besides it the one that did leads: %v, %v", leads, err)
	}
}

// The sessions of before are those whose time has passed, though their gateways still have them.
func TestWhenTheStoresClockGoesForward(t *testing.T) {
	t.Parallel()
	const forward = time.Hour
	server := redistest.Start(t, redistest.Options{})
	var ahead atomic.Int64
	a := open(t, redisstore.Options{URL: server.URL(), ID: 1, Now: func() time.Time { return time.Now().Add(-time.Duration(ahead.Load())) }})
	before, err := a.Epoch(now())
	if err != nil {
		t.Fatal(err)
	}
	ahead.Store(int64(forward)) // the gateway's time goes back: to it that is the same
	server.Eventually("the gateway notices, and tells all its sessions again", func() error {
		if epoch, err := a.Epoch(now()); err != nil || epoch == before {
			return errNotYet
		}
		return nil
	})
	b := open(t, redisstore.Options{URL: server.URL(), ID: 2})
	c := claimOf(user, 11, now().Add(-forward))
	if _, err := a.Renew(now().Add(-forward), []shared.Claim{c}); err != nil {
		t.Fatal(err)
	}
	got, err := b.Find(now(), []session.Key{user})
	if err != nil || got[0].Owner != 11 {
		t.Errorf("another gateway finds %+v, %v", got, err)
	}
}
