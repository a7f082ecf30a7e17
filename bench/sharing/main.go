//go:build linux

// Command sharing measures what it costs gateways to share their sessions in a Redis: CPU time and latency of a request against a gateway
// without a store, for users that the gateway knows and for users that it sees for the first time; what the store has to do for them;
// what a store that stops answering, or is killed, does to latencies; and the memory and the traffic of three gateways with many sessions.
// It prints a report.
//
// What is compared takes turns in short runs, on processes that live as long as the comparison, and the difference is taken within each round:
// on a machine that others use as well the median of these differences says more than two long runs.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/remora-proxy/remora/bench/child"
	"github.com/remora-proxy/remora/bench/measure"
	"github.com/remora-proxy/remora/bench/peers"
)

// options are the flags.
type options struct {
	rounds  int
	seconds int
	rate    float64
	many    int
	fill    float64
}

func main() {
	var o options
	flag.IntVar(&o.rounds, "rounds", 7, "rounds; within a round, what is compared takes turns")
	flag.IntVar(&o.seconds, "seconds", 3, "length of a run in seconds; half a second before it is not counted")
	flag.Float64Var(&o.rate, "rate", 1000, "requests per second: so few that the machine is idle for some of the time")
	flag.IntVar(&o.many, "sessions", 300_000, "sessions of the three gateways together; 0 leaves that out")
	flag.Float64Var(&o.fill, "fill", 6000, "requests per second with which these are made")
	measure.Main("sharing", "bench/results/sharing.md", func(ctx context.Context, at measure.Place) (string, error) { return run(ctx, o, at) })
}

func run(ctx context.Context, o options, at measure.Place) (string, error) {
	b := &bench{options: o, Place: at}
	if err := b.startReplicas(); err != nil {
		return "", err
	}
	defer b.replicas.Stop()
	var report strings.Builder
	fmt.Fprintf(&report, "# Sessions shared in a Redis, %s\n\n", time.Now().UTC().Format("2006-01-02"))
	for _, part := range []func(context.Context, *strings.Builder) error{b.cost, b.outages, b.crowd} {
		if err := part(ctx, &report); err != nil {
			return report.String(), err
		}
	}
	return report.String(), nil
}

// bench is a measurement in progress.
type bench struct {
	options
	measure.Place
	replicas *child.Child
	services []peers.Service
	seen     int // newcomers that there were
}

// idle is the sessions' idle time, but for those that are to last.
const idle = time.Minute

var local = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// freeAddr is an address that nobody listens on.
func freeAddr() (netip.AddrPort, error) {
	port, err := child.FreePort(local)
	return netip.AddrPortFrom(local, port), err
}

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
	b.services = peers.UseCase(port)
	command, err := peers.Backends.Prepare(peers.Setup{Dir: b.Dir, Root: b.Root, Services: b.services})
	if err != nil {
		return err
	}
	if b.replicas, err = child.Start(command, "replicas", b.Dir, -1); err != nil {
		return err
	}
	if err := b.replicas.AwaitListening(b.services[0].Replicas[0].Addr); err != nil {
		b.replicas.Stop()
		return err
	}
	return nil
}

// gateway is one that runs.
type gateway struct {
	*child.Child
	listen, admin netip.AddrPort
}

// start starts a gateway, with a store where there is one.
func (b *bench) start(name string, store *redis, idle time.Duration) (*gateway, error) {
	g := &gateway{}
	var errs []error
	for _, to := range []*netip.AddrPort{&g.listen, &g.admin} {
		addr, err := freeAddr()
		*to = addr
		errs = append(errs, err)
	}
	policy, err := b.policy(idle)
	if err := errors.Join(append(errs, err)...); err != nil {
		return nil, err
	}
	s := peers.Setup{Dir: b.Dir, Root: b.Root, Listen: g.listen, Admin: g.admin, Services: b.services}
	remora, err := peers.Named([]string{"remora"})
	if err != nil {
		return nil, err
	}
	command, err := remora[0].Prepare(s)
	if err != nil {
		return nil, err
	}
	for i, arg := range command.Args {
		if filepath.Base(arg) == "affinitypolicy.yaml" {
			command.Args[i] = policy
		}
	}
	if store != nil {
		command.Args = append(command.Args, "--store", "redis://"+store.addr.String())
	}
	if g.Child, err = child.Start(command, name, b.Dir, -1); err != nil {
		return nil, err
	}
	if err := g.AwaitOK("http://" + g.admin.String() + "/readyz"); err != nil {
		g.Stop()
		return nil, err
	}
	return g, nil
}

// policy writes the use case's AffinityPolicy with an idle time.
func (b *bench) policy(idle time.Duration) (string, error) {
	text, err := os.ReadFile(filepath.Join(b.Root, "examples/hit-backend/affinitypolicy.yaml"))
	if err != nil {
		return "", err
	}
	path := filepath.Join(b.Dir, "policy-"+idle.String()+".yaml")
	return path, os.WriteFile(path, append(text, "  idleTimeout: "+idle.String()+"\n"...), 0o600)
}
