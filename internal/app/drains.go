package app

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/remora-proxy/remora/internal/session/shared"
)

// maxUntold bounds how many drain marks wait for the store, which keeps as many.
const maxUntold = 4096

const (
	// markInterval is the time between two looks at what operators have drained at other gateways, where no news bring it earlier.
	markInterval = time.Second
	// lookPause is the least time between two looks: however many news there are, they do not keep the store busy.
	lookPause = 100 * time.Millisecond
)

// drains are the operators' marks. The store has them, for all gateways; those that it could not be told yet are kept here.
type drains struct {
	mu     sync.Mutex
	untold map[[2]string]bool // by address and incarnation: whether they are set or taken back
	again  atomic.Bool        // the store may have lost them: it is told all. remote.Epoch sets it, which waits for no lock
}

// drain tells the other gateways what an operator has drained here. The error says why they have not heard of it yet.
func (s *sharing) drain(marks [][2]string, on bool) error {
	d := &s.drains
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, mark := range marks {
		if len(d.untold) >= maxUntold {
			return fmt.Errorf("%d drain marks wait for the store already, so that the other gateways will not hear of this one", maxUntold)
		}
		d.add(mark, on)
	}
	s.recount.told.Store(int64(s.p.clock.instant())) // also a count that has ended before the store is told is from before the mark
	s.mark(s.p.engine.Drained())                     // between the engine and here, they may have been overwritten by the store's
	return s.tellDrains()
}

// add remembers a mark until the store has it.
func (d *drains) add(mark [2]string, on bool) {
	if d.untold == nil {
		d.untold = make(map[[2]string]bool)
	}
	d.untold[mark] = on
}

// mark makes these the engine's marks, but for what is newer. The lock must be held.
func (s *sharing) mark(marks [][2]string) {
	all := make(map[[2]string]bool, len(marks))
	for _, mark := range marks {
		all[mark] = true
	}
	for mark, on := range s.drains.untold {
		if on {
			all[mark] = true
		} else {
			delete(all, mark)
		}
	}
	before := s.p.engine.Drained()
	s.p.engine.SetDrained(slices.Collect(maps.Keys(all)), s.p.clock.instant())
	after := s.p.engine.Drained()
	for _, mark := range after {
		if !slices.Contains(before, mark) {
			s.recount.told.Store(int64(s.p.clock.instant()))
			s.p.log.Info("a replica is drained, by what the store has", "endpoint", mark[0], "incarnation", mark[1])
		}
	}
	for _, mark := range before {
		if !slices.Contains(after, mark) {
			s.p.log.Info("a replica is not drained any more, by what the store has", "endpoint", mark[0], "incarnation", mark[1])
		}
	}
}

// tellDrains tells the store what it does not know yet. The lock must be held.
func (s *sharing) tellDrains() error {
	if !s.remote.agreed.Load() || !s.store.Waits() {
		return errors.New("the store does not answer")
	}
	for mark, on := range s.drains.untold {
		if err := s.outside.Announce(shared.News{Kind: shared.Drain, Endpoint: mark, On: on}); err != nil {
			return err
		}
		delete(s.drains.untold, mark)
		s.recount.told.Store(int64(s.p.clock.instant()))
	}
	return nil
}

// waiting reports whether there are marks that the store has not been told.
func (d *drains) waiting() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.untold) > 0
}

// lookAtDrains takes over what operators have drained at other gateways. Where the store does not answer, all stays as it is.
func (s *sharing) lookAtDrains() {
	d := &s.drains
	d.mu.Lock()
	defer d.mu.Unlock()
	before := s.remote.epoch.Load() // before `again`, which is set before there is another epoch
	if d.again.Swap(false) {
		for _, mark := range s.p.engine.Drained() {
			if _, known := d.untold[mark]; known {
				continue
			}
			if len(d.untold) >= maxUntold {
				d.again.Store(true) // the rest, with the next look
				break
			}
			d.add(mark, true)
		}
	}
	if s.tellDrains() != nil {
		return
	}
	marks, err := s.outside.Drained(s.p.engine.DrainedHere())
	if err != nil {
		return
	}
	// A store that was emptied just now has none, or not all: its marks count only if it was the same one from before it was told until after it was
	// asked. When it was not, Flush finds so too, and the next look tells all of them first.
	epoch, err := s.outside.Epoch(s.p.clock.instant())
	if err == nil && epoch == before && s.remote.epoch.Load() == before && !d.again.Load() {
		s.mark(marks)
	}
}

// watchDrains looks at the drains at every markInterval, and when there are news of them, until ctx ends.
func (s *sharing) watchDrains(ctx context.Context) {
	ticker := time.NewTicker(markInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-s.fresh:
		}
		s.lookAtDrains()
		select {
		case <-ctx.Done():
			return
		case <-time.After(lookPause):
		}
	}
}
