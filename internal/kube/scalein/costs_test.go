package scalein

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func TestStale(t *testing.T) {
	for name, test := range map[string]struct {
		group []candidate // sessions, cost
		want  []int
	}{
		"nobody has sessions, and nothing is written":                 {[]candidate{{0, 0}, {0, 0}}, nil},
		"one has a session: it alone is written":                      {[]candidate{{0, 0}, {1, 0}, {0, 0}}, []int{1}},
		"the costs are right":                                         {[]candidate{{5, 5}, {20, 20}}, nil},
		"all have ten times as many, in the same order":               {[]candidate{{50, 5}, {200, 20}, {0, 0}}, nil},
		"two have nearly as many: their order is left":                {[]candidate{{100, 90}, {90, 95}}, nil},
		"one has emptied, and is still the second to go":              {[]candidate{{0, 20}, {30, 20}, {40, 40}}, []int{0}},
		"one pod is out of order: the others are not written":         {[]candidate{{10, 100}, {30, 20}, {50, 40}, {80, 60}}, []int{0}},
		"a new pod gets users: it is written and those before it not": {[]candidate{{100, 100}, {100, 98}, {100, 99}, {60, 0}, {10, 0}}, []int{3}},
		"equal costs of unequal pods are a contradiction":             {[]candidate{{1, 7}, {7, 7}}, []int{0}},
		"one alone is in any order":                                   {[]candidate{{9, 0}}, nil},
		"a count beyond 32 bits is the highest cost":                  {[]candidate{{bounded(1 << 40), 0}, {0, 0}}, []int{0}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := stale(test.group); !slices.Equal(got, test.want) {
				t.Errorf("stale(%v) = %v, want %v", test.group, got, test.want)
			}
		})
	}
}

// contradictions is the rule by its definition: a pod that has none while another has some, or over a quarter and over two fewer, has
// to have a lower cost.
func contradictions(group []candidate) (n int) {
	for _, a := range group {
		for _, b := range group {
			d := int64(b.sessions) - int64(a.sessions)
			fewer := a.sessions == 0 && d > 0 || 4*d > int64(a.sessions) && d > 2
			if fewer && a.cost >= b.cost {
				n++
			}
		}
	}
	return n
}

// apply writes the costs of some candidates.
func apply(group []candidate, which []int) []candidate {
	out := slices.Clone(group)
	for _, i := range which {
		out[i].cost = out[i].sessions
	}
	return out
}

// fewest is the least number of writes that leave no contradiction, by trying all.
func fewest(group []candidate) int {
	best := len(group)
	for set := range 1 << len(group) {
		var which []int
		for i := range group {
			if set>>i&1 == 1 {
				which = append(which, i)
			}
		}
		if len(which) < best && contradictions(apply(group, which)) == 0 {
			best = len(which)
		}
	}
	return best
}

func TestStaleAgainstItsDefinition(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	writes, least := 0, 0
	for range 3000 {
		group := make([]candidate, random.IntN(8))
		most := []int32{3, 12, 200}[random.IntN(3)]
		for i := range group {
			group[i] = candidate{sessions: random.Int32N(most), cost: random.Int32N(most)}
			if random.IntN(3) == 0 {
				group[i].cost = group[i].sessions
			}
		}
		got := stale(group)
		if n := contradictions(apply(group, got)); n > 0 {
			t.Fatalf("%v: after writing %v there are %d contradictions", group, got, n)
		}
		if contradictions(group) == 0 && len(got) > 0 {
			t.Fatalf("%v: %v are written although nothing is wrong", group, got)
		}
		for k, i := range got {
			if group[i].cost == group[i].sessions || slices.Contains(got[:k], i) {
				t.Fatalf("%v: %v has one that is right already, or twice", group, got)
			}
		}
		writes, least = writes+len(got), least+fewest(group)
	}
	if t.Logf("%d writes, where %d would do", writes, least); writes > least+least/5 {
		t.Errorf("%d writes, over a fifth more than the %d that would do", writes, least)
	}
}
