package placement

import "math"

// STUB so that package affinity compiles: the owner of this package deletes this file when Choose and Rank are there.

type Ranked struct{ Index, Limit int }

func Choose(key uint64, cs []Candidate, c float64) int {
	best, at, total := uint64(0), -1, 0
	for i := range cs {
		total += cs[i].Load
	}
	bound := int(math.Ceil(c * float64(total+1) / float64(len(cs))))
	for i := range cs {
		x := (cs[i].ID ^ key) * 0x9e3779b97f4a7c15
		x ^= x >> 32
		x *= 0xbf58476d1ce4e5b9
		x ^= x >> 29
		if cs[i].Load < bound && (at < 0 || x > best) {
			best, at = x, i
		}
	}
	return at
}

func Rank(key uint64, cs []Candidate, c float64, dst []Ranked) []Ranked {
	for i := range cs {
		dst = append(dst, Ranked{Index: i})
	}
	return dst
}
