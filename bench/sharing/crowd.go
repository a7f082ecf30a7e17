//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/remora-proxy/remora/bench/load"
)

// crowd has three gateways share many sessions.
func (b *bench) crowd(ctx context.Context, report *strings.Builder) error {
	if b.many == 0 {
		return nil
	}
	store, err := b.startRedis()
	if err != nil {
		return err
	}
	defer store.Stop()
	var gs []*gateway
	for i := range 3 {
		g, err := b.start(fmt.Sprintf("gateway-%d", i), store, time.Hour)
		if err != nil {
			return err
		}
		defer g.Stop()
		gs = append(gs, g)
	}
	empty, err := store.info()
	if err != nil {
		return err
	}
	const piece = 30_000
	var requests [][]byte
	made := 0
	for ; made < b.many; made += piece { // in pieces, or the requests would take more memory than the sessions
		if err := ctx.Err(); err != nil {
			return err
		}
		requests = b.newcomers(piece)
		if err := b.send(gs, b.fill, piece, func(i int) [][]byte { return requests[i*piece/len(gs) : (i+1)*piece/len(gs)] }); err != nil {
			return err
		}
		fmt.Printf("%d sessions\n", made+piece)
	}
	full, err := store.info()
	if err != nil {
		return err
	}
	began := time.Now()
	if err := b.send(gs, b.rate, int(b.rate)*b.seconds, func(int) [][]byte { return requests }); err != nil {
		return err
	}
	took := time.Since(began).Seconds()
	after, err := store.info()
	if err != nil {
		return err
	}
	var memory []string
	for _, g := range gs {
		n, err := g.Memory()
		if err != nil {
			return err
		}
		memory = append(memory, fmt.Sprintf("%.0f", float64(n)/(1<<20)))
	}
	per := func(name string) float64 { return (after[name] - full[name]) / took }
	fmt.Fprintf(report, "\nThree gateways with %d sessions, each made through one of them: %.0f bytes of the store's memory a session; the gateways' resident memory %s MiB.\n",
		made, (full["used_memory"]-empty["used_memory"])/float64(made), strings.Join(memory, ", "))
	fmt.Fprintf(report, "With %.0f requests/s of %d of the users, who alternate between the gateways, the store does %.0f commands/s, takes in %.0f kB/s and sends %.0f kB/s.\n",
		b.rate, piece, per("total_commands_processed"), per("total_net_input_bytes")/1000, per("total_net_output_bytes")/1000)
	return nil
}

// send sends n requests to the gateways at once, to each of them its own.
func (b *bench) send(gs []*gateway, rate float64, n int, requests func(i int) [][]byte) error {
	errs := make([]error, len(gs))
	var wg sync.WaitGroup
	for i, g := range gs {
		wg.Go(func() {
			_, errs[i] = load.Run(load.Config{
				To: g.listen, Rate: rate / float64(len(gs)), Duration: time.Duration(float64(n) / rate * 1.05 * float64(time.Second)), Connections: connections,
				Requests: requests(i), Seed: uint64(i), CPU: -1, AfterWarmup: func() {}, AtEnd: func() {},
			})
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}
