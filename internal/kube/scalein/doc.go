// Package scalein has Kubernetes take the emptiest pods when it scales in, and lets a terminating pod go once nobody needs it: it has the
// pods' deletion costs follow their live sessions, and has the pods that ask for it deleted a second time. Of several gateways one does
// it, the one that holds a Lease.
//
// It decides by what the engine counts and what is known of the pods, and knows neither how the one counts nor how the other is watched
// and written.
package scalein

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/kube"
)

// The pace. All of a second's work is done at once.
const (
	interval     = time.Second
	writesPer    = 5                // costs at most in each interval
	costInterval = 10 * time.Second // between two writes to one pod
	errorPause   = 10 * time.Second // after a write that has failed; a hold is tried again after interval, before settle is over
	writeTimeout = 5 * time.Second
)

// A gateway that needs a terminating pod says so for holdTime, and renews it at half of that: one that is gone holds up no pod for longer.
const holdTime = time.Minute

// settle is for how long a terminating pod must have had no session and no request before it is released: others may hear later than
// this gateway that it is terminating.
const settle = 5 * time.Second

// Pods are the pods of a cluster. *kube.Cluster has them.
type Pods interface {
	Pod(uid types.UID) *kube.Pod
	Releasable() []*kube.Pod
	SetDeletionCost(ctx context.Context, p *kube.Pod, cost int32, manager string) error
	Hold(ctx context.Context, p *kube.Pod, gateway string, until time.Time, manager string) error
	Release(ctx context.Context, p *kube.Pod) (released bool, err error)
}

// Leases are the Leases of the program's own namespace. *kube.Cluster has them, and its methods' docs say what they do.
type Leases interface {
	GetLease(ctx context.Context, name string) (*coordinationv1.Lease, error)
	PutLease(ctx context.Context, lease *coordinationv1.Lease) (stored *coordinationv1.Lease, taken bool, err error)
}

// Config is what a Scaler is made of.
type Config struct {
	Pods Pods
	// Endpoints is the state and load of all endpoints now.
	Endpoints func() []affinity.EndpointStats
	// Busy counts the live sessions and the requests in flight at the endpoints of an incarnation, those included that are gone.
	// known is false where there is none.
	Busy func(incarnation string) (sessions, requests int, known bool)

	// Empty reports whether it is known that no gateway has a session at the endpoints of an incarnation, by a count that began within the given
	// time. It does not wait: it is asked again.
	Empty func(incarnation string, within time.Duration) bool

	Leases    Leases
	Namespace string // of the Lease
	Lease     string // its name, a DNS label: the same in all gateways of an installation, and in no others
	Identity  string // of this gateway; no other's. At most 63 letters, digits, '-', '_' and '.'
	Log       *slog.Logger
}

// manager is the field manager of what is written, at most 127 characters: what another installation has written is another's.
func (c *Config) manager() string { return c.Lease + "." + c.Namespace }

// Scaler is one of the gateways that may write.
type Scaler struct {
	c     Config
	lease lease

	written  map[types.UID]writtenCost
	holds    map[types.UID]time.Time // until when this gateway has said that it needs a pod
	idle     map[types.UID]time.Time // since when a pod that may be released has been idle
	foreign  map[types.UID]bool      // pods whose cost is another's, which has been said
	pausedTo time.Time

	mu                     sync.Mutex
	st                     Status
	leaseError, writeError error // that go on, and have been said
}

// writtenCost is the last cost that was written to a pod.
type writtenCost struct {
	cost int32
	at   time.Time
}

// Status is what a Scaler tells of itself.
type Status struct {
	Lease    string // namespace/name
	Identity string
	Holder   string // of the Lease, as far as is known
	Leading  bool   // this one holds it
	Error    error  // of the Lease, or of the last write; nil: there is none

	Costs, CostErrors, Holds, HoldErrors, Releases, ReleaseErrors uint64 // since the start
	Foreign                                                       int    // pods whose cost somebody else has set
}

// begins notes an error, and says it when it is the first.
func (s *Scaler) begins(t *error, err error, what string) {
	s.mu.Lock()
	first := *t == nil
	*t = err
	s.mu.Unlock()
	if first {
		s.c.Log.Warn(what, "lease", s.st.Lease, "error", err)
	}
}

// ends notes that something has succeeded.
func (s *Scaler) ends(t *error, what string) {
	s.mu.Lock()
	was := *t
	*t = nil
	s.mu.Unlock()
	if was != nil {
		s.c.Log.Info(what, "lease", s.st.Lease)
	}
}

// New makes a Scaler.
func New(c Config) *Scaler {
	return &Scaler{
		c: c, written: map[types.UID]writtenCost{},
		st: Status{Lease: c.Namespace + "/" + c.Lease, Identity: c.Identity},
	}
}

// Status is how things stand.
func (s *Scaler) Status() Status {
	leading := s.leads(time.Now())
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.st
	st.Leading = leading
	st.Error = cmp.Or(s.leaseError, s.writeError)
	return st
}

// Run takes part until ctx is done. It then gives the Lease back, which takes writeTimeout at most.
func (s *Scaler) Run(ctx context.Context) {
	var election sync.WaitGroup
	election.Go(func() { s.elect(ctx) })
	defer election.Wait()
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			s.act(ctx, now)
		}
	}
}

// act does what is to be done now. All gateways say which pods they need; the one that holds the Lease does the rest.
func (s *Scaler) act(ctx context.Context, now time.Time) {
	endpoints := s.c.Endpoints()
	unneeded := s.hold(ctx, endpoints, now)
	if s.leads(now) {
		s.writeCosts(ctx, endpoints, now)
		s.release(ctx, unneeded, now)
	} else {
		s.idle = nil // it is not known what was in between
	}
}
