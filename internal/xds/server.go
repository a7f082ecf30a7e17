package xds

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// The types of resources, in the order in which they are sent: an Envoy asks for endpoints when it has the cluster.
const (
	clusterType  = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	endpointType = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
)

var types = [...]string{clusterType, endpointType}

// defaultMaxStreams is how many Envoys may listen: each takes memory for what it has.
const defaultMaxStreams = 1024

// Resources are the services and their endpoints. There is one ClusterLoadAssignment for each Cluster, with its name.
type Resources struct {
	Clusters  []*clusterv3.Cluster
	Endpoints []*endpointv3.ClusterLoadAssignment
}

// Config is what a Server is made of. A zero field means its default.
type Config struct {
	MaxStreams int          // Envoys at a time; default 1,024. More are refused
	Log        *slog.Logger // takes what an operator should know; the default is to say nothing
}

// Server tells Envoys of resources. Make it with New.
type Server struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer

	maxStreams int
	log        *slog.Logger

	mu      sync.Mutex
	source  func() (Resources, error) // of what is to be sent; nil: there is nothing yet
	current *state                    // made of source; nil: not yet
	version uint64                    // counts the sources
	streams map[*stream]struct{}
	changed chan struct{} // closed when source is another one
	heard   chan struct{} // closed when an Envoy has acknowledged something, or has left

	rejected atomic.Uint64
}

// state is one set of resources. It does not change.
type state struct {
	version uint64
	byType  map[string]map[string]*discoveryv3.Resource
}

// New makes a Server, which has nothing to tell yet: Envoys wait.
func New(c Config) *Server {
	s := &Server{
		maxStreams: c.MaxStreams, log: c.Log,
		streams: map[*stream]struct{}{}, changed: make(chan struct{}), heard: make(chan struct{}),
	}
	if s.maxStreams <= 0 {
		s.maxStreams = defaultMaxStreams
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	return s
}

// Register adds the service to a gRPC server.
func (s *Server) Register(r grpc.ServiceRegistrar) {
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(r, s)
}

// Update makes what source returns the resources. It is called when an Envoy listens, and not at all where none does; it must go
// on returning the same.
func (s *Server) Update(source func() (Resources, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.source, s.current = source, nil
	s.version++
	close(s.changed)
	s.changed = make(chan struct{})
}

// Wait waits until every Envoy that listens has taken over the last update, or refused it, or has left. Its error is that of ctx.
func (s *Server) Wait(ctx context.Context) error {
	for {
		s.mu.Lock()
		waiting := false
		for st := range s.streams {
			waiting = waiting || st.has != s.version
		}
		heard := s.heard
		s.mu.Unlock()
		if !waiting {
			return nil
		}
		select {
		case <-heard:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// latest is what is to be sent, nil when there is nothing yet, and a channel that is closed when that has changed.
func (s *Server) latest() (*state, <-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil && s.source != nil {
		resources, err := s.source()
		if err == nil {
			s.current, err = newState(resources, s.version)
		}
		if err != nil {
			return nil, s.changed, err
		}
	}
	return s.current, s.changed, nil
}

func newState(r Resources, version uint64) (*state, error) {
	st := &state{version: version, byType: map[string]map[string]*discoveryv3.Resource{}}
	add := func(typeURL, name string, m proto.Message) error {
		value, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if st.byType[typeURL] == nil {
			st.byType[typeURL] = map[string]*discoveryv3.Resource{}
		}
		st.byType[typeURL][name] = &discoveryv3.Resource{Name: name, Version: digest(value), Resource: &anypb.Any{TypeUrl: typeURL, Value: value}}
		return nil
	}
	var errs []error
	for _, c := range r.Clusters {
		errs = append(errs, add(clusterType, c.GetName(), c))
	}
	for _, e := range r.Endpoints {
		errs = append(errs, add(endpointType, e.GetClusterName(), e))
	}
	return st, errors.Join(errs...)
}

// open counts a stream, unless there are too many.
func (s *Server) open(st *stream) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.streams) >= s.maxStreams {
		return false
	}
	s.streams[st] = struct{}{}
	return true
}

// close forgets a stream.
func (s *Server) close(st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.streams, st)
	s.tell()
}

// took says that an Envoy has all of a version.
func (s *Server) took(st *stream, version uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st.has != version {
		st.has = version
		s.tell()
	}
}

// tell wakes who waits. s.mu must be held.
func (s *Server) tell() {
	close(s.heard)
	s.heard = make(chan struct{})
}
