package session

import (
	"math/rand/v2"
	"testing"
	"time"
	"unsafe"
)

func TestASlotIs16BytesAndAShardOneCacheLine(t *testing.T) {
	if n := unsafe.Sizeof(slot{}); n != 16 {
		t.Errorf("a slot has %d bytes", n)
	}
	if n := unsafe.Sizeof(shard{}); n != 64 && unsafe.Sizeof(uintptr(0)) == 8 {
		t.Errorf("a shard has %d bytes", n)
	}
}

func TestMixCanBeUndone(t *testing.T) {
	for _, k := range []Key{0, 1, 2, 1 << 32, 1 << 63, ^Key(0)} {
		if got := unmix(mix(k)); got != k {
			t.Errorf("unmix(mix(%#x)) = %#x", k, got)
		}
	}
	for range 1000 {
		if k := Key(rand.Uint64()); unmix(mix(k)) != k {
			t.Errorf("unmix(mix(%#x)) = %#x", k, unmix(mix(k)))
		}
	}
}

func TestMetaKeepsItsParts(t *testing.T) {
	const now = Instant(1_800_000_000_123)
	for _, ep := range []EndpointID{1, 2, MaxEndpoints - 1} {
		for _, holds := range []int{0, 1, maxHolds} {
			for _, seen := range []Instant{now, now - 1, now + 1, now - Instant(MaxIdle.Milliseconds()), now + Instant(MaxIdle.Milliseconds()), now - 99*24*3600*1000} {
				m := newMeta(ep, holds, seen)
				if m.endpoint() != ep || m.holds() != holds || m.seen(now) != seen || m.age(now) != int64(now-seen) {
					t.Errorf("%d, %d, %d became %d, %d, %d with age %d", ep, holds, seen, m.endpoint(), m.holds(), m.seen(now), m.age(now))
				}
				if m := m.withSeen(now); m.endpoint() != ep || m.holds() != holds || m.seen(now) != max(seen, now) {
					t.Errorf("withSeen of %d, %d, %d: %d, %d, %d", ep, holds, seen, m.endpoint(), m.holds(), m.seen(now))
				}
				if m := m.withEndpoint(77); m.endpoint() != 77 || m.holds() != holds || m.seen(now) != seen {
					t.Errorf("withEndpoint of %d, %d, %d: %d, %d, %d", ep, holds, seen, m.endpoint(), m.holds(), m.seen(now))
				}
			}
		}
	}
}

func TestLastSeenSurvivesTheWrapOf34Bits(t *testing.T) {
	const wrap = Instant(1_800_000_000_000)>>seenBits<<seenBits + 1<<seenBits
	m := newMeta(1, 0, wrap-10)
	if !m.live(wrap+49_989, time.Minute) || m.live(wrap+59_990, time.Minute) || m.seen(wrap+1000) != wrap-10 {
		t.Error("a session seen 10 ms before the wrap is judged wrongly after it")
	}
}

// wellFormed checks every rule about the slots that the shard's comments state.
func (sh *shard) wellFormed(t *testing.T) {
	t.Helper()
	n, last := 0, ^uint64(0)
	for i, s := range sh.slots {
		if s.meta == 0 {
			if s != (slot{}) {
				t.Fatalf("slot %d: an empty slot has the tag %#x", i, s.tag)
			}
			continue
		}
		if n > 0 && s.tag >= last {
			t.Fatalf("slot %d: the tag %#x is not smaller than the one before, %#x", i, s.tag, last)
		}
		for j := home(s.tag, sh.homes); j < i; j++ {
			if sh.slots[j].meta == 0 {
				t.Fatalf("slot %d: slot %d, between it and its home, is empty", i, j)
			}
		}
		if home(s.tag, sh.homes) > i {
			t.Fatalf("slot %d: it is before its home %d", i, home(s.tag, sh.homes))
		}
		n, last = n+1, s.tag
	}
	if n != int(sh.n) {
		t.Fatalf("%d sessions are counted and %d are there", sh.n, n)
	}
	if sh.slots[len(sh.slots)-1] != (slot{}) {
		t.Fatal("the last slot is not empty")
	}
	if noSlots != [firstLook]slot{} {
		t.Fatal("noSlots was written to")
	}
}

func TestAShardKeepsItsOrderWhateverTheTags(t *testing.T) {
	tags := map[string]func(*rand.Rand) uint64{
		"spread evenly":            func(r *rand.Rand) uint64 { return r.Uint64() },
		"all at home in the first": func(r *rand.Rand) uint64 { return ^uint64(0) - r.Uint64N(1000) },
		"all at home in the last":  func(r *rand.Rand) uint64 { return r.Uint64N(1000) },
		"in a few crowds":          func(r *rand.Rand) uint64 { return r.Uint64N(8)<<61 + r.Uint64N(300) },
		"few":                      func(r *rand.Rand) uint64 { return r.Uint64N(30) << 59 },
	}
	for name, tag := range tags {
		t.Run(name, func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			r := rand.New(rand.NewPCG(seed, 0))
			sh := &shard{slots: noSlots[:]}
			oracle := map[uint64]meta{}
			for step := range 6000 {
				x := tag(r)
				i, ok := sh.find(x)
				if m, there := oracle[x]; ok != there || ok && sh.slots[i].meta != m {
					t.Fatalf("step %d: find(%#x) = %v; want %v", step, x, ok, there)
				}
				switch now := Instant(step); {
				case ok && r.IntN(3) == 0:
					sh.remove(i)
					delete(oracle, x)
				case !ok:
					m := newMeta(1, 0, now)
					sh.insert(x, m)
					oracle[x] = m
				}
				if step%1500 == 1499 {
					want := sweepOracle(oracle, Instant(step), time.Second)
					if got := sh.sweep(Instant(step), func(EndpointID) time.Duration { return time.Second }, func(EndpointID) {}); got != want {
						t.Fatalf("step %d: sweep removed %d; want %d", step, got, want)
					}
				}
				if step%100 == 99 {
					sh.wellFormed(t)
				}
			}
			for x := range oracle {
				if _, ok := sh.find(x); !ok || len(oracle) != int(sh.n) {
					t.Fatalf("%#x: found %v; %d sessions, want %d", x, ok, sh.n, len(oracle))
				}
			}
		})
	}
}

func sweepOracle(oracle map[uint64]meta, now Instant, idle time.Duration) (removed int) {
	for x, m := range oracle {
		if !m.live(now, idle) {
			delete(oracle, x)
			removed++
		}
	}
	return removed
}

func TestASweepThatEmptiesAShardGivesItsMemoryBack(t *testing.T) {
	sh := &shard{slots: noSlots[:]}
	idle := func(EndpointID) time.Duration { return time.Minute }
	none := func(EndpointID) {}
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 20_000 {
		sh.insert(r.Uint64(), newMeta(1, 0, Instant(i/10_000)*60_000))
	}
	full := len(sh.slots)
	sh.sweep(60_000, idle, none)
	sh.wellFormed(t)
	if sh.n != 10_000 || len(sh.slots) > 10_000*3/2 {
		t.Errorf("%d sessions in %d slots (of %d before)", sh.n, len(sh.slots), full)
	}
	sh.sweep(120_000, idle, none)
	sh.wellFormed(t)
	if &sh.slots[0] != &noSlots[0] || sh.mem != nil {
		t.Errorf("no session in %d slots", len(sh.slots))
	}
}

func TestSlotsTakeAtMost24BytesASessionWhileAShardGrows(t *testing.T) {
	sh := &shard{slots: noSlots[:]}
	r := rand.New(rand.NewPCG(1, 2))
	var worst float64
	for n := 1; n <= 40_000; n++ {
		sh.insert(r.Uint64(), newMeta(1, 0, 0))
		if size := float64(len(sh.slots)*16) / float64(n); n > 4000 && size > worst {
			worst = size
		}
	}
	if worst > 24 {
		t.Errorf("%.1f bytes a session", worst)
	}
}
