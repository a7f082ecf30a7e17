//go:build linux

package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/remora-proxy/remora/bench/figures"
	"github.com/remora-proxy/remora/bench/load"
	"github.com/remora-proxy/remora/bench/peers"
)

const (
	connections = 32
	warmup      = 500 * time.Millisecond
)

// newcomers are requests of n users whom nobody has seen.
func (b *bench) newcomers(n int) [][]byte {
	requests := make([][]byte, n)
	services := peers.UseCase(0)
	for i := range requests {
		body := fmt.Sprintf(`{"username":"newcomer-%08d","target":%q}`, b.seen+i, services[i%len(services)].Name)
		requests[i] = fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", peers.Path, len(body), body)
	}
	b.seen += n
	return requests
}

// aRun is as many requests as a run sends, and some more.
func (b *bench) aRun() int { return int(b.rate * (float64(b.seconds) + 1)) }

// know has a gateway see all known users.
func (b *bench) know(g *gateway) error {
	requests := peers.Requests(false)
	_, err := load.Run(load.Config{
		To: g.listen, Rate: 2 * b.rate, Duration: time.Duration(1.1 * float64(len(requests)) / (2 * b.rate) * float64(time.Second)),
		Connections: connections, Requests: requests, CPU: -1, AfterWarmup: func() {}, AtEnd: func() {},
	})
	return err
}

// measured is what one run says, for each request. Times are in microseconds.
type measured struct{ gateway, store, commands, p50, p99, most float64 }

// load sends requests to a gateway, and calls begun as the counted time begins. A store that is nil is not measured.
func (b *bench) load(g *gateway, store *redis, requests [][]byte, begun func()) (m measured, err error) {
	var gatewayCPU, storeCPU [2]time.Duration
	var commands [2]float64
	var errs []error
	read := func(i int) {
		var err error
		gatewayCPU[i], err = g.Ran()
		errs = append(errs, err)
		if store == nil {
			return
		}
		storeCPU[i], err = store.Ran()
		errs = append(errs, err)
		info, err := store.info()
		commands[i] = info["total_commands_processed"]
		errs = append(errs, err)
	}
	result, err := load.Run(load.Config{
		To: g.listen, Rate: b.rate, Warmup: warmup, Duration: time.Duration(b.seconds) * time.Second, Connections: connections, Requests: requests, CPU: -1,
		AfterWarmup: func() {
			read(0)
			begun()
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
	return measured{
		gateway: figures.Micros(gatewayCPU[1]-gatewayCPU[0]) / float64(n), store: figures.Micros(storeCPU[1]-storeCPU[0]) / float64(n),
		commands: (commands[1] - commands[0]) / float64(n),
		p50:      figures.Micros(result.Percentile(50)), p99: figures.Micros(result.Percentile(99)), most: figures.Micros(result.Latencies[n-1]),
	}, nil
}

// column is one figure of all rounds.
func column(rounds []measured, of func(measured) float64) []float64 {
	values := make([]float64, len(rounds))
	for i, m := range rounds {
		values[i] = of(m)
	}
	return values
}

// The figures of a run.
func gatewayCPU(m measured) float64 { return m.gateway }
func storeCPU(m measured) float64   { return m.store }
func commands(m measured) float64   { return m.commands }
func p50(m measured) float64        { return m.p50 }
func p99(m measured) float64        { return m.p99 }
func most(m measured) float64       { return m.most }
