package redisstore

import (
	"encoding/binary"
	"fmt"

	"github.com/remora-proxy/remora/internal/session"
	"github.com/remora-proxy/remora/internal/session/shared"
)

// bindingSize is how many bytes a stored binding has: owner 8, claimed 6, until 6, by 4, each with its first byte first. Both times are
// milliseconds of the store's clock. scripts/binding.lua has the same.
const bindingSize = 24

// maxInstant is the latest time that fits into 6 bytes: the year 10889.
const maxInstant = 1<<48 - 1

// buckets is the number of hashes that the sessions are in. With fewer, a script that counts one would hold up the store for longer; with more, they
// would cost more than the sessions in them while these are few.
const buckets = 4096

// bucketsPerSlot is how many buckets, one after the other, a cluster has in one slot, so that one script can renew sessions of all of them: there
// are 64 such groups, which a cluster shares among its servers.
const bucketsPerSlot = 64

// slotOf numbers the group of a bucket.
func slotOf(bucket int) int { return bucket / bucketsPerSlot }

// bucketOf is the bucket of a key. Keys are hashes: their first 12 bits are as good as any.
func bucketOf(k session.Key) int { return int(k >> 52) }

// fieldOf is the name of a session in its bucket.
func fieldOf(k session.Key) []byte { return binary.BigEndian.AppendUint64(nil, uint64(k)) }

// appendInstant appends a time in the store's clock.
func appendInstant(b []byte, i session.Instant) []byte {
	var wide [8]byte
	binary.BigEndian.PutUint64(wide[:], uint64(min(max(i, 0), maxInstant)))
	return append(b, wide[2:]...)
}

func instantOf(b []byte) session.Instant {
	var wide [8]byte
	copy(wide[2:], b[:6])
	return session.Instant(binary.BigEndian.Uint64(wide[:]))
}

// appendBinding appends a binding whose times are `offset` behind the store's clock.
func appendBinding(out []byte, b shared.Binding, offset session.Instant) []byte {
	out = binary.BigEndian.AppendUint64(out, uint64(b.Owner))
	out = appendInstant(out, b.Claimed+offset)
	out = appendInstant(out, b.Until+offset)
	return binary.BigEndian.AppendUint32(out, b.By)
}

func decodeBinding(in []byte, offset session.Instant) (shared.Binding, error) {
	if len(in) != bindingSize {
		return shared.Binding{}, fmt.Errorf("a stored session has %d bytes, want %d: another program writes under the same prefix", len(in), bindingSize)
	}
	return shared.Binding{
		Owner:   shared.Identity(binary.BigEndian.Uint64(in)),
		Claimed: instantOf(in[8:]) - offset,
		Until:   instantOf(in[14:]) - offset,
		By:      binary.BigEndian.Uint32(in[20:]),
	}, nil
}
