package app

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/config"
	"github.com/remora-proxy/remora/internal/diag"
	"github.com/remora-proxy/remora/internal/endpoints"
	"github.com/remora-proxy/remora/internal/kube"
	"github.com/remora-proxy/remora/internal/resource"
	"github.com/remora-proxy/remora/internal/session"
)

// dnsPatience bounds how long a load waits for first answers from DNS. Hosts without one have no replicas until it comes.
const dnsPatience = 10 * time.Second

// Loaded is a configuration that was read and compiled. Without a Snapshot it must not be used, and its diagnostics have errors.
// With one from a cluster they may have some too: about objects that are not in it, or in an earlier version.
type Loaded struct {
	Sources     config.Sources
	Diagnostics diag.List
	Snapshot    *affinity.Snapshot
	Ports       []uint16 // of the Gateways' servers
	Routes      int
	Services    int
	Endpoints   int
	Refused     int      // objects of a cluster that are not used as they are
	DNSNames    []string // hosts whose addresses come from DNS

	Set    *resource.Set    // the objects that it is made from
	Config *affinity.Config // what they were compiled to

	read     *resource.Set // of a cluster: the objects as they were read, with those that are not in Set
	policies []kube.Report // of a cluster: its AffinityPolicies, also those that cannot be read
	errors   diag.List     // of a cluster: all, where Diagnostics has a bound
	waited   time.Duration // of a cluster: for DNS, which takes no CPU

	protected []string // see protectedHeaders
}

// Load reads files and folders, "-" being stdin, and compiles what they hold. It asks no DNS.
func Load(files []string, stdin io.Reader) *Loaded { return LoadWith(files, stdin, config.Options{}) }

// LoadWith is Load for what is not meant to run here as it is.
func LoadWith(files []string, stdin io.Reader, o config.Options) *Loaded {
	s := source{loader: &config.Loader{Paths: files, Stdin: stdin, Proxied: o.Proxied}, options: o}
	return s.load(context.Background())
}

// Paper makes an engine that decides by the configuration and has no sessions, for questions that no gateway is asked.
// Without the hash key of a gateway (hashKeyFile is empty), it places a new session on another replica than that may.
func (l *Loaded) Paper(now time.Time, hashKeyFile string) (*affinity.Engine, error) {
	options := affinity.Options{Store: session.NewTable(session.Options{})}
	if hashKeyFile != "" {
		key, err := readHashKey(hashKeyFile)
		if err != nil {
			return nil, err
		}
		options.HashKey = key
	}
	engine := affinity.New(options)
	if err := engine.Apply(l.Snapshot, session.InstantOf(now)); err != nil {
		return nil, fmt.Errorf("apply the configuration: %w", err)
	}
	return engine, nil
}

// source is where the configuration comes from: files or a cluster, and DNS for the hosts that they leave to it.
type source struct {
	loader   *config.Loader
	resolver *endpoints.Resolver // nil: DNS is not asked
	options  config.Options      // the addresses come from resolver
	cluster  *kube.Cluster       // in place of loader, or nil
	tolerant config.Tolerant     // of a cluster's objects
	loaded   bool                // a load of the cluster's objects has begun before
}

// load reads the source and compiles it, with the addresses that DNS gives for hosts that are new. It gives nil only when ctx is done.
func (s *source) load(ctx context.Context) *Loaded {
	if s.cluster != nil {
		return s.loadCluster(ctx)
	}
	set, sources, diagnostics := s.loader.Load()
	if diagnostics.HasErrors() {
		return &Loaded{Sources: sources, Diagnostics: s.andErrorsOf(set, diagnostics)}
	}
	if err := s.resolve(ctx, config.DNSNames(set), dnsPatience); err != nil {
		diagnostics.Add(*err)
		return &Loaded{Sources: sources, Diagnostics: diagnostics}
	}
	l := s.compile(set)
	l.Sources, l.Diagnostics = sources, slices.Concat(diagnostics, l.Diagnostics)
	l.Diagnostics.Sort()
	return l
}

// andErrorsOf adds to what kept objects out of a set what is wrong with the others, so that one mistake does not hide them. Warnings may
// be about objects that were kept out, and stay away.
func (s *source) andErrorsOf(set *resource.Set, found diag.List) diag.List {
	_, all := config.Compile(set, s.options)
	for _, d := range all {
		if d.Severity == diag.Error {
			found.Add(d)
		}
	}
	found.Sort()
	return found
}

// resolve asks DNS for the hosts that are new.
func (s *source) resolve(ctx context.Context, names []string, patience time.Duration) *diag.Diagnostic {
	if s.resolver == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := s.resolver.Add(ctx, names); err != nil && ctx.Err() == nil {
		return &diag.Diagnostic{Severity: diag.Error, What: err.Error(), Remedy: "use resolution STATIC or EndpointSlices for some"}
	}
	return nil
}

// withAddresses are the options, with the addresses that DNS has given by now.
func (s *source) withAddresses() config.Options {
	o := s.options
	if s.resolver != nil {
		o.Addresses = s.resolver.Addresses
	}
	return o
}

// compile compiles a set with the addresses that DNS has given by now.
func (s *source) compile(set *resource.Set) *Loaded {
	compiled, diagnostics := config.Compile(set, s.withAddresses())
	l := &Loaded{Diagnostics: diagnostics, Set: set}
	if compiled != nil {
		l.fill(compiled, set)
	}
	return l
}

// fill takes what was compiled from a set.
func (l *Loaded) fill(c *config.Compiled, set *resource.Set) {
	l.Snapshot, l.Config, l.protected = c.Snapshot, &c.Config, protectedHeaders(&c.Config)
	l.DNSNames, l.Set = config.DNSNames(set), set
	l.count(&c.Config)
}

// count says how much a configuration has.
func (l *Loaded) count(c *affinity.Config) {
	for _, listener := range c.Routes.Listeners {
		l.Ports = append(l.Ports, listener.Port)
		for _, host := range listener.Hosts {
			l.Routes += len(host.Rules)
		}
	}
	l.Services = len(c.Services)
	for i := range c.Services {
		l.Endpoints += len(c.Services[i].Endpoints)
	}
}

// protectedHeaders are the headers that decisions look at: a client must not be able to have one of them removed on the way
// to the replica by naming it in Connection.
func protectedHeaders(c *affinity.Config) []string {
	names := append(c.Routes.Headers(), "cookie")
	for _, l := range c.Listeners {
		for _, p := range l.Promote {
			names = append(names, p.Header)
		}
	}
	for i := range c.Services {
		if names = append(names, c.Services[i].SessionHeader); c.Services[i].Key.Kind == affinity.HeaderKey {
			names = append(names, c.Services[i].Key.Name)
		}
	}
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(n string) bool { return n == "" })
}
