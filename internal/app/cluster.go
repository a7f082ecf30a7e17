package app

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/remora-proxy/remora/internal/admin"
	"github.com/remora-proxy/remora/internal/config"
	"github.com/remora-proxy/remora/internal/diag"
	"github.com/remora-proxy/remora/internal/kube"
)

// The pause after a load of the cluster's objects, in which changes gather: so many times as long as the load has taken, so that
// loads take a bounded share of one CPU however often things change, and at least shortestPause.
const (
	shortestPause = 100 * time.Millisecond
	pauseShare    = 4
)

// laterDNSPatience is dnsPatience while serving: the changes of others do not wait for long for a host that has no answer.
const laterDNSPatience = time.Second

// Cluster says which cluster the configuration comes from.
type Cluster struct {
	Kubeconfig string   // a file; empty: as kubectl finds it, or in a pod its service account
	Context    string   // of the kubeconfig; empty: its current one
	Namespaces []string // empty: all
}

// connect prepares to watch the cluster.
func (o *Cluster) connect(options kube.Options) (*kube.Cluster, error) {
	options.Kubeconfig, options.Context, options.Namespaces = o.Kubeconfig, o.Context, o.Namespaces
	options.Decode = config.Decode
	return kube.Connect(options)
}

// Reach prepares to reach the gateways that run in the cluster.
func (o *Cluster) Reach(version string) (*kube.Access, error) {
	return kube.Reach(kube.Options{Kubeconfig: o.Kubeconfig, Context: o.Context, Namespaces: o.Namespaces, UserAgent: userAgent(version)})
}

// LoadCluster reads the objects of a cluster as they are now and compiles what can be used of them. It asks no DNS. When ctx ends before
// all are known, the error says what was waited for.
func LoadCluster(ctx context.Context, version string, o Cluster, options config.Options) (*Loaded, error) {
	cluster, err := o.connect(kube.Options{UserAgent: userAgent(version)})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	var watching sync.WaitGroup
	watching.Go(func() { cluster.Run(ctx) })
	defer watching.Wait()
	defer cancel()
	for {
		select {
		case <-cluster.Synced():
			s := source{cluster: cluster, options: options}
			return s.load(ctx), nil
		case <-cluster.Turns():
			if h := cluster.Health(); h.Failure != nil {
				return nil, fmt.Errorf("%s: %w", cluster.Server, h.Failure)
			}
		case <-ctx.Done():
			return nil, fmt.Errorf("%s: %w; its %s are not known yet", cluster.Server, context.Cause(ctx), strings.Join(cluster.Awaited(), ", "))
		}
	}
}

func userAgent(version string) string { return "remora/" + version }

// loadCluster compiles what can be used of the cluster's objects, once all are known. nil: ctx is done.
func (s *source) loadCluster(ctx context.Context) *Loaded {
	select {
	case <-s.cluster.Synced():
	case <-ctx.Done():
		return nil
	}
	policies := s.cluster.Policies() // before the set, so that none is newer than it is there
	set, found := s.cluster.Set()
	sources := config.Sources{Files: []string{clusterName(s.cluster)}, Objects: set.Len()}
	patience := dnsPatience
	if s.loaded {
		patience = laterDNSPatience
	}
	s.loaded = true
	began := time.Now()
	if err := s.resolve(ctx, config.DNSNames(set), patience); err != nil {
		found.Add(*err)
	}
	waited := time.Since(began)
	result, diagnostics := s.tolerant.Compile(set, found, s.withAddresses())
	l := &Loaded{Sources: sources, Diagnostics: diagnostics, read: set, policies: policies, errors: result.Errors, waited: waited}
	if result.Compiled != nil {
		l.fill(result.Compiled, result.Set)
		l.Refused = result.Refused
	}
	return l
}

// clusterName names the cluster, and what of it is watched.
func clusterName(c *kube.Cluster) string {
	if len(c.Namespaces) == 0 {
		return c.Server
	}
	return c.Server + " namespaces " + strings.Join(c.Namespaces, ",")
}

// watchCluster begins to watch the cluster. changes tells of changes from the first load on.
func (p *program) watchCluster() (changes <-chan struct{}, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	watching.Go(func() { p.source.cluster.Run(ctx) })
	watching.Go(func() { p.source.cluster.WriteStatus(ctx) })
	p.log.Info("watching the cluster", "server", p.source.cluster.Server, "namespaces", p.source.cluster.Namespaces)
	return p.source.cluster.Changes(), func() {
		cancel()
		watching.Wait()
	}
}

// pause is how long changes of the cluster gather after a load that took so long.
func pause(took time.Duration) time.Duration { return max(shortestPause, pauseShare*took) }

// pacer holds changes up for a while after each load.
type pacer struct {
	changes <-chan struct{}
	heeded  <-chan struct{}  // changes, or nil in a pause
	paused  <-chan time.Time // the end of the pause
}

func newPacer(changes <-chan struct{}) *pacer { return &pacer{changes: changes, heeded: changes} }

// rest begins a pause after a load that took so long.
func (p *pacer) rest(took time.Duration) { p.heeded, p.paused = nil, time.After(pause(took)) }

// resume ends the pause.
func (p *pacer) resume() { p.heeded, p.paused = p.changes, nil }

// sayOnce logs the findings that the load before did not have. A finding of a cluster stays for as long as the object is as it is, and
// there is a load with every change of an endpoint.
func (p *program) sayOnce(l diag.List) {
	said := make(map[diag.Diagnostic]bool, len(l))
	for _, d := range l {
		said[d] = true
		switch {
		case p.said[d]:
		case d.Severity == diag.Error:
			p.log.Error("invalid object", "finding", d.String())
		default:
			p.log.Warn("configuration", "finding", d.String())
		}
	}
	if p.said != nil && len(said) == 0 && len(p.said) > 0 {
		p.log.Info("the configuration has no findings any more")
	}
	p.said = said
}

// report has the status of AffinityPolicies say what has become of them with the last load, which was applied or refused.
func (p *program) report(last *Loaded) {
	if p.source.cluster == nil {
		return
	}
	outcome := config.Outcome{Set: last.read, Errors: last.errors}
	if p.current != nil {
		outcome.InForce, outcome.Config = p.current.Set, p.current.Config
	}
	for i := range last.policies {
		r := &last.policies[i]
		r.Conditions, r.Generation = outcome.Conditions(r.Namespace, r.Name, r.UID, r.Generation)
	}
	p.source.cluster.Report(last.policies)
}

// clusterStatus tells how well the cluster is watched; nil: the configuration does not come from one.
func (p *program) clusterStatus() *admin.ClusterStatus {
	if p.source.cluster == nil {
		return nil
	}
	h := p.source.cluster.Health()
	st := &admin.ClusterStatus{Server: p.source.cluster.Server, Namespaces: slices.Clone(p.source.cluster.Namespaces), Watching: h.Failure == nil}
	if h.Failure != nil {
		st.Error, st.Since = h.Failure.Error(), h.Since
	}
	if h.Status != nil {
		st.StatusError = h.Status.Error()
	}
	for _, k := range h.Kinds {
		st.Kinds = append(st.Kinds, admin.KindStatus{Kind: k.Kind, Objects: k.Objects, Missing: k.Missing})
	}
	return st
}
