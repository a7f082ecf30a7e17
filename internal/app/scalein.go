package app

import (
	"context"
	"crypto/rand"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/remora-proxy/remora/internal/admin"
	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/kube/scalein"
)

// newScaler makes what writes pods by what the engine counts.
func (p *program) newScaler() *scalein.Scaler {
	host, err := os.Hostname() // in a cluster the pod's name
	if err != nil {
		host = "unknown"
	}
	random := rand.Text()[:10]
	host = host[max(0, len(host)-50):] // it ends in what tells pods from each other
	cluster := p.source.cluster
	return scalein.New(scalein.Config{
		Pods: cluster, Leases: cluster, Namespace: cluster.Own, Lease: p.o.ScaleInLease,
		Identity:  strings.TrimLeft(host, "-_.") + "_" + random, // a process that begins anew on the same machine is another one
		Endpoints: func() []affinity.EndpointStats { return p.engine.EndpointStats(p.clock.instant()) },
		Busy:      func(incarnation string) (sessions, requests int, known bool) { return p.engine.Busy(incarnation) },
		Empty:     func(incarnation string, within time.Duration) bool { return p.sharing.empty(incarnation, within) },
		Log:       p.log,
	})
}

// scaleIn begins to take part in writing pods. stop ends that.
func (p *program) scaleIn() (stop func()) {
	if p.scaler == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { p.scaler.Run(ctx) })
	return func() {
		cancel()
		running.Wait()
	}
}

// scaleInStatus tells who writes pods; nil: this program does not take part.
func (p *program) scaleInStatus() *admin.ScaleInStatus {
	if p.scaler == nil {
		return nil
	}
	st := p.scaler.Status()
	out := &admin.ScaleInStatus{
		Lease: st.Lease, Identity: st.Identity, Holder: st.Holder, Leading: st.Leading, Costs: st.Costs, Releases: st.Releases, Foreign: st.Foreign,
	}
	if st.Error != nil {
		out.Error = st.Error.Error()
	}
	return out
}

// drains lists the endpoints that are draining.
func (p *program) drains() []admin.Drain {
	out := []admin.Drain{}
	for _, e := range p.engine.EndpointStats(p.clock.instant()) {
		if e.State == affinity.Draining {
			out = append(out, admin.Drain{
				Service: e.Service, Address: e.Addr, Name: e.Name, Live: e.Live, InFlight: e.InFlight, Deadline: e.DrainEnds.Time(),
			})
		}
	}
	return out
}
