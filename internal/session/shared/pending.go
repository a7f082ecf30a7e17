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
	from    Identity        // 0: it was not moved
}

// alone remembers those decisions until the store has heard of them.
type alone struct {
	max  int
	n    atomic.Int64 // len(m): nobody waits for the lock while there are none
	mu   sync.Mutex
	m    map[session.Key]decision
	lost uint64 // for which there was no room
}

// claimed remembers that a session began.
func (a *alone) claimed(k session.Key, now session.Instant) { a.put(k, decision{claimed: now}) }

// moved remembers that a session left an owner; of several, the first is what the store knows.
func (a *alone) moved(k session.Key, from Identity) {
	d, known := a.get(k)
	if !known {
		d.from = from
	} else if d.claimed == 0 && d.from == 0 {
		d.from = from
	}
	a.put(k, d)
}

func (a *alone) put(k session.Key, d decision) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, known := a.m[k]; !known && len(a.m) >= a.max {
		a.lost++
		return
	}
	if a.m == nil {
		a.m = make(map[session.Key]decision)
	}
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
	keys []session.Key
	lost session.Instant // since when the store may not know better; 0: it knows

	telling atomic.Bool // whether there are keys, for whoever asks
}
