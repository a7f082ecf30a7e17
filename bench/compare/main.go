//go:build linux

// Command compare measures Remora beside the proxies that people use for the same thing today, doing the same work on the
// same machine in turn, and prints a table. What it measures, and what that is good for, is in bench/README.md. It knows the
// peers only through package peers, and Remora only as one of them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/remora-proxy/remora/bench/peers"
)

// options are the flags.
type options struct {
	peers    string
	rounds   int
	seconds  int
	warmup   int
	rate     float64
	conns    int
	pin      bool
	out      string
	keepLogs bool
}

func main() {
	// A child dies with the thread that started it (see child.Start), so all are started by this one, which lives as long as main.
	runtime.LockOSThread()
	var o options
	flag.StringVar(&o.peers, "peers", "haproxy,nginx,envoy,remora,envoy-header,envoy-remora", "peers to measure, in this order; one that is not on the machine is an error")
	flag.IntVar(&o.rounds, "rounds", 3, "rounds; within a round the peers take turns, and the table has medians over the rounds")
	flag.IntVar(&o.seconds, "seconds", 6, "length of a run in seconds")
	flag.IntVar(&o.warmup, "warmup", 2, "seconds of load before each run that are not counted")
	flag.Float64Var(&o.rate, "rate", 0, "requests per second of the latency runs (default: half of what the slowest peer can do)")
	flag.IntVar(&o.conns, "connections", 32, "connections of the load")
	flag.BoolVar(&o.pin, "pin", true, "give the proxy one core, and the load and the replicas another")
	flag.StringVar(&o.out, "out", "bench/results/latest.md", "file for the table, from the repository's root; empty: print only")
	flag.BoolVar(&o.keepLogs, "keep", false, "keep the folder with the peers' configurations and logs, and say where it is")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "compare:", err)
		stop()
		os.Exit(1)
	}
}

// run measures all peers and prints the table.
func run(ctx context.Context, o options) error {
	chosen, err := peers.Named(strings.Split(o.peers, ","))
	if err != nil {
		return err
	}
	if o.rounds < 1 || o.seconds < 1 || o.warmup < 0 || o.conns < 1 {
		return errors.New("-rounds, -seconds and -connections are at least 1, and -warmup at least 0")
	}
	if o.pin && runtime.NumCPU() < 2 {
		return errors.New("two cores are needed to keep the proxy and the load apart; -pin=false measures without that, at the price of more noise")
	}
	root, err := repository()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "remora-compare-")
	if err != nil {
		return err
	}
	if o.keepLogs {
		fmt.Println("configurations and logs are in", dir)
	} else {
		defer os.RemoveAll(dir) //nolint:errcheck // it is in the system's folder for what may be lost
	}
	b := &bench{options: o, root: root, dir: dir, peers: chosen, results: map[string]*result{}}
	if err := b.measure(ctx); err != nil {
		return err
	}
	report := b.report(time.Now())
	fmt.Print("\n", report)
	if o.out == "" {
		return nil
	}
	return os.WriteFile(filepath.Join(root, o.out), []byte(report), 0o644)
}

// repository is the root of this repository: the folder with go.mod above the working directory.
func repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("run it inside the repository, best by make bench")
		}
		dir = filepath.Dir(dir)
	}
}
