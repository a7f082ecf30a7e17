//go:build unix

package session

import (
	"runtime"
	"syscall"
	"unsafe"
)

// mapping is anonymous memory outside the Go heap, of one shard. Slots lie there for two reasons: what a shard has outgrown
// goes back to the system at once instead of at the next garbage collection, and the table does not count as heap, as much
// again of which (GOGC=100) the whole program may litter before it is collected.
type mapping struct {
	bytes   []byte
	cleanup runtime.Cleanup
	arena   *arena // bytes are a part of it; nil: they were mapped by themselves
}

const slotBytes = int(unsafe.Sizeof(slot{}))

var slotsPerPage = syscall.Getpagesize() / slotBytes

// allocSlots returns at least n empty slots: a quarter of a page from the heap, more as whole pages. A mapping is unmapped
// by free or, at the latest, when nothing refers to it any more.
func allocSlots(n int) ([]slot, *mapping) {
	if n <= slotsPerPage/4 {
		return make([]slot, n), nil
	}
	n = wholePages(n)
	b, err := mmap(n)
	if err != nil {
		return make([]slot, n), nil // over a limit on mappings: the heap may still have room
	}
	m := &mapping{bytes: b}
	m.cleanup = runtime.AddCleanup(m, unmap, b)
	return slotsIn(b), m
}

func (m *mapping) free() {
	switch {
	case m == nil:
	case m.arena != nil:
		m.arena.giveBack(m.bytes)
	default:
		m.cleanup.Stop()
		unmap(m.bytes)
	}
}

// wholePages rounds a number of slots up.
func wholePages(n int) int { return (n + slotsPerPage - 1) / slotsPerPage * slotsPerPage }

func slotsIn(b []byte) []slot {
	return unsafe.Slice((*slot)(unsafe.Pointer(unsafe.SliceData(b))), len(b)/slotBytes)
}

func mmap(slots int) ([]byte, error) {
	return syscall.Mmap(-1, 0, slots*slotBytes, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
}

func unmap(b []byte) { _ = syscall.Munmap(b) }
