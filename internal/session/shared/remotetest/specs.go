package remotetest

import (
	"errors"
	"testing"

	"github.com/remora-proxy/remora/internal/session"
	"github.com/remora-proxy/remora/internal/session/shared"
)

const (
	user session.Key = 0x8000000000000001
	// e1 and e2 are two endpoints, in one incarnation each. All 64 bits of an identity count.
	e1 shared.Identity = 0xe100000000000001
	e2 shared.Identity = 0xe100000000000002
	e3 shared.Identity = 3
)

var claimSpecs = []spec{
	{"the first claim of a session is stored", func(_ *testing.T, s *store) {
		c := at(0, user, e1)
		s.claim(s.a, 0, c, binding(c, idA), true)
		s.find(s.b, 1, user, binding(c, idA))
		s.told()
	}},
	{"the second claim gets the owner of the first, and renews it", func(_ *testing.T, s *store) {
		first, second := at(0, user, e1), at(20, user, e2)
		s.claim(s.a, 0, first, binding(first, idA), true)
		want := shared.Binding{Owner: e1, Claimed: first.Claimed, Until: second.Until}
		s.claim(s.b, 20, second, want, false)
		s.find(s.a, 21, user, want)
		s.told()
	}},
	{"a claim that would end sooner takes nothing away", func(_ *testing.T, s *store) {
		first := at(0, user, e1)
		s.claim(s.a, 0, first, binding(first, idA), true)
		s.claim(s.b, 0, at(-10, user, e2), binding(first, 0), false)
	}},
	{"an ended session is claimed anew", func(_ *testing.T, s *store) {
		first, second := at(0, user, e1), at(idle, user, e2)
		s.claim(s.a, 0, first, binding(first, idA), true)
		s.claim(s.a, idle, second, binding(second, idA), true)
		s.find(s.a, idle, user, binding(second, idA))
	}},
	{"a session lives until its last millisecond", func(_ *testing.T, s *store) {
		first := at(0, user, e1)
		s.claim(s.a, 0, first, binding(first, idA), true)
		s.find(s.a, idle-1, user, binding(first, idA))
		s.find(s.a, idle, user, shared.Binding{})
	}},
	{"a session that two gateways have had lives for the grace longer, for both", func(_ *testing.T, s *store) {
		first, second := at(0, user, e1), at(1, user, e2)
		both := shared.Binding{Owner: e1, Claimed: first.Claimed, Until: second.Until}
		s.claim(s.a, 0, first, binding(first, idA), true)
		s.claim(s.b, 1, second, both, false)
		s.find(s.b, idle+Grace, user, both)
		s.find(s.a, idle+Grace, user, both)
		s.find(s.b, idle+Grace+1, user, shared.Binding{})
	}},
	{"a session that another gateway has had lives for the grace longer", func(_ *testing.T, s *store) {
		first, second := at(0, user, e1), at(idle+Grace-1, user, e2)
		s.claim(s.a, 0, first, binding(first, idA), true)
		s.find(s.b, idle+Grace-1, user, binding(first, idA))
		s.find(s.b, idle+Grace, user, shared.Binding{})
		s.claim(s.b, idle+Grace-1, second, shared.Binding{Owner: e1, Claimed: first.Claimed, Until: second.Until}, false)
	}},
	{"after the grace it is claimed anew by the other gateway too", func(_ *testing.T, s *store) {
		first, second := at(0, user, e1), at(idle+Grace, user, e2)
		s.claim(s.a, 0, first, binding(first, idA), true)
		s.claim(s.b, idle+Grace, second, binding(second, idB), true)
	}},
}

// fullSpecs use up the store's memory.
var fullSpecs = []spec{
	{"a full store takes no new session, and renews those that it has", func(t *testing.T, s *store) {
		first, second := at(0, user, e1), at(10, user, e2)
		s.claim(s.a, 0, first, binding(first, idA), true)
		s.Full(true)
		want := shared.Binding{Owner: e1, Claimed: first.Claimed, Until: second.Until}
		s.claim(s.b, 10, second, want, false)
		if b, first, err := s.a.Claim(begin, at(0, user+1, e1)); !errors.Is(err, shared.ErrFull) || first {
			t.Errorf("the claim of a new session: got %+v, %v, %v", b, first, err)
		}
		if b, moved, err := s.a.Move(begin, at(0, user+1, e1), e2); !errors.Is(err, shared.ErrFull) || moved {
			t.Errorf("the move of a new session: got %+v, %v", b, err)
		}
		got, err := s.a.Renew(begin+20, []shared.Claim{at(20, user+1, e1), at(20, user, e1), at(20, user+2, e1)})
		want.Until = begin + 20 + idle
		if !errors.Is(err, shared.ErrFull) || len(got) != 3 || got[0] != (shared.Binding{}) || got[1] != want || got[2] != (shared.Binding{}) {
			t.Errorf("the renewal of one that is there among new ones: got %+v, %v", got, err)
		}
		ended := shared.Claim{Key: user, Owner: e1, Claimed: first.Claimed, Until: begin + 25}
		got, err = s.a.Renew(begin+25, []shared.Claim{at(25, user, e1), ended})
		want.Until = begin + 25 + idle
		if err != nil || len(got) != 2 || got[0] != want || got[1] != want {
			t.Errorf("one that has ended before it came, behind a renewal of the same session: got %+v, %v", got, err)
		}
		moved := shared.Binding{Owner: e2, Claimed: first.Claimed, Until: begin + 30 + idle}
		s.move(s.b, 30, at(30, user, e2), e1, moved)
		s.find(s.a, 30, user+1, shared.Binding{})
		if ok, err := s.a.Lead(begin, 1000); err != nil || !ok {
			t.Errorf("nobody counts, and frees memory: %v, %v", ok, err)
		}
		s.Full(false)
		last := at(40, user+1, e1)
		s.claim(s.a, 40, last, binding(last, idA), true)
	}},
}

var moveSpecs = []spec{
	{"a session moves from the owner that it has, and all hear of it", func(_ *testing.T, s *store) {
		first, second := at(0, user, e1), at(10, user, e2)
		s.claim(s.a, 0, first, binding(first, idA), true)
		want := shared.Binding{Owner: e2, Claimed: first.Claimed, Until: second.Until}
		s.move(s.b, 10, second, e1, want)
		s.find(s.a, 11, user, want)
		s.told(shared.News{Kind: shared.Moved, From: idB, Key: user, Owner: e2})
	}},
	{"a session that has moved already stays where it is", func(_ *testing.T, s *store) {
		first, second := at(0, user, e1), at(10, user, e2)
		s.claim(s.a, 0, first, binding(first, idA), true)
		want := shared.Binding{Owner: e2, Claimed: first.Claimed, Until: second.Until, By: idA}
		s.move(s.a, 10, second, e1, want)
		s.move(s.b, 20, at(20, user, e3), e1, want)
		s.find(s.b, 21, user, want)
		s.told(shared.News{Kind: shared.Moved, From: idA, Key: user, Owner: e2})
	}},
	{"a move of a session that is not there stores it", func(_ *testing.T, s *store) {
		c := at(0, user, e2)
		s.move(s.a, 0, c, e1, binding(c, idA))
		s.find(s.b, 1, user, binding(c, idA))
		s.told(shared.News{Kind: shared.Moved, From: idA, Key: user, Owner: e2})
	}},
	{"a move of an ended session begins a new one", func(_ *testing.T, s *store) {
		first, second := at(0, user, e3), at(idle, user, e2)
		s.claim(s.a, 0, first, binding(first, idA), true)
		s.move(s.a, idle, second, e1, binding(second, idA))
		s.told(shared.News{Kind: shared.Moved, From: idA, Key: user, Owner: e2})
	}},
	{"a move leaves it the time that another has given it", func(_ *testing.T, s *store) {
		first := at(10, user, e1)
		s.claim(s.a, 10, first, binding(first, idA), true)
		s.move(s.b, 10, at(0, user, e2), e1, shared.Binding{Owner: e2, Claimed: begin, Until: first.Until})
	}},
	{"a session that was claimed for later is claimed by who moves it", func(_ *testing.T, s *store) {
		first, second, third := at(0, user, e1), at(20, user, e2), at(40, user, e3)
		first.Claimed = first.Until
		s.claim(s.a, 0, first, binding(first, idA), true)
		s.move(s.b, 20, second, e1, shared.Binding{Owner: e2, Claimed: second.Claimed, Until: second.Until})
		s.renew(s.a, 40, third, shared.Binding{Owner: e2, Claimed: second.Claimed, Until: third.Until})
	}},
	{"a move whose time has passed moves nothing", func(_ *testing.T, s *store) {
		first := at(1000, user, e1)
		s.claim(s.a, 1000, first, binding(first, idA), true)
		s.move(s.b, idle, at(0, user, e2), e1, binding(first, idA))
		s.told()
	}},
}

var renewSpecs = []spec{
	{"the renewal of a session that is not there stores it", func(_ *testing.T, s *store) {
		c := at(0, user, e1)
		c.From = e2
		s.renew(s.a, 5, c, binding(c, idA))
		s.find(s.b, 5, user, binding(c, idA))
		s.told()
	}},
	{"the renewal of an ended session stores it", func(_ *testing.T, s *store) {
		first, second := at(0, user, e1), at(idle, user, e2)
		s.renew(s.a, 0, first, binding(first, idA))
		s.renew(s.a, idle, second, binding(second, idA))
		s.told()
	}},
	{"a renewal lengthens the life of a session", func(_ *testing.T, s *store) {
		first, second := at(0, user, e1), at(10, user, e1)
		s.claim(s.a, 0, first, binding(first, idA), true)
		s.renew(s.b, 10, second, shared.Binding{Owner: e1, Claimed: first.Claimed, Until: second.Until})
		s.renew(s.a, 11, first, shared.Binding{Owner: e1, Claimed: first.Claimed, Until: second.Until})
		s.told()
	}},
	{"of two claims on the same owner the older is kept", func(_ *testing.T, s *store) {
		first, second := at(10, user, e1), at(20, user, e1)
		s.claim(s.a, 10, first, binding(first, idA), true)
		second.Claimed = begin + 3
		s.renew(s.b, 20, second, binding(second, 0))
		s.told()
	}},
	{"a move that was made alone is carried out", func(_ *testing.T, s *store) {
		first, second := at(0, user, e1), at(20, user, e2)
		s.claim(s.a, 0, first, binding(first, idA), true)
		second.From = e1
		s.renew(s.b, 20, second, shared.Binding{Owner: e2, Claimed: first.Claimed, Until: second.Until})
		s.told(shared.News{Kind: shared.Moved, From: idB, Key: user, Owner: e2})
	}},
	{"a move that was made alone from another owner is a claim", func(_ *testing.T, s *store) {
		first, second := at(0, user, e1), at(20, user, e2)
		s.claim(s.a, 0, first, binding(first, idA), true)
		second.From = e3
		s.renew(s.b, 20, second, shared.Binding{Owner: e1, Claimed: first.Claimed, Until: second.Until})
		s.told()
	}},
	{"of two owners the one that was claimed first stays", func(_ *testing.T, s *store) {
		first, second := at(0, user, e1), at(20, user, e2)
		s.claim(s.a, 0, first, binding(first, idA), true)
		s.renew(s.b, 20, second, shared.Binding{Owner: e1, Claimed: first.Claimed, Until: second.Until})
		s.told()
	}},
	{"of two owners the one that was claimed first becomes the owner", func(_ *testing.T, s *store) {
		first, second := at(10, user, e1), at(20, user, e2)
		s.claim(s.a, 10, first, binding(first, idA), true)
		second.Claimed = first.Claimed - 1
		s.renew(s.b, 20, second, binding(second, 0))
		s.told(shared.News{Kind: shared.Moved, From: idB, Key: user, Owner: e2})
	}},
	{"of two owners that were claimed at the same time the stored one stays", func(_ *testing.T, s *store) {
		first, second := at(10, user, e1), at(10, user, e2)
		s.claim(s.a, 10, first, binding(first, idA), true)
		s.renew(s.b, 10, second, binding(first, 0))
		s.told()
	}},
	{"a claim whose time has passed changes no live session", func(_ *testing.T, s *store) {
		first, late := at(1000, user, e1), at(0, user, e2)
		s.claim(s.a, 1000, first, binding(first, idA), true)
		s.renew(s.b, idle, late, binding(first, idA))
		late.From = e1
		s.renew(s.b, idle, late, binding(first, idA))
		late.Owner = e1
		s.renew(s.b, idle, late, binding(first, idA))
		s.told()
	}},
	{"a batch is answered in its order, a key twice if it is in it twice", func(t *testing.T, s *store) {
		var cs []shared.Claim
		for i := range 700 {
			cs = append(cs, at(session.Instant(i), session.Key(i%350)<<40, shared.Identity(1+i)))
		}
		got, err := s.a.Renew(begin+700, cs)
		if err != nil || len(got) != len(cs) {
			t.Fatalf("got %d bindings, %v", len(got), err)
		}
		for i, c := range cs {
			want := binding(c, idA)
			want.Owner, want.Claimed = cs[i%350].Owner, cs[i%350].Claimed
			if got[i] != want {
				t.Fatalf("binding %d is %+v, want %+v", i, got[i], want)
			}
		}
	}},
	{"an empty batch is answered", func(t *testing.T, s *store) {
		if got, err := s.a.Renew(begin, nil); len(got) != 0 || err != nil {
			t.Errorf("Renew: got %v, %v", got, err)
		}
		if got, err := s.a.Find(begin, nil); len(got) != 0 || err != nil {
			t.Errorf("Find: got %v, %v", got, err)
		}
	}},
}
