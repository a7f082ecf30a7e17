package gatewayapi

import (
	"cmp"
	"fmt"
	"regexp"
	"strings"

	"golang.org/x/net/http/httpguts"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/remora-proxy/remora/internal/diag"
	"github.com/remora-proxy/remora/internal/route"
)

// alternative is one match of a rule.
type alternative struct {
	rule  *rule
	field string // spec.rules[0].matches[1], or the rule's
	pos   diag.Position
	rank  rank
	// matches are the conditions. A path prefix takes two, since the last element is a whole one: the path itself, and what is below it.
	matches []route.Match
	key     string // the same for alternatives that say the same
}

// rank is what decides between the alternatives that fit a request: HTTPRouteRule.matches in the API's documentation.
type rank struct {
	path    pathRank
	length  int // of the path, in characters
	method  bool
	headers int
	params  int
}

// pathRank orders the kinds of path matches, the first to be tried first.
type pathRank uint8

const (
	exactPath pathRank = iota
	regexPath          // left to the implementation; so does Envoy Gateway
	prefixPath
)

// compare orders ranks, the first to be tried first.
func (r rank) compare(other rank) int {
	return cmp.Or(
		cmp.Compare(r.path, other.path),
		cmp.Compare(other.length, r.length),
		cmp.Compare(oneIf(other.method), oneIf(r.method)),
		cmp.Compare(other.headers, r.headers),
		cmp.Compare(other.params, r.params),
	)
}

func oneIf(b bool) int {
	if b {
		return 1
	}
	return 0
}

// readMatch translates a match.
func (c *compiler) readMatch(o routeObject, field string, in *gatewayv1.HTTPRouteMatch) *alternative {
	a := &alternative{field: field, pos: o.Where.Locate(field)}
	m := route.Match{Source: a.pos.String(), Headers: c.readHeaders(o, field, in.Headers), QueryParams: c.readParams(o, field, in.QueryParams)}
	if in.Method != nil {
		m.Method = route.StringMatch{Kind: route.Exact, Value: string(*in.Method)}
		a.rank.method = true
	}
	a.rank.headers, a.rank.params = len(m.Headers), len(m.QueryParams)
	paths := c.readPath(o, field, in.Path, &a.rank)
	for _, path := range paths {
		with := m
		with.URI = path
		a.matches = append(a.matches, with)
	}
	a.key = fmt.Sprintf("%q %q %q %q", paths, m.Method, m.Headers, m.QueryParams)
	return a
}

// pathCharacters are what a path of type Exact or PathPrefix may have.
var pathCharacters = regexp.MustCompile(`^(?:[-A-Za-z0-9/._~!$&'()*+,;=:@]|%[0-9a-fA-F]{2})+$`)

// readPath translates the condition on the path into one or two, any of which is enough.
func (c *compiler) readPath(o routeObject, field string, in *gatewayv1.HTTPPathMatch, r *rank) []route.StringMatch {
	kind, value := gatewayv1.PathMatchPathPrefix, "/"
	if in != nil {
		kind = defaulted(in.Type, kind)
		value = defaulted(in.Value, value)
		field += ".path"
	}
	switch kind {
	case gatewayv1.PathMatchRegularExpression:
		r.path, r.length = regexPath, len(value)
		if err := route.CheckRegex(value); err != nil {
			c.errorAt(o, field+".value", err.Error(), "expressions are RE2, without look-around and back references; they must match the whole path")
			return nil
		}
		return []route.StringMatch{{Kind: route.Regex, Value: value}}
	case gatewayv1.PathMatchExact, gatewayv1.PathMatchPathPrefix:
		if wrong, remedy := checkPath(value); wrong != "" {
			c.errorAt(o, field+".value", wrong, remedy)
			return nil
		}
		if normal, _ := route.NormalizePath(value); normal != value {
			c.warnAt(o, field+".value", fmt.Sprintf("no request has the path %q: those of requests are normalised", value), "write "+normal)
		}
	default:
		c.errorAt(o, field+".type", fmt.Sprintf("%q is not a type of path match", kind), "write Exact, PathPrefix or RegularExpression")
		return nil
	}
	if kind == gatewayv1.PathMatchExact {
		r.path, r.length = exactPath, len(value)
		return []route.StringMatch{{Kind: route.Exact, Value: value}}
	}
	value = strings.TrimSuffix(value, "/") // a trailing slash does not count
	r.path, r.length = prefixPath, len(value)
	if value == "" {
		return []route.StringMatch{{}}
	}
	return []route.StringMatch{{Kind: route.Exact, Value: value}, {Kind: route.Prefix, Value: value + "/"}}
}

// checkPath says what is wrong with a path, and what to do, or gives "". Paths with anything of this would never be those of a request, which are
// normalised.
func checkPath(value string) (wrong, remedy string) {
	switch {
	case !strings.HasPrefix(value, "/"):
		return fmt.Sprintf("the path %q does not begin with /", value), "write /" + value
	case strings.Contains(value, "//"):
		return fmt.Sprintf("the path %q has an empty element", value), "write one / there"
	case strings.Contains(value+"/", "/./"), strings.Contains(value+"/", "/../"):
		return fmt.Sprintf("the path %q has an element that is . or ..", value), "write the path that it stands for"
	case strings.Contains(strings.ToLower(value), "%2f"):
		return fmt.Sprintf("the path %q has an escaped /", value), "use type RegularExpression for it"
	case !pathCharacters.MatchString(value):
		return fmt.Sprintf("the path %q has a character that the path of a URL has not", value), "escape it, as %20 for a space"
	}
	return "", ""
}

// readHeaders translates the conditions on headers. Of several on one header the first counts, as the API has it.
func (c *compiler) readHeaders(o routeObject, field string, in []gatewayv1.HTTPHeaderMatch) []route.NamedMatch {
	var out []route.NamedMatch
	for i, h := range in {
		at := fmt.Sprintf("%s.headers[%d]", field, i)
		name := strings.ToLower(string(h.Name))
		if !httpguts.ValidHeaderFieldName(name) {
			c.errorAt(o, at+".name", fmt.Sprintf("%q is not the name of a header", h.Name), "names are letters, digits, and -_.!#$%&'*+^`|~")
			continue
		}
		if m, ok := c.readValue(o, at, name, string(defaulted(h.Type, gatewayv1.HeaderMatchExact)), h.Value); ok {
			out = c.addOnce(o, at, out, m)
		}
	}
	return out
}

func (c *compiler) readParams(o routeObject, field string, in []gatewayv1.HTTPQueryParamMatch) []route.NamedMatch {
	var out []route.NamedMatch
	for i, p := range in {
		at := fmt.Sprintf("%s.queryParams[%d]", field, i)
		if p.Name == "" {
			c.errorAt(o, at+".name", "the name of the query parameter is empty", "")
			continue
		}
		if m, ok := c.readValue(o, at, string(p.Name), string(defaulted(p.Type, gatewayv1.QueryParamMatchExact)), p.Value); ok {
			out = c.addOnce(o, at, out, m)
		}
	}
	return out
}

// readValue translates the condition on the value of a header or query parameter.
func (c *compiler) readValue(o routeObject, field, name, kind, value string) (m route.NamedMatch, ok bool) {
	m = route.NamedMatch{Name: name, StringMatch: route.StringMatch{Kind: route.Exact, Value: value}}
	switch {
	case value == "":
		c.errorAt(o, field+".value", "the value is empty", `for any value write type: RegularExpression and value: ".*"`)
		return m, false
	case kind == string(gatewayv1.HeaderMatchExact):
		return m, true
	case kind != string(gatewayv1.HeaderMatchRegularExpression):
		c.errorAt(o, field+".type", fmt.Sprintf("%q is not a type of match", kind), "write Exact or RegularExpression")
		return m, false
	}
	if err := route.CheckRegex(value); err != nil {
		c.errorAt(o, field+".value", err.Error(), "expressions are RE2, without look-around and back references; they must match the whole value")
		return m, false
	}
	m.Kind = route.Regex
	return m, true
}

// addOnce adds a condition unless there is one of the name.
func (c *compiler) addOnce(o routeObject, field string, list []route.NamedMatch, m route.NamedMatch) []route.NamedMatch {
	for _, before := range list {
		if before.Name == m.Name {
			c.warnAt(o, field, "has no effect: "+m.Name+" has a condition in this match already, and the first counts", "remove it, or write one regular expression for both")
			return list
		}
	}
	return append(list, m)
}
