package shared

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/remora-proxy/remora/internal/session"
)

// dirty is the sessions that wait to be renewed outside. Requests on many cores add to it: a key may be in it more than once.
type dirty struct {
	max    int
	shards [64]struct {
		mu   sync.Mutex
		keys []session.Key
		_    [64]byte // each in a cache line of its own
	}
}

// add reports false when there is no room: the session's next request renews it.
func (d *dirty) add(k session.Key) bool {
	sh := &d.shards[uint64(k)%uint64(len(d.shards))]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if room := d.max / len(d.shards); len(sh.keys) >= room {
		slices.Sort(sh.keys)
		if sh.keys = slices.Compact(sh.keys); len(sh.keys) > room*7/8 { // or it would be sorted too often
			_, there := slices.BinarySearch(sh.keys, k)
			return there
		}
	}
	sh.keys = append(sh.keys, k)
	return true
}

// take returns all keys, each once and in their order, and leaves none.
func (d *dirty) take() []session.Key {
	var all []session.Key
	for i := range d.shards {
		sh := &d.shards[i]
		sh.mu.Lock()
		all = append(all, sh.keys...)
		sh.keys = sh.keys[:0]
		sh.mu.Unlock()
	}
	slices.Sort(all) // also so that a simulation, which must run alike each time, does not depend on their order
	return slices.Compact(all)
}

// size is how many are waiting, those that are in it more than once included.
func (d *dirty) size() (n int) {
	for i := range d.shards {
		sh := &d.shards[i]
		sh.mu.Lock()
		n += len(sh.keys)
		sh.mu.Unlock()
	}
	return n
}

// decision is what was decided of a session while the store could not be asked.
type decision struct {
	claimed session.Instant // 0: it was there before
	from    Identity        // that the store may have; 0: it was not moved
	unfit   bool            // from is where the store has it, which is not known here, or serves no more
	serial  uint64          // changes with the decision
}

// untold remembers those decisions until the store has heard of them. Requests on many cores make and look for them.
type untold struct {
	max    int
	n      atomic.Int64 // how many there are: nobody waits for a lock while there are none
	serial atomic.Uint64
	lost   atomic.Uint64 // for which there was no room
	next   int           // shard that was last looked through
	shards [64]untoldShard
}

type untoldShard struct {
	mu sync.Mutex
	m  map[session.Key]decision
	_  [48]byte // each in a cache line of its own
}

func (u *untold) shard(k session.Key) *untoldShard { return &u.shards[uint64(k)%uint64(len(u.shards))] }

// claimed remembers that a session began.
func (u *untold) claimed(k session.Key, now session.Instant) {
	sh := u.shard(k)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	u.put(sh, k, decision{claimed: now})
}

// moved remembers that a session left an owner; of several, the first is what the store knows: also of a session that began alone, for the
// claim that failed may have been carried out.
func (u *untold) moved(k session.Key, from Identity) {
	sh := u.shard(k)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	d := sh.m[k]
	if d.from == 0 || d.unfit {
		d.from, d.unfit = from, false
	}
	u.put(sh, k, d)
}

// takes has the next renewal take a session over from the owner that the store has. serial is that of the decision with which it was asked.
func (u *untold) takes(k session.Key, serial uint64, owner Identity) {
	sh := u.shard(k)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if d, known := sh.m[k]; known && d.serial == serial {
		d.from, d.unfit = owner, true
		sh.m[k] = d
	}
}

// put must be called with the shard's lock.
func (u *untold) put(sh *untoldShard, k session.Key, d decision) {
	if _, known := sh.m[k]; !known {
		if int(u.n.Load()) >= u.max {
			u.lost.Add(1)
			return
		}
		u.n.Add(1)
	}
	if sh.m == nil {
		sh.m = make(map[session.Key]decision)
	}
	d.serial = u.serial.Add(1)
	sh.m[k] = d
}

func (u *untold) get(k session.Key) (decision, bool) {
	if u.n.Load() == 0 {
		return decision{}, false
	}
	sh := u.shard(k)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	d, ok := sh.m[k]
	return d, ok
}

// told forgets a decision of which the store has heard, or whose session has ended. Where another one was made meanwhile that one stays; then
// the store has the session at owner (0: that is not known).
func (u *untold) told(k session.Key, serial uint64, owner Identity) {
	if u.n.Load() == 0 {
		return
	}
	sh := u.shard(k)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	d, known := sh.m[k]
	if known && d.serial != serial {
		if d.from != 0 && owner != 0 {
			d.from, d.unfit = owner, false
			sh.m[k] = d
		}
		return
	}
	u.drop(sh, k)
}

func (u *untold) forget(k session.Key) {
	if u.n.Load() == 0 {
		return
	}
	sh := u.shard(k)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	u.drop(sh, k)
}

// drop must be called with the shard's lock.
func (u *untold) drop(sh *untoldShard, k session.Key) {
	if _, known := sh.m[k]; known {
		delete(sh.m, k)
		u.n.Add(-1)
	}
}

// expireSome forgets the decisions about sessions that ended, of one shard after the other: nobody waits for longer than that takes. Only Flush
// calls it.
func (u *untold) expireSome(live func(session.Key) bool) {
	if u.n.Load() == 0 {
		return
	}
	u.next = (u.next + 1) % len(u.shards)
	sh := &u.shards[u.next]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for k := range sh.m {
		if !live(k) {
			u.drop(sh, k)
		}
	}
}

// resync is the sessions that the store has to be told again, because it may have lost them or was away. Only Flush uses it.
type resync struct {
	keys []session.Key   // sorted
	lost session.Instant // since when the store may not know better; 0: it knows

	telling atomic.Bool // whether there are keys, for whoever asks
}

// has reports whether a session was there when the store may have lost it, and has not been told again. One that began since must not be told
// to be older than it is.
func (r *resync) has(k session.Key) bool {
	_, found := slices.BinarySearch(r.keys, k)
	return found
}
