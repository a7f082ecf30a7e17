package session

import (
	"fmt"
	"math/bits"
	"sync/atomic"
	"time"
)

// DefaultMaxSessions is the limit of a Table that was given none. So many sessions take some 210 MB.
const DefaultMaxSessions = 10_000_000

// Options are what a Table is made of.
type Options struct {
	// MaxSessions is the limit on stored sessions, expired ones that no sweep has met included; at the limit Bind says
	// Full. 0 is DefaultMaxSessions. The memory is taken as sessions come and given back as they go.
	MaxSessions int
}

// Table is the store of one gateway: 16-byte slots in shards with a lock each. A call locks one shard and waits for
// nothing else.
type Table struct {
	shards []shard
	max    int64
	live   counters
	idle   atomic.Pointer[func(EndpointID) time.Duration] // that of the last Sweep

	_       [64]byte     // what is above is read by every call, what is below is written by every new session
	stored  atomic.Int64 // sessions
	refused atomic.Int64
}

var _ Store = (*Table)(nil)

// The number of shards is a power of two, such that a full table has 8,192 to 16,383 sessions in each: few enough that one
// grows in a small part of a millisecond, and enough that whole pages of memory fit them well.
const (
	sessionsPerShard = 16 << 10
	maxShards        = 1 << 14
)

// NewTable makes an empty table.
func NewTable(o Options) *Table {
	limit := o.MaxSessions
	if limit <= 0 {
		limit = DefaultMaxSessions
	}
	return newTable(limit, min(1<<bits.Len(uint(limit/sessionsPerShard)), maxShards))
}

func newTable(limit, shards int) *Table {
	t := &Table{max: int64(limit), shards: make([]shard, shards)}
	for i := range t.shards {
		t.shards[i].slots = noSlots[:]
	}
	return t
}

// shard returns the shard of a tag. It goes by the low bits, a place in the shard by the high ones.
func (t *Table) shard(tag uint64) *shard {
	return &t.shards[tag&uint64(len(t.shards)-1)]
}

// Acquire implements Store.
func (t *Table) Acquire(k Key, now Instant, idle time.Duration) (EndpointID, bool) {
	ep, _, ok := t.AcquireAged(k, now, idle)
	return ep, ok
}

// AcquireAged is Acquire, and says for how many milliseconds the session had not been seen.
func (t *Table) AcquireAged(k Key, now Instant, idle time.Duration) (ep EndpointID, age int64, ok bool) {
	tag := mix(k)
	sh := t.shard(tag)
	sh.mu.Lock()
	i, ok := sh.find(tag)
	if !ok || !sh.slots[i].meta.live(now, idle) {
		sh.mu.Unlock()
		return 0, 0, false
	}
	age = sh.slots[i].meta.age(now)
	ep = sh.hold(i, now)
	sh.mu.Unlock()
	return ep, age, true
}

// Bind implements Store.
func (t *Table) Bind(k Key, ep EndpointID, now Instant, idle time.Duration) (EndpointID, Outcome) {
	checkEndpoint(ep)
	tag := mix(k)
	sh := t.shard(tag)
	sh.mu.Lock()
	i, ok := sh.find(tag)
	if ok && sh.slots[i].meta.live(now, idle) {
		owner := sh.hold(i, now)
		sh.mu.Unlock()
		return owner, Existing
	}
	outcome := t.begin(sh, i, ok, tag, newMeta(ep, 1, now), now)
	sh.mu.Unlock()
	if outcome == Full {
		return 0, Full
	}
	return ep, Bound
}

// begin stores a new session, in slot i when that has an expired one of the same tag.
func (t *Table) begin(sh *shard, i int, expired bool, tag uint64, m meta, now Instant) Outcome {
	switch {
	case expired:
		t.live.add(sh.slots[i].meta.endpoint(), -1)
		sh.slots[i].meta = m
	case t.reserve() || t.reclaim(sh, i, now) && t.reserve():
		sh.insert(tag, m)
	default:
		t.refused.Add(1)
		return Full
	}
	t.live.add(m.endpoint(), 1)
	sh.latest = now
	return Bound
}

// reserve counts one session more, unless that would be one too many.
func (t *Table) reserve() bool {
	if t.stored.Add(1) > t.max {
		t.stored.Add(-1)
		return false
	}
	return true
}

// reclaimSpan is how many slots on each side reclaim looks at.
const reclaimSpan = 32

// reclaim removes the expired sessions in the slots around i, so that a table at its limit takes new sessions before the
// next sweep. It reports whether there was one.
func (t *Table) reclaim(sh *shard, i int, now Instant) bool {
	idle := t.idle.Load()
	if idle == nil {
		return false
	}
	found := false
	for j := min(i+reclaimSpan, len(sh.slots)) - 1; j >= max(0, i-reclaimSpan); j-- {
		if m := sh.slots[j].meta; m != 0 && !m.live(now, (*idle)(m.endpoint())) {
			t.remove(sh, j)
			found = true
		}
	}
	return found
}

// remove takes out the session in a slot and counts it.
func (t *Table) remove(sh *shard, i int) {
	t.live.add(sh.slots[i].meta.endpoint(), -1)
	t.stored.Add(-1)
	sh.remove(i)
}

// Move implements Store.
func (t *Table) Move(k Key, from, to EndpointID, now Instant, idle time.Duration) (EndpointID, bool) {
	checkEndpoint(to)
	tag := mix(k)
	sh := t.shard(tag)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	i, ok := sh.find(tag)
	if !ok || !sh.slots[i].meta.live(now, idle) {
		return 0, false
	}
	s := &sh.slots[i]
	if owner := s.meta.endpoint(); owner != from {
		return owner, false
	}
	s.meta = s.meta.withEndpoint(to)
	t.live.add(from, -1)
	t.live.add(to, 1)
	return to, true
}

// Release implements Store.
func (t *Table) Release(k Key, now Instant) {
	tag := mix(k)
	sh := t.shard(tag)
	sh.mu.Lock()
	if i, ok := sh.find(tag); ok {
		sh.release(i, now)
	}
	sh.mu.Unlock()
}

// Peek implements Store.
func (t *Table) Peek(k Key, now Instant, idle time.Duration) (Entry, bool) {
	tag := mix(k)
	sh := t.shard(tag)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	i, ok := sh.find(tag)
	if !ok || !sh.slots[i].meta.live(now, idle) {
		return Entry{}, false
	}
	return sh.entry(i), true
}

// Forget ends the session of k in this table, held or not, and reports whether one was there. Where it is shared, the others have it still.
func (t *Table) Forget(k Key) bool {
	tag := mix(k)
	sh := t.shard(tag)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	i, ok := sh.find(tag)
	if ok {
		t.remove(sh, i)
	}
	return ok
}

// Learn stores a session that another table has, last seen when that says and held by nobody, unless k has a live one here. At the limit nothing is stored.
func (t *Table) Learn(k Key, ep EndpointID, seen, now Instant, idle time.Duration) {
	checkEndpoint(ep)
	tag := mix(k)
	sh := t.shard(tag)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if i, ok := sh.find(tag); !ok || !sh.slots[i].meta.live(now, idle) {
		t.begin(sh, i, ok, tag, newMeta(ep, 0, min(seen, now)), now)
	}
}

// Drop ends a session as e shows it, and reports whether it did: not one that has moved, was used since, or is held.
func (t *Table) Drop(e Entry) bool {
	tag := mix(e.Key)
	sh := t.shard(tag)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	i, ok := sh.find(tag)
	if !ok {
		return false
	}
	is := sh.entry(i)
	if ok = is.Endpoint == e.Endpoint && is.LastSeen == e.LastSeen && is.Holds == 0; ok {
		t.remove(sh, i)
	}
	return ok
}

// Live implements Store.
func (t *Table) Live(ep EndpointID) int { return t.live.get(ep) }

// Len implements Store.
func (t *Table) Len() int { return int(t.stored.Load()) }

// Refused is how many times Bind has said Full.
func (t *Table) Refused() int64 { return t.refused.Load() }

// Sweep implements Store. A shard is locked while its part of the table is walked (some tens of microseconds), and idle
// is called meanwhile: it must be quick and may call no method of the table. The table keeps the idle of part 0 until the next one:
// Bind asks it, from any goroutine, which sessions have expired when the table is at its limit.
func (t *Table) Sweep(part, parts int, now Instant, idle func(EndpointID) time.Duration) int {
	if part == 0 || t.idle.Load() == nil {
		t.keep(idle)
	}
	ended := func(ep EndpointID) { t.live.add(ep, -1) }
	removed := 0
	for i := part * len(t.shards) / parts; i < (part+1)*len(t.shards)/parts; i++ {
		sh := &t.shards[i]
		sh.mu.Lock()
		n := sh.sweep(now, idle, ended)
		t.stored.Add(-int64(n))
		sh.mu.Unlock()
		removed += n
	}
	return removed
}

// keep is by itself so that other parts of a sweep allocate nothing.
func (t *Table) keep(idle func(EndpointID) time.Duration) { t.idle.Store(&idle) }

// Held appends the held sessions of a part of the table to buf. The parts are those of Sweep.
func (t *Table) Held(buf []Entry, part, parts int) []Entry {
	for i := part * len(t.shards) / parts; i < (part+1)*len(t.shards)/parts; i++ {
		buf = t.shards[i].held(buf)
	}
	return buf
}

// Range implements Store. It copies one shard at a time, and holds no lock while f runs.
func (t *Table) Range(f func(Entry) bool) {
	var entries []Entry
	for i := range t.shards {
		entries = t.shards[i].entries(entries)
		for _, e := range entries {
			if !f(e) {
				return
			}
		}
	}
}

func checkEndpoint(ep EndpointID) {
	if ep == 0 || ep >= MaxEndpoints {
		panic(fmt.Sprintf("session: endpoint %d is not in 1 … %d", ep, MaxEndpoints-1))
	}
}
