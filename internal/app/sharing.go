package app

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/remora-proxy/remora/internal/admin"
	"github.com/remora-proxy/remora/internal/redisstore"
	"github.com/remora-proxy/remora/internal/session"
	"github.com/remora-proxy/remora/internal/session/shared"
)

// Sharing says in which store the sessions are shared with other gateways.
type Sharing struct {
	URL      string        // redisstore.Forms has its forms
	Prefix   string        // of all keys
	Interval time.Duration // for which renewals are collected; alike at all gateways
	Timeout  time.Duration // of a call
}

const (
	// storePatience is how long the start waits for the store. That is longer than a request may, for connections have to come to be.
	storePatience = 3 * time.Second
	// comparePatience is how long the start takes to compare the sessions of the session file with the store's.
	comparePatience = 10 * time.Second
	// countParts is how many parts the sessions are counted in. Each is a round trip at least; with fewer, one of ten million sessions would take long.
	countParts = 256
	// yieldFor is for how long a gateway that began alone leaves it to the others to tell an empty store the hash key: they have sessions that are
	// hashed with theirs.
	yieldFor = 5 * time.Second
	// fullFor is for how long the store counts as full after it has refused a session: it is asked only when one begins.
	fullFor = 10 * time.Second
)

// outside is what is asked of the store outside: a redisstore.Store.
type outside interface {
	shared.Remote
	HashKey(ctx context.Context, key [16]byte, configured, propose bool) ([16]byte, error)
	Drained(known [][2]string) ([][2]string, error)
	Conflict() error
	Name() string
	Lost() uint64
	Close()
}

// sharing is the program's part in sessions that several gateways share.
type sharing struct {
	p       *program
	o       *Sharing
	table   *session.Table // in front of the store
	gateway uint32         // this one's number
	remote  *remote
	store   *shared.Store
	outside outside
	drains  drains
	recount recount
	said    storeLog
	fresh   chan struct{} // has a token when there are news of drains
	closed  chan struct{}
	begun   bool // the store was told what the table has; the main goroutine's
}

// share makes the store of a program that shares its sessions. It is used from connect on.
func (p *program) share(table *session.Table) *sharing {
	s := &sharing{p: p, o: p.o.Sharing, table: table, fresh: make(chan struct{}, 1), closed: make(chan struct{})}
	for s.gateway == 0 {
		var random [4]byte
		rand.Read(random[:]) // never fails
		s.gateway = binary.LittleEndian.Uint32(random[:])
	}
	s.remote = newRemote(s)
	s.store = shared.New(shared.Options{Table: table, Remote: s.remote, Gateway: s.gateway, Interval: s.o.Interval, Pause: s.pause, Parts: countParts})
	return s
}

// join finds the other gateways; an engine is there. It is no error that the store does not answer, which is for it to do at any time; but one
// that does not let this gateway in, or that others use with another hash key, is a mistake that somebody has to mend.
func (s *sharing) join(ctx context.Context) error {
	if s == nil {
		return nil
	}
	s.store.Resolve(s.p.engine)
	opened, err := redisstore.Open(redisstore.Options{
		URL: s.o.URL, Prefix: s.o.Prefix, Timeout: s.o.Timeout, Grace: shared.Grace(s.o.Interval), ID: s.gateway,
		Deliver: s.hear, Log: s.p.log, Now: s.p.clock.now,
	})
	if err != nil {
		return fmt.Errorf("--store: %w", err)
	}
	s.outside = opened
	s.p.metrics.MustRegister(s.remote.calls, s.remote.failures, &storeCollector{s})
	ctx, cancel := context.WithTimeout(ctx, storePatience)
	defer cancel()
	err = s.agree(ctx, true)
	switch {
	case errors.Is(err, redisstore.ErrRefused) || errors.Is(err, redisstore.ErrOtherKey):
		return fmt.Errorf("--store: %w", err)
	case err != nil:
		s.p.log.Error("starting alone: the store does not answer. Users without a session here are placed by hash until it does", "store", s.outside.Name(), "error", err)
		return nil
	}
	s.p.log.Info("sessions are shared", "store", s.outside.Name(), "prefix", s.o.Prefix, "interval", s.o.Interval.String())
	return nil
}

// agree takes the hash key that all gateways of the store have, or proposes its own. Until that has succeeded, the store is not used.
func (s *sharing) agree(ctx context.Context, propose bool) error {
	own := s.p.engine.HashKey()
	key, err := s.outside.HashKey(ctx, own, s.configured(), propose)
	if err != nil {
		return err
	}
	if key != own {
		if err := s.p.engine.Rekey(key, s.p.clock.instant()); err != nil {
			return err
		}
		if n := s.forget(); n > 0 {
			s.p.log.Warn("the users of this gateway begin new sessions: the other gateways hash their keys with another key, which it has now; "+
				"with --hash-key-file all have the same from the start", "sessions", n)
		}
	}
	s.remote.agreed.Store(true)
	return nil
}

// configured reports whether the hash key is one that must not be given up for that of the others.
func (s *sharing) configured() bool { return s.p.o.HashKeyFile != "" }

// forget empties the table.
func (s *sharing) forget() int {
	var keys []session.Key
	s.table.Range(func(e session.Entry) bool {
		keys = append(keys, e.Key)
		return true
	})
	for _, k := range keys {
		s.table.Forget(k)
	}
	return len(keys)
}

// begin tells the store what a session file had, and takes over what has become of it meanwhile, before the first request. Where the store
// does not answer, no request will wait for it.
func (s *sharing) begin() {
	if s == nil || s.begun {
		return
	}
	s.begun = true
	s.p.engine.SweepAll(s.p.clock.instant()) // the store knows idle times from here on
	for began := time.Now(); time.Since(began) < comparePatience; {
		s.store.Flush(s.p.clock.instant())
		if st := s.store.Status(); st.Down || st.LastAnswer != 0 && !st.Telling {
			break
		}
	}
	s.said.begin(s.store.Status())
	s.lookAtDrains()
}

// run does what is to be done regularly, until ctx ends, and then sends what is left.
func (s *sharing) run(ctx context.Context) {
	if s == nil {
		return
	}
	var counting sync.WaitGroup
	counting.Go(func() { s.count(ctx) })
	counting.Go(func() { s.watchDrains(ctx) })
	s.flush(ctx)
	counting.Wait()
	s.store.Flush(s.p.clock.instant())
}

// flush sends renewals at every interval, until ctx ends. While the store is to be told all sessions it does not wait for the interval, but goes on for
// half of the time: the store has the other half for requests, and is asked the less the more it has to do.
func (s *sharing) flush(ctx context.Context) {
	const shortest = 5 * time.Millisecond
	timer := time.NewTimer(s.o.Interval)
	defer timer.Stop()
	resyncs := s.store.Status().Resyncs // one at the start, to a store that this gateway has only met
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		began := time.Now()
		s.store.Flush(s.p.clock.instant())
		took := time.Since(began)
		s.said.look(s)
		pause := s.o.Interval - took
		st := s.store.Status()
		resyncs = s.recount.watchAway(st, resyncs, s.p.clock.instant())
		if st.Telling && !st.Down {
			pause = min(pause, took)
		}
		timer.Reset(max(pause, shortest))
	}
}

// count counts, where it is this gateway that does, at every interval until ctx ends.
func (s *sharing) count(ctx context.Context) {
	ticker := time.NewTicker(s.o.Interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			s.store.Count(s.p.clock.instant())
		}
	}
}

// hear takes news of other gateways.
func (s *sharing) hear(n shared.News) {
	if n.Kind == shared.Drain {
		if n.From != s.gateway {
			nudge(s.fresh)
		}
		return
	}
	s.store.Hear(n, s.p.clock.instant())
}

func (s *sharing) close() {
	if s != nil && s.outside != nil {
		close(s.closed)
		s.outside.Close()
	}
}

// pause waits, or until close.
func (s *sharing) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-s.closed:
	}
}

// status is what the admin API tells of the store; nil: sessions are not shared.
func (s *sharing) status() *admin.StoreStatus {
	if s == nil {
		return nil
	}
	st := s.store.Status()
	out := &admin.StoreStatus{
		URL: s.outside.Name(), Prefix: s.o.Prefix, Answers: !st.Down, Full: s.full(), Telling: st.Telling,
		Pending: st.Pending, Undecided: st.Undecided,
	}
	if st.Counted {
		out.Sessions = &st.Total
	}
	if st.LastAnswer != 0 {
		out.LastAnswer = st.LastAnswer.Time()
	}
	if st.Down {
		out.Since, out.Error = st.Since.Time(), st.Why.Error()
	} else if err := s.outside.Conflict(); err != nil {
		out.Error = err.Error()
	} else if st.Refusal != nil {
		out.Error = "the store refuses to renew some sessions, which end early at other gateways: " + st.Refusal.Error()
	}
	return out
}

func (s *sharing) full() bool {
	at := session.Instant(s.remote.full.Load())
	return at != 0 && s.p.clock.instant() < at.Add(fullFor)
}

// degraded says what a gateway with such a store goes without; empty: nothing.
func degraded(st *admin.StoreStatus, now time.Time) string {
	switch {
	case st == nil:
		return ""
	case !st.Answers:
		return fmt.Sprintf("the store has not answered for %s: %s", now.Sub(st.Since).Round(time.Second), st.Error)
	case st.Error != "":
		return st.Error
	case st.Full:
		return "the store's memory is full: new sessions are not shared"
	}
	return ""
}

// shares is what the admin API has to know of the store; nil: sessions are not shared.
func (s *sharing) shares() *admin.Shared {
	if s == nil {
		return nil
	}
	name := admin.StoreStatus{URL: s.outside.Name(), Prefix: s.o.Prefix}
	return &admin.Shared{Name: name.Name(), Drain: s.drain, Left: s.left}
}
