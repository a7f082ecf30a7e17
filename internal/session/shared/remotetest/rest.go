package remotetest

import (
	"testing"

	"github.com/remora-proxy/remora/internal/session"
	"github.com/remora-proxy/remora/internal/session/shared"
)

func (s *store) lead(r shared.Remote, now session.Instant, forMillis int64, want bool) {
	s.t.Helper()
	if got, err := r.Lead(begin+now, forMillis); err != nil || got != want {
		s.t.Fatalf("Lead at %d: got %v, %v; want %v", now, got, err, want)
	}
}

var restSpecs = []spec{
	{"a session that has ended counts as not there", func(_ *testing.T, s *store) {
		first, second := at(0, user, e1), at(idle+1, user, e2)
		s.claim(s.a, 0, first, binding(first, idA), true)
		s.find(s.a, idle, user, shared.Binding{})
		s.claim(s.a, idle+1, second, binding(second, idA), true)
	}},
	{"many are found at once, in the order in which they were asked for", func(t *testing.T, s *store) {
		var keys []session.Key
		for i := range 600 {
			k := session.Key(i) << 45
			if i%3 == 0 {
				c := at(0, k, shared.Identity(i+1))
				s.claim(s.a, 0, c, binding(c, idA), true)
			}
			keys = append(keys, k)
		}
		got, err := s.b.Find(begin, keys)
		if err != nil || len(got) != len(keys) {
			t.Fatalf("got %d bindings, %v", len(got), err)
		}
		for i, k := range keys {
			want := shared.Binding{}
			if i%3 == 0 {
				want = binding(at(0, k, shared.Identity(i+1)), idA)
			}
			if got[i] != want {
				t.Fatalf("binding %d is %+v, want %+v", i, got[i], want)
			}
		}
	}},
	{"live sessions are counted by owner, whatever the number of parts", func(_ *testing.T, s *store) {
		for i := range 60 {
			c := at(0, session.Key(i)*0x0101010101010101, []shared.Identity{e1, e2, e2}[i%3])
			s.claim(s.a, 0, c, binding(c, idA), true)
		}
		for _, parts := range []int{1, 7, 100} {
			s.count(s.b, 1, parts, map[shared.Identity]int{e1: 20, e2: 40})
		}
	}},
	{"sessions that have ended are not counted, and are removed when they have for all", func(_ *testing.T, s *store) {
		early, late := at(0, user, e1), at(1000, user+1, e2)
		s.claim(s.a, 0, early, binding(early, idA), true)
		s.claim(s.a, 1000, late, binding(late, idA), true)
		s.count(s.a, idle, 1, map[shared.Identity]int{e2: 1})
		s.find(s.b, idle, user, binding(early, idA)) // for b it lives on
		s.count(s.b, idle, 1, map[shared.Identity]int{e1: 1, e2: 1})
		s.count(s.b, idle+Grace, 1, map[shared.Identity]int{e2: 1})
		s.find(s.b, idle, user, shared.Binding{}) // as the time was then
		s.find(s.b, idle, user+1, binding(late, idA))
	}},
	{"one gateway counts, until its time has passed", func(_ *testing.T, s *store) {
		s.lead(s.a, 0, 1000, true)
		s.lead(s.b, 999, 1000, false)
		s.lead(s.a, 999, 1000, true)
		s.lead(s.b, 1998, 1000, false)
		s.lead(s.b, 1999, 1000, true)
		s.lead(s.a, 2000, 1000, false)
	}},
	{"the epoch stays the same, and is not 0", func(t *testing.T, s *store) {
		for _, r := range s.Remotes {
			a, errA := r.Epoch(begin)
			b, errB := r.Epoch(begin + 1000)
			if a == 0 || a != b || errA != nil || errB != nil {
				t.Errorf("got %d, %v and %d, %v", a, errA, b, errB)
			}
		}
	}},
	{"a store that was emptied is of another epoch, to all", func(t *testing.T, s *store) {
		epoch := func(r shared.Remote) uint64 {
			n, err := r.Epoch(begin)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		a, b, c := epoch(s.a), epoch(s.b), at(0, user, e1)
		s.claim(s.a, 0, c, binding(c, idA), true)
		s.Empty()
		if now := epoch(s.a); now == a {
			t.Errorf("to the one gateway the epoch is %d as before", now)
		}
		if now := epoch(s.b); now == b {
			t.Errorf("to the other gateway the epoch is %d as before", now)
		}
		s.find(s.a, 0, user, shared.Binding{})
	}},
	{"all hear what one announces, itself included", func(_ *testing.T, s *store) {
		totals := shared.News{Kind: shared.Totals, From: idB, Counted: map[shared.Identity]int{}}
		for i := range 10_000 {
			totals.Counted[shared.Identity(i+1)<<40|7] = i
		}
		news := []shared.News{
			{Kind: shared.Moved, From: idB, Key: user, Owner: e1},
			{Kind: shared.Totals, From: idB, Counted: map[shared.Identity]int{}},
			{Kind: shared.Drain, From: idB, Endpoint: [2]string{"[::1]:8080", "pod-uid"}, On: true},
			{Kind: shared.Drain, From: idB, Endpoint: [2]string{"127.0.0.1:1", ""}},
			totals,
		}
		for _, n := range news {
			if err := s.b.Announce(n); err != nil {
				s.t.Fatal(err)
			}
		}
		s.told(news...)
	}},
}
