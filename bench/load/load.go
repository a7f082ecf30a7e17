//go:build linux

// Package load sends requests at a fixed rate, whatever the server does, and measures each answer from the moment at which
// its request was due, not from when it could be sent: a server that stalls is charged for every request that would have
// arrived meanwhile (the mistake to leave that out is called coordinated omission). Arrivals are a Poisson process, as those
// of many independent users are.
//
// It is one thread around epoll and a timer of the kernel's, so that its own delay is some microseconds: Go's timers, which
// wait in whole milliseconds, would hide what is measured. It speaks as much HTTP/1.1 as the comparison needs: responses with
// a Content-Length on persistent connections. It knows no peer.
package load

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Config is one run.
type Config struct {
	To          netip.AddrPort // IPv4
	Rate        float64        // requests per second
	Warmup      time.Duration  // requests due in it are sent and not counted
	Duration    time.Duration  // what follows the warm-up
	Connections int
	Requests    [][]byte // sent in turn
	Seed        uint64   // of the arrivals: the same seed gives every peer the same ones
	CPU         int      // the core to run on; negative: any
	// AfterWarmup and AtEnd are called when the counted time begins, and when the last answer of it is there.
	AfterWarmup, AtEnd func()
}

// Result is what was measured.
type Result struct {
	Latencies []time.Duration // sorted, of the counted requests
	Late      time.Duration   // 99th percentile of how much later than due requests were sent, of those that found a free connection
}

// Percentile is the p-th percentile of the latencies, p from 0 to 100.
func (r Result) Percentile(p float64) time.Duration { return percentile(r.Latencies, p) }

func percentile(sorted []time.Duration, p float64) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(p/100*float64(len(sorted))))]
}

// maxBacklog bounds the requests that are due and not yet sent: this much time's worth of them.
const maxBacklog = 2 * time.Second

// Run sends the load and waits for the answers.
func Run(c Config) (Result, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if c.CPU >= 0 {
		var before, set unix.CPUSet
		set.Set(c.CPU)
		if err := errors.Join(unix.SchedGetaffinity(0, &before), unix.SchedSetaffinity(0, &set)); err != nil {
			return Result{}, fmt.Errorf("load: core %d: %w", c.CPU, err)
		}
		defer unix.SchedSetaffinity(0, &before) //nolint:errcheck // it was so before
	}
	g, err := newGenerator(c)
	if err != nil {
		return Result{}, err
	}
	defer g.close()
	if err := g.run(); err != nil {
		return Result{}, fmt.Errorf("load: %w", err)
	}
	slices.Sort(g.latencies)
	slices.Sort(g.late)
	return Result{Latencies: g.latencies, Late: percentile(g.late, 99)}, nil
}

// generator is a run in progress. Times are since its start.
type generator struct {
	Config
	start     time.Time
	random    *rand.Rand
	poll      *poller
	conns     []*conn
	idle      []*conn
	due       []time.Duration // requests that wait for a connection, oldest first
	next      time.Duration   // when the next request is due
	sent      int
	latencies []time.Duration
	late      []time.Duration
	warm      bool
}

func newGenerator(c Config) (*generator, error) {
	g := &generator{Config: c, random: rand.New(rand.NewPCG(c.Seed, c.Seed))}
	var err error
	if g.poll, err = newPoller(); err != nil {
		return nil, fmt.Errorf("load: %w", err)
	}
	for range c.Connections {
		fd, err := Dial(c.To)
		if err != nil {
			g.close()
			return nil, fmt.Errorf("load: connecting to %s: %w", c.To, err)
		}
		conn := &conn{fd: fd}
		g.conns = append(g.conns, conn)
		g.idle = append(g.idle, conn)
		if err := g.poll.add(conn.fd); err != nil {
			g.close()
			return nil, fmt.Errorf("load: %w", err)
		}
	}
	n := int(c.Rate * c.Duration.Seconds() * 1.1)
	g.latencies, g.late = make([]time.Duration, 0, n), make([]time.Duration, 0, n)
	return g, nil
}

func (g *generator) close() {
	for _, c := range g.conns {
		unix.Close(c.fd) //nolint:errcheck // nothing is left to be lost
	}
	g.poll.close()
}

// run is the loop: send what is due, wait for answers or for the next due time, take the answers.
func (g *generator) run() error {
	byFD := map[int]*conn{}
	for _, c := range g.conns {
		byFD[c.fd] = c
	}
	g.start = time.Now()
	end := g.Warmup + g.Duration
	for {
		now := time.Since(g.start)
		if !g.warm && now >= g.Warmup {
			g.warm = true
			g.AfterWarmup()
		}
		if err := g.arrivals(now, end); err != nil {
			return err
		}
		if err := g.send(now); err != nil {
			return err
		}
		if g.next >= end && len(g.due) == 0 && len(g.idle) == len(g.conns) {
			g.AtEnd()
			return nil
		}
		if now > end+10*time.Second {
			return fmt.Errorf("%d requests had no answer 10s after the end", len(g.conns)-len(g.idle))
		}
		ready, err := g.poll.wait(g.next - time.Since(g.start))
		if err != nil {
			return err
		}
		for _, fd := range ready {
			if err := g.receive(byFD[fd]); err != nil {
				return err
			}
		}
	}
}

// arrivals adds the requests that have become due. After the end, none are.
func (g *generator) arrivals(now, end time.Duration) error {
	for g.next <= now && g.next < end {
		g.due = append(g.due, g.next)
		g.next += time.Duration(g.random.ExpFloat64() / g.Rate * float64(time.Second))
	}
	if g.next >= end && g.next < end+time.Hour {
		g.next = end + time.Hour // nothing to wake up for
	}
	if len(g.due) > 0 && now-g.due[0] > maxBacklog {
		return fmt.Errorf("the server cannot keep up with %.0f requests/s: one waited %s for a free connection", g.Rate, maxBacklog)
	}
	return nil
}

// send puts due requests on idle connections.
func (g *generator) send(now time.Duration) error {
	n := min(len(g.due), len(g.idle))
	for _, due := range g.due[:n] {
		c := g.idle[len(g.idle)-1]
		g.idle = g.idle[:len(g.idle)-1]
		if due >= g.Warmup {
			g.late = append(g.late, now-due)
		}
		c.due = due
		if err := c.write(g.Requests[g.sent%len(g.Requests)]); err != nil {
			return err
		}
		g.sent++
	}
	g.due = g.due[:copy(g.due, g.due[n:])]
	return nil
}

// receive takes what arrived on a connection.
func (g *generator) receive(c *conn) error {
	if c == nil {
		return nil // the timer
	}
	whole, err := c.read()
	if err != nil || !whole {
		return err
	}
	if c.due >= g.Warmup {
		g.latencies = append(g.latencies, time.Since(g.start)-c.due)
	}
	g.idle = append(g.idle, c)
	return nil
}
