package session

import (
	"maps"
	"sync"
	"testing"
	"time"
)

// gathered counts the slots in the arena that gather used last, and those elsewhere.
func gathered(table *Table) (inside, outside int) {
	for i := range table.shards {
		switch sh := &table.shards[i]; {
		case sh.n == 0:
		case sh.mem != nil && sh.mem.arena != nil && sh.mem.arena == table.arena:
			inside += len(sh.slots)
		default:
			outside += len(sh.slots)
		}
	}
	return inside, outside
}

func TestASweptLargeTableIsGatheredInOneArena(t *testing.T) {
	table := newTable(1e6, 8)
	table.gatherFrom = 10_000
	want := map[Key]Entry{}
	more := func(n int) {
		for range n {
			k := Key(len(want))
			put(table, k, 1, testNow)
			want[k] = Entry{Key: k, Endpoint: 1, LastSeen: testNow}
		}
	}
	check := func(when string, wantGathered bool) {
		t.Helper()
		if inside, outside := gathered(table); (outside == 0) != wantGathered {
			t.Errorf("%s: %d slots in the arena, %d elsewhere", when, inside, outside)
		}
		if !maps.Equal(contents(table), want) || table.Len() != len(want) || table.Live(1) != len(want) {
			t.Errorf("%s: %d sessions, Len %d, Live %d; want %d", when, len(contents(table)), table.Len(), table.Live(1), len(want))
		}
		for i := range table.shards {
			table.shards[i].wellFormed(t)
		}
	}
	more(5000)
	table.Sweep(0, 1, testNow, always(time.Minute))
	check("small", false)
	more(15_000)
	table.Sweep(0, 2, testNow, always(time.Minute))
	check("half swept", false)
	table.Sweep(1, 2, testNow, always(time.Minute))
	check("swept", true)
	before := table.arena
	table.Sweep(0, 1, testNow, always(time.Minute))
	check("swept again", true)
	if table.arena != before {
		t.Error("a gathered table was gathered again")
	}
	more(30_000)
	check("grown out of it", false)
	table.Sweep(0, 1, testNow, always(time.Minute))
	check("gathered anew", true)
	table.Sweep(0, 1, testNow+60_000, always(time.Minute))
	clear(want)
	check("empty", true)
	more(20_000)
	table.Sweep(0, 1, testNow, always(time.Minute))
	check("filled again", true)
}

func TestATableInUseCanBeGathered(t *testing.T) {
	const writers, each = 3, 20_000
	table := newTable(1e6, 4)
	table.gatherFrom = 1
	var all sync.WaitGroup
	for w := range Key(writers) {
		all.Go(func() {
			for n := range Key(each) {
				table.Bind(w*each+n, 1, testNow, time.Minute)
			}
		})
	}
	for table.Len() < writers*each {
		table.Sweep(0, 1, testNow, always(time.Minute))
	}
	all.Wait()
	if got := len(contents(table)); got != writers*each || table.Len() != got {
		t.Errorf("%d sessions, Len %d; want %d", got, table.Len(), writers*each)
	}
	for i := range table.shards {
		table.shards[i].wellFormed(t)
	}
}
