package session

// A shard grows by itself, in memory of its own. Once the table is large and its shards have come to rest, gather lays them
// side by side in one arena. It runs in the goroutine that sweeps; a shard is locked only while it is copied.
const (
	gatherFrom   = 32 << 20 / 16 // slots in the table. Less than so much memory is reached well with small pages
	strewnPart   = 4             // gather when more than one in so many slots is outside the arena
	gatheredLoad = 51            // sixty-fourths: 0.8, so that a shard does not soon grow out of the arena
)

func (t *Table) gather() {
	if !t.gathering.TryLock() {
		return
	}
	defer t.gathering.Unlock()
	total, strewn := 0, 0
	for i := range t.shards {
		sh := &t.shards[i]
		sh.mu.Lock()
		total += len(sh.slots)
		if sh.mem == nil || sh.mem.arena == nil || sh.mem.arena != t.arena {
			strewn += len(sh.slots)
		}
		sh.mu.Unlock()
	}
	if total < t.gatherFrom || strewn*strewnPart < total {
		return
	}
	arena := newArena(total + total/8)
	if arena == nil {
		return
	}
	t.arena = arena
	for i := range t.shards {
		if !t.shards[i].gatherInto(arena) {
			return
		}
	}
}

// gatherInto moves the shard into the arena, unless it grows in that moment. It returns false when the arena is full.
func (sh *shard) gatherInto(a *arena) bool {
	sh.mu.Lock()
	homes := max(minHomes, int(sh.homes), int(sh.n)*64/gatheredLoad)
	sh.mu.Unlock()
	slots, mem := a.take(homes + spareSlots)
	if slots == nil {
		return false
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if int(sh.homes) > len(slots)-spareSlots || !sh.moveTo(slots, mem, spareSlots) {
		mem.free()
	}
	return true
}
