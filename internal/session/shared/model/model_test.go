package model_test

import (
	"testing"

	"github.com/remora-proxy/remora/internal/session"
	"github.com/remora-proxy/remora/internal/session/shared"
	"github.com/remora-proxy/remora/internal/session/shared/model"
	"github.com/remora-proxy/remora/internal/session/shared/remotetest"
)

func TestContract(t *testing.T) {
	remotetest.Run(t, func(_ *testing.T, ids []uint32, deliver func(int, shared.News)) remotetest.Store {
		m := model.New(remotetest.Grace)
		s := remotetest.Store{Full: m.Full, Empty: m.Empty}
		for i, id := range ids {
			s.Remotes = append(s.Remotes, m.Gateway(id, func(n shared.News) { deliver(i, n) }))
		}
		return s
	})
}

func TestFaults(t *testing.T) {
	const user session.Key = 7
	m := model.New(500)
	g := m.Gateway(1, func(shared.News) {})
	owner := func(now session.Instant) shared.Identity {
		t.Helper()
		bs, err := g.Find(now, []session.Key{user})
		if err != nil {
			t.Fatal(err)
		}
		return bs[0].Owner
	}
	claim := func(now session.Instant, to shared.Identity) {
		t.Helper()
		if b, first, err := g.Claim(now, shared.Claim{Key: user, Owner: to, Claimed: now, Until: now + 60_000}); err != nil || !first || b.Owner != to {
			t.Fatalf("Claim: got %+v, %v, %v", b, first, err)
		}
	}
	epoch := func() uint64 {
		t.Helper()
		n, err := g.Epoch(0)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}

	first := epoch()
	claim(1000, 11)
	before := m.Clone()
	if _, _, err := g.Move(2000, shared.Claim{Key: user, Owner: 12, Claimed: 2000, Until: 62_000}, 11); err != nil {
		t.Fatal(err)
	}
	if got := owner(2000); got != 12 {
		t.Errorf("after the move the owner is %d", got)
	}
	m.Restore(before)
	if got := owner(2000); got != 11 {
		t.Errorf("the replica that lagged behind has the owner %d", got)
	}
	second := epoch()
	m.Empty()
	if got := owner(2000); got != 0 {
		t.Errorf("the empty store has the owner %d", got)
	}
	if third := epoch(); first == second || second == third || first == third {
		t.Errorf("the epochs %d, %d and %d are not different", first, second, third)
	}
	claim(3000, 13)
	m.At(63_000)
	if got := owner(3000); got != 0 {
		t.Errorf("a call that was held up finds the owner %d of a session that has ended", got)
	}
}
