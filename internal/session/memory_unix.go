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
}

const slotBytes = int(unsafe.Sizeof(slot{}))

var slotsPerPage = syscall.Getpagesize() / slotBytes

// allocSlots returns at least n empty slots: a quarter of a page from the heap, more as whole pages. A mapping is unmapped
// by free or, at the latest, when nothing refers to it any more.
func allocSlots(n int) ([]slot, *mapping) {
	if n <= slotsPerPage/4 {
		return make([]slot, n), nil
	}
	n = (n + slotsPerPage - 1) / slotsPerPage * slotsPerPage
	b, err := syscall.Mmap(-1, 0, n*slotBytes, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return make([]slot, n), nil // over a limit on mappings: the heap may still have room
	}
	m := &mapping{bytes: b}
	m.cleanup = runtime.AddCleanup(m, unmap, b)
	return unsafe.Slice((*slot)(unsafe.Pointer(unsafe.SliceData(b))), n), m
}

func (m *mapping) free() {
	if m != nil {
		m.cleanup.Stop()
		unmap(m.bytes)
	}
}

func unmap(b []byte) { _ = syscall.Munmap(b) }
