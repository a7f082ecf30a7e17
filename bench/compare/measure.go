//go:build linux

package main

import (
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/remora-proxy/remora/bench/child"
	"github.com/remora-proxy/remora/bench/load"
	"github.com/remora-proxy/remora/bench/measure"
	"github.com/remora-proxy/remora/bench/peers"
)

// Cores, when they are kept apart.
const (
	proxyCore = 0
	loadCore  = 1
)

// bench is a comparison in progress.
type bench struct {
	options
	measure.Place
	peers     []peers.Peer
	setup     peers.Setup
	replicas  *child.Child
	scripts   map[bool]string // for wrk, by Peer.ByHeaders
	fixedRate float64         // of the latency runs
	versions  []string
	results   map[string]*result // by the peer's name
}

// result is what was measured of one peer, one element for each round.
type result struct {
	saturated []saturatedRun
	latency   []latencyRun
}

// saturatedRun is a run with wrk: every connection sends its next request when it has the answer to the last.
type saturatedRun struct {
	user, system time.Duration // CPU for each request, with that of the program beside the peer
	beside       time.Duration // of that program alone
	rate         float64       // requests per second
}

func (r saturatedRun) cpu() time.Duration { return r.user + r.system }

// own is what the peer itself used.
func (r saturatedRun) own() time.Duration { return r.cpu() - r.beside }

// latencyRun is a run at a fixed rate.
type latencyRun struct {
	cpu      time.Duration // for each request, with that of the program beside the peer
	beside   time.Duration // of that program alone
	p50, p99 time.Duration
	late     time.Duration // how late the load was sent, p99
}

// core is the core for the proxy or the load, or -1.
func (b *bench) core(core int) int {
	if b.pin {
		return core
	}
	return -1
}

// measure does everything but the table.
func (b *bench) measure(ctx context.Context) error {
	if err := b.printVersions(); err != nil {
		return err
	}
	if err := b.startReplicas(); err != nil {
		return err
	}
	defer b.replicas.Stop()
	if err := b.turns(ctx, "saturated", b.saturate); err != nil {
		return err
	}
	if b.fixedRate = b.rate; b.fixedRate <= 0 {
		b.fixedRate = b.halfOfTheSlowest()
	}
	return b.turns(ctx, fmt.Sprintf("at %.0f requests/s", b.fixedRate), b.holdRate)
}

// turns lets the peers take turns for every round.
func (b *bench) turns(ctx context.Context, what string, one func(context.Context, contestant, *result) (string, error)) error {
	for round := range b.rounds {
		for _, p := range b.peers {
			if err := ctx.Err(); err != nil {
				return fmt.Errorf("stopped: %w", err)
			}
			summary, err := b.turn(ctx, p, one)
			if err != nil {
				return fmt.Errorf("%s, %s: %w", p.Name, what, err)
			}
			fmt.Printf("round %d, %s, %-8s %s\n", round+1, what, p.Name+":", summary)
		}
	}
	return nil
}

// contestant is a peer in its turn.
type contestant struct {
	peers.Peer
	proxy, beside *child.Child // beside is nil where the peer is alone
}

// cpu is the CPU time of the peer and of the program beside it.
func (c contestant) cpu() (own, beside child.CPUTime, err error) {
	if own, err = c.proxy.CPU(); err != nil || c.beside == nil {
		return own, beside, err
	}
	beside, err = c.beside.CPU()
	return own, beside, err
}

// turn starts a peer, checks that it does the work, measures it and stops it.
func (b *bench) turn(ctx context.Context, p peers.Peer, one func(context.Context, contestant, *result) (string, error)) (string, error) {
	c := contestant{Peer: p}
	var err error
	if p.Beside != nil {
		if c.beside, err = b.start(*p.Beside, b.setup.Beside); err != nil {
			return "", err
		}
		defer c.beside.Stop()
	}
	if c.proxy, err = b.start(p, b.setup.Listen); err != nil {
		return "", err
	}
	defer c.proxy.Stop()
	if err := verify(ctx, b.setup, p.ByHeaders); err != nil {
		return "", fmt.Errorf("it does not do the work: %w", err)
	}
	if b.results[p.Name] == nil {
		b.results[p.Name] = &result{}
	}
	return one(ctx, c, b.results[p.Name])
}

// start starts a peer and waits until it takes connections.
func (b *bench) start(p peers.Peer, listens netip.AddrPort) (*child.Child, error) {
	command, err := p.Prepare(b.setup)
	if err != nil {
		return nil, err
	}
	c, err := child.Start(command, p.Name, b.Dir, b.core(proxyCore))
	if err != nil {
		return nil, err
	}
	if p.Ready != nil {
		err = c.AwaitOK(p.Ready(b.setup))
	} else {
		err = c.AwaitListening(listens)
	}
	if err != nil {
		c.Stop()
		return nil, err
	}
	return c, nil
}

// startReplicas finds free ports and starts what the proxies forward to.
func (b *bench) startReplicas() error {
	var addrs []netip.Addr
	for _, s := range peers.UseCase(0) {
		for _, r := range s.Replicas {
			addrs = append(addrs, r.Addr.Addr())
		}
	}
	port, err := child.FreePort(addrs...)
	if err != nil {
		return err
	}
	local := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	b.setup = peers.Setup{Dir: b.Dir, Root: b.Root, Services: peers.UseCase(port)}
	for _, to := range []*netip.AddrPort{&b.setup.Listen, &b.setup.Admin, &b.setup.Beside} {
		port, err := child.FreePort(local)
		if err != nil {
			return err
		}
		*to = netip.AddrPortFrom(local, port)
	}
	b.scripts = map[bool]string{}
	for _, byHeaders := range []bool{false, true} {
		if b.scripts[byHeaders], err = peers.WriteLoad(b.Dir, byHeaders); err != nil {
			return err
		}
	}
	command, err := peers.Backends.Prepare(b.setup)
	if err != nil {
		return err
	}
	if b.replicas, err = child.Start(command, peers.Backends.Name, b.Dir, b.core(loadCore)); err != nil {
		return err
	}
	if err := b.replicas.AwaitListening(b.setup.Services[0].Replicas[0].Addr); err != nil {
		b.replicas.Stop()
		return err
	}
	return nil
}

var wrkRequests = regexp.MustCompile(`(?m)^\s*(\d+) requests in ([0-9.]+)(m?s|m),`)

// saturate measures a run of wrk.
func (b *bench) saturate(ctx context.Context, c contestant, r *result) (string, error) {
	if b.warmup > 0 {
		if _, _, err := b.wrk(ctx, c, b.warmup); err != nil {
			return "", err
		}
	}
	own, beside, err := c.cpu()
	if err != nil {
		return "", err
	}
	requests, seconds, err := b.wrk(ctx, c, b.seconds)
	if err != nil {
		return "", err
	}
	ownAfter, besideAfter, err := c.cpu()
	if err != nil {
		return "", err
	}
	own, beside = ownAfter.Minus(own), besideAfter.Minus(beside)
	n := time.Duration(requests)
	run := saturatedRun{
		user: (own.User + beside.User) / n, system: (own.System + beside.System) / n, beside: (beside.User + beside.System) / n,
		rate: float64(requests) / seconds,
	}
	r.saturated = append(r.saturated, run)
	summary := fmt.Sprintf("%s µs/request (%s user, %s system), %.0f requests/s", micros(run.cpu()), micros(run.user), micros(run.system), run.rate)
	if c.beside != nil {
		summary += fmt.Sprintf("; %s µs are those of %s", micros(run.beside), c.Beside.What)
	}
	return summary, nil
}

// wrk runs wrk and returns the number of requests and the seconds that they took.
func (b *bench) wrk(ctx context.Context, c contestant, seconds int) (requests int, took float64, err error) {
	args := []string{"-t1", "-c" + strconv.Itoa(b.conns), "-d" + strconv.Itoa(seconds) + "s", "-s", b.scripts[c.ByHeaders], "http://" + b.setup.Listen.String() + peers.Path}
	program := "wrk"
	if core := b.core(loadCore); core >= 0 {
		program, args = "taskset", append([]string{"-c", strconv.Itoa(core), program}, args...)
	}
	out, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	if err != nil {
		return 0, 0, fmt.Errorf("wrk: %w; it printed: %s", err, out)
	}
	return parseWrk(string(out))
}

// parseWrk reads the number of requests from what wrk printed. Any error that wrk counted is an error: the figures would be
// of other work.
func parseWrk(out string) (requests int, took float64, err error) {
	m := wrkRequests.FindStringSubmatch(out)
	if m == nil || strings.Contains(out, "Socket errors") || strings.Contains(out, "Non-2xx") {
		return 0, 0, fmt.Errorf("wrk: not all requests were answered with 200; it printed: %s", out)
	}
	if requests, err = strconv.Atoi(m[1]); err != nil || requests == 0 {
		return 0, 0, fmt.Errorf("wrk: no requests; it printed: %s", out)
	}
	took, err = strconv.ParseFloat(m[2], 64)
	switch m[3] {
	case "ms":
		took /= 1000
	case "m":
		took *= 60
	}
	return requests, took, err
}

// holdRate measures a run at the fixed rate.
func (b *bench) holdRate(_ context.Context, c contestant, r *result) (string, error) {
	var before, after, besideBefore, besideAfter child.CPUTime
	var errBefore, errAfter error
	measured, err := load.Run(load.Config{
		To: b.setup.Listen, Rate: b.fixedRate, Connections: b.conns, Requests: peers.Requests(c.ByHeaders),
		Warmup: time.Duration(b.warmup) * time.Second, Duration: time.Duration(b.seconds) * time.Second,
		Seed: uint64(len(r.latency)) + 1, CPU: b.core(loadCore),
		AfterWarmup: func() { before, besideBefore, errBefore = c.cpu() },
		AtEnd:       func() { after, besideAfter, errAfter = c.cpu() },
	})
	for _, err := range []error{err, errBefore, errAfter} {
		if err != nil {
			return "", err
		}
	}
	own, beside := after.Minus(before), besideAfter.Minus(besideBefore)
	n := time.Duration(len(measured.Latencies))
	run := latencyRun{
		cpu: (own.User + own.System + beside.User + beside.System) / n, beside: (beside.User + beside.System) / n,
		p50: measured.Percentile(50), p99: measured.Percentile(99), late: measured.Late,
	}
	r.latency = append(r.latency, run)
	return fmt.Sprintf("p50 %s µs, p99 %s µs, %s µs CPU/request (load at most %s µs late at p99)", micros(run.p50), micros(run.p99), micros(run.cpu), micros(run.late)), nil
}
