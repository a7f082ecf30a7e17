package shared

import (
	"sync/atomic"
	"time"

	"github.com/remora-proxy/remora/internal/session"
)

// Names translates between the endpoints of this gateway and what all gateways call them.
type Names interface {
	// Identity is what all gateways call an endpoint; 0: it is not known.
	Identity(ep session.EndpointID) uint64
	// EndpointOf is the endpoint of an identity in its latest life; 0: it is not known here.
	EndpointOf(identity uint64) session.EndpointID
	// Serves reports whether an endpoint serves the sessions that it has.
	Serves(ep session.EndpointID, now session.Instant) bool
}

// Options are what a Store is made of. What is zero has its default.
type Options struct {
	Table     *session.Table
	Remote    Remote
	Gateway   uint32              // this gateway's number, other than all others'; not 0
	Interval  time.Duration       // between two calls of Flush; default 250 ms
	Pause     func(time.Duration) // waits: used where a session is on an endpoint that this gateway does not know yet
	MaxUntold int                 // decisions made alone that are remembered; default 1,048,576
	MaxDirty  int                 // renewals that wait for Flush; default 1,048,576
	Parts     int                 // in which Count walks the store; default 1,024
}

// DefaultInterval is how long a renewal waits at most.
const DefaultInterval = 250 * time.Millisecond

// Grace is for how long a session lives on in the store outside when another gateway renewed it last: a renewal of that one may wait for
// the next Flush, or be on its way.
func Grace(interval time.Duration) time.Duration { return 2 * interval }

// Store is a session.Shared. Its Table answers for what this gateway has; Peek, Len and Range are the Table's.
type Store struct {
	*session.Table
	remote Remote
	names  atomic.Pointer[Names]
	o      Options

	link    link
	dirty   dirty
	begun   dirty // sessions claimed here since the last Flush
	untold  untold
	unknown unknown
	resync  resync
	census  census
	idle    atomic.Pointer[func(session.EndpointID) time.Duration]
	latest  atomic.Int64 // session.Instant of the last Flush
	stats   stats

	refusal error // why the store refuses some renewals of a Flush, which alone uses it
}

var _ session.Shared = (*Store)(nil)

// New makes a store. Resolve must be called before it is used.
func New(o Options) *Store {
	if o.Interval <= 0 {
		o.Interval = DefaultInterval
	}
	for _, n := range []*int{&o.MaxUntold, &o.MaxDirty} {
		if *n <= 0 {
			*n = 1 << 20
		}
	}
	if o.Parts <= 0 {
		o.Parts = 1024
	}
	s := &Store{Table: o.Table, remote: o.Remote, o: o}
	s.dirty.max, s.begun.max, s.untold.max = o.MaxDirty, o.MaxDirty, o.MaxUntold
	s.census.pass.parts = o.Parts
	return s
}

// Resolve gives the store the names of the endpoints.
func (s *Store) Resolve(n Names) { s.names.Store(&n) }

func (s *Store) identity(ep session.EndpointID) Identity {
	return Identity((*s.names.Load()).Identity(ep))
}

func (s *Store) serves(ep session.EndpointID, now session.Instant) bool {
	return (*s.names.Load()).Serves(ep, now)
}

// fit reports whether an owner is known here, and serves.
func (s *Store) fit(owner Identity, now session.Instant) bool {
	ep := s.endpoint(owner)
	return ep != 0 && s.serves(ep, now)
}

func (s *Store) endpoint(owner Identity) session.EndpointID {
	if owner == 0 {
		return 0
	}
	return (*s.names.Load()).EndpointOf(uint64(owner))
}

// idleOf is the idle time of an endpoint's sessions, as the last Sweep had it. Before the first one none is taken for ended.
func (s *Store) idleOf(ep session.EndpointID) time.Duration {
	if f := s.idle.Load(); f != nil {
		return (*f)(ep)
	}
	return session.MaxIdle
}

// Waits implements session.Shared.
func (s *Store) Waits() bool { return !s.link.down() }

// Acquire implements session.Store. A session that was not seen for long would soon end in the store outside: its renewal does not wait until
// it is released, which may be late, or a Sweep meets it.
func (s *Store) Acquire(k session.Key, now session.Instant, idle time.Duration) (session.EndpointID, bool) {
	ep, age, ok := s.AcquireAged(k, now, idle)
	if ok && time.Duration(age)*time.Millisecond > idle/4 {
		s.renewSoon(k)
	}
	return ep, ok
}

// Bind implements session.Store: a claim.
func (s *Store) Bind(k session.Key, ep session.EndpointID, now session.Instant, idle time.Duration) (session.EndpointID, session.Outcome) {
	s.see(now)
	if owner, live := s.Acquire(k, now, idle); live {
		return owner, session.Existing
	}
	if s.link.down() {
		return s.bindAlone(k, ep, now, idle)
	}
	s.untold.forget(k) // what was decided of a session that has ended
	for tries := 1; ; tries++ {
		b, first, err := s.remote.Claim(now, Claim{Key: k, Owner: s.identity(ep), Claimed: now, Until: now.Add(idle)})
		s.link.heard(now, err)
		if err != nil {
			return s.bindAlone(k, ep, now, idle)
		}
		s.stats.claims.Add(1)
		if first {
			s.begun.add(k)
			return s.began(k, ep, now, idle)
		}
		if owner := s.endpoint(b.Owner); owner != 0 {
			return s.adopt(k, owner, now, idle)
		}
		if tries == lastTries || !s.await(b.Owner, &now) {
			return s.takeOver(k, ep, b.Owner, now, idle)
		}
	}
}

// began has the own table hold a session that this gateway was the first to claim. Another request of its user may have learnt of it
// from the store, and been faster here.
func (s *Store) began(k session.Key, ep session.EndpointID, now session.Instant, idle time.Duration) (session.EndpointID, session.Outcome) {
	owner, outcome := s.Table.Bind(k, ep, now, idle)
	if outcome == session.Existing && owner == ep {
		outcome = session.Bound
	}
	return owner, outcome
}

// lastTries bounds how often the store is asked anew because others move a session meanwhile.
const lastTries = 3

// await waits until this gateway knows the endpoint of an identity, and reports false when it has not come to know it.
func (s *Store) await(owner Identity, now *session.Instant) bool {
	for patience := s.unknown.patience(owner, *now); *now < patience; {
		s.o.Pause(unknownPause)
		*now = now.Add(unknownPause)
		if s.endpoint(owner) != 0 {
			return true
		}
	}
	return false
}

// see remembers the time, for calls that are not told it.
func (s *Store) see(now session.Instant) {
	if s.latest.Load() < int64(now) { // of two calls at once the earlier may win: by that much nobody can tell the difference
		s.latest.Store(int64(now))
	}
}

// adopt takes a session over that another gateway has.
func (s *Store) adopt(k session.Key, owner session.EndpointID, now session.Instant, idle time.Duration) (session.EndpointID, session.Outcome) {
	s.stats.adopted.Add(1)
	got, outcome := s.Table.Bind(k, owner, now, idle)
	if outcome == session.Full {
		return owner, session.Existing // the store outside has it; here nobody will miss the hold
	}
	return got, session.Existing
}

// takeOver moves a session away from an endpoint that this gateway does not know.
func (s *Store) takeOver(k session.Key, ep session.EndpointID, from Identity, now session.Instant, idle time.Duration) (session.EndpointID, session.Outcome) {
	c := Claim{Key: k, Owner: s.identity(ep), Claimed: now, Until: now.Add(idle)}
	owner, moved, ok := s.moveOutside(c, from, now)
	if !ok {
		return s.bindAlone(k, ep, now, idle)
	}
	if !moved {
		return s.adopt(k, owner, now, idle)
	}
	got, outcome := s.began(k, ep, now, idle)
	if outcome == session.Bound {
		outcome = session.Rebound
	}
	return got, outcome
}

// bindAlone decides without the others.
func (s *Store) bindAlone(k session.Key, ep session.EndpointID, now session.Instant, idle time.Duration) (session.EndpointID, session.Outcome) {
	owner, outcome := s.Table.Bind(k, ep, now, idle)
	if outcome == session.Bound {
		s.stats.alone.Add(1)
		s.untold.claimed(k, now)
	}
	return owner, outcome
}

// Move implements session.Store.
func (s *Store) Move(k session.Key, from, to session.EndpointID, now session.Instant, idle time.Duration) (session.EndpointID, bool) {
	e, live := s.Peek(k, now, idle)
	if !live {
		return 0, false
	}
	if e.Endpoint != from {
		return e.Endpoint, false
	}
	was, is := s.identity(from), s.identity(to)
	if s.link.down() || was == is || was == 0 { // another life of one endpoint is the same to the others
		return s.moveAlone(k, from, to, was, now, idle)
	}
	c := Claim{Key: k, Owner: is, Claimed: now, Until: e.LastSeen.Add(idle)}
	if e.Holds > 0 {
		c.Until = now.Add(idle)
	}
	owner, first, ok := s.moveOutside(c, was, now)
	if !ok {
		return s.moveAlone(k, from, to, was, now, idle)
	}
	got, _ := s.Table.Move(k, from, owner, now, idle) // unless another request of the user was faster here
	return got, first && got == to
}

// moveOutside moves a session in the store outside, and returns the endpoint that it has then, and whether
// this call was the first to move it.
func (s *Store) moveOutside(c Claim, from Identity, now session.Instant) (owner session.EndpointID, first, ok bool) {
	for tries := 0; tries < lastTries; {
		b, moved, err := s.remote.Move(now, c, from)
		s.link.heard(now, err)
		if err != nil {
			return 0, false, false
		}
		if owner = s.endpoint(b.Owner); owner != 0 {
			return owner, moved, true
		}
		if !s.await(b.Owner, &now) {
			tries++
			from = b.Owner // which has gone, or nobody here will ever hear of it
		}
	}
	return 0, false, false
}

// moveAlone moves a session in the own table, and remembers it for when the others can be told.
func (s *Store) moveAlone(k session.Key, from, to session.EndpointID, was Identity, now session.Instant, idle time.Duration) (session.EndpointID, bool) {
	got, moved := s.Table.Move(k, from, to, now, idle)
	if moved && was != s.identity(to) {
		s.untold.moved(k, was)
		s.renewSoon(k) // nobody may hold it: an operator has moved it
	}
	return got, moved
}

// Release implements session.Store.
func (s *Store) Release(k session.Key, now session.Instant) {
	s.Table.Release(k, now)
	s.renewSoon(k)
}

// renewSoon has the next Flush renew a session. A store that does not answer is told all sessions when it does again.
func (s *Store) renewSoon(k session.Key) {
	if !s.link.down() && !s.dirty.add(k) {
		s.stats.dropped.Add(1)
	}
}

// Find implements session.Shared.
func (s *Store) Find(k session.Key, now session.Instant, idle time.Duration) (session.Entry, bool) {
	if e, live := s.Peek(k, now, idle); live || s.link.down() {
		return e, live
	}
	found, err := s.remote.Find(now, []session.Key{k})
	s.link.heard(now, err)
	if err != nil || len(found) != 1 || found[0].Owner == 0 {
		return session.Entry{}, false
	}
	if s.endpoint(found[0].Owner) == 0 {
		return session.Entry{}, false
	}
	// The store has to know that this gateway has it too: its requests are answered here from now on, and told later.
	b := found[0]
	b, _, err = s.remote.Claim(now, Claim{Key: k, Owner: b.Owner, Claimed: b.Claimed, Until: b.Until})
	s.link.heard(now, err)
	owner := s.endpoint(b.Owner)
	if err != nil || owner == 0 {
		return session.Entry{}, false
	}
	s.Learn(k, owner, b.Until.Add(-idle), now, idle)
	return s.Peek(k, now, idle)
}

// Locate implements session.Shared.
func (s *Store) Locate(ks []session.Key, now session.Instant) []bool {
	live := make([]bool, len(ks))
	if s.link.down() {
		return live
	}
	found, err := s.remote.Find(now, ks)
	s.link.heard(now, err)
	for i, b := range found {
		live[i] = b.Owner != 0
	}
	return live
}

// Live implements session.Store: the sessions of all gateways, those of the others as they were last counted.
func (s *Store) Live(ep session.EndpointID) int { return s.Table.Live(ep) + s.elsewhere(ep) }

// keep is by itself so that other parts of a sweep allocate nothing.
func (s *Store) keep(idle func(session.EndpointID) time.Duration) { s.idle.Store(&idle) }

// Sweep implements session.Store, and has held sessions renewed, which are not released for long.
func (s *Store) Sweep(part, parts int, now session.Instant, idle func(session.EndpointID) time.Duration) int {
	s.see(now)
	if part == 0 || s.idle.Load() == nil {
		s.keep(idle)
	}
	for _, e := range s.Held(nil, part, parts) {
		s.dirty.add(e.Key)
	}
	return s.Table.Sweep(part, parts, now, idle)
}
