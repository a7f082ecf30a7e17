// Package session holds sessions: which endpoint a key is bound to, when it was last seen, and how many requests hold it.
//
// It has no clock, no goroutine, no I/O and no logger: time comes in as an argument, the caller sweeps, and a snapshot is
// written to an io.Writer that the caller opened. It does not know what an endpoint is beyond a small number, nor where a
// key came from beyond a keyed hash.
package session

import "time"

// Instant is a point in time in milliseconds since the Unix epoch: the resolution of the sliding expiry.
type Instant int64

// InstantOf converts t, rounding down to the millisecond.
func InstantOf(t time.Time) Instant { return Instant(t.UnixMilli()) }

// Time is the inverse of InstantOf.
func (i Instant) Time() time.Time { return time.UnixMilli(int64(i)) }

// Add returns the instant d later.
func (i Instant) Add(d time.Duration) Instant { return i + Instant(d/time.Millisecond) }

// MaxIdle is the longest idle time that a session can be given. (A slot keeps its last-seen time modulo 2^34 ms, 198 days;
// half of that must never pass unswept.)
const MaxIdle = 30 * 24 * time.Hour

// Key identifies a session: the keyed 64-bit hash of (service, user key). The user's key itself is never stored.
type Key uint64

// EndpointID is a small number for one endpoint in one incarnation, given out by the owner of the store. 0 is no endpoint.
type EndpointID uint32

// MaxEndpoints bounds EndpointID: ids are 1 … MaxEndpoints-1.
const MaxEndpoints = 1 << 20

// Outcome says what Bind did.
type Outcome uint8

// The outcomes of Bind.
const (
	Bound    Outcome = iota // the key had no live session and is now bound to the proposed endpoint, with one hold
	Existing                // a live session was there first; it was renewed and got one hold
	Full                    // the store is at its limit; nothing was stored and nothing needs to be released
	Rebound                 // a live session was there first, on an endpoint that this gateway does not know: it is now bound to the proposed one, with one hold
)

// Entry is one session as Peek and Range show it.
type Entry struct {
	Key      Key
	Endpoint EndpointID
	LastSeen Instant
	Holds    int
}

// Live reports whether the session is held or was last seen less than idle before now: the rule of Store.
func (e Entry) Live(now Instant, idle time.Duration) bool {
	return live(e.Holds > 0, int64(now-e.LastSeen), idle)
}

// live is the rule itself. age is in milliseconds.
func live(held bool, age int64, idle time.Duration) bool {
	return held || time.Duration(age)*time.Millisecond < min(idle, MaxIdle)
}

// Store holds sessions. A session is live iff it is held or was last seen less than its idle time ago; that is judged at
// each call from the now and idle that the caller gives. All methods may be called from many goroutines at once. A call whose now is
// before the time that a session was last seen, for it was held up, leaves that as it is.
//
// Table is the store of one gateway; a store that several gateways share passes the same contract (package storetest).
type Store interface {
	// Acquire renews the live session of k, adds one hold, and returns its endpoint; ok is false when there is none
	// (then nothing is changed and nothing needs to be released).
	Acquire(k Key, now Instant, idle time.Duration) (ep EndpointID, ok bool)
	// Bind binds k to ep with one hold, unless k has a live session: the first writer wins.
	Bind(k Key, ep EndpointID, now Instant, idle time.Duration) (owner EndpointID, outcome Outcome)
	// Move rebinds k from one endpoint to another, compare-and-set: when k's live session is bound to from, it is bound to
	// `to` afterwards, with its holds and the time it was last seen; otherwise nothing changes. It returns the endpoint that the session has
	// after the call (0: it has none) and whether this call moved it.
	Move(k Key, from, to EndpointID, now Instant, idle time.Duration) (owner EndpointID, moved bool)
	// Release takes back one hold of k and starts its idle time anew at now. A session that expired or has no
	// holds is left as it is.
	Release(k Key, now Instant)
	// Peek shows the live session of k and changes nothing.
	Peek(k Key, now Instant, idle time.Duration) (Entry, bool)
	// Live is how many sessions are bound to ep. Sessions that expired since the last sweep still count.
	Live(ep EndpointID) int
	// Len is how many sessions are stored, expired ones that no sweep has met included.
	Len() int
	// Sweep removes expired sessions from a part of the store and returns how many. Calling it parts times, with part
	// 0 … parts-1, visits every session once. idle gives the idle time of an endpoint's sessions.
	Sweep(part, parts int, now Instant, idle func(EndpointID) time.Duration) int
	// Range calls f for every stored session, expired ones included, until f returns false. Sessions that are bound or
	// moved meanwhile may be missed or seen twice. f may call no method of the store.
	Range(f func(Entry) bool)
}

// Shared is a Store that has its sessions in common with other gateways. Acquire, Release, Peek, Live, Len, Sweep and Range answer from what this
// gateway has; Bind, Move, Find and Locate may wait for a store outside, for a bounded time.
type Shared interface {
	Store
	// Waits reports whether Bind, Move, Find and Locate would ask the store outside now. When it is known not to answer they do not, and
	// wait for nothing.
	Waits() bool
	// Find is Peek that asks the store outside where this gateway has no live session of k, and takes over what it learns.
	Find(k Key, now Instant, idle time.Duration) (Entry, bool)
	// Locate reports which of several keys have a live session in the store outside, by asking it once. One that this gateway alone knows may
	// not be there.
	Locate(ks []Key, now Instant) []bool
	// Alone is the same store with a Bind and a Move that ask nobody outside, as while the store there does not answer: what they do it is told
	// later.
	Alone() Store
}
