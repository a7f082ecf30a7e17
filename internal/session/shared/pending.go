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
	after   session.Instant // from is an endpoint that is not known here: it is given up then
	serial  uint64          // changes with the decision
}

// alone remembers those decisions until the store has heard of them.
type alone struct {
	max    int
	n      atomic.Int64 // len(m): nobody waits for the lock while there are none
	mu     sync.Mutex
	m      map[session.Key]decision
	serial uint64
	lost   uint64 // for which there was no room
}

// claimed remembers that a session began.
func (a *alone) claimed(k session.Key, now session.Instant) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.put(k, decision{claimed: now})
}

// moved remembers that a session left an owner; of several, the first is what the store knows: also of a session that began alone, for the
// claim that failed may have been carried out.
func (a *alone) moved(k session.Key, from Identity) {
	a.mu.Lock()
	defer a.mu.Unlock()
	d := a.m[k]
	if d.from == 0 {
		d.from = from
	}
	a.put(k, d)
}

// unknown remembers that the store has a session at an endpoint that this gateway does not know, and until when it is waited for. serial is
// that of the decision with which the store was asked.
func (a *alone) unknown(k session.Key, serial uint64, owner Identity, until session.Instant) {
	a.mu.Lock()
	defer a.mu.Unlock()
	d, known := a.m[k]
	if known && (d.serial != serial || d.from == owner) {
		return
	}
	d.from, d.after = owner, until
	a.put(k, d)
}

// put must be called with the lock.
func (a *alone) put(k session.Key, d decision) {
	if _, known := a.m[k]; !known && len(a.m) >= a.max {
		a.lost++
		return
	}
	if a.m == nil {
		a.m = make(map[session.Key]decision)
	}
	a.serial++
	d.serial = a.serial
	a.m[k] = d
	a.n.Store(int64(len(a.m)))
}

func (a *alone) get(k session.Key) (decision, bool) {
	if a.n.Load() == 0 {
		return decision{}, false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	d, ok := a.m[k]
	return d, ok
}

// told forgets a decision of which the store has heard, or whose session has ended. Where another one was made meanwhile that one stays; then
// the store has the session at owner (0: that is not known).
func (a *alone) told(k session.Key, serial uint64, owner Identity) {
	if a.n.Load() == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if d, known := a.m[k]; known && d.serial != serial {
		if d.from != 0 && owner != 0 {
			d.from = owner
			a.m[k] = d
		}
		return
	}
	delete(a.m, k)
	a.n.Store(int64(len(a.m)))
}

func (a *alone) forget(k session.Key) {
	if a.n.Load() == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.m, k)
	a.n.Store(int64(len(a.m)))
}

// expire forgets the decisions about sessions that ended.
func (a *alone) expire(live func(session.Key) bool) {
	if a.n.Load() == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for k := range a.m {
		if !live(k) {
			delete(a.m, k)
		}
	}
	a.n.Store(int64(len(a.m)))
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
