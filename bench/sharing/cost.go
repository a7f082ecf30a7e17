//go:build linux

package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/remora-proxy/remora/bench/figures"
	"github.com/remora-proxy/remora/bench/peers"
)

// work is a kind of requests.
type work struct {
	name     string
	requests func() [][]byte
}

// cost compares a gateway without and with a store.
func (b *bench) cost(ctx context.Context, report *strings.Builder) error {
	store, err := b.startRedis()
	if err != nil {
		return err
	}
	defer store.Stop()
	stores := []*redis{nil, store}
	gateways := make([]*gateway, len(stores))
	for i, name := range []string{"alone", "sharing"} {
		if gateways[i], err = b.start(name, stores[i], idle); err != nil {
			return err
		}
		defer gateways[i].Stop()
		if err := b.know(gateways[i]); err != nil {
			return err
		}
	}
	works := []work{
		{"known users", func() [][]byte { return peers.Requests(false) }},
		{"first sights", func() [][]byte { return b.newcomers(b.aRun()) }},
	}
	rows := make([][2][]measured, len(works))
	for round := range b.rounds {
		for w, work := range works {
			for i, g := range gateways {
				if err := ctx.Err(); err != nil {
					return err
				}
				m, err := b.load(g, stores[i], work.requests(), func() {})
				if err != nil {
					return fmt.Errorf("%s: %w", work.name, err)
				}
				rows[w][i] = append(rows[w][i], m)
				fmt.Printf("round %d, %s, store %v: gateway %.1f µs/request, store %.1f µs, p50 %.0f µs, p99 %.0f µs\n", round+1, work.name, i == 1, m.gateway, m.store, m.p50, m.p99)
			}
		}
	}
	fmt.Fprintf(report, "A gateway without a store and one with it, %.0f requests/s, open loop: of 1,000 users who call three services and whose sessions the gateways have, "+
		"or of a user who was never seen before with each request. Medians of %d rounds of %d s; in parentheses the lowest and the highest, and behind the median "+
		"of the differences within a round their quartiles.\n\n", b.rate, b.rounds, b.seconds)
	fmt.Fprintf(report, "| requests of | store | gateway, CPU µs/request | store, CPU µs/request | store, commands/request | p50 µs | p99 µs |\n|---|---|---|---|---|---|---|\n")
	for w, work := range works {
		none, with := rows[w][0], rows[w][1]
		fmt.Fprintf(report, "| %s | none | %s | | | %s | %s |\n", work.name, spread(none, gatewayCPU, 1), spread(none, p50, 0), spread(none, p99, 0))
		fmt.Fprintf(report, "| | Redis | %s | %s | %s | %s | %s |\n", spread(with, gatewayCPU, 1), spread(with, storeCPU, 1), spread(with, commands, 2), spread(with, p50, 0), spread(with, p99, 0))
		fmt.Fprintf(report, "| | added | %s | | | %s | %s |\n", added(with, none, gatewayCPU, 1), added(with, none, p50, 0), added(with, none, p99, 0))
	}
	return nil
}

func spread(rounds []measured, of func(measured) float64, digits int) string {
	return figures.Spread(column(rounds, of), digits)
}

func added(with, without []measured, of func(measured) float64, digits int) string {
	return figures.Added(column(with, of), column(without, of), digits)
}
