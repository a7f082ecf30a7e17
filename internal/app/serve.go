package app

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/remora-proxy/remora/internal/admin"
	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/config"
	"github.com/remora-proxy/remora/internal/diag"
	"github.com/remora-proxy/remora/internal/endpoints"
	"github.com/remora-proxy/remora/internal/extproc"
	"github.com/remora-proxy/remora/internal/gateway"
	"github.com/remora-proxy/remora/internal/gateway/accesslog"
	"github.com/remora-proxy/remora/internal/kube"
	"github.com/remora-proxy/remora/internal/kube/scalein"
	"github.com/remora-proxy/remora/internal/session"
	"github.com/remora-proxy/remora/internal/xds"
)

// sweepInterval is the time between two calls of Engine.Sweep.
const sweepInterval = 100 * time.Millisecond

// program is one running gateway, processor for Envoy, or both.
type program struct {
	o           Options
	log         *slog.Logger
	clock       clock
	source      source
	engine      *affinity.Engine
	doors       []door
	gateway     *gateway.Gateway // one of doors, or nil
	processor   *extproc.Server  // one of doors, or nil
	discovery   *xds.Server      // at the processor's addresses; nil without a processor
	certificate *keptCertificate // the processor's, or nil
	scaler      *scalein.Scaler  // nil: pods are not written
	metrics     *prometheus.Registry
	board       *board
	sharing     *sharing        // nil: sessions are not shared with other gateways
	sessions    *sessionFile    // nil: sessions do not outlast the process
	restored    *session.Loaded // what came from the file, until that is said; nil: nothing
	swept       broadcast
	ports       openPorts                // of the gateway
	envoys      []admin.Listener         // of the processor
	monitoring  []admin.Listener         // of --metrics
	current     *Loaded                  // the configuration in force
	said        map[diag.Diagnostic]bool // the findings of the last load of a cluster
	unserved    map[uint16]string        // of a cluster's ports: why
	access      *accesslog.Writer        // nil: none
}

// Serve runs the front doors until ctx is done or a signal says so, and returns nil after a stop that cut nothing off. The configuration's own findings are in the log, and in the error when there is no configuration to start with.
func Serve(ctx context.Context, o Options) error {
	p, err := newProgram(o)
	if err != nil {
		return err
	}
	defer p.sharing.close()
	if p.sessions != nil {
		defer p.sessions.close()
	}
	return p.run(ctx)
}

func newProgram(o Options) (*program, error) {
	p := &program{
		o: o, log: o.Log, clock: startClock(),
		metrics: prometheus.NewRegistry(), ports: openPorts{},
	}
	p.source = source{loader: &config.Loader{Paths: o.Files, Stdin: o.Stdin}, resolver: &endpoints.Resolver{Failed: p.dnsFailed}}
	p.source.options.DrainingLabelled = o.Processor != nil && o.Processor.DrainingLabelled
	// Not beside a gateway, which could not carry out a redirect: its engine never makes a decision that is Passed.
	p.source.options.Proxied = o.Processor != nil && o.Processor.Proxied && o.Gateway == nil
	p.source.loader.Proxied = p.source.options.Proxied
	if o.Cluster != nil {
		cluster, err := o.Cluster.connect(kube.Options{UserAgent: userAgent(o.Version), Log: o.Log})
		if err != nil {
			return nil, err
		}
		p.source.cluster = cluster
		p.metrics.MustRegister(cluster)
		if o.ScaleInLease != "" {
			p.scaler = p.newScaler()
			p.metrics.MustRegister(p.scaler)
		}
	}
	p.board = newBoard(&p.o, p.metrics, p.clock.start)
	table := session.NewTable(session.Options{MaxSessions: o.MaxSessions})
	options := affinity.Options{Store: table, EndpointDelay: o.EndpointDelay}
	if o.Sharing != nil {
		p.sharing = p.share(table)
		options.Store = p.sharing.store
	}
	var random [24]byte
	rand.Read(random[:]) // never fails
	copy(options.HashKey[:], random[:])
	options.Nonce = binary.LittleEndian.Uint64(random[16:])
	if o.HashKeyFile != "" {
		key, err := readHashKey(o.HashKeyFile)
		if err != nil {
			return nil, err
		}
		options.HashKey, options.HashKeyFixed = key, true
	}
	p.engine = affinity.New(options)
	p.metrics.MustRegister(
		admin.NewEngineCollector(p.engine, p.clock.now),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	if o.SessionFile != "" {
		file, err := openSessionFile(o.SessionFile)
		if err != nil {
			return nil, err
		}
		p.sessions = file
	}
	return p, nil
}

// run starts everything, serves until it is told to stop, and stops everything.
func (p *program) run(ctx context.Context) error {
	ctx, cut, forget := p.obeyStops(ctx)
	defer forget()
	changes, stopWatching := p.watch() // before the first load, so that no change falls between
	defer stopWatching()
	defer p.closeDoors()
	defer func() { p.certificate.close() }()
	if err := p.openProcessor(); err != nil {
		return err
	}
	if err := p.restore(); err != nil {
		return err
	}
	if err := p.sharing.join(ctx); err != nil { // with what the restored sessions are hashed with
		return err
	}
	stopAdmin, err := p.openAdmin() // before the first load, which with a cluster may have to wait
	if err != nil {
		return err
	}
	defer stopAdmin()
	stopMetrics, err := p.openMetrics()
	if err != nil {
		return err
	}
	defer stopMetrics()
	first := p.load(ctx)
	if first == nil {
		p.sayStopping(ctx)
		return nil
	}
	if p.refuse(first) {
		return errors.New("the configuration is invalid, so there is nothing to serve; its findings are above")
	}
	if err := p.newGateway(first); err != nil {
		return err
	}
	if err := p.apply(first); err != nil {
		return err
	}
	p.report(first)
	if p.processor != nil {
		p.processor.Resume()
	}
	background, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var tasks sync.WaitGroup
	tasks.Go(func() { p.sweep(background) })
	tasks.Go(func() { p.saveRegularly(background) })
	tasks.Go(func() { p.followCertificate(background) })
	tasks.Go(func() { p.sharing.run(background) })
	resolved := make(chan struct{}, 1)
	tasks.Go(func() { p.source.resolver.Run(background, func() { nudge(resolved) }) })
	stopScaling := p.scaleIn()
	p.board.notReady("")
	p.log.Info("ready", "version", p.o.Version)

	p.untilStop(ctx, changes, resolved)

	cutOff := p.stopDoors(cut)
	cancel()
	tasks.Wait()
	err = errors.Join(cutOff, p.save())
	stopScaling() // last: what another gateway may let go has no request of this one any more
	p.closeAccessLog()
	return err
}

// accessLogGrace is how long the stop waits for what reads the access log.
const accessLogGrace = 2 * time.Second

// closeAccessLog writes what is pending of the access log. A reader that does not read any more, of a pipe for example, does not hold up
// the stop for long.
func (p *program) closeAccessLog() {
	if p.access == nil {
		return
	}
	closed := make(chan error, 1)
	go func() { closed <- p.access.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			p.log.Error("the access log is not complete", "error", err)
		}
	case <-time.After(accessLogGrace):
		p.log.Error("the access log is not complete", "error", "nobody reads it")
	}
}

// status is what the admin API tells of the program.
func (p *program) status() admin.Status {
	st := p.board.read()
	st.Now = p.clock.now()
	st.Sessions.Stored = p.engine.Stats().Sessions
	st.Drains, st.ScaleIn = p.drains(), p.scaleInStatus()
	st.Store = p.sharing.status()
	st.Degraded = degraded(st.Store, st.Now)
	if st.Cluster = p.clusterStatus(); st.Cluster != nil && st.Config.Generation == 0 && st.Cluster.Error != "" {
		st.NotReady = "the cluster's objects are not known yet: " + st.Cluster.Error
	}
	return st
}

// sweep removes expired sessions, a part of the table at a time, and follows the replicas' health, for as long as the program runs.
func (p *program) sweep(ctx context.Context) {
	ticker := time.NewTicker(sweepInterval)
	defer ticker.Stop()
	var health healthLog
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			p.engine.Sweep(p.clock.instant())
			health.look(p, now)
			p.swept.tell()
		}
	}
}
