package admin

import (
	"context"
	"slices"
	"sync/atomic"

	"github.com/remora-proxy/remora/internal/affinity"
)

// census counts the sessions of all endpoints. That walks the whole table, which takes a processor for as long as half a second
// where there are millions, so there is one walk at a time, and all who ask during one share the next.
type census struct {
	walk  func() []affinity.EndpointView
	begun atomic.Uint64 // walks

	turn chan struct{} // has room for one, who may walk and use last
	last []affinity.EndpointView
}

func newCensus(walk func() []affinity.EndpointView) *census {
	return &census{walk: walk, turn: make(chan struct{}, 1)}
}

// wait waits for the turn to walk the table, which lasts until done is called. The error is that of ctx.
func (c *census) wait(ctx context.Context) (done func(), err error) {
	select {
	case c.turn <- struct{}{}:
		return func() { <-c.turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// take gives the result of a walk that began after the call; the slice is the caller's. The error is that of ctx.
func (c *census) take(ctx context.Context) ([]affinity.EndpointView, error) {
	before := c.begun.Load()
	done, err := c.wait(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	if c.begun.Load() == before { // else the walk that is finished now began after the call
		c.begun.Add(1)
		c.last = c.walk()
	}
	return slices.Clone(c.last), nil
}
