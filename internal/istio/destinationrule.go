package istio

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/diag"
	"github.com/remora-proxy/remora/internal/resource"
)

// ruleObject is a DestinationRule as it was written.
type ruleObject = resource.Object[*networkingv1.DestinationRule]

// ruleIndex finds the DestinationRule of a service.
type ruleIndex struct{ namespaces map[string][]*destinationRule }

// destinationRule is the DestinationRules of one namespace for one host.
type destinationRule struct {
	object  ruleObject // the first
	host    string     // full, in lower case
	policy  *placedPolicy
	subsets []*subset
	used    bool // some routed service has it
}

// placedPolicy is a trafficPolicy and where it stands.
type placedPolicy struct {
	object ruleObject
	field  string
	in     *networking.TrafficPolicy
}

type subset struct {
	name   string
	labels map[string]string
	source string
	policy *placedPolicy // nil: none
}

// readDestinationRules merges the DestinationRules of each host, the oldest first: the first trafficPolicy counts, and each
// subset that is not there yet is added.
func (c *compiler) readDestinationRules() *ruleIndex {
	x := &ruleIndex{namespaces: map[string][]*destinationRule{}}
	byHost := map[string]*destinationRule{}
	for _, o := range byAge(c.set.DestinationRules) {
		spec := &o.Value.Spec
		if wrong := checkHost(spec.Host); wrong != "" {
			c.errorAt(o, "spec.host", wrong, "a short name is a service in the DestinationRule's namespace, a full one is name.namespace.svc.cluster.local")
			continue
		}
		host := strings.ToLower(fullHost(spec.Host, o.Value.Namespace))
		if !strings.HasPrefix(host, "*") && c.registry.services[host] == nil {
			c.warnAt(o, "spec.host", "there is no service "+host, c.registry.instead(host))
		}
		key := o.Value.Namespace + "/" + host
		r := byHost[key]
		if r == nil {
			r = &destinationRule{object: o, host: host}
			byHost[key] = r
			x.namespaces[o.Value.Namespace] = append(x.namespaces[o.Value.Namespace], r)
		}
		if policy := c.readTrafficPolicy(o, "spec.trafficPolicy", spec.TrafficPolicy); policy != nil && r.policy != nil {
			c.warnAt(o, "spec.trafficPolicy", "has no effect: "+r.policy.object.Name()+" ("+position(r.policy.object, r.policy.field)+") is for the same host and counts", "put both into one object")
		} else if policy != nil {
			r.policy = policy
		}
		c.readSubsets(r, o)
	}
	// The longest pattern first: it is the most specific.
	for _, rules := range x.namespaces {
		slices.SortStableFunc(rules, func(a, b *destinationRule) int { return len(b.host) - len(a.host) })
	}
	return x
}

func (c *compiler) readSubsets(r *destinationRule, o ruleObject) {
	for i, in := range o.Value.Spec.Subsets {
		field := fmt.Sprintf("spec.subsets[%d]", i)
		if !label.MatchString(in.GetName()) {
			c.errorAt(o, field+".name", fmt.Sprintf("%q is not the name of a subset", in.GetName()), "")
			continue
		}
		if before := r.subset(in.Name); before != nil {
			c.errorAt(o, field+".name", fmt.Sprintf("the subset %s of %s is there already (%s)", in.Name, r.host, before.source), "give it another name")
			continue
		}
		r.subsets = append(r.subsets, &subset{
			name: in.Name, labels: in.Labels, source: position(o, field), policy: c.readTrafficPolicy(o, field+".trafficPolicy", in.TrafficPolicy),
		})
	}
}

func (r *destinationRule) subset(name string) *subset {
	for _, s := range r.subsets {
		if s.name == name {
			return s
		}
	}
	return nil
}

// subsetInstead is what to do about a subset that a rule does not define. r may be nil.
func (r *destinationRule) subsetInstead(name string) string {
	if r == nil {
		return "write a DestinationRule for the host with the subset and its labels"
	}
	var names []string
	for _, s := range r.subsets {
		names = append(names, s.name)
	}
	if near := diag.Nearest(name, names); near != "" {
		return "did you mean " + near + "?"
	}
	if len(names) == 0 {
		return "add it and its labels to spec.subsets of " + r.object.Name()
	}
	return fmt.Sprintf("%s has %s: write one of them, or add it", r.object.Name(), strings.Join(names, ", "))
}

// readTrafficPolicy checks a trafficPolicy.
func (c *compiler) readTrafficPolicy(o ruleObject, field string, in *networking.TrafficPolicy) *placedPolicy {
	if in == nil {
		return nil
	}
	c.checkLoadBalancer(o, field+".loadBalancer", in.LoadBalancer)
	for i, p := range in.PortLevelSettings {
		at := fmt.Sprintf("%s.portLevelSettings[%d]", field, i)
		if n := p.GetPort().GetNumber(); n == 0 || n > 65535 {
			c.errorAt(o, at+".port", "the settings have no port in 1 to 65535", "write port: with its number")
		}
		c.checkLoadBalancer(o, at+".loadBalancer", p.GetLoadBalancer())
	}
	return &placedPolicy{o, field, in}
}

func (c *compiler) checkLoadBalancer(o ruleObject, field string, in *networking.LoadBalancerSettings) {
	switch lb := in.GetLbPolicy().(type) {
	case *networking.LoadBalancerSettings_Simple:
		if lb.Simple == networking.LoadBalancerSettings_PASSTHROUGH {
			c.errorAt(o, field+".simple", "PASSTHROUGH is not supported", "write LEAST_REQUEST, ROUND_ROBIN or RANDOM")
		}
	case *networking.LoadBalancerSettings_ConsistentHash:
		c.checkHash(o, field+".consistentHash", lb.ConsistentHash)
	}
}

func (c *compiler) checkHash(o ruleObject, field string, in *networking.LoadBalancerSettings_ConsistentHashLB) {
	token := func(field, name string) {
		if !httpguts.ValidHeaderFieldName(name) {
			c.errorAt(o, field, fmt.Sprintf("%q is not a name that HTTP allows there", name), "names are letters, digits, and -_.!#$%&'*+^`|~")
		}
	}
	switch key := in.GetHashKey().(type) {
	case *networking.LoadBalancerSettings_ConsistentHashLB_HttpHeaderName:
		token(field+".httpHeaderName", key.HttpHeaderName)
	case *networking.LoadBalancerSettings_ConsistentHashLB_HttpCookie:
		token(field+".httpCookie.name", key.HttpCookie.GetName())
		if ttl := key.HttpCookie.GetTtl(); ttl != nil && (ttl.CheckValid() != nil || ttl.AsDuration() < 0) {
			c.errorAt(o, field+".httpCookie.ttl", "the ttl is negative", "0s makes a cookie that ends with the client's session")
		}
		if path := key.HttpCookie.GetPath(); strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r == ';' || r > '~' }) {
			c.errorAt(o, field+".httpCookie.path", fmt.Sprintf("%q cannot be the path of a cookie", path), "")
		}
	case *networking.LoadBalancerSettings_ConsistentHashLB_HttpQueryParameterName:
		if key.HttpQueryParameterName == "" {
			c.errorAt(o, field+".httpQueryParameterName", "the name is empty", "")
		}
	case *networking.LoadBalancerSettings_ConsistentHashLB_UseSourceIp:
		if !key.UseSourceIp {
			c.errorAt(o, field+".useSourceIp", "false says nothing", "write true, or another key")
		}
	default:
		c.errorAt(o, field, "consistentHash does not say where the key is", "write httpHeaderName, httpCookie, httpQueryParameterName or useSourceIp")
	}
	for _, f := range []struct {
		name string
		set  bool
	}{{"minimumRingSize", in.GetMinimumRingSize() != 0}, {"ringHash", in.GetRingHash() != nil}, {"maglev", in.GetMaglev() != nil}} { //nolint:staticcheck // minimumRingSize is deprecated, and in use
		if f.set {
			c.warnAt(o, field+"."+f.name, "has no effect: sessions are kept in a table, there is no ring", "")
		}
	}
}

// find is the DestinationRule of a service, or nil: the most specific one of the gateway's own namespace, else of the
// service's, else of Istio's root namespace.
func (x *ruleIndex) find(s *service, own string) *destinationRule {
	namespaces := []string{own, s.namespace, rootNamespace}
	if own == rootNamespace {
		namespaces = namespaces[1:] // else the rules for the whole mesh would hide those of the services
	}
	for _, namespace := range namespaces {
		for _, r := range x.namespaces[namespace] {
			if within(s.host, r.host) && visible(r.object.Value.Spec.ExportTo, namespace, own) {
				r.used = true
				return r
			}
		}
	}
	return nil
}

// warnUnusedDestinationRules tells of DestinationRules for services that are routed to and do not have them.
func (c *compiler) warnUnusedDestinationRules() {
	routed := map[string]*service{}
	for i, r := range c.routed {
		if r.service != nil && c.config.Services[i].Missing == "" { // else that is the cause
			routed[r.service.host] = r.service
		}
	}
	for _, rules := range c.rules.namespaces {
		for _, r := range rules {
			if s := routed[r.host]; s != nil && !r.used {
				c.warnAt(r.object, "spec.host", "the DestinationRule has no effect on "+r.host,
					fmt.Sprintf("one counts that is exported to namespace %s and is in it, or else in the service's (%s), or else in %s", c.namespace, s.namespace, rootNamespace))
			}
		}
	}
}

// loadBalancer gives the settings of a port, and of a subset when there is one, and where they stand. A subset's settings go
// before those of the whole rule, and at each level those of the port replace the others.
func (r *destinationRule) loadBalancer(port uint16, s *subset) (lb *networking.LoadBalancerSettings, policy *placedPolicy, field string) {
	apply := func(p *placedPolicy) {
		if p == nil {
			return
		}
		if p.in.LoadBalancer != nil {
			lb, policy, field = p.in.LoadBalancer, p, p.field+".loadBalancer"
		}
		for i, settings := range p.in.PortLevelSettings {
			if settings.GetPort().GetNumber() == uint32(port) {
				// Istio: what they leave out is not inherited.
				lb, policy, field = settings.GetLoadBalancer(), p, fmt.Sprintf("%s.portLevelSettings[%d].loadBalancer", p.field, i)
				break
			}
		}
	}
	apply(r.policy)
	if s != nil {
		apply(s.policy)
	}
	return lb, policy, field
}

// balance translates the settings into the load balancer for requests without a session and the key of sessions.
func balance(lb *networking.LoadBalancerSettings, p *placedPolicy, field string) (affinity.LoadBalancer, affinity.Key) {
	switch s := lb.GetLbPolicy().(type) {
	case *networking.LoadBalancerSettings_Simple:
		switch s.Simple {
		case networking.LoadBalancerSettings_ROUND_ROBIN:
			return affinity.RoundRobin, affinity.Key{}
		case networking.LoadBalancerSettings_RANDOM:
			return affinity.Random, affinity.Key{}
		}
	case *networking.LoadBalancerSettings_ConsistentHash:
		key := hashKey(s.ConsistentHash)
		key.Source = position(p.object, field+".consistentHash")
		return affinity.LeastRequest, key
	}
	return affinity.LeastRequest, affinity.Key{}
}

func hashKey(in *networking.LoadBalancerSettings_ConsistentHashLB) affinity.Key {
	switch key := in.GetHashKey().(type) {
	case *networking.LoadBalancerSettings_ConsistentHashLB_HttpHeaderName:
		return affinity.Key{Kind: affinity.HeaderKey, Name: strings.ToLower(key.HttpHeaderName)}
	case *networking.LoadBalancerSettings_ConsistentHashLB_HttpCookie:
		out := affinity.Key{Kind: affinity.CookieKey, Name: key.HttpCookie.GetName(), Path: key.HttpCookie.GetPath()}
		if ttl := key.HttpCookie.GetTtl(); ttl != nil {
			out.SetTTL = true
			out.TTL = min(ttl.AsDuration(), math.MaxInt32*time.Second)
		}
		return out
	case *networking.LoadBalancerSettings_ConsistentHashLB_HttpQueryParameterName:
		return affinity.Key{Kind: affinity.QueryKey, Name: key.HttpQueryParameterName}
	case *networking.LoadBalancerSettings_ConsistentHashLB_UseSourceIp:
		return affinity.Key{Kind: affinity.SourceIPKey}
	}
	return affinity.Key{}
}
