package istiotest

import (
	"fmt"
	"maps"
	"slices"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/remora-proxy/remora/internal/resource"
)

// routes is what istiod makes of the VirtualServices of a set for the gateway's port: of the kinds of matches that the tests'
// objects have. What it does not know is an error.
func routes(set *resource.Set, all []*target) (*routev3.RouteConfiguration, error) {
	c := &routev3.RouteConfiguration{
		Name: routesName, ValidateClusters: wrapperspb.Bool(false), IgnorePortInHostMatching: true,
		MaxDirectResponseBodySizeBytes: wrapperspb.UInt32(1 << 20),
	}
	for _, vs := range set.VirtualServices {
		for _, host := range vs.Value.Spec.Hosts {
			h := &routev3.VirtualHost{Name: host + ":80", Domains: []string{host}, IncludeRequestAttemptCount: true}
			for i, rule := range vs.Value.Spec.Http {
				made, err := ruleRoutes(vs.Value, rule, all)
				if err != nil {
					return nil, fmt.Errorf("%s: spec.http[%d]: %w", vs.Name(), i, err)
				}
				h.Routes = append(h.Routes, made...)
			}
			c.VirtualHosts = append(c.VirtualHosts, h)
		}
	}
	return c, nil
}

// routesName is the route configuration of port 80, of a gateway whose pods listen on 8080.
const routesName = "http.8080"

// ruleRoutes makes a route of each match of a rule.
func ruleRoutes(vs *networkingv1.VirtualService, rule *networking.HTTPRoute, all []*target) ([]*routev3.Route, error) {
	matches := rule.GetMatch()
	if len(matches) == 0 {
		matches = []*networking.HTTPMatchRequest{{}}
	}
	var out []*routev3.Route
	for _, m := range matches {
		match, err := routeMatch(m)
		if err != nil {
			return nil, err
		}
		made := &routev3.Route{
			Name: rule.GetName(), Match: match,
			Metadata: &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{"istio": {Fields: map[string]*structpb.Value{
				"config": structpb.NewStringValue("/apis/networking.istio.io/v1/namespaces/" + vs.Namespace + "/virtual-service/" + vs.Name),
			}}}},
		}
		out = append(out, made)
		if answerByItself(made, rule) {
			made.Decorator = &routev3.Decorator{Operation: vs.Name + ":80" + operation(match)}
			continue
		}
		action, first, err := routeAction(vs, rule, all)
		if err != nil {
			return nil, err
		}
		made.Action = &routev3.Route_Route{Route: action}
		made.Decorator = &routev3.Decorator{Operation: fmt.Sprintf("%s:%d%s", first.host(), first.port.Port, operation(match))}
	}
	return out, nil
}

// answerByItself gives a route the rule's redirect to another path, or its answer in words; it reports whether the rule has one.
func answerByItself(r *routev3.Route, rule *networking.HTTPRoute) bool {
	if to := rule.GetRedirect(); to != nil {
		r.Action = &routev3.Route_Redirect{Redirect: &routev3.RedirectAction{
			HostRedirect: to.GetAuthority(), PathRewriteSpecifier: &routev3.RedirectAction_PathRedirect{PathRedirect: to.GetUri()},
		}}
		return true
	}
	if answer := rule.GetDirectResponse(); answer != nil {
		r.Action = &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{
			Status: answer.GetStatus(),
			Body:   &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: answer.GetBody().GetString_()}},
		}}
		return true
	}
	return false
}

// operation is how istiod names what a route does, for traces.
func operation(m *routev3.RouteMatch) string {
	if p, is := m.GetPathSpecifier().(*routev3.RouteMatch_Prefix); is {
		return p.Prefix + "*"
	}
	return m.GetPath()
}

func routeMatch(in *networking.HTTPMatchRequest) (*routev3.RouteMatch, error) {
	out := &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: "/"}, CaseSensitive: wrapperspb.Bool(true)}
	switch m := in.GetUri().GetMatchType().(type) {
	case nil:
	case *networking.StringMatch_Exact:
		out.PathSpecifier = &routev3.RouteMatch_Path{Path: m.Exact}
	case *networking.StringMatch_Prefix:
		out.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: m.Prefix}
	default:
		return nil, fmt.Errorf("uri %v is not known here", in.GetUri())
	}
	for _, name := range slices.Sorted(maps.Keys(in.GetHeaders())) {
		exact, is := in.GetHeaders()[name].GetMatchType().(*networking.StringMatch_Exact)
		if !is {
			return nil, fmt.Errorf("headers[%s] is not known here", name)
		}
		out.Headers = append(out.Headers, &routev3.HeaderMatcher{Name: name, HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{
			StringMatch: &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: exact.Exact}},
		}})
	}
	if in.GetMethod() != nil || in.GetAuthority() != nil || in.GetScheme() != nil || len(in.GetQueryParams()) > 0 || len(in.GetWithoutHeaders()) > 0 {
		return nil, fmt.Errorf("a match of %v is not known here", in)
	}
	return out, nil
}

// routeAction is what happens with a rule's requests. first is the first of its destinations.
func routeAction(vs *networkingv1.VirtualService, rule *networking.HTTPRoute, all []*target) (out *routev3.RouteAction, first *target, err error) {
	out = &routev3.RouteAction{
		Timeout: durationpb.New(0),
		RetryPolicy: &routev3.RetryPolicy{
			RetryOn: "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes", NumRetries: wrapperspb.UInt32(2),
			HostSelectionRetryMaxAttempts: 5,
		},
	}
	out.MaxGrpcTimeout = durationpb.New(0) //nolint:staticcheck // istiod sets it
	split := &routev3.WeightedCluster{}
	for _, r := range rule.GetRoute() {
		t := find(all, vs, r.GetDestination())
		if t == nil {
			return nil, nil, fmt.Errorf("there is no destination %v", r.GetDestination())
		}
		if first == nil {
			first = t
		}
		if len(rule.GetRoute()) == 1 {
			out.ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: t.name()}
		} else if r.GetWeight() > 0 {
			split.Clusters = append(split.Clusters, &routev3.WeightedCluster_ClusterWeight{Name: t.name(), Weight: wrapperspb.UInt32(uint32(r.GetWeight()))})
		}
		if p := hashPolicy(t.policy().GetLoadBalancer().GetConsistentHash()); p != nil {
			out.HashPolicy = append(out.HashPolicy, p)
		}
	}
	if len(split.Clusters) > 0 {
		out.ClusterSpecifier = &routev3.RouteAction_WeightedClusters{WeightedClusters: split}
	}
	return out, first, nil
}

// find is the target of a destination: without a port, the service's only one.
func find(all []*target, vs *networkingv1.VirtualService, d *networking.Destination) *target {
	for _, t := range all {
		port := d.GetPort().GetNumber()
		if t.host() == fullHost(d.GetHost(), vs.Namespace) && t.subset.GetName() == d.GetSubset() && (port == 0 || port == uint32(t.port.Port)) {
			return t
		}
	}
	return nil
}

// hashPolicy is where Envoy finds the key of consistent hashing.
func hashPolicy(in *networking.LoadBalancerSettings_ConsistentHashLB) *routev3.RouteAction_HashPolicy {
	switch key := in.GetHashKey().(type) {
	case *networking.LoadBalancerSettings_ConsistentHashLB_HttpHeaderName:
		return &routev3.RouteAction_HashPolicy{PolicySpecifier: &routev3.RouteAction_HashPolicy_Header_{
			Header: &routev3.RouteAction_HashPolicy_Header{HeaderName: key.HttpHeaderName},
		}}
	case *networking.LoadBalancerSettings_ConsistentHashLB_HttpCookie:
		cookie := &routev3.RouteAction_HashPolicy_Cookie{Name: key.HttpCookie.GetName(), Path: key.HttpCookie.GetPath()}
		if ttl := key.HttpCookie.GetTtl(); ttl != nil {
			cookie.Ttl = durationpb.New(ttl.AsDuration())
		}
		return &routev3.RouteAction_HashPolicy{PolicySpecifier: &routev3.RouteAction_HashPolicy_Cookie_{Cookie: cookie}}
	case *networking.LoadBalancerSettings_ConsistentHashLB_HttpQueryParameterName:
		return &routev3.RouteAction_HashPolicy{PolicySpecifier: &routev3.RouteAction_HashPolicy_QueryParameter_{
			QueryParameter: &routev3.RouteAction_HashPolicy_QueryParameter{Name: key.HttpQueryParameterName},
		}}
	case *networking.LoadBalancerSettings_ConsistentHashLB_UseSourceIp:
		return &routev3.RouteAction_HashPolicy{PolicySpecifier: &routev3.RouteAction_HashPolicy_ConnectionProperties_{
			ConnectionProperties: &routev3.RouteAction_HashPolicy_ConnectionProperties{SourceIp: true},
		}}
	}
	return nil
}
