package session

import (
	"math/bits"
	"slices"
	"sync"
	"time"
)

// shard is one part of the table under one lock: a hash table with linear probing whose slots stand in descending order
// of their tags (O. Amble, D. Knuth, "Ordered Hash Tables", Computer Journal 17(2), 1974). The smaller a tag, the further
// back its home, so
//   - a look-up ends at the first tag that is not larger, found or not;
//   - nothing wraps around: a few slots behind the last home take what flows over, and the very last one is always empty,
//     so that every walk ends;
//   - growing, shrinking and sweeping are one walk from front to back.
//
// It is 64 bytes, a cache line, so that cores at work in neighbouring shards do not disturb each other.
type shard struct {
	mu     sync.Mutex
	homes  uint32 // tags have their homes in slots[:homes]
	n      uint32 // sessions
	slots  []slot
	latest Instant  // time of the last call that renewed a session: it turns a slot's last-seen time into an Instant
	mem    *mapping // where slots are, when not in the Go heap

	// over counts the holds beyond maxHolds, by tag. There are no more entries than requests in flight / 1024.
	over map[uint64]int
}

// Between two growths the load of a shard goes from 0.71 to 0.86 sessions a home, so a session takes 18.6 to 22.4 bytes.
// A denser shard would make new sessions dear: what has to be pushed aside for one grows with 1/(1-load)².
const (
	maxLoad  = 55 // sixty-fourths
	growth   = 77 // sixty-fourths
	minHomes = 14

	// spareSlots are behind the last home. More than so many flow over with a chance of 1e-7 at the highest load and far
	// less below it; then the shard is made anew with twice as many.
	spareSlots = 50
)

// noSlots is what a shard without sessions has. It is never written to.
var noSlots [firstLook]slot

// firstLook is how many slots find looks at without a branch.
const firstLook = 4

// home is where tag is to be looked for first: its fraction of the range of tags, counted from the top, scaled to homes
// (D. Lemire, "Fast Random Integer Generation in an Interval", ACM TOMACS 29(1), 2019).
func home(tag uint64, homes uint32) int {
	hi, _ := bits.Mul64(^tag, uint64(homes))
	return int(hi)
}

// find returns the slot of tag, or the slot before which it would have to be inserted. Where a search ends cannot be
// predicted, and a wrong guess costs the time of the memory access that it waited for; so the first slots, where nearly all
// searches end, are compared in any case and the larger tags counted.
func (sh *shard) find(tag uint64) (i int, ok bool) {
	i = home(tag, sh.homes)
	first := (*[firstLook]slot)(sh.slots[i:])
	_, a := bits.Sub64(tag, first[0].tag, 0)
	_, b := bits.Sub64(tag, first[1].tag, 0)
	_, c := bits.Sub64(tag, first[2].tag, 0)
	_, d := bits.Sub64(tag, first[3].tag, 0)
	if i += int(a + b + c + d); a+b+c+d == firstLook {
		for sh.slots[i].tag > tag {
			i++
		}
	}
	return i, sh.slots[i].tag == tag && sh.slots[i].meta != 0
}

// insert stores a session that the shard does not have.
func (sh *shard) insert(tag uint64, m meta) {
	if sh.mustGrow() {
		sh.resize(max(minHomes, int(sh.homes)*growth/64), spareSlots)
	}
	for {
		i, _ := sh.find(tag)
		end := i
		for sh.slots[end].meta != 0 {
			end++
		}
		if end == len(sh.slots)-1 {
			sh.resize(int(sh.homes), 2*(len(sh.slots)-int(sh.homes)))
			continue
		}
		copy(sh.slots[i+1:end+1], sh.slots[i:end])
		sh.slots[i] = slot{tag, m}
		sh.n++
		return
	}
}

// mustGrow reports whether the next insert makes the shard grow.
func (sh *shard) mustGrow() bool { return sh.n*64 >= sh.homes*maxLoad }

// remove takes out the session in slot i. Those behind it that are not in their home move up.
func (sh *shard) remove(i int) {
	delete(sh.over, sh.slots[i].tag)
	end := i + 1
	for sh.slots[end].meta != 0 && home(sh.slots[end].tag, sh.homes) < end {
		end++
	}
	copy(sh.slots[i:end-1], sh.slots[i+1:end])
	sh.slots[end-1] = slot{}
	sh.n--
}

// resize moves the sessions to new memory with at least so many homes and spare slots.
func (sh *shard) resize(homes, spare int) {
	for {
		slots, mem := allocSlots(homes + spare)
		homes = len(slots) - spare // rounded up
		if copySlots(slots, homes, sh.slots) {
			sh.mem.free()
			sh.homes, sh.slots, sh.mem = uint32(homes), slots, mem
			return
		}
		mem.free()
		spare *= 2
	}
}

// copySlots copies the sessions in src to their places in dst, which is empty. It returns false when the last slot of dst
// would not stay empty.
func copySlots(dst []slot, homes int, src []slot) bool {
	next := 0
	for _, s := range src {
		if s.meta == 0 {
			continue
		}
		next = max(next, home(s.tag, uint32(homes)))
		if next >= len(dst)-1 {
			return false
		}
		dst[next] = s
		next++
	}
	return true
}

// sweep removes the sessions that are not live at now and calls ended with the endpoint of each. It gives memory back
// when the shard has become too large.
func (sh *shard) sweep(now Instant, idle func(EndpointID) time.Duration, ended func(EndpointID)) (removed int) {
	next := 0 // the first slot that may take the next session
	for i, s := range sh.slots {
		if s.meta == 0 {
			continue
		}
		if ep := s.meta.endpoint(); !s.meta.live(now, idle(ep)) {
			sh.slots[i] = slot{}
			ended(ep)
			removed++
			continue
		}
		if next = max(next, home(s.tag, sh.homes)); next != i {
			sh.slots[next], sh.slots[i] = s, slot{}
		}
		next++
	}
	sh.n -= uint32(removed)
	sh.shrink()
	return removed
}

// shrink brings the load up to 0.71 when it has fallen below 0.6.
func (sh *shard) shrink() {
	if sh.n == 0 {
		sh.mem.free()
		sh.slots, sh.homes, sh.mem = noSlots[:], 0, nil
		return
	}
	if homes := max(minHomes, int(sh.n)*growth/maxLoad); homes*growth/64 < int(sh.homes) {
		sh.resize(homes, spareSlots)
	}
}

// hold renews the session in slot i, adds a hold to it, and returns its endpoint.
func (sh *shard) hold(i int, now Instant) EndpointID {
	s := &sh.slots[i]
	if s.meta.holds() == maxHolds {
		sh.holdMore(s.tag)
	} else {
		s.meta += oneHold
	}
	s.meta = s.meta.withSeen(now)
	sh.latest = now
	return s.meta.endpoint()
}

// holdMore counts a hold that the slot has no room for.
func (sh *shard) holdMore(tag uint64) {
	if sh.over == nil {
		sh.over = make(map[uint64]int)
	}
	sh.over[tag]++
}

// release takes a hold from the session in slot i and renews it, if it has one.
func (sh *shard) release(i int, now Instant) {
	s := &sh.slots[i]
	over := 0
	if s.meta.holds() == maxHolds {
		over = sh.over[s.tag]
	}
	switch {
	case s.meta.holds() == 0:
		return
	case over > 1:
		sh.over[s.tag] = over - 1
	case over == 1:
		delete(sh.over, s.tag)
	default:
		s.meta -= oneHold
	}
	s.meta = s.meta.withSeen(now)
	sh.latest = now
}

// entry shows the session in slot i.
func (sh *shard) entry(i int) Entry {
	s := sh.slots[i]
	e := Entry{Key: unmix(s.tag), Endpoint: s.meta.endpoint(), LastSeen: s.meta.seen(sh.latest), Holds: s.meta.holds()}
	if e.Holds == maxHolds {
		e.Holds += sh.over[s.tag]
	}
	return e
}

// entries returns a copy of all sessions, in buf when it is large enough.
func (sh *shard) entries(buf []Entry) []Entry {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	buf = slices.Grow(buf[:0], int(sh.n))
	for i := range sh.slots {
		if sh.slots[i].meta != 0 {
			buf = append(buf, sh.entry(i))
		}
	}
	return buf
}

// held appends the sessions that are held to buf.
func (sh *shard) held(buf []Entry) []Entry {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for i := range sh.slots {
		if sh.slots[i].meta.holds() > 0 {
			buf = append(buf, sh.entry(i))
		}
	}
	return buf
}
