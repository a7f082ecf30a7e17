//go:build !linux

package session

// arena is memory that many shards share, for the sake of huge pages: on Linux only.
type arena struct{}

func newArena(int) *arena { return nil }

func (a *arena) take(int) ([]slot, *mapping) { return nil, nil }

func (a *arena) giveBack([]byte) {}
