//go:build linux

package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/remora-proxy/remora/bench/asenvoy"
	"github.com/remora-proxy/remora/bench/figures"
	"github.com/remora-proxy/remora/bench/peers"
)

// hold is how long a replica takes for a response.
const hold = 200 * time.Microsecond

// growth measures a processor with few and with many routes and endpoints.
func (b *bench) growth(ctx context.Context, report *strings.Builder) error {
	sizes := []int{0, b.many}
	type row struct{ busy, calm, p50, p99, memory []float64 }
	rows := make([]row, len(sizes))
	for round := range b.rounds {
		for i, n := range sizes {
			if err := ctx.Err(); err != nil {
				return err
			}
			p, err := b.start("processor", n)
			if err != nil {
				return err
			}
			c := asenvoy.Config{InFlight: inFlight, Hold: hold, Warmup: time.Second, Duration: time.Duration(b.seconds) * time.Second, Seed: uint64(round)}
			busy, err := load(c, p)
			if err == nil {
				var calm measured
				c.Rate = modest
				calm, err = load(c, p)
				rows[i].calm = append(rows[i].calm, figures.Micros(calm.cpu))
				rows[i].p50 = append(rows[i].p50, figures.Micros(calm.result.Percentile(50)))
				rows[i].p99 = append(rows[i].p99, figures.Micros(calm.result.Percentile(99)))
			}
			memory, memoryErr := p.Memory()
			p.Stop()
			if err != nil || memoryErr != nil {
				return fmt.Errorf("with %d services more: %v, %v", n, err, memoryErr) //nolint:errorlint // either may be nil
			}
			rows[i].busy = append(rows[i].busy, figures.Micros(busy.cpu))
			rows[i].memory = append(rows[i].memory, float64(memory)/(1<<20))
			fmt.Printf("round %d, %d services more: %.1f µs/request at %.0f/s\n", round+1, n, figures.Micros(busy.cpu), float64(busy.result.Requests)/busy.result.Seconds)
		}
	}
	fmt.Fprintf(report, "Two messages for each request, with its headers and with its body of %d bytes; 1,000 users, 3 services. Medians of %d rounds of %d s; in parentheses the lowest and the highest.\n\n",
		peers.BodyBytes, b.rounds, b.seconds)
	fmt.Fprintf(report, "| routes | endpoints | CPU µs/request, %d in flight | CPU µs/request, %.0f/s | p50 µs | p99 µs | memory MiB |\n|---|---|---|---|---|---|---|\n", inFlight, modest)
	for i, n := range sizes {
		r := rows[i]
		fmt.Fprintf(report, "| %d | %d | %s | %s | %s | %s | %s |\n", 3+n, 6+n*peers.ManyEndpoints, figures.Spread(r.busy, 1), figures.Spread(r.calm, 1), figures.Spread(r.p50, 1), figures.Spread(r.p99, 1), figures.Spread(r.memory, 1))
	}
	return nil
}

// bears sends a rate to two processors for a while and looks at their memory.
func (b *bench) bears(ctx context.Context, report *strings.Builder) error {
	var ps []*processor
	for i := range 2 {
		p, err := b.start(fmt.Sprintf("processor-%d", i), 0)
		if err != nil {
			return err
		}
		defer p.Stop()
		ps = append(ps, p)
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	samples := make(chan []int, 1)
	go func() { samples <- watch(ctx, ps, time.Duration(b.minute)*time.Second/6) }()
	m, err := load(asenvoy.Config{Rate: b.rate, Hold: hold, Warmup: time.Second, Duration: time.Duration(b.minute) * time.Second}, ps...)
	stop()
	memory := <-samples
	if err != nil {
		return fmt.Errorf("at %.0f requests/s: %w", b.rate, err)
	}
	var texts []string
	for _, bytes := range memory {
		texts = append(texts, fmt.Sprintf("%.1f", float64(bytes)/(1<<20)))
	}
	fmt.Fprintf(report, "\n%.0f requests/s through two processors for %d s: %d requests, no error, %.1f CPU µs/request, p50 %.0f µs, p99 %.0f µs; memory of both together, MiB, a sixth of the time apart: %s.\n",
		float64(m.result.Requests)/m.result.Seconds, b.minute, m.result.Requests, figures.Micros(m.cpu), figures.Micros(m.result.Percentile(50)), figures.Micros(m.result.Percentile(99)), strings.Join(texts, ", "))
	return nil
}

// watch reads the memory of processors until ctx ends.
func watch(ctx context.Context, ps []*processor, every time.Duration) (samples []int) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		sum := 0
		for _, p := range ps {
			n, err := p.Memory()
			if err != nil {
				return samples
			}
			sum += n
		}
		samples = append(samples, sum)
		select {
		case <-ctx.Done():
			return samples
		case <-tick.C:
		}
	}
}
