package samplebackend

import (
	"hash/maphash"
	"sync"
)

// visits counts calls by user, for a bounded number of users: when it is full, the user who called least recently is
// forgotten. Users are kept as a 64-bit hash, so that a long name takes no more room than a short one.
type visits struct {
	mu    sync.Mutex
	seed  maphash.Seed
	limit int
	index map[uint64]int32 // hash of the user → place in nodes
	nodes []visitor        // a ring through prev and next; nodes[0] is its anchor
}

// visitor is one user: next is towards the least recent call.
type visitor struct {
	user       uint64
	count      uint64
	prev, next int32
}

func newVisits(limit int) *visits {
	return &visits{seed: maphash.MakeSeed(), limit: limit, index: map[uint64]int32{}, nodes: make([]visitor, 1)}
}

// add counts a call and returns how many calls of the user are remembered.
func (v *visits) add(user string) uint64 {
	h := maphash.String(v.seed, user)
	v.mu.Lock()
	defer v.mu.Unlock()
	i, known := v.index[h]
	if known {
		v.unlink(i)
	} else {
		i = v.place(h)
	}
	n := &v.nodes[i]
	first := v.nodes[0].next
	n.prev, n.next = 0, first
	v.nodes[first].prev, v.nodes[0].next = i, i
	n.count++
	return n.count
}

// place finds room for a new user, in place of the least recent one when there are as many as may be.
func (v *visits) place(h uint64) int32 {
	if len(v.nodes) <= v.limit {
		v.nodes = append(v.nodes, visitor{user: h})
		i := int32(len(v.nodes) - 1)
		v.index[h] = i
		return i
	}
	i := v.nodes[0].prev
	v.unlink(i)
	delete(v.index, v.nodes[i].user)
	v.nodes[i] = visitor{user: h}
	v.index[h] = i
	return i
}

// unlink takes a user out of the ring.
func (v *visits) unlink(i int32) {
	n := v.nodes[i]
	v.nodes[n.prev].next, v.nodes[n.next].prev = n.next, n.prev
}
