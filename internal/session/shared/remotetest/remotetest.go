// Package remotetest is the contract of shared.Remote as tests that every implementation passes: a table of sentences, and random calls whose
// results are compared with the Model's (package model). It knows nothing of the implementation but how to open a store of it.
package remotetest

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/session"
	"github.com/remora-proxy/remora/internal/session/shared"
)

// Grace is the grace, in milliseconds, of every store that is tested.
const Grace session.Instant = 500

// patience is how long news may take, on a machine under load.
const patience = time.Minute

// Store is a new, empty store.
type Store struct {
	Remotes []shared.Remote // of the gateways that Open was asked for
	Full    func(bool)      // says whether the memory is used up
	Empty   func()          // removes all that is stored
}

// Open opens a store for gateways with these ids. It calls deliver with what gateway i hears, for each in one goroutine at a time, and
// returns when all of them hear news.
type Open func(t *testing.T, ids []uint32, deliver func(i int, n shared.News)) Store

// Run tests the stores that open gives: first one after the other those whose memory is used up, for they may share it, and then the others at
// the same time.
func Run(t *testing.T, open Open) {
	for _, s := range slices.Concat(fullSpecs, randomSpecs) {
		t.Run(s.sentence, func(t *testing.T) { s.test(t, newStore(t, open)) })
	}
	for _, s := range slices.Concat(claimSpecs, moveSpecs, renewSpecs, restSpecs) {
		t.Run(s.sentence, func(t *testing.T) {
			t.Parallel()
			s.test(t, newStore(t, open))
		})
	}
}

type spec struct {
	sentence string
	test     func(t *testing.T, s *store)
}

// store is a store of two gateways, and of what they hear.
type store struct {
	Store
	t    *testing.T
	a, b shared.Remote
	mu   sync.Mutex
	news [2][]shared.News
	more chan struct{} // closed, and made anew, when news grows
}

// ids are the gateways a and b.
var ids = []uint32{0xa0000001, 0xb0000002}

const (
	idA = 0xa0000001
	idB = 0xb0000002
)

func newStore(t *testing.T, open Open) *store {
	s := &store{t: t, more: make(chan struct{})}
	s.Store = open(t, ids, s.hear)
	s.a, s.b = s.Remotes[0], s.Remotes[1]
	return s
}

func (s *store) hear(i int, n shared.News) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.news[i] = append(s.news[i], n)
	close(s.more)
	s.more = make(chan struct{})
}

// heard waits until gateway i has heard n news, and gives them all.
func (s *store) heard(i, n int) []shared.News {
	s.t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		s.mu.Lock()
		news, more := slices.Clone(s.news[i]), s.more
		s.mu.Unlock()
		if len(news) >= n {
			return news
		}
		select {
		case <-more:
		case <-timeout.C:
			s.t.Fatalf("gateway %d has heard %d news, want %d: %+v", i, len(news), n, news)
		}
	}
}

// told checks that both gateways have heard just these news, in any order: the nodes of a cluster send theirs independently.
func (s *store) told(want ...shared.News) {
	s.t.Helper()
	last := shared.News{Kind: shared.Drain, From: idA, Endpoint: [2]string{"the last", "news"}, On: true}
	want = append(want, last)
	if err := s.a.Announce(last); err != nil {
		s.t.Fatal(err)
	}
	for i := range s.news {
		if got := s.heard(i, len(want)); !reflect.DeepEqual(sorted(got), sorted(want)) {
			s.t.Errorf("gateway %d has heard %+v, want %+v", i, got, want)
		}
	}
}

// sorted puts news into one order.
func sorted(news []shared.News) []shared.News {
	return slices.SortedFunc(slices.Values(news), func(a, b shared.News) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Key, b.Key), cmp.Compare(a.From, b.From), cmp.Compare(a.Owner, b.Owner),
			slices.Compare(a.Endpoint[:], b.Endpoint[:]), cmp.Compare(len(a.Counted), len(b.Counted)))
	})
}

// begin is when every test begins. It is ahead of the clock, for a store may judge calls that come late by a clock of its own.
var begin = session.InstantOf(time.Now().Add(time.Hour).Truncate(time.Hour))

// idle is the idle time of the sessions, in milliseconds.
const idle = 60_000

// at is the claim of a user who was seen some milliseconds after the beginning, and has been on the owner since then.
func at(millis session.Instant, k session.Key, owner shared.Identity) shared.Claim {
	return shared.Claim{Key: k, Owner: owner, Claimed: begin + millis, Until: begin + millis + idle}
}

// binding is what the store has of it.
func binding(c shared.Claim, by uint32) shared.Binding {
	return shared.Binding{Owner: c.Owner, Claimed: c.Claimed, Until: c.Until, By: by}
}

// claim, move, renew and find check what the calls answer. The time is in milliseconds after the beginning.

func (s *store) claim(r shared.Remote, now session.Instant, c shared.Claim, want shared.Binding, wantFirst bool) {
	s.t.Helper()
	if got, first, err := r.Claim(begin+now, c); err != nil || got != want || first != wantFirst {
		s.t.Fatalf("Claim: got %+v, %v, %v; want %+v, %v", got, first, err, want, wantFirst)
	}
}

func (s *store) move(r shared.Remote, now session.Instant, c shared.Claim, from shared.Identity, want shared.Binding) {
	s.t.Helper()
	got, moved, err := r.Move(begin+now, c, from)
	if err != nil || got != want || moved != (want.Owner == c.Owner) {
		s.t.Fatalf("Move: got %+v, %v, %v; want %+v", got, moved, err, want)
	}
}

func (s *store) renew(r shared.Remote, now session.Instant, c shared.Claim, want shared.Binding) {
	s.t.Helper()
	if got, err := r.Renew(begin+now, []shared.Claim{c}); err != nil || len(got) != 1 || got[0] != want {
		s.t.Fatalf("Renew: got %+v, %v; want %+v", got, err, want)
	}
}

func (s *store) find(r shared.Remote, now session.Instant, k session.Key, want shared.Binding) {
	s.t.Helper()
	if got, err := r.Find(begin+now, []session.Key{k}); err != nil || len(got) != 1 || got[0] != want {
		s.t.Fatalf("Find: got %+v, %v; want %+v", got, err, want)
	}
}

// count counts all parts of the store.
func count(t *testing.T, r shared.Remote, now session.Instant, parts int) map[shared.Identity]int {
	t.Helper()
	const atOnce = 32
	all := map[shared.Identity]int{}
	var mu sync.Mutex
	var counting sync.WaitGroup
	for first := range atOnce {
		counting.Go(func() {
			for part := first; part < parts; part += atOnce {
				counted, err := r.Count(now, part, parts)
				if err != nil {
					t.Errorf("Count: %v", err)
				}
				mu.Lock()
				for owner, n := range counted {
					all[owner] += n
				}
				mu.Unlock()
			}
		})
	}
	counting.Wait()
	return all
}

func (s *store) count(r shared.Remote, now session.Instant, parts int, want map[shared.Identity]int) {
	s.t.Helper()
	if got := count(s.t, r, begin+now, parts); !maps.Equal(got, want) {
		s.t.Fatalf("Count: got %v, want %v", got, want)
	}
}
