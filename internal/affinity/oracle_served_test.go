package affinity_test

import (
	"fmt"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/session"
)

// openPick is a decision of which a proxy may still say what it did.
type openPick struct {
	pick affinity.Pick
	id   sessID
	at   epID
}

// maxPicks is how many decisions a late report can be about.
const maxPicks = 20

// served is what must come of a proxy's report on a request that was decided for the endpoint picked.
func (o *oracle) served(id sessID, said affinity.SessionState, picked epID, u affinity.Used, now session.Instant) (affinity.Diversion, affinity.Sequel) {
	var used *oracleEndpoint
	usedID := epID{}
	for ep, state := range o.endpoints {
		if ep.service == id.service && ep.addr == u.Addr && state.configured != affinity.Gone {
			used, usedID = state, ep
		}
	}
	reached := u.Addr != "" && !u.Unreached
	if reached && usedID == picked {
		return affinity.NoDiversion, affinity.NoSession
	}
	why := affinity.Fallback
	switch {
	case !reached:
		why = affinity.Unserved
	case u.Attempts > 1:
		why = affinity.Retry
	}
	if ep := o.endpoints[picked]; ep != nil && ep.configured != affinity.Gone && (u.Attempts > 1 || why == affinity.Fallback && used != nil) {
		ep.eject(now)
	}
	if used != nil && u.Unreached {
		used.eject(now)
	}
	s := o.live(id, now)
	switch {
	case said == affinity.SessionNone:
		return why, affinity.NoSession
	case s == nil:
		return why, affinity.Superseded
	case reached && s.at == usedID && !o.former(s):
		if said != affinity.SessionExisting || u.ToldMoved {
			s.untold = affinity.SessionNone
		}
		return why, affinity.Superseded
	case s.at != picked:
		return why, affinity.Superseded
	case !reached:
		s.unsaid(said, picked, s.life)
		return why, affinity.Stayed
	case used == nil || !used.serves(now):
		s.unsaid(said, picked, s.life)
		return why, affinity.Foreign
	}
	next := affinity.SessionNone
	if said == affinity.SessionExisting && !u.ToldMoved { // the endpoint used has not heard of the session
		next = s.onTheMove()
	}
	s.at, s.life, s.untold = usedID, used.life, next
	return why, affinity.Followed
}

// picked keeps a decision for a report.
func (l *randomLife) picked(dec *affinity.Decision, id sessID) {
	l.picks = append(l.picks, openPick{dec.Pick(), id, epID{dec.Service.Name, dec.Endpoint.Addr, dec.Endpoint.Incarnation}})
	if len(l.picks) > maxPicks {
		l.picks = l.picks[1:]
	}
}

// report says of a request, which may have ended since, what a proxy did with it.
func (l *randomLife) report(step int) {
	if len(l.picks) == 0 {
		return
	}
	p := l.picks[l.IntN(len(l.picks))]
	patience := l.patience()
	u := affinity.Used{Patience: patience, Attempts: 1 + l.IntN(2), Unreached: l.IntN(4) == 0, ToldMoved: l.IntN(3) == 0}
	switch l.IntN(8) {
	case 0: // it found no host
	case 1:
		u.Addr = "127.9.9.9:8080" // nobody's
	case 2:
		u.Addr = p.at.addr
	default:
		u.Addr = fmt.Sprintf("127.0.%s.%d:8080", p.id.service[len("backend-"):], 1+l.IntN(5))
	}
	wantWhy, wantThen := l.oracle.served(p.id, p.pick.Session, p.at, u, l.now)
	why, then, known := l.served(step, p.pick, u, wantWhy != affinity.NoDiversion)
	if !known || why != wantWhy || then != wantThen {
		l.fail(step, fmt.Errorf("a report of %+v on %+v is %v, %v (%v), want %v, %v", u, p, why, then, known, wantWhy, wantThen))
	}
}
