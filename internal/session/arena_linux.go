package session

import (
	"runtime"
	"syscall"
)

// arena is one large mapping in which shards lie side by side, so that the system can back it with huge pages: a session
// is then found with one miss of the processor's address translation less, which in a virtual machine costs as much as
// the memory access itself.
type arena struct {
	rest []byte // not taken yet
}

// newArena returns an arena of so many slots, or nil when the system refuses. What is not taken takes no memory.
func newArena(slots int) *arena {
	b, err := mmap(wholePages(slots))
	if err != nil {
		return nil
	}
	_ = syscall.Madvise(b, syscall.MADV_HUGEPAGE) // refused where there are none; then one mapping is still better than many
	a := &arena{rest: b}
	runtime.AddCleanup(a, unmap, b)
	return a
}

// take returns at least n empty slots, or none when there are not so many left. They are in memory already: the caller is
// not the one who holds a lock and waits for a huge page.
func (a *arena) take(n int) ([]slot, *mapping) {
	n = wholePages(n) * slotBytes
	if n > len(a.rest) {
		return nil, nil
	}
	m := &mapping{bytes: a.rest[:n:n], arena: a}
	a.rest = a.rest[n:]
	for i := 0; i < n; i += slotsPerPage * slotBytes {
		m.bytes[i] = 0
	}
	return slotsIn(m.bytes), m
}

// giveBack returns the memory of a part to the system. Its addresses are not used again; they go with the arena.
func (a *arena) giveBack(part []byte) { _ = syscall.Madvise(part, syscall.MADV_DONTNEED) }
