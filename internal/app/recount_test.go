package app

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/session"
	"github.com/remora-proxy/remora/internal/session/shared"
)

// A countedStore is a markStore whose sessions are all of one endpoint, in its last part.
type countedStore struct {
	markStore
	owner    shared.Identity
	sessions int
	err      error  // of counting the last part
	counting func() // is called when the first part is counted
	counts   int    // of the first part
}

func (c *countedStore) Count(_ session.Instant, part, parts int) (map[shared.Identity]int, error) {
	if part == 0 {
		c.counts++
		if c.counting != nil {
			c.counting()
		}
	}
	if part != parts-1 {
		return nil, nil
	}
	return map[shared.Identity]int{c.owner: c.sessions}, c.err
}

// counted is a gateway with such a store, that has an endpoint, of which it has told the others that it is drained.
func counted(t *testing.T) (*sharing, *countedStore) {
	t.Helper()
	c := &countedStore{}
	s := sharingWith(t, &c.markStore)
	s.outside = c
	s.store.Resolve(s.p.engine)
	configure(t, s.p.engine, drainedAt)
	c.owner = shared.Identity(s.p.engine.Identities(drainedAt)[0])
	must(t, s.drain([][2]string{{drainedAt, ""}}, true))
	return s, c
}

const drainedAt = "127.0.0.1:80"

// configure gives an engine one service, with one endpoint.
func configure(t *testing.T, e *affinity.Engine, addr string) {
	t.Helper()
	snapshot, err := affinity.Compile(affinity.Config{Services: []affinity.ServiceConfig{{
		Name: "backend-1:80", Host: "backend-1", Port: 80, Source: "services.yaml:1",
		Endpoints: []affinity.EndpointConfig{{Addr: addr}},
	}}})
	must(t, err)
	must(t, e.Apply(snapshot, session.InstantOf(time.Now())))
}

func TestWhatAllGatewaysHaveIsCountedAnewWhenADrainHasComeToAll(t *testing.T) {
	errAway := errors.New("did not answer")
	for name, test := range map[string]struct {
		before func(s *sharing, c *countedStore)
		after  time.Duration // from the drain, or what came later, to when it is known
		left   int
	}{
		"no sessions are left": {after: markSettle},
		"sessions of other gateways are left, of which this one has not heard": {
			before: func(_ *sharing, c *countedStore) { c.sessions = 30 }, after: markSettle, left: 30,
		},
		"another mark is heard of": {
			before: func(s *sharing, c *countedStore) {
				<-time.After(time.Second)
				c.marks = append(c.marks, [2]string{"127.0.0.9:80", ""})
				s.lookAtDrains()
			},
			after: markSettle,
		},
		"the store was away": {
			before: func(s *sharing, _ *countedStore) {
				s.recount.watchAway(shared.Status{Down: true}, 0, s.p.clock.instant())
			},
			after: awaySettle,
		},
		"the store has been told all sessions again": {
			before: func(s *sharing, _ *countedStore) {
				s.recount.watchAway(shared.Status{Resyncs: 2}, 1, s.p.clock.instant())
			},
			after: awaySettle,
		},
		"a part cannot be counted at first": {
			before: func(_ *sharing, c *countedStore) {
				c.err = errAway
				c.counting = func() {
					if c.counts == 2 {
						c.err = nil
					}
				}
			},
			after: markSettle + recountTries*recountRetry,
		},
		"the store is emptied while it is counted": {
			before: func(s *sharing, c *countedStore) {
				c.counting = func() {
					if c.counts == 1 {
						c.empty()
					} else {
						_, _ = s.remote.Epoch(s.p.clock.instant())
					}
				}
			},
			after: markSettle + 2*recountRetry,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, c := counted(t)
				if test.before != nil {
					test.before(s, c)
				}
				for began := time.Now(); ; <-time.After(sweepInterval) { // of the bubble's time
					n, err := s.left(drainedAt, 0)
					synctest.Wait()
					if took := time.Since(began); err == nil && (took < test.after || took > test.after+time.Second || n != test.left) {
						t.Errorf("after %s there are %d sessions, want %d after %s", took, n, test.left, test.after)
					} else if err != nil && took < 2*test.after {
						continue
					} else if err != nil {
						t.Errorf("after %s: %v", took, err)
					}
					break
				}
			})
		})
	}
}

func TestNobodyKnowsWhatIsLeftWhileTheStoreDoesNotAnswer(t *testing.T) {
	s, _ := counted(t)
	s.remote.agreed.Store(false)
	if n, err := s.left(drainedAt, 0); err == nil {
		t.Errorf("there are %d", n)
	}
}
