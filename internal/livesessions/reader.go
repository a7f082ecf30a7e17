package livesessions

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// The bounds of one reading.
const (
	freshness = time.Second     // for which those who ask share a reading
	patience  = 5 * time.Second // with all gateways together
	atOnce    = 16              // gateways that are asked at a time
)

// Answer is what one gateway says.
type Answer struct {
	// Store names the store in which it shares its sessions with other gateways: each of them counts those of all. Empty: it shares them with
	// none.
	Store string
	Loads []Load
}

// Load is what one gateway says of one endpoint.
type Load struct {
	Service     string // as affinity.ServiceConfig.Name
	Addr        string // ip:port
	Incarnation string // the pod's uid
	Sessions    int
}

// Reader asks the gateways. Its fields are set before it is used, and not changed then.
type Reader struct {
	Gateways func(context.Context) ([]netip.AddrPort, error)
	Ask      func(context.Context, netip.AddrPort) (*Answer, error)

	once sync.Once
	turn chan struct{} // has room for one, who may read and use last
	last reading
}

type reading struct {
	at     time.Time // when it ended; zero: there is none
	counts *Counts
	err    error
}

// Read gives the counts, which may be a second old. Gateways are asked by one caller at a time, and for no longer than some seconds. The error
// says which gateway has not answered, or is that of ctx.
func (r *Reader) Read(ctx context.Context) (*Counts, error) {
	r.once.Do(func() { r.turn = make(chan struct{}, 1) })
	select {
	case r.turn <- struct{}{}:
		defer func() { <-r.turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if r.last.at.IsZero() || time.Since(r.last.at) >= freshness {
		// Others share what this caller reads, who may leave before that.
		reading, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		r.last.counts, r.last.err = r.read(reading)
		cancel()
		r.last.at = time.Now()
	}
	return r.last.counts, r.last.err
}

func (r *Reader) read(ctx context.Context) (*Counts, error) {
	gateways, err := r.Gateways(ctx)
	if err != nil {
		return nil, fmt.Errorf("find the gateways: %w", err)
	}
	if len(gateways) == 0 {
		return nil, errors.New("no gateway is ready, so nobody knows the sessions")
	}
	answers, errs := make([]*Answer, len(gateways)), make([]error, len(gateways))
	var asking sync.WaitGroup
	turns := make(chan struct{}, atOnce)
	for i, g := range gateways {
		turns <- struct{}{}
		asking.Go(func() {
			defer func() { <-turns }()
			answers[i], errs[i] = r.Ask(ctx, g)
		})
	}
	asking.Wait()
	silent := 0
	for i := range gateways {
		if errs[i] != nil {
			err = fmt.Errorf("%s: %w", gateways[i], errs[i])
			silent++
		}
	}
	if silent > 0 {
		return nil, fmt.Errorf("%d of %d gateways have not answered, and any number without theirs would be too small: %w", silent, len(gateways), err)
	}
	return count(time.Now(), answers), nil
}

// Counts is how many live sessions there are. It is not changed once it is given away.
type Counts struct {
	At time.Time

	pods     map[string]int
	services map[service]int
}

type service struct{ namespace, name string }

// endpoint is one that the gateways of a store have in common. A service may have an endpoint several times, with another address.
type endpoint struct {
	store, service, address, incarnation string
}

// count counts what gateways have said. What gateways of one store say of an endpoint are the same sessions, counted at different moments: the
// most counts. A pod may be an endpoint of several services, or of several subsets of one, which have sessions of their own.
func count(at time.Time, answers []*Answer) *Counts {
	c := &Counts{At: at, pods: map[string]int{}, services: map[service]int{}}
	common := map[endpoint]int{}
	for _, a := range answers {
		for _, l := range a.Loads {
			if a.Store == "" {
				c.add(l.Service, l.Incarnation, l.Sessions)
				continue
			}
			ep := endpoint{a.Store, l.Service, l.Addr, l.Incarnation}
			common[ep] = max(common[ep], l.Sessions)
		}
	}
	for ep, sessions := range common {
		c.add(ep.service, ep.incarnation, sessions)
	}
	return c
}

func (c *Counts) add(name, incarnation string, sessions int) {
	if incarnation != "" {
		c.pods[incarnation] += sessions
	}
	if s, is := serviceOf(name); is {
		c.services[s] += sessions
	}
}

// serviceOf is the Kubernetes Service that a service is a port or a subset of; is is false for a host of another kind.
func serviceOf(name string) (s service, is bool) {
	host, _, _ := strings.Cut(name, ":")
	parts := strings.SplitN(host, ".", 4)
	if len(parts) < 3 || parts[2] != "svc" {
		return service{}, false
	}
	return service{parts[1], parts[0]}, true
}

// Pod is how many sessions the pod with a uid has; known is false when no gateway has it among its endpoints.
func (c *Counts) Pod(uid string) (sessions int, known bool) {
	sessions, known = c.pods[uid]
	return sessions, known
}

// Service is how many sessions a Service has, those at its pods that drain included; known is false when no gateway knows an endpoint
// of it.
func (c *Counts) Service(namespace, name string) (sessions int, known bool) {
	sessions, known = c.services[service{namespace, name}]
	return sessions, known
}
