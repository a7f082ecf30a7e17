package shared_test

import (
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/session"
	"github.com/remora-proxy/remora/internal/session/shared"
	"github.com/remora-proxy/remora/internal/session/shared/model"
)

const (
	start    = session.Instant(1_800_000_000_000)
	idle     = time.Minute
	interval = shared.DefaultInterval
	grace    = session.Instant(2 * interval / time.Millisecond)
)

func idleOf(session.EndpointID) time.Duration { return idle }

// rig is gateways that share a store, and the time.
type rig struct {
	t     *testing.T
	now   session.Instant
	store *model.Store
	gws   []*gateway
}

// gateway is one of them. What it calls endpoints is what all call them.
type gateway struct {
	*shared.Store
	way     *way
	rig     *rig
	unknown map[session.EndpointID]bool // endpoints that it has not heard of
	gone    map[session.EndpointID]bool // endpoints that serve no sessions any more
	pauses  int                         // how many times it has waited to hear of one
	waiting func()                      // called then
}

// way is a gateway's way to the store.
type way struct {
	shared.Remote
	cut    bool                   // calls fail
	busy   bool                   // too many others wait
	deaf   bool                   // news are lost
	calls  atomic.Int64           // of requests
	mute   bool                   // renewals fail
	spoilt func(session.Key) bool // sessions whose part of the store is somebody else's
	asked  func()                 // called when the store is asked for its epoch
	before func()                 // called when a renewal is on its way
	after  func()                 // called when a renewal is answered and the answer is on its way
}

var (
	errCut    = errors.New("the store does not answer")
	errSpoilt = errors.New("WRONGTYPE")
)

// Count is Remote's.
func (w *way) Count(now session.Instant, part, parts int) (map[shared.Identity]int, error) {
	if w.spoilt != nil && part == 0 {
		return nil, errSpoilt
	}
	return w.Remote.Count(now, part, parts)
}

func newRig(t *testing.T, gateways int) *rig {
	r := &rig{t: t, now: start, store: model.New(grace)}
	for i := range gateways {
		r.add(uint32(i + 1))
	}
	return r
}

func (r *rig) add(id uint32) *gateway {
	g := r.unswept(id)
	g.Sweep(0, 1, r.now, idleOf)
	g.Flush(r.now)
	return g
}

// unswept is a gateway that has just been started.
func (r *rig) unswept(id uint32) *gateway {
	g := &gateway{rig: r, way: &way{}, unknown: map[session.EndpointID]bool{}, gone: map[session.EndpointID]bool{}}
	g.way.Remote = r.store.Gateway(id, func(n shared.News) {
		if !g.way.deaf {
			g.Hear(n, r.now)
		}
	})
	g.Store = shared.New(shared.Options{
		Table: session.NewTable(session.Options{MaxSessions: 10_000}), Remote: g.way, Gateway: id, Interval: interval, Parts: 16,
		Pause: func(time.Duration) {
			g.pauses++
			if g.waiting != nil {
				g.waiting()
			}
		},
	})
	g.Resolve(g)
	r.gws = append(r.gws, g)
	return g
}

func (g *gateway) Identity(ep session.EndpointID) uint64 { return uint64(ep) }

func (g *gateway) EndpointOf(identity uint64) session.EndpointID {
	if ep := session.EndpointID(identity); !g.unknown[ep] {
		return ep
	}
	return 0
}

func (g *gateway) Serves(ep session.EndpointID, _ session.Instant) bool { return !g.gone[ep] }

// request is a request of a user, which would be placed on an endpoint if the session began with it.
func (g *gateway) request(k session.Key, place session.EndpointID) (at session.EndpointID, how session.Outcome) {
	at, live := g.Acquire(k, g.rig.now, idle)
	how = session.Existing
	if !live {
		at, how = g.Bind(k, place, g.rig.now, idle)
	}
	g.Release(k, g.rig.now)
	return at, how
}

func (g *gateway) want(k session.Key, place, at session.EndpointID, how session.Outcome) {
	g.rig.t.Helper()
	if got, was := g.request(k, place); got != at || was != how {
		g.rig.t.Errorf("the request goes to %d, outcome %d; want %d, %d", got, was, at, how)
	}
}

// pass lets time pass in steps of the interval, at each of which the gateways flush, sweep and count.
func (r *rig) pass(d time.Duration) {
	for end := r.now.Add(d); r.now < end; {
		r.now = min(end, r.now.Add(interval))
		for _, g := range r.gws {
			g.Sweep(0, 1, r.now, idleOf)
			g.Flush(r.now)
			g.Count(r.now)
		}
	}
}

func (w *way) call() error {
	w.calls.Add(1)
	switch {
	case w.cut:
		return errCut
	case w.busy:
		return shared.ErrBusy
	}
	return nil
}

func (w *way) Claim(now session.Instant, c shared.Claim) (shared.Binding, bool, error) {
	if err := w.call(); err != nil {
		return shared.Binding{}, false, err
	}
	return w.Remote.Claim(now, c)
}

func (w *way) Move(now session.Instant, c shared.Claim, from shared.Identity) (shared.Binding, bool, error) {
	if err := w.call(); err != nil {
		return shared.Binding{}, false, err
	}
	return w.Remote.Move(now, c, from)
}

func (w *way) Find(now session.Instant, ks []session.Key) ([]shared.Binding, error) {
	if err := w.call(); err != nil {
		return nil, err
	}
	return w.Remote.Find(now, ks)
}

func (w *way) Renew(now session.Instant, cs []shared.Claim) ([]shared.Binding, error) {
	if w.cut {
		return nil, errCut
	}
	if w.mute {
		return nil, errCut
	}
	if before := w.before; before != nil {
		w.before = nil
		before()
	}
	good := slices.DeleteFunc(slices.Clone(cs), func(c shared.Claim) bool { return w.spoilt != nil && w.spoilt(c.Key) })
	found, err := w.Remote.Renew(now, good)
	for i, c := range cs {
		if w.spoilt != nil && w.spoilt(c.Key) {
			found, err = slices.Insert(found, i, shared.Binding{}), errSpoilt
		}
	}
	if after := w.after; after != nil {
		w.after = nil
		after()
	}
	return found, err
}

func (w *way) Epoch(now session.Instant) (uint64, error) {
	if w.cut {
		return 0, errCut
	}
	if asked := w.asked; asked != nil {
		w.asked = nil
		asked()
	}
	return w.Remote.Epoch(now)
}

func (w *way) Lead(now session.Instant, forMillis int64) (bool, error) {
	if w.cut {
		return false, errCut
	}
	return w.Remote.Lead(now, forMillis)
}
