//go:build linux

// Command compare measures Remora beside the proxies that people use for the same thing today, doing the same work on the
// same machine in turn, and prints a table. What it measures, and what that is good for, is in bench/README.md. It knows the
// peers only through package peers, and Remora only as one of them.
package main

import (
	"context"
	"errors"
	"flag"
	"runtime"
	"strings"
	"time"

	"github.com/remora-proxy/remora/bench/measure"
	"github.com/remora-proxy/remora/bench/peers"
)

// options are the flags.
type options struct {
	peers   string
	rounds  int
	seconds int
	warmup  int
	rate    float64
	conns   int
	pin     bool
}

func main() {
	var o options
	flag.StringVar(&o.peers, "peers", "haproxy,nginx,envoy,remora,envoy-header,envoy-remora", "peers to measure, in this order; one that is not on the machine is an error")
	flag.IntVar(&o.rounds, "rounds", 3, "rounds; within a round the peers take turns, and the table has medians over the rounds")
	flag.IntVar(&o.seconds, "seconds", 6, "length of a run in seconds")
	flag.IntVar(&o.warmup, "warmup", 2, "seconds of load before each run that are not counted")
	flag.Float64Var(&o.rate, "rate", 0, "requests per second of the latency runs (default: half of what the slowest peer can do)")
	flag.IntVar(&o.conns, "connections", 32, "connections of the load")
	flag.BoolVar(&o.pin, "pin", true, "give the proxy one core, and the load and the replicas another")
	measure.Main("compare", "bench/results/latest.md", func(ctx context.Context, at measure.Place) (string, error) { return run(ctx, o, at) })
}

// run measures all peers and gives the table.
func run(ctx context.Context, o options, at measure.Place) (string, error) {
	chosen, err := peers.Named(strings.Split(o.peers, ","))
	if err != nil {
		return "", err
	}
	if o.rounds < 1 || o.seconds < 1 || o.warmup < 0 || o.conns < 1 {
		return "", errors.New("-rounds, -seconds and -connections are at least 1, and -warmup at least 0")
	}
	if o.pin && runtime.NumCPU() < 2 {
		return "", errors.New("two cores are needed to keep the proxy and the load apart; -pin=false measures without that, at the price of more noise")
	}
	b := &bench{options: o, Place: at, peers: chosen, results: map[string]*result{}}
	if err := b.measure(ctx); err != nil {
		return "", err
	}
	return b.report(time.Now()), nil
}
