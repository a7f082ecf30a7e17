package xds

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"slices"
	"strconv"
	"strings"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// maxNames bounds how many resources of one type an Envoy may ask for.
const maxNames = 1 << 16

// everything is the name by which a subscription is to all resources of a type.
const everything = "*"

// stream is one Envoy. But for has, it belongs to the goroutine of its call.
type stream struct {
	server *Server
	grpc   discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer
	subs   map[string]*subscription
	nonce  uint64
	has    uint64 // version of the resources that Envoy has taken over or refused; guarded by server.mu
}

// subscription is what Envoy wants of one type.
type subscription struct {
	all     bool                // all resources
	names   map[string]struct{} // or these
	sent    map[string]string   // versions that Envoy has, or is being sent
	absent  map[string]struct{} // asked for, not there, and not said so yet
	begun   bool                // there was a response
	pending string              // nonce of the response that Envoy has not acknowledged; empty: none
	refused bool                // Envoy has refused the last response
}

// DeltaAggregatedResources serves one Envoy. At most one response of each type is under way: changes meanwhile are sent together.
func (s *Server) DeltaAggregatedResources(call discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	st := &stream{server: s, grpc: call, subs: map[string]*subscription{}}
	if !s.open(st) {
		return status.Errorf(codes.ResourceExhausted, "there are %d Envoys already", s.maxStreams)
	}
	defer s.close(st)
	requests, failed := make(chan *discoveryv3.DeltaDiscoveryRequest), make(chan error, 1)
	go func() { // ends with the call, whose context Recv obeys
		for {
			in, err := call.Recv()
			if err != nil {
				failed <- err
				return
			}
			select {
			case requests <- in:
			case <-call.Context().Done():
				return
			}
		}
	}()
	for {
		changed, err := st.bring()
		if err != nil {
			return err
		}
		select {
		case in := <-requests:
			if err := st.hear(in); err != nil {
				return err
			}
		case <-changed:
		case err := <-failed:
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		case <-call.Context().Done():
			return call.Context().Err()
		}
	}
}

// hear takes in a request: what Envoy wants from now on, and what it thinks of a response.
func (st *stream) hear(in *discoveryv3.DeltaDiscoveryRequest) error {
	typeURL := in.GetTypeUrl()
	if !slices.Contains(types[:], typeURL) {
		return status.Errorf(codes.InvalidArgument, "there are no resources of type %q here; there are clusters and their endpoints", typeURL)
	}
	sub := st.subs[typeURL]
	if sub == nil {
		sub = &subscription{names: map[string]struct{}{}, sent: map[string]string{}, absent: map[string]struct{}{}}
		sub.all = typeURL == clusterType && len(in.GetResourceNamesSubscribe()) == 0
		st.subs[typeURL] = sub
		for name, version := range in.GetInitialResourceVersions() {
			sub.sent[name] = version
		}
	} else {
		for _, name := range in.GetResourceNamesSubscribe() {
			delete(sub.sent, name) // it is to be sent again, if only to say that there is nothing new
		}
	}
	for _, name := range in.GetResourceNamesSubscribe() {
		if sub.all = sub.all || name == everything; name != everything {
			sub.names[name] = struct{}{}
			sub.absent[name] = struct{}{}
		}
	}
	for _, name := range in.GetResourceNamesUnsubscribe() {
		if sub.all = sub.all && name != everything; name != everything {
			delete(sub.names, name)
			delete(sub.sent, name)
			delete(sub.absent, name)
		}
	}
	if len(sub.names) > maxNames {
		return status.Errorf(codes.ResourceExhausted, "more than %d resources were asked for", maxNames)
	}
	if nonce := in.GetResponseNonce(); nonce != "" && nonce == sub.pending {
		sub.pending, sub.refused = "", in.GetErrorDetail() != nil
		if sub.refused {
			st.server.rejected.Add(1)
			st.server.log.Error("an Envoy does not take what it is sent, and goes on with what it has",
				"type", typeURL, "node", in.GetNode().GetId(), "error", in.GetErrorDetail().GetMessage())
		}
	}
	return nil
}

// bring sends what Envoy lacks, and says when it lacks nothing. changed is closed when there is more.
func (st *stream) bring() (changed <-chan struct{}, err error) {
	now, changed, err := st.server.latest()
	if err != nil {
		st.server.log.Error("Envoys cannot be told of services and endpoints", "error", err)
		return changed, nil
	}
	if now == nil {
		return changed, nil
	}
	taken := true
	for _, typeURL := range types {
		sub, there := st.subs[typeURL], now.byType[typeURL]
		if sub == nil {
			taken = taken && len(there) == 0 && typeURL != clusterType // otherwise it will ask
			continue
		}
		if sub.pending == "" {
			if err := st.send(typeURL, sub, there); err != nil {
				return changed, err
			}
		}
		taken = taken && sub.pending == ""
		for name := range there { // a new cluster's endpoints Envoy has yet to ask for, unless it has refused it
			taken = taken && (sub.wants(name) || sub.refused || st.subs[clusterType] != nil && st.subs[clusterType].refused)
		}
	}
	if taken {
		st.server.took(st, now.version)
	}
	return changed, nil
}

func (sub *subscription) wants(name string) bool {
	_, named := sub.names[name]
	return sub.all || named
}

// send sends what is new for a subscription, if anything is, or if Envoy waits for its first response. A cluster that has changed needs
// its endpoints once more: Envoy makes it anew and does not ask for them, and acknowledges the cluster when it has them.
func (st *stream) send(typeURL string, sub *subscription, there map[string]*discoveryv3.Resource) error {
	out := &discoveryv3.DeltaDiscoveryResponse{TypeUrl: typeURL}
	for name, r := range there {
		if sub.wants(name) && sub.sent[name] != r.GetVersion() {
			out.Resources = append(out.Resources, r)
			sub.sent[name] = r.GetVersion()
			if endpoints := st.subs[endpointType]; typeURL == clusterType && endpoints != nil {
				delete(endpoints.sent, name)
			}
		}
	}
	for name := range sub.sent {
		if there[name] == nil {
			out.RemovedResources = append(out.RemovedResources, name)
			delete(sub.sent, name)
		}
	}
	for name := range sub.absent {
		if there[name] == nil {
			out.RemovedResources = append(out.RemovedResources, name)
		}
		delete(sub.absent, name)
	}
	if sub.begun && len(out.Resources) == 0 && len(out.RemovedResources) == 0 {
		return nil
	}
	slices.Sort(out.RemovedResources)
	out.RemovedResources = slices.Compact(out.RemovedResources)
	slices.SortFunc(out.Resources, func(a, b *discoveryv3.Resource) int { return strings.Compare(a.GetName(), b.GetName()) })
	st.nonce++
	out.Nonce = strconv.FormatUint(st.nonce, 10)
	sub.begun, sub.pending, sub.refused = true, out.Nonce, false
	return st.grpc.Send(out)
}

// digest is the version of a resource: the same for the same content, at every processor.
func digest(value []byte) string {
	sum := sha256.Sum256(value)
	return hex.EncodeToString(sum[:12])
}
