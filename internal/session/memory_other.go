//go:build !unix

package session

// mapping is memory outside the Go heap, which is used on Unix only.
type mapping struct{}

func allocSlots(n int) ([]slot, *mapping) { return make([]slot, n), nil }

func (m *mapping) free() {}
