// Package endpoints finds the replicas of services where their addresses are not written in the configuration: it asks DNS
// for the hosts of ServiceEntries with resolution DNS, again and again, and tells when an answer has changed. It knows host
// names and addresses, and neither services, ports nor sessions; what an address means is for its callers.
//
// Endpoints from files come with the configuration (package config).
package endpoints

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// The bounds of a Resolver.
const (
	MaxHosts     = 4096 // names that are asked for
	MaxAddresses = 1024 // of one name: the first in the order of addresses
	parallel     = 16   // questions at a time
)

// The defaults of a Resolver.
const (
	DefaultInterval = 5 * time.Second
	DefaultTimeout  = 5 * time.Second
)

// Lookup asks for the addresses of a host; net.Resolver is one.
type Lookup interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Resolver keeps the addresses of hosts up to date. A host whose question fails keeps the addresses of its last answer: a
// replica that is gone is found out by connecting to it, while a DNS server that is down must not take every replica away.
// For the same reason an answer without addresses counts as a failure.
//
// Go's resolver does not give the time to live of an answer, so every name is asked for at a fixed interval.
//
// The fields are set before the first call of a method.
type Resolver struct {
	Lookup   Lookup        // nil: net.DefaultResolver
	Interval time.Duration // from the end of one round of questions to the start of the next; 0: DefaultInterval
	Timeout  time.Duration // of one question; 0: DefaultTimeout
	// Failed is told when a host cannot be resolved (err is not nil) after it could, or for the first time, and when it can be again (nil).
	// kept is how many addresses it has. Calls come one at a time.
	Failed func(host string, err error, kept int)

	mu    sync.Mutex
	hosts map[string]*host
	say   sync.Mutex // held while Failed is called
}

// host is what is known of one name.
type host struct {
	addrs []netip.Addr // sorted, no duplicates; never edited, only replaced
	err   error        // of the last question
	asked bool
	at    time.Time // of the last answer
}

// State is a host as it is shown to people.
type State struct {
	Host      string
	Addresses []netip.Addr
	Err       error     // why the last question had no answer
	Answered  time.Time // when the addresses were given last; the zero value: never
}

// Add begins to keep hosts up to date, and returns when each that is new has been asked for once, or when ctx is done. That
// some have no answer is no error: they are told to Failed, and asked for again.
func (r *Resolver) Add(ctx context.Context, hosts []string) error {
	r.mu.Lock()
	if r.hosts == nil {
		r.hosts = make(map[string]*host)
	}
	var fresh []string
	for _, name := range hosts {
		if h := r.hosts[name]; h == nil || !h.asked {
			fresh = append(fresh, name)
		}
	}
	slices.Sort(fresh)
	fresh = slices.Compact(fresh)
	added := 0
	for _, name := range fresh {
		if r.hosts[name] == nil {
			added++
		}
	}
	if have := len(r.hosts); have+added > MaxHosts {
		r.mu.Unlock()
		return fmt.Errorf("%d host names are to be resolved by DNS, at most %d can be", have+added, MaxHosts)
	}
	for _, name := range fresh {
		if r.hosts[name] == nil {
			r.hosts[name] = &host{}
		}
	}
	r.mu.Unlock()
	r.ask(ctx, fresh)
	return ctx.Err()
}

// Retain forgets all hosts but these.
func (r *Resolver) Retain(hosts []string) {
	keep := make(map[string]bool, len(hosts))
	for _, name := range hosts {
		keep[name] = true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.hosts, func(name string, _ *host) bool { return !keep[name] })
}

// Addresses gives the addresses of a host, sorted; none when it is not kept or has never had an answer. The slice must not
// be edited. Where a host has IPv4 addresses its IPv6 ones are left out, as Istio does outside of dual-stack clusters.
func (r *Resolver) Addresses(name string) []netip.Addr {
	r.mu.Lock()
	defer r.mu.Unlock()
	if h := r.hosts[name]; h != nil {
		return h.addrs
	}
	return nil
}

// States lists all hosts by name.
func (r *Resolver) States() []State {
	r.mu.Lock()
	defer r.mu.Unlock()
	states := make([]State, 0, len(r.hosts))
	for _, name := range r.names() {
		h := r.hosts[name]
		states = append(states, State{Host: name, Addresses: h.addrs, Err: h.err, Answered: h.at})
	}
	return states
}

// names lists the hosts in order. The caller holds r.mu.
func (r *Resolver) names() []string {
	return slices.Sorted(maps.Keys(r.hosts))
}

// Run asks for all hosts at each interval until ctx is done, and calls changed after a round in which the addresses of any
// have changed. Addresses that Add found are not told: its caller has them.
func (r *Resolver) Run(ctx context.Context, changed func()) {
	interval := r.Interval
	if interval <= 0 {
		interval = DefaultInterval
	}
	timer := time.NewTimer(interval)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		r.mu.Lock()
		names := r.names()
		r.mu.Unlock()
		if r.ask(ctx, names) && ctx.Err() == nil {
			changed()
		}
		timer.Reset(interval)
	}
}

// ask asks for the hosts, several at a time, and reports whether the addresses of any have changed.
func (r *Resolver) ask(ctx context.Context, names []string) (changed bool) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, parallel)
	var mu sync.Mutex
	for _, name := range names {
		if ctx.Err() != nil {
			break
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if r.askOne(ctx, name) {
				mu.Lock()
				changed = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return changed
}

var errNoAddress = errors.New("the answer has no address")

func (r *Resolver) askOne(ctx context.Context, name string) (changed bool) {
	lookup, timeout := r.Lookup, r.Timeout
	if lookup == nil {
		lookup = net.DefaultResolver
	}
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	within, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	addrs, err := lookup.LookupNetIP(within, "ip", name)
	if ctx.Err() != nil {
		return false // given up by the caller, which says nothing about the host
	}
	if addrs = tidy(addrs); err == nil && len(addrs) == 0 {
		err = errNoAddress
	}
	return r.answer(name, addrs, err)
}

// answer notes the answer for a host, and tells Failed when the host has begun or ceased to fail.
func (r *Resolver) answer(name string, addrs []netip.Addr, err error) (changed bool) {
	r.say.Lock()
	defer r.say.Unlock()
	r.mu.Lock()
	h := r.hosts[name]
	if h == nil { // not retained
		r.mu.Unlock()
		return false
	}
	turned := (err != nil) != (h.err != nil)
	h.err, h.asked = err, true
	if err == nil {
		changed = !slices.Equal(addrs, h.addrs)
		h.addrs, h.at = addrs, time.Now()
	}
	kept := len(h.addrs)
	r.mu.Unlock()
	if turned && r.Failed != nil {
		r.Failed(name, err, kept)
	}
	return changed
}

// tidy sorts addresses, so that an order that changes with every answer is no change, and bounds them.
func tidy(addrs []netip.Addr) []netip.Addr {
	all := make([]netip.Addr, 0, len(addrs))
	has4 := false
	for _, a := range addrs {
		a = a.Unmap()
		has4 = has4 || a.Is4()
		all = append(all, a)
	}
	if has4 {
		all = slices.DeleteFunc(all, func(a netip.Addr) bool { return !a.Is4() })
	}
	slices.SortFunc(all, netip.Addr.Compare)
	all = slices.Compact(all)
	return all[:min(len(all), MaxAddresses)]
}
