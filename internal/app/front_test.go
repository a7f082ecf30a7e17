package app

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// slowDoor is a front door that stops when all of its kind have been told to, or when it is cut off.
type slowDoor struct {
	prometheus.Collector
	told *sync.WaitGroup
}

func (d slowDoor) Shutdown(ctx context.Context) error {
	all := make(chan struct{})
	d.told.Done()
	go func() {
		d.told.Wait()
		close(all)
	}()
	select {
	case <-all:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (slowDoor) Close() error { return nil }

func TestFrontDoorsStopAtTheSameTime(t *testing.T) {
	var told sync.WaitGroup
	told.Add(2)
	p := &program{o: Options{ShutdownTimeout: time.Hour}, doors: []door{slowDoor{told: &told}, slowDoor{told: &told}}}
	must(t, p.stopDoors(t.Context()))
}

func TestOneCutEndsTheStopOfAllFrontDoors(t *testing.T) {
	var told sync.WaitGroup
	told.Add(3) // one more than there are
	defer told.Done()
	cut, now := context.WithCancel(t.Context())
	p := &program{o: Options{ShutdownTimeout: time.Hour}, doors: []door{slowDoor{told: &told}, slowDoor{told: &told}}}
	now()
	if err := p.stopDoors(cut); !errors.Is(err, context.Canceled) || strings.Count(err.Error(), "cut off") != 1 {
		t.Errorf("got %v", err)
	}
}
