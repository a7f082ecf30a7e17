package shared

import (
	"sync/atomic"

	"github.com/remora-proxy/remora/internal/session"
)

// stats count since the store was made.
type stats struct {
	claims, adopted, renewals, followed, alone, dropped, resyncs atomic.Uint64
	refusal                                                      atomic.Pointer[error] // why the store refused to renew sessions in the last Flush
}

// Status is what operators can know of a store.
type Status struct {
	Down       bool            // the store outside does not answer: this gateway decides alone
	Since      session.Instant // when it stopped to answer; without meaning while it does
	Why        error           // the last failure of a call; nil: none
	LastAnswer session.Instant // when a call last succeeded; 0: never
	Telling    bool            // the store is being told all live sessions again
	Refusal    error           // why the store refuses to renew some sessions, as of the last Flush; nil: it does not

	Counted     bool // Total is of one of the last few counts, and the store answers
	Total       int  // live sessions of all gateways, as of the last count
	Pending     int  // renewals that wait for the next Flush
	Undecided   int  // decisions made alone of which the store has not heard yet
	Forgotten   uint64
	Opens       uint64 // how many times the store stopped to answer
	Claims      uint64 // first sights that the store was asked about
	Adopted     uint64 // of them, sessions that another gateway had
	Renewals    uint64 // sessions renewed in the store
	Dropped     uint64 // renewals for which there was no room
	Followed    uint64 // sessions that another gateway had moved, or had claimed before
	DecidedHere uint64 // sessions that began while the store could not be asked
	Resyncs     uint64 // how many times the store was told all live sessions
}

// Status shows the store. It may be called at any time.
func (s *Store) Status() Status {
	l := &s.link
	l.mu.Lock()
	st := Status{Down: l.down(), Since: l.since, Why: l.why, LastAnswer: l.lastGood(), Opens: l.opens}
	l.mu.Unlock()
	st.Telling, st.Total = s.resync.telling.Load(), int(s.census.total.Load())
	st.Counted = !st.Down && s.census.fresh(session.Instant(s.latest.Load()))
	st.Pending, st.Undecided = s.dirty.size(), int(s.untold.n.Load())
	st.Claims, st.Adopted, st.Renewals = s.stats.claims.Load(), s.stats.adopted.Load(), s.stats.renewals.Load()
	st.Followed, st.DecidedHere = s.stats.followed.Load(), s.stats.alone.Load()
	st.Dropped, st.Resyncs = s.stats.dropped.Load(), s.stats.resyncs.Load()
	st.Forgotten = s.untold.lost.Load()
	if why := s.stats.refusal.Load(); why != nil {
		st.Refusal = *why
	}
	return st
}
