//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/remora-proxy/remora/bench/figures"
	"github.com/remora-proxy/remora/bench/load"
	"github.com/remora-proxy/remora/bench/peers"
)

const connections = 32

// newcomers are requests of users that nobody has seen, n of them from number `first` on.
func newcomers(first, n int) [][]byte {
	requests := make([][]byte, n)
	services := peers.UseCase(0)
	for i := range requests {
		body := fmt.Sprintf(`{"username":"newcomer-%08d","target":%q}`, first+i, services[i%len(services)].Name)
		requests[i] = fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", peers.Path, len(body), body)
	}
	return requests
}

// measured is what one run says, for each request.
type measured struct {
	gateway, store   time.Duration // CPU time
	commands, memory float64       // of the store; memory is the growth in bytes
	p50, p99, most   time.Duration
}

// load sends requests to a gateway.
func (b *bench) load(g *gateway, store *redis, requests [][]byte, during func()) (m measured, err error) {
	var cpu [2][2]time.Duration
	var info [2]map[string]float64
	var errs []error
	read := func(i int) {
		t, err := g.CPU()
		cpu[i][0] = t.Sum()
		errs = append(errs, err)
		if store == nil || during != nil {
			return
		}
		t, err = store.CPU()
		cpu[i][1] = t.Sum()
		errs = append(errs, err)
		info[i], err = store.info()
		errs = append(errs, err)
	}
	result, err := load.Run(load.Config{
		To: g.listen, Rate: b.rate, Warmup: time.Second, Duration: time.Duration(b.seconds) * time.Second, Connections: connections, Requests: requests, CPU: -1,
		AfterWarmup: func() {
			read(0)
			if during != nil {
				during()
			}
		},
		AtEnd: func() { read(1) },
	})
	if err := errors.Join(append(errs, err)...); err != nil {
		return m, err
	}
	n := len(result.Latencies)
	if n == 0 {
		return m, errors.New("no request was answered")
	}
	m.gateway, m.store = (cpu[1][0]-cpu[0][0])/time.Duration(n), (cpu[1][1]-cpu[0][1])/time.Duration(n)
	if info[0] != nil {
		m.commands = (info[1]["total_commands_processed"] - info[0]["total_commands_processed"]) / float64(n)
		m.memory = (info[1]["used_memory"] - info[0]["used_memory"]) / float64(n)
	}
	m.p50, m.p99, m.most = result.Percentile(50), result.Percentile(99), result.Latencies[n-1]
	return m, nil
}

// cost compares a gateway without and with a store.
func (b *bench) cost(ctx context.Context, report *strings.Builder) error {
	works := []struct {
		name     string
		requests func(round int) [][]byte
	}{
		{"known users", func(int) [][]byte { return peers.Requests(false) }},
		{"first sights", func(round int) [][]byte {
			n := int(b.rate * float64(b.seconds+2))
			return newcomers(round*n, n)
		}},
	}
	type row struct{ gateway, store, commands, p50, p99 []float64 }
	rows := make([][2]row, len(works))
	for round := range b.rounds {
		for w, work := range works {
			for with := range 2 {
				if err := ctx.Err(); err != nil {
					return err
				}
				m, err := b.once(with == 1, work.requests(round))
				if err != nil {
					return fmt.Errorf("%s: %w", work.name, err)
				}
				r := &rows[w][with]
				r.gateway, r.store = append(r.gateway, figures.Micros(m.gateway)), append(r.store, figures.Micros(m.store))
				r.commands = append(r.commands, m.commands)
				r.p50, r.p99 = append(r.p50, figures.Micros(m.p50)), append(r.p99, figures.Micros(m.p99))
				fmt.Printf("round %d, %s, store %v: %.1f µs/request, the store's %.1f µs, p50 %s, p99 %s\n", round+1, work.name, with == 1,
					figures.Micros(m.gateway), figures.Micros(m.store), m.p50, m.p99)
			}
		}
	}
	fmt.Fprintf(report, "One gateway, %.0f requests/s, open loop; 3,000 sessions of known users, or a user who was never seen before with each request. Medians of %d rounds of %d s; in parentheses the lowest and the highest.\n\n", b.rate, b.rounds, b.seconds)
	fmt.Fprintf(report, "| requests of | store | gateway, CPU µs/request | store, CPU µs/request | store, commands/request | p50 µs | p99 µs |\n|---|---|---|---|---|---|---|\n")
	for w, work := range works {
		for with, name := range []string{"none", "Redis"} {
			r := rows[w][with]
			fmt.Fprintf(report, "| %s | %s | %s | %s | %s | %s | %s |\n", work.name, name, figures.Spread(r.gateway, 1), figures.Spread(r.store, 1), figures.Spread(r.commands, 2), figures.Spread(r.p50, 0), figures.Spread(r.p99, 0))
		}
	}
	return nil
}

// once measures one gateway.
func (b *bench) once(with bool, requests [][]byte) (m measured, err error) {
	var store *redis
	if with {
		if store, err = b.startRedis(); err != nil {
			return m, err
		}
		defer store.Stop()
	}
	g, err := b.start("gateway", store, time.Minute)
	if err != nil {
		return m, err
	}
	defer g.Stop()
	return b.load(g, store, requests, nil)
}

// stopped measures what a store that does not answer does to the latency of first sights.
func (b *bench) stopped(ctx context.Context, report *strings.Builder) error {
	var rows [2]struct{ p50, p99, most []float64 }
	for round := range b.rounds {
		for i := range rows {
			if err := ctx.Err(); err != nil {
				return err
			}
			m, err := b.whileStopped(i == 1, newcomers(0, int(b.rate*float64(b.seconds+2))))
			if err != nil {
				return err
			}
			r := &rows[i]
			r.p50, r.p99, r.most = append(r.p50, figures.Micros(m.p50)), append(r.p99, figures.Micros(m.p99)), append(r.most, figures.Micros(m.most))
			fmt.Printf("round %d, first sights, store stopped %v: p50 %s, p99 %s, at most %s\n", round+1, i == 1, m.p50, m.p99, m.most)
		}
	}
	fmt.Fprintf(report, "\nFirst sights at %.0f requests/s while the store is stopped with SIGSTOP as the counted time begins, beside a gateway without a store:\n\n| store | p50 µs | p99 µs | longest µs |\n|---|---|---|---|\n", b.rate)
	for i, name := range []string{"none", "stopped"} {
		fmt.Fprintf(report, "| %s | %s | %s | %s |\n", name, figures.Spread(rows[i].p50, 0), figures.Spread(rows[i].p99, 0), figures.Spread(rows[i].most, 0))
	}
	return nil
}

func (b *bench) whileStopped(with bool, requests [][]byte) (m measured, err error) {
	var store *redis
	stop := func() {}
	if with {
		if store, err = b.startRedis(); err != nil {
			return m, err
		}
		defer store.Stop()
		defer store.Signal(syscall.SIGCONT)
		stop = func() { store.Signal(syscall.SIGSTOP) }
	}
	g, err := b.start("gateway", store, time.Minute)
	if err != nil {
		return m, err
	}
	defer g.Stop()
	return b.load(g, store, requests, stop)
}

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
		requests = newcomers(made, piece)
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
