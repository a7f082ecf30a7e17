package shared

import (
	"errors"

	"github.com/remora-proxy/remora/internal/session"
)

// Identity names an endpoint of a service in one incarnation, alike on every gateway. 0 is none.
type Identity uint64

// Claim is what a gateway says of a session to the store.
type Claim struct {
	Key     session.Key
	Owner   Identity
	Claimed session.Instant // since when the session has this owner, or lived at the latest: of two claims the older wins. May be later than now: it loses
	Until   session.Instant // when it ends unless somebody renews it: last seen + idle time
	From    Identity        // Renew: the owner from which it was moved while the store could not be asked; 0: it was not
}

// Binding is what the store has of a session. The zero Binding is none.
type Binding struct {
	Owner   Identity
	Claimed session.Instant
	Until   session.Instant
	By      uint32 // the only gateway that has had it; 0: several have
}

// LiveAt is the rule by which the store's sessions live: until their time has passed, as the own table of the only gateway that has had it
// says too; and for `grace` longer where another gateway has, for a renewal of that one may be on its way.
func (b Binding) LiveAt(now session.Instant, me uint32, grace session.Instant) bool {
	if b.By != me {
		now -= grace
	}
	return b.Owner != 0 && now < b.Until
}

// Remote is the store that the gateways share. Its calls wait for it, each for a bounded time, and each is atomic for each key. All
// times are this gateway's. A call that fails may have been carried out.
//
// A call is judged by its `now`, or by the store's own clock where that is later: the call was held up on its way. A claim whose Until has
// passed by then changes no live session. Of two times until which a session lives the later one counts. By is the gateway that stored
// it, until another one claims, moves or renews it. With the memory used up, a call that would store a new session fails with ErrFull; Renew then
// returns the zero Binding for each that it could not store, and has renewed the others.
type Remote interface {
	// Claim stores c unless its key has a live session: the first wins. A live session is renewed: it lives until c.Until at least. It
	// returns the binding that is in force, and whether this call was the first.
	Claim(now session.Instant, c Claim) (b Binding, first bool, err error)
	// Move makes c.Owner the owner of the session if its owner is `from`, or it has none, or it is not live, and tells the other gateways.
	// Claimed of a live session is the earlier of the two times. It returns the binding that is in force, and whether this call made it so.
	Move(now session.Instant, c Claim, from Identity) (b Binding, moved bool, err error)
	// Renew renews the sessions of cs and returns, for each, the binding that is in force:
	//   - no live session: c is stored;
	//   - the owner is c.Owner: it lives until c.Until at least, and was claimed at the earlier of the two times; so it is in the next case;
	//   - the owner is c.From (not 0): c.Owner is the owner now, as with Move;
	//   - another owner: the one that was claimed first stays or becomes the owner, the stored one where both are equal. The other
	//     gateways are told of a change.
	// Where a session could not be stored because the memory is used up, its binding is zero, and the error is ErrFull. Where some could not be
	// renewed for another reason their bindings are zero and the error says why.
	Renew(now session.Instant, cs []Claim) ([]Binding, error)
	// Find returns the live binding of each key.
	Find(now session.Instant, ks []session.Key) ([]Binding, error)
	// Count counts the live sessions of a part of the store by owner, and removes those that have ended. Called with 0 … parts-1 it
	// visits all once.
	Count(now session.Instant, part, parts int) (map[Identity]int, error)
	// Lead reports whether this gateway is the one that counts, for the next `forMillis` milliseconds.
	Lead(now session.Instant, forMillis int64) (bool, error)
	// Epoch is a number that is another one when the store may have lost what it had: it was emptied, started again, another server has
	// taken its place, or its clock was set. Never 0.
	Epoch(now session.Instant) (uint64, error)
	// Announce sends news to all gateways, this one included. News may be lost.
	Announce(n News) error
}

// ErrBusy is why a call is not made: too many others wait already. It says nothing of the store.
var ErrBusy = errors.New("too many calls wait for the store")

// ErrFull is why a Remote takes no new session: its memory is used up. What is there can be renewed.
var ErrFull = errors.New("the store's memory is full")

// NewsKind says what News are about.
type NewsKind uint8

// The kinds of news.
const (
	Moved  NewsKind = iota + 1 // the session Key has the owner Owner now
	Totals                     // all live sessions, by owner: the others have none
	Drain                      // an operator drained Endpoint (its address and incarnation), or took that back
)

// News is what one gateway tells the others.
type News struct {
	Kind     NewsKind
	From     uint32 // the gateway that says it
	Key      session.Key
	Owner    Identity
	Counted  map[Identity]int
	Endpoint [2]string
	On       bool
}
