package simulate

import (
	"errors"

	"github.com/remora-proxy/remora/internal/session"
	"github.com/remora-proxy/remora/internal/session/shared"
)

// timeout is after how many milliseconds a gateway gives a call to the store up.
const timeout = 100

var (
	errTimeout = errors.New("timeout")
	errRefused = errors.New("connection refused")
)

// opKind is which of Remote's calls an operation is.
type opKind uint8

const (
	opClaim opKind = iota
	opMove
	opRenew
	opFind
	opCount
	opLead
	opEpoch
	opAnnounce
)

var opNames = [...]string{"claim", "move", "renewal", "find", "count", "lead", "epoch", "announcement"}

// op is a call on its way: what the gateway sends, and what the store answers.
type op struct {
	kind    opKind
	g       *gateway
	request int32  // for which it is; -1: for none
	ended   uint64 // the claims of a renewal whose owner served no more when it was sent, as far as the gateway knew: a bit for each
	blur    millis // the gateway's mistake about the store's clock when it called

	now         session.Instant
	claims      []shared.Claim // one, or those of a renewal
	from        shared.Identity
	keys        []session.Key
	part, parts int
	millis      int64
	news        shared.News

	bindings []shared.Binding
	yes      bool
	counted  map[shared.Identity]int
	epoch    uint64
	err      error
}

// link is a gateway's way to the store: shared.Remote as the adapter for a real store would be. Each call lets the schedule go on while it is
// on its way; there and back it may be late or lost.
type link struct{ g *gateway }

var _ shared.Remote = (*link)(nil)

// open makes an operation.
func (l *link) open(kind opKind, now session.Instant) *op {
	s := l.g.sim
	var o *op
	if n := len(s.freeOps); n > 0 {
		o, s.freeOps = s.freeOps[n-1], s.freeOps[:n-1]
	} else {
		o = new(op)
	}
	*o = op{kind: kind, g: l.g, now: now, blur: l.g.blur, request: -1, claims: o.claims[:0], keys: o.keys[:0], bindings: o.bindings[:0]}
	if c := s.co.current; c != nil && (c.job.kind == jobDecide || c.job.kind == jobMove) {
		o.request = c.job.n
	}
	return o
}

// call takes an operation to the store and its answer back. When that fails the store may have carried it out, or may do so later.
func (l *link) call(o *op) error {
	g, s := l.g, l.g.sim
	err := l.there(o)
	if err != nil && !g.dead {
		g.trouble = s.now
		if o.request >= 0 {
			s.requests[o.request].failed = true
		}
		s.count.failed++
		s.trace.add(s.now, "g%d: call failed: "+opNames[o.kind], int64(g.number))
	}
	if err == nil {
		if err = o.err; err != nil { // full: what it cannot store it hears of later
			g.trouble = s.now
		}
	}
	if err == nil && o.request >= 0 {
		s.requests[o.request].asked = true
	}
	if err == nil {
		s.rules.meets(o)
	}
	return err
}

func (l *link) there(o *op) error {
	g, s := l.g, l.g.sim
	if g.dead {
		return errRefused
	}
	s.count.calls++
	d, p := &s.depot, s.profile
	there, back := p.delay(s), p.delay(s)
	if o.kind >= opCount && !s.chance.oneIn(8) {
		there, back = 0, 0 // fewer events: when these arrive seldom matters
	}
	if d.slowUntil > s.now {
		there += s.chance.between(0, 2*timeout)
	}
	switch {
	case d.stoppedUntil > s.now && d.refuses && g.cutUntil <= s.now:
		s.wait(1)
		return errRefused
	case d.stoppedUntil > s.now, g.cutUntil > s.now, s.chance.oneIn(p.losesCall):
		s.wait(timeout)
		return errTimeout
	case there >= timeout:
		s.late = append(s.late, o)
		s.queue.push(s.now+there, evLate, int32(len(s.late)-1), 0)
		s.wait(timeout)
		return errTimeout
	}
	s.wait(there)
	if d.stoppedUntil > s.now || g.cutUntil > s.now {
		s.wait(timeout - there)
		return errTimeout
	}
	d.execute(o)
	if s.chance.oneIn(p.losesAnswer) || there+back >= timeout || g.cutUntil > s.now+back {
		s.wait(timeout - there)
		return errTimeout
	}
	s.wait(back)
	if g.dead {
		return errRefused
	}
	return nil
}

// close gives the memory of an operation back, unless it is still on its way.
func (l *link) close(o *op) {
	if len(l.g.sim.late) == 0 {
		l.g.sim.freeOps = append(l.g.sim.freeOps, o)
	}
}

// Claim is Remote's, as the methods below are.
func (l *link) Claim(now session.Instant, c shared.Claim) (shared.Binding, bool, error) {
	o := l.open(opClaim, now)
	defer l.close(o)
	o.claims = append(o.claims, c)
	if err := l.call(o); err != nil {
		return shared.Binding{}, false, err
	}
	if o.request >= 0 {
		s := l.g.sim
		s.requests[o.request].first = o.yes
	}
	return o.bindings[0], o.yes, nil
}

func (l *link) Move(now session.Instant, c shared.Claim, from shared.Identity) (shared.Binding, bool, error) {
	o := l.open(opMove, now)
	defer l.close(o)
	o.claims, o.from = append(o.claims, c), from
	l.g.sim.rules.moves(o)
	if err := l.call(o); err != nil {
		return shared.Binding{}, false, err
	}
	return o.bindings[0], o.yes, nil
}

func (l *link) Renew(now session.Instant, cs []shared.Claim) ([]shared.Binding, error) {
	o := l.open(opRenew, now)
	defer l.close(o)
	o.claims = append(o.claims, cs...)
	for i := range cs {
		if owner := byIdentity[uint64(cs[i].Owner)]; l.g.knows[owner].changed != 0 && !l.g.servesAt(owner, now) {
			o.ended |= 1 << i
		}
	}
	if err := l.call(o); err != nil {
		return nil, err
	}
	for i, b := range o.bindings {
		if owner := byIdentity[uint64(b.Owner)]; b.Owner != 0 && b.Owner != cs[i].Owner && !l.g.knows[owner].listed {
			l.g.sessions[byKey[cs[i].Key]].elsewhere = true
		}
	}
	return append([]shared.Binding(nil), o.bindings...), nil
}

func (l *link) Find(now session.Instant, ks []session.Key) ([]shared.Binding, error) {
	o := l.open(opFind, now)
	defer l.close(o)
	o.keys = append(o.keys, ks...)
	if err := l.call(o); err != nil {
		return nil, err
	}
	return append([]shared.Binding(nil), o.bindings...), nil
}

func (l *link) Count(now session.Instant, part, parts int) (map[shared.Identity]int, error) {
	o := l.open(opCount, now)
	defer l.close(o)
	o.part, o.parts = part, parts
	err := l.call(o)
	return o.counted, err
}

func (l *link) Lead(now session.Instant, forMillis int64) (bool, error) {
	o := l.open(opLead, now)
	defer l.close(o)
	o.millis = forMillis
	err := l.call(o)
	return o.yes && err == nil, err
}

func (l *link) Epoch(now session.Instant) (uint64, error) {
	o := l.open(opEpoch, now)
	defer l.close(o)
	err := l.call(o)
	return o.epoch, err
}

func (l *link) Announce(n shared.News) error {
	o := l.open(opAnnounce, l.g.clock())
	defer l.close(o)
	o.news = n
	return l.call(o)
}
