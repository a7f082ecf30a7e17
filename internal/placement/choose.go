package placement

import (
	"cmp"
	"math"
	"slices"
)

// Choose returns the index of the candidate that takes the new session key, or -1 when there is none to choose from: the
// candidate with the highest score among those whose load is below their limit. The order of the candidates plays no part.
//
// The limit of candidate i is ⌈c·(L+1)·w_i/W⌉, where L is the load and W the weight of all candidates together. One of them
// is always below its limit: the limits add up to c·(L+1) or more, which is more than L for c ≥ 1; if every load had reached
// its limit, the loads would add up to more than L. A c below 1 (or NaN) therefore counts as 1. With c = +Inf there is no
// bound.
func Choose(key uint64, cs []Candidate, c float64) int {
	salt := mix(key)
	all, highest := survey(salt, cs)
	switch {
	case highest < 0:
		return -1
	case all.uneven:
		return all.lowestCost(salt, cs, c)
	case float64(cs[highest].Load) < all.limit(&cs[highest], c):
		return highest
	}
	// With equal weights all have the same limit, and the highest draw is the highest score.
	limit := all.limit(&cs[0], c)
	best, bestDraw := -1, uint64(0)
	for i := range cs {
		if d := draw(salt, cs[i].ID); d >= bestDraw && float64(cs[i].Load) < limit {
			best, bestDraw = i, d
		}
	}
	return best
}

// lowestCost is Choose for different weights.
func (t *totals) lowestCost(salt uint64, cs []Candidate, c float64) int {
	best, bestScore := -1, score{cost: math.Inf(1)}
	for i := range cs {
		// -ln(u) ≥ 1-u: most logarithms need not be taken. The last factor is for the rounding of those that are.
		if 1-fraction(draw(salt, cs[i].ID)) > bestScore.cost*float64(cs[i].weight())*(1+1e-9) {
			continue
		}
		if s := t.score(salt, &cs[i]); s.above(bestScore) && float64(cs[i].Load) < t.limit(&cs[i], c) {
			best, bestScore = i, s
		}
	}
	return best
}

// Ranked is a candidate in the order of preference.
type Ranked struct {
	Index int // into the candidates
	Limit int // it takes the session only if its load is below this
	score score
}

// Rank appends the candidates to dst in the order in which key prefers them, the first choice first. Choose returns the
// first of them whose load is below its limit.
func Rank(key uint64, cs []Candidate, c float64, dst []Ranked) []Ranked {
	salt := mix(key)
	all, _ := survey(salt, cs)
	n := len(dst)
	for i := range cs {
		limit := math.MaxInt
		if l := all.limit(&cs[i], c); l < math.MaxInt {
			limit = int(l)
		}
		dst = append(dst, Ranked{Index: i, Limit: limit, score: all.score(salt, &cs[i])})
	}
	slices.SortFunc(dst[n:], func(a, b Ranked) int {
		switch {
		case a.score.above(b.score):
			return -1
		case b.score.above(a.score):
			return 1
		default:
			return cmp.Compare(a.Index, b.Index)
		}
	})
	return dst
}

// totals is what the limits and scores of single candidates depend on.
type totals struct {
	load, weight float64
	uneven       bool // weights differ
}

// survey adds the candidates up and finds the one with the highest draw.
func survey(salt uint64, cs []Candidate) (all totals, highest int) {
	if len(cs) == 0 {
		return totals{}, -1
	}
	load, differs, first, highestDraw := 0, uint32(0), cs[0].Weight, uint64(0)
	for i := range cs {
		load += cs[i].Load
		differs |= cs[i].Weight ^ first
		if d := draw(salt, cs[i].ID); d >= highestDraw {
			highest, highestDraw = i, d
		}
	}
	all = totals{load: float64(load), weight: float64(cs[0].weight()) * float64(len(cs)), uneven: differs != 0}
	if all.uneven {
		all.weight = 0
		for i := range cs {
			all.weight += float64(cs[i].weight())
		}
	}
	return all, highest
}

func (c *Candidate) weight() uint32 { return max(c.Weight, 1) }

// limit is the load that c must be below to take one session more.
func (t *totals) limit(c *Candidate, bound float64) float64 {
	if !(bound >= 1) {
		bound = 1
	}
	return math.Ceil(bound * (t.load + 1) * float64(c.weight()) / t.weight)
}

// score orders the candidates. Each draws its own lot for the key. With equal weights the highest draw wins. With different
// weights the lowest cost -ln(u)/w does, u being the draw as a fraction: the cost is exponentially distributed with rate w,
// so it is the lowest of all with probability w/W. Were the weights equal, that would be the highest draw again.
type score struct {
	cost float64
	draw uint64
}

func (t *totals) score(salt uint64, c *Candidate) score {
	s := score{draw: draw(salt, c.ID)}
	if t.uneven {
		s.cost = -math.Log(fraction(s.draw)) / float64(c.weight())
	}
	return s
}

func (s score) above(o score) bool {
	return s.cost < o.cost || s.cost == o.cost && s.draw > o.draw
}

// fraction is a draw as a number between 0 and 1, both excluded.
func fraction(draw uint64) float64 { return (float64(int64(draw>>12)) + 0.5) / (1 << 52) }

// draw is the lot of an endpoint for a key. It is a bijection of id, so two endpoints never draw the same. It is mix
// without the last shift, which changes low bits only: comparing draws goes by the high ones.
func draw(salt, id uint64) uint64 {
	x := salt ^ id
	x = (x ^ x>>30) * mix1
	return (x ^ x>>27) * mix2
}

// mix is the finalizer of SplitMix64 (G. Steele, D. Lea, C. Flood, "Fast Splittable Pseudorandom Number Generators",
// OOPSLA 2014, with D. Stafford's constants "Mix13"): each bit of x changes each bit of the result with probability 1/2.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * mix1
	x = (x ^ x>>27) * mix2
	return x ^ x>>31
}

const mix1, mix2 = 0xbf58476d1ce4e5b9, 0x94d049bb133111eb
