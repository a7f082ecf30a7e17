//go:build linux

// Command processor measures remora extproc by itself, driven by a load that asks it as Envoy does (bench/asenvoy): what a request costs with
// few and with many routes and endpoints, and whether two processors bear a rate for a while with no error and flat memory. It
// prints a report. Envoy is not part of it: bench/compare has that.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/remora-proxy/remora/bench/asenvoy"
	"github.com/remora-proxy/remora/bench/child"
	"github.com/remora-proxy/remora/bench/measure"
	"github.com/remora-proxy/remora/bench/peers"
)

// options are the flags.
type options struct {
	rounds  int
	seconds int
	many    int
	rate    float64
	minute  int
}

// The rate at which a processor is looked at that has time to spare, and the requests in flight of one that has not.
const (
	modest   = 3000.0
	inFlight = 32
)

func main() {
	var o options
	flag.IntVar(&o.rounds, "rounds", 3, "rounds; within a round, few and many routes take turns")
	flag.IntVar(&o.seconds, "seconds", 4, "length of a run in seconds")
	flag.IntVar(&o.many, "many", 1000, "services that are there besides, each with a route and ten endpoints, where there are many")
	flag.Float64Var(&o.rate, "rate", 10000, "requests per second to two processors together")
	flag.IntVar(&o.minute, "hold", 60, "seconds for which they bear it; 0 leaves that out")
	measure.Main("processor", "bench/results/processor.md", func(ctx context.Context, at measure.Place) (string, error) { return run(ctx, o, at) })
}

func run(ctx context.Context, o options, at measure.Place) (string, error) {
	b := &bench{options: o, Place: at}
	var report strings.Builder
	fmt.Fprintf(&report, "# remora extproc by itself, %s\n\n", time.Now().UTC().Format("2006-01-02"))
	err := b.growth(ctx, &report)
	if err == nil && o.minute > 0 {
		err = b.bears(ctx, &report)
	}
	return report.String(), err
}

// bench is a measurement in progress.
type bench struct {
	options
	measure.Place
}

// processor is one that runs.
type processor struct {
	*child.Child
	addr netip.AddrPort
}

// start starts a processor with n services more than the three of the use case.
func (b *bench) start(name string, n int) (*processor, error) {
	local := netip.AddrFrom4([4]byte{127, 0, 0, 1})
	s := peers.Setup{Dir: b.Dir, Root: b.Root, Services: peers.UseCase(8080)}
	for _, to := range []*netip.AddrPort{&s.Beside, &s.Admin} {
		port, err := child.FreePort(local)
		if err != nil {
			return nil, err
		}
		*to = netip.AddrPortFrom(local, port)
	}
	var err error
	if s.More, err = peers.WriteMany(b.Dir, n); err != nil {
		return nil, err
	}
	command, err := peers.Processor.Prepare(s)
	if err != nil {
		return nil, err
	}
	c, err := child.Start(command, name, b.Dir, -1)
	if err != nil {
		return nil, err
	}
	if err := c.AwaitOK(peers.Processor.Ready(s)); err != nil {
		c.Stop()
		return nil, err
	}
	return &processor{c, s.Beside}, nil
}

// measured is what one run says.
type measured struct {
	cpu    time.Duration // for each request
	result asenvoy.Result
}

// load drives processors and measures their CPU time together.
func load(c asenvoy.Config, ps ...*processor) (m measured, err error) {
	var before, after time.Duration
	var errs []error
	read := func(sum *time.Duration) {
		for _, p := range ps {
			t, err := p.CPU()
			errs = append(errs, err)
			*sum += t.Sum()
		}
	}
	for _, p := range ps {
		c.To = append(c.To, p.addr)
	}
	c.Connections, c.CPU = 1, -1
	c.AfterWarmup, c.AtEnd = func() { read(&before) }, func() { read(&after) }
	m.result, err = asenvoy.Run(c)
	if err := errors.Join(append(errs, err)...); err != nil {
		return m, err
	}
	if m.result.Requests == 0 {
		return m, errors.New("no request was answered")
	}
	m.cpu = (after - before) / time.Duration(m.result.Requests)
	return m, nil
}
