package istio

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
	networking "istio.io/api/networking/v1alpha3"

	"github.com/remora-proxy/remora/internal/route"
)

// matchesEverything is the key of all alternatives that match everything, however they say it.
const matchesEverything = "*"

// readMatch translates a match as istiod does for Envoy.
func (c *compiler) readMatch(o vsObject, field string, in *networking.HTTPMatchRequest) *alternative {
	if in.GetPort() > 65535 {
		c.errorAt(o, field+".port", fmt.Sprintf("port %d is not in 1 to 65535", in.GetPort()), "")
	}
	r := matchReader{c: c, o: o}
	m := &route.Match{
		Name:           in.GetName(),
		URI:            r.uri(field+".uri", in.GetUri()),
		IgnoreURICase:  in.GetIgnoreUriCase(),
		Scheme:         r.field(field+".scheme", in.GetScheme()),
		Method:         r.field(field+".method", in.GetMethod()),
		Authority:      r.field(field+".authority", in.GetAuthority()),
		Port:           uint16(in.GetPort()),
		Headers:        r.headers(field+".headers", in.GetHeaders()),
		WithoutHeaders: r.headers(field+".withoutHeaders", in.GetWithoutHeaders()),
		QueryParams:    r.params(field+".queryParams", in.GetQueryParams()),
	}
	a := &alternative{object: o, match: m, in: in, field: field, pos: o.Where.Locate(field)}
	m.Source = a.pos.String()
	for _, g := range in.GetGateways() {
		a.gateways = append(a.gateways, fullGateway(g, o.Value.Namespace))
	}
	// What istiod takes for a catch-all when it orders the rules of several VirtualServices.
	a.everything = (in.GetUri() == nil || in.GetUri().MatchType == nil || in.GetUri().GetPrefix() == "/" || in.GetUri().GetRegex() == ".*") &&
		in.GetScheme() == nil && in.GetMethod() == nil && in.GetAuthority() == nil &&
		len(in.GetHeaders()) == 0 && len(in.GetWithoutHeaders()) == 0 && len(in.GetQueryParams()) == 0
	if a.key = matchKey(m); a.everything {
		a.key = matchesEverything
	}
	return a
}

// reaches reports whether requests through a port of a gateway can get to the alternative.
func (a *alternative) reaches(namespace, gateway string, port uint16) bool {
	if a.in == nil {
		return true
	}
	if p := a.in.GetPort(); p != 0 && p != uint32(port) {
		return false
	}
	if len(a.gateways) > 0 {
		return slices.Contains(a.gateways, gateway) // then the source does not count
	}
	return len(a.in.GetSourceLabels()) == 0 && (a.in.GetSourceNamespace() == "" || a.in.GetSourceNamespace() == namespace)
}

// matchKey writes down what a match says about requests. Its port was looked at already.
func matchKey(m *route.Match) string {
	return fmt.Sprintf("%q %v %q %q %q %q %q %q", m.URI, m.IgnoreURICase, m.Scheme, m.Method, m.Authority, m.Headers, m.WithoutHeaders, m.QueryParams)
}

// matchReader translates the conditions of matches.
type matchReader struct {
	c *compiler
	o vsObject
}

// string translates one condition. What says nothing is Present.
func (r matchReader) string(field string, in *networking.StringMatch) route.StringMatch {
	switch m := in.GetMatchType().(type) {
	case *networking.StringMatch_Exact:
		return route.StringMatch{Kind: route.Exact, Value: m.Exact}
	case *networking.StringMatch_Prefix:
		return route.StringMatch{Kind: route.Prefix, Value: m.Prefix}
	case *networking.StringMatch_Regex:
		if err := route.CheckRegex(m.Regex); err != nil {
			remedy := "expressions are RE2, without look-around and back references; they must match the whole value"
			if m.Regex == "*" {
				remedy = "for any value write {} in place of the regex"
			}
			r.c.errorAt(r.o, field+".regex", err.Error(), remedy)
			return route.StringMatch{Kind: route.Present}
		}
		return route.StringMatch{Kind: route.Regex, Value: m.Regex}
	default:
		return route.StringMatch{Kind: route.Present}
	}
}

// uri translates the condition on the path: the only one whose prefix may be empty.
func (r matchReader) uri(field string, in *networking.StringMatch) route.StringMatch {
	m := r.string(field, in)
	if m.Kind == route.Present {
		m.Kind = route.Any
	}
	return m
}

// field translates a condition on something that every request has.
func (r matchReader) field(field string, in *networking.StringMatch) route.StringMatch {
	if in == nil {
		return route.StringMatch{}
	}
	return r.value(field, in)
}

// value translates a condition whose prefix may not be empty.
func (r matchReader) value(field string, in *networking.StringMatch) route.StringMatch {
	m := r.string(field, in)
	if m.Kind == route.Prefix && m.Value == "" {
		r.c.errorAt(r.o, field+".prefix", "the prefix is empty", "for any value write {} in place of the prefix")
	}
	return m
}

func (r matchReader) headers(field string, in map[string]*networking.StringMatch) []route.NamedMatch {
	var out []route.NamedMatch
	for _, name := range slices.Sorted(maps.Keys(in)) {
		at := field + "[" + name + "]"
		switch {
		case strings.HasPrefix(name, "@"):
			r.c.errorAt(r.o, at, "routing by the claims of a token is not supported", "remove it: Remora refuses what it would have to ignore")
			continue
		case slices.Contains([]string{":method", ":scheme", ":authority", ":path"}, name):
		case !httpguts.ValidHeaderFieldName(name):
			r.c.errorAt(r.o, at, fmt.Sprintf("%q is not the name of a header", name), "")
			continue
		}
		m := in[name]
		if strings.HasSuffix(field, ".withoutHeaders") && m.GetRegex() == "*" {
			m = nil // Istio's way to say that the header may not be there at all
		}
		out = append(out, route.NamedMatch{Name: strings.ToLower(name), StringMatch: r.value(at, m)})
	}
	return out
}

func (r matchReader) params(field string, in map[string]*networking.StringMatch) []route.NamedMatch {
	var out []route.NamedMatch
	for _, name := range slices.Sorted(maps.Keys(in)) {
		at := field + "[" + name + "]"
		if name == "" {
			r.c.errorAt(r.o, at, "the name of the query parameter is empty", "")
			continue
		}
		out = append(out, route.NamedMatch{Name: name, StringMatch: r.value(at, in[name])})
	}
	return out
}
