package kube

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"github.com/remora-proxy/remora/internal/diag"
	"github.com/remora-proxy/remora/internal/resource"
)

// Cluster is a cluster whose objects are watched.
type Cluster struct {
	Server     string   // the API server's URL
	Namespaces []string // that are watched, sorted; none: all
	Own        string   // the namespace that the program itself is in: its pod's, or that of the kubeconfig's context

	log     *slog.Logger
	decode  Decode
	sources []*source
	pods    []*source // those of sources that have the pods
	config  *rest.Config
	client  metadata.Interface
	leases  *rest.RESTClient
	status  *statusWriter

	changed  chan struct{} // holds a token while there is a change that nobody has taken
	turned   chan struct{} // holds a token while Health has changed
	unsynced atomic.Int32  // sources that have no objects yet
	synced   chan struct{}
	silent   atomic.Int32 // sources that the API server does not answer at all
}

func (c *Cluster) addSources() (err error) {
	if c.client, err = metadata.NewForConfig(c.config); err != nil {
		return err
	}
	if c.leases, _, err = newRESTClient(c.config, coordinationv1.SchemeGroupVersion); err != nil {
		return err
	}
	all, err := clients(c.config, c.client)
	if err != nil {
		return err
	}
	namespaces := c.Namespaces
	if len(namespaces) == 0 {
		namespaces = []string{""}
	}
	for _, k := range kinds {
		for _, ns := range namespaces {
			s := &source{kind: k, namespace: ns, client: all[k], cluster: c, standings: map[string]standing{}}
			if c.sources = append(c.sources, s); k == podKind {
				c.pods = append(c.pods, s)
			}
		}
	}
	c.unsynced.Store(int32(len(c.sources)))
	return nil
}

// addStatus prepares to write the status of AffinityPolicies.
func (c *Cluster) addStatus(config *rest.Config) error {
	all, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	c.status = &statusWriter{
		apply: newStatusClient(all).apply, standing: c.standing, stood: c.stood, log: c.log, wake: make(chan struct{}, 1), failed: map[string]error{},
		scope: func(namespace string) string {
			if len(c.Namespaces) == 0 {
				return "" // a ClusterRole gives the right for all
			}
			return namespace
		},
	}
	return nil
}

// Run watches until ctx is done, and returns when all that it has started has ended. It is called once.
func (c *Cluster) Run(ctx context.Context) {
	ctx = klog.NewContext(ctx, klog.Logger{}) // what there is to say is said here, once for each failure
	var tasks sync.WaitGroup
	for _, s := range c.sources {
		tasks.Go(func() { s.run(ctx) })
	}
	tasks.Wait()
}

// Synced is closed when all objects are known that there were at some time since Run.
func (c *Cluster) Synced() <-chan struct{} { return c.synced }

// Awaited names the resources of which not all objects are known yet.
func (c *Cluster) Awaited() []string {
	var names []string
	for _, s := range c.sources {
		s.mu.Lock()
		synced := s.synced
		s.mu.Unlock()
		if !synced && !slices.Contains(names, s.kind.resource) {
			names = append(names, s.kind.resource)
		}
	}
	return names
}

// Changes has a token when the set has changed in a way that matters since the last one was taken. Several changes may be one
// token. Nothing is told before Synced.
func (c *Cluster) Changes() <-chan struct{} { return c.changed }

// Turns has a token when Health has changed.
func (c *Cluster) Turns() <-chan struct{} { return c.turned }

func (c *Cluster) change() {
	if c.unsynced.Load() == 0 {
		nudge(c.changed)
	}
}

func (c *Cluster) turn() { nudge(c.turned) }

func (c *Cluster) syncedOne() {
	if c.unsynced.Add(-1) == 0 {
		close(c.synced)
	}
}

// nudge puts a token into a channel that holds one, unless one waits there already.
func nudge(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// Set is all objects as they are now, those of each kind in the order of namespace and name, and what is wrong with those
// that could not be read. The objects are shared and must not be edited.
func (c *Cluster) Set() (*resource.Set, diag.List) {
	set := &resource.Set{PodLabels: c.podLabels}
	var found diag.List
	for _, s := range c.sources {
		if s.kind == podKind {
			s.ask()
			continue
		}
		s.mu.Lock()
		entries := maps.Clone(s.entries)
		s.mu.Unlock()
		for _, key := range slices.Sorted(maps.Keys(entries)) {
			set.Append(entries[key].set)
			found = append(found, entries[key].found...)
		}
	}
	return set, found
}

// Health says how well a cluster is watched.
type Health struct {
	Failure error     // of one of the kinds; nil: all are watched
	Since   time.Time // of the oldest failure
	Kinds   []KindHealth
	Status  error // why the status of AffinityPolicies is not written; nil: it is, as far as there is any to write
}

// KindHealth is about one kind, in all namespaces together.
type KindHealth struct {
	Kind    string
	Objects int
	Events  uint64 // that the API server has told, since the start
	Missing bool   // the cluster does not have the kind
	Failure error
}

// Health is how well the cluster is watched now.
func (c *Cluster) Health() Health {
	h := Health{Status: c.status.failure()}
	for _, s := range c.sources {
		s.mu.Lock()
		if n := len(h.Kinds); n == 0 || h.Kinds[n-1].Kind != s.kind.name {
			h.Kinds = append(h.Kinds, KindHealth{Kind: s.kind.name})
		}
		k := &h.Kinds[len(h.Kinds)-1]
		k.Objects += len(s.entries)
		k.Events += s.events
		k.Missing = k.Missing || s.missing
		k.Failure = cmp.Or(k.Failure, s.failure)
		if s.failure != nil && (h.Failure == nil || s.since.Before(h.Since)) {
			h.Failure, h.Since = s.failure, s.since
		}
		s.mu.Unlock()
	}
	return h
}
