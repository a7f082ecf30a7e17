package placement

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// random returns a source for a test and prints its seed.
func random(t testing.TB) *rand.Rand {
	t.Helper()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewPCG(seed, 0))
}

var unbounded = math.Inf(1)

// candidates makes n of weight 1 without load.
func candidates(r *rand.Rand, n int) []Candidate {
	cs := make([]Candidate, n)
	for i := range cs {
		cs[i] = Candidate{ID: r.Uint64(), Weight: 1}
	}
	return cs
}

// anyCandidates makes up to 12 with any weights and loads.
func anyCandidates(r *rand.Rand) []Candidate {
	cs := candidates(r, 1+r.IntN(12))
	even := r.IntN(2) == 0
	for i := range cs {
		cs[i].Load = r.IntN(1 + r.IntN(100))
		if cs[i].Weight = uint32(r.IntN(6)); even {
			cs[i].Weight = 3
		}
	}
	return cs
}

// oracle is the rule written down with nothing clever about it.
func oracle(key uint64, cs []Candidate, c float64) int {
	load, weight := 0, 0.0
	w := func(c Candidate) float64 {
		if c.Weight == 0 {
			return 1
		}
		return float64(c.Weight)
	}
	for _, c := range cs {
		load += c.Load
		weight += w(c)
	}
	best, bestScore := -1, 0.0
	for i, cand := range cs {
		u := (float64(draw(mix(key), cand.ID)>>12) + 0.5) / (1 << 52)
		score := -w(cand) / math.Log(u)
		if score > bestScore && float64(cand.Load) < math.Ceil(c*float64(load+1)*w(cand)/weight) {
			best, bestScore = i, score
		}
	}
	return best
}

func TestChooseIsTheRule(t *testing.T) {
	r := random(t)
	for range 20_000 {
		key, cs, c := r.Uint64(), anyCandidates(r), []float64{1, 1.1, DefaultBound, 2, unbounded}[r.IntN(5)]
		if got, want := Choose(key, cs, c), oracle(key, cs, c); got != want {
			t.Fatalf("key %#x, c %v, %+v: chose %d; want %d", key, c, cs, got, want)
		}
	}
}

func TestWithoutCandidatesThereIsNoChoice(t *testing.T) {
	if got := Choose(1, nil, DefaultBound); got != -1 {
		t.Errorf("got %d; want -1", got)
	}
	if got := Rank(1, nil, DefaultBound, nil); len(got) != 0 {
		t.Errorf("got %v", got)
	}
}

func TestOneCandidateIsAlwaysBelowItsLimit(t *testing.T) {
	r := random(t)
	for range 20_000 {
		cs := anyCandidates(r)
		for i := range cs {
			if r.IntN(2) == 0 {
				cs[i].Load = r.IntN(1 << 40)
			}
			if r.IntN(4) == 0 {
				cs[i].Weight = r.Uint32()
			}
		}
		for _, c := range []float64{1 + 1e-12, DefaultBound, 1, 0.3, 0, -1, math.NaN(), unbounded} {
			i := Choose(r.Uint64(), cs, c)
			if i < 0 {
				t.Fatalf("c %v: no choice in %+v", c, cs)
			}
		}
	}
}

func TestTheOrderOfTheCandidatesPlaysNoPart(t *testing.T) {
	r := random(t)
	for range 5000 {
		key, cs := r.Uint64(), anyCandidates(r)
		want := cs[Choose(key, cs, DefaultBound)].ID
		r.Shuffle(len(cs), func(i, j int) { cs[i], cs[j] = cs[j], cs[i] })
		if got := cs[Choose(key, cs, DefaultBound)].ID; got != want {
			t.Fatalf("key %#x, %+v: chose %#x and, in another order, %#x", key, cs, want, got)
		}
	}
}

func TestANewEndpointMovesChoicesToItselfOnlyAndNoMoreThanItsShare(t *testing.T) {
	for _, weights := range []string{"equal", "different"} {
		t.Run(weights+" weights", func(t *testing.T) {
			r := random(t)
			const keys = 50_000
			cs := candidates(r, 10)
			weight := uint32(0)
			for i := range cs {
				if weights == "different" {
					cs[i].Weight = 1 + r.Uint32N(9)
				}
				weight += cs[i].Weight
			}
			added := append(cs[:10:10], Candidate{ID: r.Uint64(), Weight: 1})
			moved := 0
			for range keys {
				key := r.Uint64()
				before, after := Choose(key, cs, unbounded), Choose(key, added, unbounded)
				switch after {
				case before:
				case 10:
					moved++
				default:
					t.Fatalf("key %#x moved from %d to %d", key, before, after)
				}
			}
			within(t, "moved to the new endpoint", moved, keys, 1/float64(weight+1))
		})
	}
}

func TestARemovedEndpointMovesItsOwnChoicesOnly(t *testing.T) {
	r := random(t)
	cs := candidates(r, 10)
	for range 10_000 {
		key := r.Uint64()
		if before := Choose(key, cs, unbounded); before != 9 && Choose(key, cs[:9], unbounded) != before {
			t.Fatalf("key %#x moved from %d", key, before)
		}
	}
}

func TestChangedWeightsMoveChoicesTowardsTheHeavier(t *testing.T) {
	r := random(t)
	cs := candidates(r, 5)
	heavier := append([]Candidate(nil), cs...)
	heavier[2].Weight = 2
	for range 10_000 {
		key := r.Uint64()
		if before, after := Choose(key, cs, unbounded), Choose(key, heavier, unbounded); after != before && after != 2 {
			t.Fatalf("key %#x moved from %d to %d", key, before, after)
		}
	}
}

// within expects got of n to be the share p, give or take five standard deviations: by chance it fails once in a million.
func within(t *testing.T, what string, got, n int, p float64) {
	t.Helper()
	want, deviation := float64(n)*p, math.Sqrt(float64(n)*p*(1-p))
	if math.Abs(float64(got)-want) > 5*deviation {
		t.Errorf("%s: %d of %d; want %.0f ± %.0f", what, got, n, want, 5*deviation)
	}
}

func TestChoicesAreSharedByWeight(t *testing.T) {
	for _, weights := range [][]uint32{{1, 1, 1, 1}, {0, 1, 2}, {1, 2, 3, 4, 90}, {5, 5, 10}, {1 << 31, 1 << 31, 1 << 30}} {
		for _, ids := range []string{"random", "counted"} {
			t.Run(fmt.Sprint(weights, ids), func(t *testing.T) {
				r := random(t)
				const keys = 40_000
				cs, total := candidates(r, len(weights)), 0.0
				for i := range cs {
					cs[i].Weight = weights[i]
					total += float64(max(weights[i], 1))
					if ids == "counted" {
						cs[i].ID = uint64(i)
					}
				}
				counts := make([]int, len(cs))
				for n := range uint64(keys) {
					key := r.Uint64()
					if ids == "counted" {
						key = n
					}
					counts[Choose(key, cs, unbounded)]++
				}
				for i := range cs {
					within(t, fmt.Sprint("endpoint ", i), counts[i], keys, float64(max(weights[i], 1))/total)
				}
			})
		}
	}
}

func TestTheSessionsOfALostEndpointAreSpreadEvenly(t *testing.T) {
	for _, ids := range []string{"random", "counted", "far apart"} {
		t.Run("ids "+ids, func(t *testing.T) {
			r := random(t)
			const n, keys = 7, 42_000
			cs := candidates(r, n)
			for i := range cs {
				switch ids {
				case "counted":
					cs[i].ID = uint64(i)
				case "far apart":
					cs[i].ID = uint64(i) << 61
				}
			}
			var pairs [n][n]int
			for range keys {
				ranked := Rank(r.Uint64(), cs, unbounded, nil)
				pairs[ranked[0].Index][ranked[1].Index]++
			}
			for first := range pairs {
				for second, count := range pairs[first] {
					if first != second {
						within(t, fmt.Sprint("first ", first, ", second ", second), count, keys, 1.0/(n*(n-1)))
					}
				}
			}
		})
	}
}

func TestTheBoundHoldsAfterAnySequenceOfPlacements(t *testing.T) {
	for _, c := range []float64{1, 1.1, DefaultBound, 2} {
		t.Run(fmt.Sprint("c=", c), func(t *testing.T) {
			r := random(t)
			for range 20 {
				cs, total, weight := candidates(r, 1+r.IntN(20)), 0, 0.0
				for i := range cs {
					if cs[i].Weight = 1; r.IntN(2) == 0 {
						cs[i].Weight = 1 + r.Uint32N(5)
					}
					weight += float64(cs[i].Weight)
				}
				for range 2000 {
					i := Choose(r.Uint64(), cs, c)
					cs[i].Load++
					total++
					if limit := math.Ceil(c * float64(total) * float64(cs[i].Weight) / weight); float64(cs[i].Load) > limit {
						t.Fatalf("endpoint %d has %d of %d sessions; its limit is %v: %+v", i, cs[i].Load, total, limit, cs)
					}
					if j := r.IntN(len(cs)); r.IntN(3) == 0 && cs[j].Load > 0 { // a session ends
						cs[j].Load--
						total--
					}
				}
			}
		})
	}
}

func TestTheFullestEndpointHasAtMostTheBoundTimesTheAverage(t *testing.T) {
	r := random(t)
	for _, n := range []int{2, 10, 100} {
		cs := candidates(r, n)
		placed := n * 200
		for range placed {
			cs[Choose(r.Uint64(), cs, DefaultBound)].Load++
		}
		most := 0
		for i := range cs {
			most = max(most, cs[i].Load)
		}
		if most > 250 {
			t.Errorf("%d endpoints: the fullest has %d sessions, the average 200", n, most)
		}
	}
}

func TestAfterScaleOutNewSessionsEvenTheLoadsOut(t *testing.T) {
	r := random(t)
	cs := candidates(r, 6)
	for i := range 4 {
		cs[i].Load = 1000
	}
	for cs[4].Load+cs[5].Load < 1000 {
		i := Choose(r.Uint64(), cs, DefaultBound)
		if i < 4 && cs[i].Load >= 1250 {
			t.Fatalf("endpoint %d, which has %d sessions, got one more: %+v", i, cs[i].Load, cs)
		}
		cs[i].Load++
	}
}

func TestRankIsTheOrderOfPreference(t *testing.T) {
	r := random(t)
	for range 3000 {
		key, cs, c := r.Uint64(), anyCandidates(r), []float64{0.5, 1, DefaultBound, unbounded}[r.IntN(4)]
		ranked := Rank(key, cs, c, make([]Ranked, 1, 20))[1:]
		if len(ranked) != len(cs) {
			t.Fatalf("%d of %d candidates are ranked", len(ranked), len(cs))
		}
		first := -1
		for place, x := range ranked {
			if first < 0 && cs[x.Index].Load < x.Limit {
				first = x.Index
			}
			// Without a bound, each candidate is the choice once those before it are gone.
			rest := make([]Candidate, 0, len(cs))
			for _, y := range ranked[place:] {
				rest = append(rest, cs[y.Index])
			}
			if got := Choose(key, rest, unbounded); rest[got].ID != cs[x.Index].ID {
				t.Fatalf("key %#x: place %d has %d; Choose says %+v", key, place, x.Index, rest[got])
			}
		}
		if got := Choose(key, cs, c); got != first {
			t.Fatalf("key %#x, c %v, %+v: Choose says %d, Rank %d", key, c, cs, got, first)
		}
	}
}

func TestNothingIsAllocated(t *testing.T) {
	r := random(t)
	for _, weight := range []uint32{1, 2} {
		cs := candidates(r, 100)
		cs[0].Weight = weight
		ranked := make([]Ranked, 0, 100)
		if n := testing.AllocsPerRun(100, func() { Choose(r.Uint64(), cs, DefaultBound) }); n != 0 {
			t.Errorf("Choose: %v allocations", n)
		}
		if n := testing.AllocsPerRun(100, func() { Rank(r.Uint64(), cs, DefaultBound, ranked) }); n != 0 {
			t.Errorf("Rank into a slice with room: %v allocations", n)
		}
	}
}

func BenchmarkChoose(b *testing.B) {
	for _, kind := range []string{"equal", "weighted", "at the limit"} {
		for _, n := range []int{2, 10, 100, 1000} {
			b.Run(fmt.Sprintf("%s/n=%d", kind, n), func(b *testing.B) {
				r := rand.New(rand.NewPCG(1, 2))
				cs := candidates(r, n)
				for i := range cs {
					cs[i].Load = 1000 + r.IntN(100)
					switch kind {
					case "weighted":
						cs[i].Weight = 1 + uint32(i%3)
						cs[i].Load *= 1 + i%3
					case "at the limit":
						cs[i].Load = 1000 * (i % 2)
					}
				}
				b.ReportAllocs()
				key := uint64(0)
				for b.Loop() {
					Choose(key, cs, DefaultBound)
					key++
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/endpoint")
			})
		}
	}
}
