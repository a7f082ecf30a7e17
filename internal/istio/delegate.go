package istio

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	networking "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/remora-proxy/remora/internal/resource"
)

// A rule of a VirtualService, the root, may hand its requests on to the rules of another VirtualService, the delegate, which has no
// hosts. The delegate's rules then stand in the place of the root's rule, each with what both match. A rule of the delegate whose
// matches are not all within one of the root's has no effect (Istio's API reference, Delegate; pilot: mergeHTTPMatchRequests).

// isDelegate reports whether a VirtualService is for others to delegate to.
func isDelegate(spec *networking.VirtualService) bool { return len(spec.Hosts) == 0 }

// Delegates finds what rules delegate to.
type Delegates struct {
	all    map[string]vsObject // all VirtualServices by name
	wanted map[string]bool     // names that some rule delegates to
}

// NewDelegates looks through a set.
func NewDelegates(set *resource.Set) *Delegates {
	ds := &Delegates{all: map[string]vsObject{}, wanted: map[string]bool{}}
	for _, o := range set.VirtualServices {
		ds.all[o.Name()] = o
		for _, r := range o.Value.Spec.Http {
			if r.GetDelegate() != nil {
				ds.wanted[delegateName(o, r.Delegate)] = true
			}
		}
	}
	return ds
}

// Find finds what a rule of root delegates to: a VirtualService without hosts that is exported to root's namespace. Otherwise it says why
// there is none.
func (ds *Delegates) Find(root resource.Object[*networkingv1.VirtualService], d *networking.Delegate) (found resource.Object[*networkingv1.VirtualService], why string) {
	name := delegateName(root, d)
	found, is := ds.all[name]
	switch {
	case !is:
		return found, "there is no " + name
	case !isDelegate(&found.Value.Spec):
		return found, name + " has hosts, and only one without is delegated to"
	case !visible(found.Value.Spec.ExportTo, found.Value.Namespace, root.Value.Namespace):
		return found, name + " is not exported to the namespace " + root.Value.Namespace
	}
	return found, ""
}

// delegateName is the name of the object that a rule of root delegates to.
func delegateName(root vsObject, d *networking.Delegate) string {
	return root.Kind + " " + cmp.Or(d.GetNamespace(), root.Value.Namespace) + "/" + d.GetName()
}

// checkDelegate checks what only delegates must not have, and that there is a use for it.
func (c *compiler) checkDelegate(o vsObject) {
	spec := &o.Value.Spec
	const remedy = `a VirtualService without hosts is one that others delegate to: give it hosts (or "*" for all), or take this out`
	if len(spec.Gateways) > 0 {
		c.errorAt(o, "spec.gateways", "the VirtualService has gateways and no hosts", remedy)
	}
	if len(spec.Http) == 0 {
		c.errorAt(o, "spec.http", "the VirtualService has no rules", "add a route under spec.http")
	}
	for i, http := range spec.Http {
		if http.GetDelegate() != nil {
			c.errorAt(o, fmt.Sprintf("spec.http[%d].delegate", i), "the VirtualService has no hosts, so that others delegate to it, and delegates itself", "Istio delegates once: name the last one in the first, or give this one hosts")
		}
	}
	if !c.delegates.wanted[o.Name()] {
		c.warnAt(o, "spec.hosts", "the VirtualService has no hosts, and no other delegates to it: it serves no request", `give it hosts (or "*" for all), or name it under delegate in a rule of another`)
	}
}

// readDelegated reads the rules that stand in the place of root's rule.
func (c *compiler) readDelegated(root vsObject, field string, in *networking.HTTPRoute) []*rule {
	if len(in.GetRoute()) > 0 || in.GetRedirect() != nil || in.GetDirectResponse() != nil {
		c.errorAt(root, field, "the rule has delegate and one of route, redirect and directResponse", "give each a rule of its own")
		return nil
	}
	d, why := c.delegates.Find(root, in.Delegate)
	if why != "" {
		c.warnAt(root, field+".delegate", why+": the rule has no effect", "name a VirtualService without hosts, by default one in the same namespace")
		return nil
	}
	c.checkForwarding(root, field, in)
	var out []*rule
	for i, http := range d.Value.Spec.Http {
		if http.GetDelegate() != nil {
			continue // refused
		}
		at := fmt.Sprintf("spec.http[%d]", i)
		c.checkShortNames(root, d, at, http)
		matches, within := mergeMatches(placedMatches(root, field, in), placedMatches(d, at, http))
		if !within {
			c.warnAt(d, at, fmt.Sprintf("has no effect for %s, %s (%s), which delegates to it: it does not match a part of what that one matches", root.Name(), field, position(root, field)),
				"each of its matches must be within one of the others', condition by condition: an equal value or a longer prefix, and no regex where both have a condition")
			continue
		}
		merged := proto.CloneOf(http)
		merged.Name = joinNames(in.GetName(), http.GetName())
		r := &rule{object: d, in: merged, field: at, source: position(d, at)}
		c.checkDestinations(d, r)
		c.checkForwarding(d, at, http)
		c.readMatches(r, matches)
		out = append(out, r)
	}
	return out
}

// checkShortNames refuses short names of hosts and gateways in a delegate of another namespace: to some versions of Istio they are in
// the delegate's, to others in the root's.
func (c *compiler) checkShortNames(root, d vsObject, field string, in *networking.HTTPRoute) {
	if root.Value.Namespace == d.Value.Namespace {
		return
	}
	const what, remedy = "%s is a short name in a delegate of another namespace's %s: which namespace it is in depends on Istio's version", "write the full name"
	for i, r := range in.GetRoute() {
		if host := r.GetDestination().GetHost(); host != fullHost(host, d.Value.Namespace) {
			c.errorAt(d, fmt.Sprintf("%s.route[%d].destination.host", field, i), fmt.Sprintf(what, host, root.Name()), remedy+": "+fullHost(host, d.Value.Namespace))
		}
	}
	for i, m := range in.GetMatch() {
		for j, g := range m.GetGateways() {
			if g != meshGateway && fullGateway(g, d.Value.Namespace) != fullGateway(g, root.Value.Namespace) {
				c.errorAt(d, fmt.Sprintf("%s.match[%d].gateways[%d]", field, i, j), fmt.Sprintf(what, g, root.Name()), remedy+": "+fullGateway(g, d.Value.Namespace))
			}
		}
	}
}

func placedMatches(o vsObject, field string, in *networking.HTTPRoute) []placedMatch {
	var out []placedMatch
	for i, m := range in.GetMatch() {
		out = append(out, placedMatch{o, fmt.Sprintf("%s.match[%d]", field, i), m})
	}
	return out
}

// mergeMatches gives what both a root's rule and a delegate's match: each match of the delegate together with each of the root's that it is
// within. It reports false when one is within none. Without matches, a rule matches everything.
func mergeMatches(root, delegate []placedMatch) (merged []placedMatch, within bool) {
	if len(root) == 0 {
		return delegate, true
	}
	if len(delegate) == 0 {
		return root, true
	}
	for _, d := range delegate {
		found := false
		for _, r := range root {
			if !matchWithin(d, r) {
				continue
			}
			found = true
			both := placedMatch{d.object, d.field, bothMatch(d, r)}
			if !slices.ContainsFunc(merged, func(m placedMatch) bool { return proto.Equal(m.in, both.in) }) {
				merged = append(merged, both)
			}
		}
		if !found {
			return nil, false
		}
	}
	return merged, true
}

// bothMatch is what both match, where d is within r: d's conditions, and those of r that d has not.
func bothMatch(d, r placedMatch) *networking.HTTPMatchRequest {
	out := proto.CloneOf(d.in)
	out.Name = joinNames(r.in.GetName(), d.in.GetName())
	out.Uri, out.Scheme = cmp.Or(out.Uri, r.in.Uri), cmp.Or(out.Scheme, r.in.Scheme)
	out.Method, out.Authority = cmp.Or(out.Method, r.in.Method), cmp.Or(out.Authority, r.in.Authority)
	out.Port = cmp.Or(out.Port, r.in.Port)
	out.Headers = over(r.in.Headers, out.Headers)
	out.WithoutHeaders = over(r.in.WithoutHeaders, out.WithoutHeaders)
	out.QueryParams = over(r.in.QueryParams, out.QueryParams)
	out.SourceLabels = over(r.in.SourceLabels, out.SourceLabels)
	out.SourceNamespace = cmp.Or(out.SourceNamespace, r.in.SourceNamespace)
	from := d
	if len(out.Gateways) == 0 {
		from = r
	}
	out.Gateways = fullGateways(from)
	return out
}

// over is two maps in one; of a key that both have, it has the second one's value.
func over[V any](first, second map[string]V) map[string]V {
	out := maps.Clone(first)
	if out == nil {
		out = map[string]V{}
	}
	maps.Copy(out, second)
	return out
}

func joinNames(root, delegate string) string {
	if root == "" || delegate == "" {
		return root + delegate
	}
	return root + "-" + delegate
}

// fullGateways are the gateways of a match by their full names.
func fullGateways(m placedMatch) []string {
	var out []string
	for _, g := range m.in.GetGateways() {
		if g != meshGateway {
			g = fullGateway(g, m.object.Value.Namespace)
		}
		out = append(out, g)
	}
	return out
}

// matchWithin reports whether Istio lets a delegate's match count with one of the root's: none of its conditions lets through what a
// condition of the root's on the same property does not.
func matchWithin(delegate, root placedMatch) bool {
	d, r := delegate.in, root.in
	if !conditionWithin(d.GetUri(), r.GetUri()) || !conditionWithin(d.GetScheme(), r.GetScheme()) || !conditionWithin(d.GetMethod(), r.GetMethod()) || !conditionWithin(d.GetAuthority(), r.GetAuthority()) {
		return false
	}
	for _, pair := range [][2]map[string]*networking.StringMatch{{d.GetHeaders(), r.GetHeaders()}, {d.GetWithoutHeaders(), r.GetWithoutHeaders()}, {d.GetQueryParams(), r.GetQueryParams()}} {
		for name, m := range pair[0] {
			if !conditionWithin(m, pair[1][name]) {
				return false
			}
		}
	}
	for name, value := range d.GetSourceLabels() {
		if other, is := r.GetSourceLabels()[name]; is && other != value {
			return false
		}
	}
	if len(d.GetGateways()) > 0 && len(r.GetGateways()) > 0 {
		of := fullGateways(root)
		if slices.ContainsFunc(fullGateways(delegate), func(g string) bool { return !slices.Contains(of, g) }) {
			return false
		}
	}
	return d.GetIgnoreUriCase() == r.GetIgnoreUriCase() &&
		(d.GetPort() == 0 || r.GetPort() == 0 || d.GetPort() == r.GetPort()) &&
		(r.GetSourceNamespace() == "" || d.GetSourceNamespace() == r.GetSourceNamespace())
}

// conditionWithin reports whether a delegate's condition is within the root's on the same property, where both are there. Expressions are never.
func conditionWithin(delegate, root *networking.StringMatch) bool {
	switch {
	case delegate == nil || root == nil:
		return true
	case root.GetExact() != "":
		return delegate.GetExact() == root.GetExact()
	case root.GetPrefix() != "":
		value := delegate.GetExact() + delegate.GetPrefix() // one of them
		return value != "" && strings.HasPrefix(value, root.GetPrefix())
	}
	return false
}
