package session

import "time"

// slot is one session in 16 bytes without a pointer. The zero slot is empty: no session has a zero meta, because no
// endpoint is 0.
type slot struct {
	tag  uint64 // mix of the Key
	meta meta
}

// meta is the rest of a session:
//
//	bits 63 … 44   endpoint
//	bits 43 … 34   holds; maxHolds means that the shard counts the rest in over
//	bits 33 …  0   last seen, in milliseconds modulo 2^34
type meta uint64

const (
	seenBits = 34
	holdBits = 10
	epShift  = seenBits + holdBits

	seenMask = 1<<seenBits - 1
	maxHolds = 1<<holdBits - 1
	oneHold  = meta(1) << seenBits
)

func newMeta(ep EndpointID, holds int, seen Instant) meta {
	return meta(ep)<<epShift | meta(holds)<<seenBits | meta(seen&seenMask)
}

func (m meta) endpoint() EndpointID { return EndpointID(m >> epShift) }

func (m meta) holds() int { return int(m>>seenBits) & maxHolds }

// withSeen is m seen at now. One that was seen later (a call that waited tells the time at which it began) stays as it is.
func (m meta) withSeen(now Instant) meta {
	if m.age(now) < 0 {
		return m
	}
	return m&^seenMask | meta(now&seenMask)
}

func (m meta) withEndpoint(ep EndpointID) meta { return m&(1<<epShift-1) | meta(ep)<<epShift }

// age is how long before now the session was last seen, in milliseconds. It is taken modulo 2^34 as a signed number, so
// that a session seen after now (the clock was set back, or another goroutine was faster) has a negative age and not one
// of 198 days.
func (m meta) age(now Instant) int64 {
	return (int64(now) - int64(m)) << (64 - seenBits) >> (64 - seenBits)
}

// seen is the last-seen time in full. ref is any instant within 99 days of it.
func (m meta) seen(ref Instant) Instant { return ref - Instant(m.age(ref)) }

func (m meta) live(now Instant, idle time.Duration) bool {
	return live(m.holds() > 0, m.age(now), idle)
}

// mixer is odd, so that multiplying by it modulo 2^64 can be undone by multiplying by unmixer. It is 2^64 divided by the
// golden ratio, which spreads consecutive numbers evenly (D. Knuth, The Art of Computer Programming 3, section 6.4).
const (
	mixer   = 0x9e3779b97f4a7c15
	unmixer = 0xf1de83e19937733d
)

// mix makes the shard and the place of a key depend on all of its bits. A keyed hash does not need it; a caller that
// counts its keys (a test, a simulation) does, to get a table that is as fast as the real one.
func mix(k Key) uint64 {
	x := uint64(k) * mixer
	return x ^ x>>32
}

func unmix(tag uint64) Key { return Key((tag ^ tag>>32) * unmixer) }
