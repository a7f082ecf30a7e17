package app

import (
	"time"

	"github.com/remora-proxy/remora/internal/session/shared"
)

// lossesInterval is the least time between two lines about what was lost or moved.
const lossesInterval = 10 * time.Second

// storeLog says when the store is lost, is back, and has been told what it missed. The store itself has no logger.
type storeLog struct {
	before  shared.Status
	lost    shared.Status // when it was lost, or this gateway began to tell it all again
	full    bool
	counted time.Time     // when the last line about losses was written
	losses  shared.Status // what it was about
}

// begin takes the state that needs no line: the start has said it.
func (l *storeLog) begin(st shared.Status) { l.before, l.lost, l.losses = st, st, st }

// look compares the store's state with that of the last look.
func (l *storeLog) look(s *sharing) {
	log, st, name := s.p.log, s.store.Status(), s.outside.Name()
	before := l.before
	l.before = st
	switch {
	case st.Opens > before.Opens && st.Down:
		l.lost = st
		log.Error("the store does not answer: known sessions go on, users without one are placed by hash, and nobody waits for it", "store", name, "error", st.Why)
	case before.Down && !st.Down:
		log.Info("the store answers again, and is told all live sessions", "store", name,
			"away", s.p.clock.now().Sub(l.lost.Since.Time()).Round(time.Millisecond).String(), "beganAlone", st.DecidedHere-l.lost.DecidedHere)
	case st.Resyncs > before.Resyncs:
		l.lost = before
		log.Warn("the store may have lost sessions: it was emptied or started again, another server has taken its place, or its clock was set; it is told all live ones", "store", name)
	}
	if !st.Telling && (before.Telling || st.Resyncs > before.Resyncs) {
		log.Info("the store has been told all live sessions", "store", name, "sessions", s.table.Len(), "moved", st.Followed-l.lost.Followed)
	}
	switch {
	case st.Refusal != nil && before.Refusal == nil:
		log.Error("the store refuses to renew some sessions, which end early at other gateways", "store", name, "error", st.Refusal)
	case st.Refusal == nil && before.Refusal != nil:
		log.Info("the store renews all sessions again", "store", name)
	}
	l.sayFull(s)
	l.sayLosses(s, st)
}

// sayFull says once that the store's memory is used up, and once that it is not any more.
func (l *storeLog) sayFull(s *sharing) {
	full := s.full()
	switch {
	case full && !l.full:
		s.p.log.Error("the store's memory is full: sessions that begin are not shared", "store", s.outside.Name())
	case !full && l.full:
		s.p.log.Info("the store has memory again", "store", s.outside.Name())
	}
	l.full = full
}

// sayLosses says how much was lost since the last such line.
func (l *storeLog) sayLosses(s *sharing, st shared.Status) {
	dropped, forgotten := st.Dropped-l.losses.Dropped, st.Forgotten-l.losses.Forgotten
	if dropped+forgotten == 0 || time.Since(l.counted) < lossesInterval {
		return
	}
	l.counted, l.losses = time.Now(), st
	s.p.log.Warn("more sessions wait for the store than there is room for: some may end early, or move, at other gateways",
		"store", s.outside.Name(), "renewalsDropped", dropped, "decisionsForgotten", forgotten)
}
