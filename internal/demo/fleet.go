package demo

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/remora-proxy/remora/internal/samplebackend"
)

// replica is one replica of the sample service that runs, and its place in the configuration.
type replica struct {
	endpoint
	running
	began time.Time // when it was ready
}

// fleet is the replicas of all services. What it starts beyond the example's replicas, or in place of one, it writes into the
// configuration.
type fleet struct {
	config   *configuration
	start    func(endpoint) (running, error)
	replicas []*replica
}

// startAll starts the replicas of the example.
func (f *fleet) startAll(ctx context.Context) error {
	all, err := f.config.list()
	if err != nil {
		return err
	}
	for _, e := range all {
		if _, err := f.launch(e); err != nil {
			return err
		}
	}
	for _, r := range f.replicas {
		if err := r.untilReady(ctx); err != nil {
			return err
		}
	}
	return nil
}

// launch starts a replica and does not wait for it.
func (f *fleet) launch(e endpoint) (*replica, error) {
	p, err := f.start(e)
	if err != nil {
		return nil, err
	}
	r := &replica{endpoint: e, running: p}
	f.replicas = append(f.replicas, r)
	return r, nil
}

// add starts more replicas of a service, and enters them into the EndpointSlice when all are ready.
func (f *fleet) add(ctx context.Context, service string, n int) ([]*replica, error) {
	addrs, err := f.config.next(service, n)
	if err != nil {
		return nil, err
	}
	var added []endpoint
	for _, addr := range addrs {
		added = append(added, endpoint{service: service, addr: addr})
	}
	return f.enter(ctx, added)
}

// replace starts another replica at the address of one that has ended, as a cluster does.
func (f *fleet) replace(ctx context.Context, old *replica) (*replica, error) {
	f.forget(old)
	entered, err := f.enter(ctx, []endpoint{{service: old.service, addr: old.addr}})
	if err != nil {
		return nil, err
	}
	return entered[0], nil
}

func (f *fleet) enter(ctx context.Context, all []endpoint) ([]*replica, error) {
	var entered []*replica
	for i := range all {
		all[i].name, all[i].uid = samplebackend.NewReplicaName(all[i].service), rand.Text()
		r, err := f.launch(all[i])
		if err != nil {
			return nil, err
		}
		entered = append(entered, r)
	}
	for _, r := range entered {
		if err := r.untilReady(ctx); err != nil {
			return nil, err
		}
	}
	return entered, f.config.put(all...)
}

// withdraw takes replicas out of the EndpointSlice. They run on.
func (f *fleet) withdraw(replicas []*replica) error {
	var all []endpoint
	for _, r := range replicas {
		all = append(all, r.endpoint)
	}
	return f.config.remove(all...)
}

// end ends a replica that nobody knows any more.
func (f *fleet) end(r *replica) {
	r.Stop()
	f.forget(r)
}

func (f *fleet) forget(old *replica) {
	f.replicas = slices.DeleteFunc(f.replicas, func(r *replica) bool { return r == old })
}

// of is the replicas of a service.
func (f *fleet) of(service string) []*replica {
	return slices.DeleteFunc(slices.Clone(f.replicas), func(r *replica) bool { return r.service != service })
}

// stop ends all replicas.
func (f *fleet) stop() {
	var all sync.WaitGroup
	for _, r := range f.replicas {
		all.Go(r.Stop)
	}
	all.Wait()
}

// untilReady waits until the replica answers, under its own name.
func (r *replica) untilReady(ctx context.Context) error {
	if err := untilReady(ctx, r, r.healthy); err != nil {
		return fmt.Errorf("replica %s on %s: %w", r.name, r.addr, err)
	}
	r.began = time.Now()
	return nil
}

func (r *replica) healthy(ctx context.Context) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.addr.String()+"/healthz", http.NoBody)
	if err != nil {
		return false
	}
	resp, err := direct.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	var health struct {
		PodID string `json:"podId"`
	}
	return json.NewDecoder(resp.Body).Decode(&health) == nil && health.PodID == r.name
}

// direct is the client of replicas' health: one connection for each question, and no proxy from the environment.
var direct = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

// next is the addresses after the last one of a service.
func (c *configuration) next(service string, n int) ([]netip.AddrPort, error) {
	all, err := c.list()
	if err != nil {
		return nil, err
	}
	var last netip.AddrPort
	for _, e := range all {
		if e.service == service && (!last.IsValid() || last.Addr().Less(e.addr.Addr())) {
			last = e.addr
		}
	}
	if !last.IsValid() {
		return nil, fmt.Errorf("%s has no replica of %s", endpointsFile, service)
	}
	addrs := make([]netip.AddrPort, n)
	for i := range addrs {
		last = netip.AddrPortFrom(last.Addr().Next(), last.Port())
		addrs[i] = last
	}
	return addrs, nil
}
