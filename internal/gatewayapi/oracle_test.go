package gatewayapi_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/remora-proxy/remora/internal/resource"
	"github.com/remora-proxy/remora/internal/route"
)

// oracle finds the rule for a request by reading the objects, one after another, as the API's documentation says. It gives the rule's
// name, or "".
func oracle(set *resource.Set, r *route.Request) string {
	var best *candidate
	for _, g := range set.APIGateways {
		for _, c := range oracleCandidates(set, g.Value, r) {
			if oracleFits(c.match, r) && (best == nil || c.before(best)) {
				best = &c
			}
		}
	}
	if best == nil {
		return ""
	}
	return string(*best.rule.Name)
}

// candidate is a match that a request may be tried with.
type candidate struct {
	route         *gatewayv1.HTTPRoute
	rule          *gatewayv1.HTTPRouteRule
	match         gatewayv1.HTTPRouteMatch
	ruleN, number int
}

// oracleCandidates are the matches of the routes of a Gateway that are there for the host of a request.
func oracleCandidates(set *resource.Set, g *gatewayv1.Gateway, r *route.Request) []candidate {
	// The listener that fits best.
	var listener *gatewayv1.Listener
	for i := range g.Spec.Listeners {
		l := &g.Spec.Listeners[i]
		if uint16(l.Port) == r.Port && oracleCovers(oracleHost(l), r.Authority) && (listener == nil || oracleSpecific(oracleHost(l)) > oracleSpecific(oracleHost(listener))) {
			listener = l
		}
	}
	if listener == nil {
		return nil
	}
	// The hostnames that it and routes have in common, and of those the one that fits best. Its own is among them.
	domain, routes := oracleHost(listener), []*gatewayv1.HTTPRoute(nil)
	for _, o := range set.HTTPRoutes {
		if !oracleAttached(o.Value, g, listener) {
			continue
		}
		hostnames := o.Value.Spec.Hostnames
		if len(hostnames) == 0 {
			hostnames = []gatewayv1.Hostname{"*"}
		}
		for _, h := range hostnames {
			both := string(h)
			if oracleCovers(both, oracleHost(listener)) {
				both = oracleHost(listener)
			} else if !oracleCovers(oracleHost(listener), both) {
				continue
			}
			switch {
			case !oracleCovers(both, r.Authority) || oracleSpecific(both) < oracleSpecific(domain):
				continue
			case both != domain:
				domain, routes = both, nil
			}
			routes = append(routes, o.Value)
		}
	}
	var out []candidate
	for _, route := range routes {
		for i := range route.Spec.Rules {
			rule := &route.Spec.Rules[i]
			matches := rule.Matches
			if len(matches) == 0 {
				matches = []gatewayv1.HTTPRouteMatch{{}}
			}
			for j, m := range matches {
				out = append(out, candidate{route, rule, m, i, j})
			}
		}
	}
	return out
}

func oracleHost(l *gatewayv1.Listener) string {
	if l.Hostname == nil {
		return "*"
	}
	return string(*l.Hostname)
}

// oracleCovers reports whether a hostname stands for all that another one stands for.
func oracleCovers(pattern, host string) bool {
	if pattern == "*" || pattern == host {
		return true
	}
	return strings.HasPrefix(pattern, "*.") && host != "*" && strings.HasSuffix(strings.TrimPrefix(host, "*"), pattern[1:])
}

// oracleSpecific is larger for the more specific of two hostnames that fit one host.
func oracleSpecific(hostname string) int {
	if !strings.HasPrefix(hostname, "*") {
		return 1000
	}
	return len(hostname)
}

func oracleAttached(r *gatewayv1.HTTPRoute, g *gatewayv1.Gateway, l *gatewayv1.Listener) bool {
	from := gatewayv1.NamespacesFromSame
	if l.AllowedRoutes != nil {
		from = *l.AllowedRoutes.Namespaces.From
	}
	if from == gatewayv1.NamespacesFromSame && r.Namespace != g.Namespace {
		return false
	}
	return slices.ContainsFunc(r.Spec.ParentRefs, func(ref gatewayv1.ParentReference) bool {
		return string(ref.Name) == g.Name && string(*ref.Namespace) == g.Namespace &&
			(ref.SectionName == nil || *ref.SectionName == l.Name) && (ref.Port == nil || *ref.Port == l.Port)
	})
}

// before reports whether a match goes before another one that fits too.
func (c *candidate) before(d *candidate) bool {
	kind := func(m gatewayv1.HTTPRouteMatch) (order, length int) {
		switch path := oraclePath(m); *path.Type {
		case gatewayv1.PathMatchExact:
			return 0, 0
		case gatewayv1.PathMatchRegularExpression:
			return 1, -len(*path.Value)
		default:
			return 2, -len(strings.TrimRight(*path.Value, "/"))
		}
	}
	has := func(m *gatewayv1.HTTPMethod) int {
		if m != nil {
			return -1
		}
		return 0
	}
	ck, cl := kind(c.match)
	dk, dl := kind(d.match)
	return cmp.Or(
		cmp.Compare(ck, dk), cmp.Compare(cl, dl), cmp.Compare(has(c.match.Method), has(d.match.Method)),
		cmp.Compare(len(d.match.Headers), len(c.match.Headers)), cmp.Compare(len(d.match.QueryParams), len(c.match.QueryParams)),
		c.route.CreationTimestamp.Compare(d.route.CreationTimestamp.Time),
		cmp.Compare(c.route.Namespace+"/"+c.route.Name, d.route.Namespace+"/"+d.route.Name),
		cmp.Compare(c.ruleN, d.ruleN), cmp.Compare(c.number, d.number),
	) < 0
}

func oraclePath(m gatewayv1.HTTPRouteMatch) gatewayv1.HTTPPathMatch {
	if m.Path == nil {
		return gatewayv1.HTTPPathMatch{Type: new(gatewayv1.PathMatchPathPrefix), Value: new("/")}
	}
	return *m.Path
}

// oracleFits reports whether a request fulfils all conditions of a match.
func oracleFits(m gatewayv1.HTTPRouteMatch, r *route.Request) bool {
	whole := func(expr, s string) bool { return regexp.MustCompile("^(?:" + expr + ")$").MatchString(s) }
	path := oraclePath(m)
	switch *path.Type {
	case gatewayv1.PathMatchExact:
		if r.Path != *path.Value {
			return false
		}
	case gatewayv1.PathMatchRegularExpression:
		if !whole(*path.Value, r.Path) {
			return false
		}
	default: // element by element
		want := strings.FieldsFunc(*path.Value, func(c rune) bool { return c == '/' })
		have := strings.Split(strings.TrimPrefix(r.Path, "/"), "/")
		if len(have) < len(want) || !slices.Equal(have[:len(want)], want) {
			return false
		}
	}
	if m.Method != nil && string(*m.Method) != r.Method {
		return false
	}
	for _, h := range m.Headers {
		value, n := r.Header(strings.ToLower(string(h.Name)))
		if n == 0 || *h.Type == gatewayv1.HeaderMatchExact && value != h.Value || *h.Type != gatewayv1.HeaderMatchExact && !whole(h.Value, value) {
			return false
		}
	}
	for _, q := range m.QueryParams {
		if !slices.ContainsFunc(strings.Split(r.Query, "&"), func(p string) bool {
			name, value, _ := strings.Cut(p, "=")
			return name == string(q.Name) && (*q.Type == gatewayv1.QueryParamMatchExact && value == q.Value || *q.Type != gatewayv1.QueryParamMatchExact && whole(q.Value, value))
		}) {
			return false
		}
	}
	return true
}

type dice struct{ *rand.Rand }

func (d dice) of(words ...string) string { return words[d.IntN(len(words))] }

func (d dice) one(in int) bool { return d.IntN(in) == 0 }

var hostnames = []string{"*.example.com", "*.foo.example.com", "a.foo.example.com", "foo.example.com", "www.example.com", "example.com", "*.com", "*.example.org", "www.example.org"}

func (d dice) set() *resource.Set {
	set := &resource.Set{}
	for i := range 1 + d.IntN(2) {
		g := &gatewayv1.Gateway{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("gw-%d", i), Namespace: d.of("infra", "shop")}}
		for j, port := range []int{80, 80, 80, 81} {
			l := gatewayv1.Listener{Name: gatewayv1.SectionName(fmt.Sprintf("l%d", j)), Port: gatewayv1.PortNumber(port), Protocol: gatewayv1.HTTPProtocolType}
			if !d.one(3) {
				l.Hostname = new(gatewayv1.Hostname(d.of(hostnames...)))
			}
			if !d.one(3) {
				l.AllowedRoutes = &gatewayv1.AllowedRoutes{Namespaces: &gatewayv1.RouteNamespaces{From: new(gatewayv1.FromNamespaces(d.of("All", "All", "Same")))}}
			}
			if !slices.ContainsFunc(g.Spec.Listeners, func(other gatewayv1.Listener) bool {
				return other.Port == l.Port && oracleHost(&other) == oracleHost(&l)
			}) {
				g.Spec.Listeners = append(g.Spec.Listeners, l)
			}
		}
		set.APIGateways = append(set.APIGateways, resource.Object[*gatewayv1.Gateway]{Kind: resource.GatewayAPIGateway, Value: g, Where: nowhere})
	}
	for i := range 1 + d.IntN(5) {
		set.HTTPRoutes = append(set.HTTPRoutes, resource.Object[*gatewayv1.HTTPRoute]{Kind: "HTTPRoute", Value: d.route(set, i), Where: nowhere})
	}
	return set
}

func (d dice) route(set *resource.Set, i int) *gatewayv1.HTTPRoute {
	r := &gatewayv1.HTTPRoute{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%c", 'z'-i), Namespace: d.of("infra", "shop")}}
	if d.one(2) {
		r.CreationTimestamp = metav1.NewTime(time.Unix(1_700_000_000+d.Int64N(2), 0))
	}
	for range 1 + d.IntN(2) {
		g := set.APIGateways[d.IntN(len(set.APIGateways))].Value
		ref := gatewayv1.ParentReference{Name: gatewayv1.ObjectName(g.Name), Namespace: new(gatewayv1.Namespace(g.Namespace))}
		if d.one(3) {
			ref.SectionName = new(gatewayv1.SectionName(d.of("l0", "l1", "l2", "l3")))
		}
		if d.one(4) {
			ref.Port = new(gatewayv1.PortNumber(80))
		}
		r.Spec.ParentRefs = append(r.Spec.ParentRefs, ref)
	}
	for range d.IntN(3) {
		r.Spec.Hostnames = append(r.Spec.Hostnames, gatewayv1.Hostname(d.of(hostnames...)))
	}
	for j := range 1 + d.IntN(4) {
		rule := gatewayv1.HTTPRouteRule{Name: new(gatewayv1.SectionName(fmt.Sprintf("%s-%d", r.Name, j)))}
		for range d.IntN(4) {
			rule.Matches = append(rule.Matches, d.match())
		}
		ref := gatewayv1.HTTPBackendRef{}
		ref.Name, ref.Port = "s", new(gatewayv1.PortNumber(80))
		rule.BackendRefs = []gatewayv1.HTTPBackendRef{ref}
		r.Spec.Rules = append(r.Spec.Rules, rule)
	}
	return r
}

func (d dice) match() gatewayv1.HTTPRouteMatch {
	var m gatewayv1.HTTPRouteMatch
	switch d.IntN(8) {
	case 0:
		m.Path = &gatewayv1.HTTPPathMatch{Type: new(gatewayv1.PathMatchRegularExpression), Value: new(d.of("/a.*", "/[a-c]+", "/a/b", "/.*c"))}
	case 1, 2:
		m.Path = &gatewayv1.HTTPPathMatch{Type: new(gatewayv1.PathMatchExact), Value: new(d.of("/", "/a", "/a/b", "/a/", "/ab"))}
	case 3:
	default:
		m.Path = &gatewayv1.HTTPPathMatch{Type: new(gatewayv1.PathMatchPathPrefix), Value: new(d.of("/", "/a", "/a/b", "/a/", "/ab", "/a/b/"))}
	}
	if d.one(3) {
		m.Method = new(gatewayv1.HTTPMethod(d.of("GET", "POST")))
	}
	names := []string{"X-A", "x-b", "x-c"}
	for _, name := range names[:max(0, d.IntN(6)-2)] {
		h := gatewayv1.HTTPHeaderMatch{Type: new(gatewayv1.HeaderMatchExact), Name: gatewayv1.HTTPHeaderName(name), Value: d.of("1", "2")}
		if d.one(4) {
			h.Type, h.Value = new(gatewayv1.HeaderMatchRegularExpression), d.of("[0-9]", ".*", "2|3")
		}
		m.Headers = append(m.Headers, h)
	}
	for _, name := range []string{"p", "q"}[:max(0, d.IntN(4)-1)] {
		q := gatewayv1.HTTPQueryParamMatch{Type: new(gatewayv1.QueryParamMatchExact), Name: gatewayv1.HTTPHeaderName(name), Value: d.of("1", "2")}
		if d.one(4) {
			q.Type, q.Value = new(gatewayv1.QueryParamMatchRegularExpression), d.of("[0-9]", ".*")
		}
		m.QueryParams = append(m.QueryParams, q)
	}
	return m
}

func (d dice) request() *route.Request {
	r := &route.Request{
		Port: uint16(80 + d.IntN(10)/9), Scheme: "http", Method: d.of("GET", "POST", "PUT"),
		Authority: d.of("a.foo.example.com", "b.foo.example.com", "foo.example.com", "www.example.com", "x.example.com", "example.com", "www.example.org", "a.b.example.org", "localhost"),
		Path:      d.of("/", "/a", "/a/", "/a/b", "/a/b/c", "/ab", "/abc", "/a/bc", "/c"),
		Query:     d.of("", "", "p=1", "q=2", "p=1&q=1", "p=2&q=2"),
	}
	for _, name := range []string{"x-a", "x-b", "x-c"} {
		if !d.one(3) {
			r.Headers = append(r.Headers, route.Header{Name: name, Value: d.of("1", "2", "3")})
		}
	}
	return r
}

var nowhere = resource.InCluster("")

// TestTheRulesAreThoseOfANaiveReading compiles random objects and holds what requests match against the oracle.
func TestTheRulesAreThoseOfANaiveReading(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	d := dice{rand.New(rand.NewPCG(seed, 0))}
	matched := 0
	for range 150 {
		set := d.set()
		c, found := compile(set, false)
		if err := found.Err(); err != nil {
			t.Fatal(err)
		}
		table, err := route.New(c.Routes)
		if err != nil {
			t.Fatal(err)
		}
		for range 50 {
			r := d.request()
			var res route.Result
			got := ""
			if table.Lookup(r, &res) {
				got = res.Rule.Name
				matched++
			}
			if want := oracle(set, r); got != want {
				t.Fatalf("%+v matches the rule %q, want %q, of:\n%s", r, got, want, describe(set))
			}
		}
	}
	if matched < 500 {
		t.Errorf("only %d requests matched a rule", matched)
	}
}
