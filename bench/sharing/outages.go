//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/remora-proxy/remora/bench/peers"
)

// newcomerOf is how many requests there are for each one of a newcomer in the mix.
const newcomerOf = 20

// mix is requests of known users with one of a newcomer among each newcomerOf.
func (b *bench) mix() [][]byte {
	known := peers.Requests(false)
	requests := b.newcomers(b.aRun()/newcomerOf + 1)
	mixed := make([][]byte, 0, newcomerOf*len(requests))
	for _, newcomer := range requests {
		for range newcomerOf - 1 {
			mixed = append(mixed, known[len(mixed)%len(known)])
		}
		mixed = append(mixed, newcomer)
	}
	return mixed
}

// phase is what happens to the store as the counted time of a run begins.
type phase struct {
	name string
	does func() error
}

// outages measures what a store that stands still, is killed, or is back does to latencies.
func (b *bench) outages(ctx context.Context, report *strings.Builder) error {
	store, err := b.startRedis()
	if err != nil {
		return err
	}
	defer func() { store.Stop() }()
	defer func() { store.Signal(syscall.SIGCONT) }()
	g, err := b.start("outages", store, idle)
	if err != nil {
		return err
	}
	defer g.Stop()
	if err := b.know(g); err != nil {
		return err
	}
	signal := func(s syscall.Signal) func() error {
		return func() error {
			store.Signal(s)
			return nil
		}
	}
	phases := []phase{
		{"answers", func() error { return nil }},
		{"stopped (SIGSTOP)", signal(syscall.SIGSTOP)},
		{"goes on (SIGCONT)", signal(syscall.SIGCONT)},
		{"killed", signal(syscall.SIGKILL)},
		{"started again, empty", func() (err error) {
			store, err = b.startRedisAt(store.addr)
			return err
		}},
	}
	rows := make([][]measured, len(phases))
	for round := range b.rounds {
		if err := g.awaitWhole(ctx); err != nil {
			return err
		}
		if _, err := b.load(g, nil, b.mix(), func() {}); err != nil { // or what comes first in a round would be what was idle before
			return err
		}
		for i, phase := range phases {
			var failed error
			m, err := b.load(g, nil, b.mix(), func() { failed = phase.does() })
			if err := errors.Join(err, failed, ctx.Err()); err != nil {
				return fmt.Errorf("the store %s: %w", phase.name, err)
			}
			rows[i] = append(rows[i], m)
			fmt.Printf("round %d, the store %s: p50 %.0f µs, p99 %.0f µs, at most %.0f µs\n", round+1, phase.name, m.p50, m.p99, m.most)
		}
	}
	fmt.Fprintf(report, "\nA gateway whose store fails, %.0f requests/s, of which one in %d is a first sight. What happens to the store happens as the counted time "+
		"begins; the differences are to when it answers, within the round.\n\n", b.rate, newcomerOf)
	fmt.Fprintf(report, "| the store | p50 µs | added | p99 µs | added | longest µs |\n|---|---|---|---|---|---|\n")
	for i, phase := range phases {
		r, p50Added, p99Added := rows[i], "", ""
		if i > 0 {
			p50Added, p99Added = added(r, rows[0], p50, 0), added(r, rows[0], p99, 0)
		}
		fmt.Fprintf(report, "| %s | %s | %s | %s | %s | %s |\n", phase.name, spread(r, p50, 0), p50Added, spread(r, p99, 0), p99Added, spread(r, most, 0))
	}
	return nil
}

// awaitWhole waits until a gateway's store answers and knows what the gateway has.
func (g *gateway) awaitWhole(ctx context.Context) error {
	deadline, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		var status struct {
			Store struct{ Answers, Telling bool }
		}
		resp, err := http.Get("http://" + g.admin.String() + "/api/v1/status")
		if err == nil {
			err = json.NewDecoder(resp.Body).Decode(&status)
			resp.Body.Close()
		}
		if err == nil && status.Store.Answers && !status.Store.Telling {
			return nil
		}
		select {
		case <-deadline.Done():
			return errors.Join(errors.New("the gateway has not found its store again within a minute"), err, ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}
