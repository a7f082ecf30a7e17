// Package route is the compiled route table: which rule a request matches, by Istio's and the Gateway API's own semantics.
// The packages that read those APIs order the rules by their precedence; here the first rule that matches wins, found
// through indexes, so that the cost does not grow with the number of hosts or of exact matches. It knows no YAML, no
// session and no proxy.
package route

import (
	"net/netip"
	"slices"
)

// Request is a front door's view of a request: what routes, keys and promotion can see. The strings may alias a buffer of the
// front door; nothing keeps them after the call.
type Request struct {
	Port      uint16 // the port of the Gateway server that the request came in through (80), not the one listened on (8080)
	Scheme    string // "http" or "https"
	Method    string
	Authority string // the Host header or :authority, as sent
	Path      string // without the query; as sent, or as NormalizePath made it
	Query     string // what follows the first '?', undecoded; empty when there is none
	Headers   []Header
	Source    netip.Addr // the client's address
}

// Header is one header field. Name is in lower case. A field that was sent twice is there twice.
type Header struct{ Name, Value string }

// Header gives the value of the named header (in lower case); several are joined by commas (RFC 9110 §5.3). n is how many
// there are. Matching does not use it: there, each field of several is looked at for itself.
func (r *Request) Header(name string) (value string, n int) {
	for i := range r.Headers {
		if h := &r.Headers[i]; len(h.Name) == len(name) && h.Name == name {
			if n++; n == 1 {
				value = h.Value
			} else {
				value = value + "," + h.Value // rare enough to allocate
			}
		}
	}
	return value, n
}

// Config is what a Table is compiled from.
type Config struct{ Listeners []Listener }

// Headers lists the headers that some match looks at, in the order of their names, each once.
func (c *Config) Headers() []string {
	var names []string
	for _, l := range c.Listeners {
		for _, h := range l.Hosts {
			for _, r := range h.Rules {
				for _, m := range r.Matches {
					for _, n := range slices.Concat(m.Headers, m.WithoutHeaders) {
						names = append(names, n.Name)
					}
				}
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Listener is what arrives at one port. Ports are unique.
type Listener struct {
	Port  uint16
	Hosts []VirtualHost
}

// VirtualHost is the rules of some host names. Domains are in lower case: a full name, "*.suffix", or "*". The most specific
// domain that fits a request is chosen, then only its rules are tried. A domain that begins with "*" stands for at least one
// more character in its place.
type VirtualHost struct {
	Domains []string
	Rules   []Rule
}

// Rule sends what it matches to its destinations, or leaves the answer to the proxy in front.
type Rule struct {
	Name         string
	Source       string  // file:line, for explain
	Object       string  // "VirtualService default/reviews"
	Matches      []Match // any of them; none: everything
	Destinations []Destination
	// ByProxy is the field of the object with the answer that the proxy gives by itself, "redirect" or "directResponse" of a VirtualService,
	// "requestRedirect" or "extensionRef" of an HTTPRoute; such a rule has no destinations. Empty: there is none.
	ByProxy string
}

// Destination is one of the services that a rule splits its requests among.
type Destination struct {
	Service int    // index into the services of the snapshot
	Weight  uint32 // relative; 0 among several: no new session; a single destination takes everything whatever its weight
}

// Match is a conjunction. Zero fields match everything. URI is matched against the normalised path, Authority against the
// header as sent (case and port included), whereas a Domain is matched whatever the case and the port.
type Match struct {
	Name           string
	Source         string // file:line
	URI            StringMatch
	IgnoreURICase  bool
	Scheme         StringMatch
	Method         StringMatch
	Authority      StringMatch
	Port           uint16 // 0: any
	Headers        []NamedMatch
	WithoutHeaders []NamedMatch
	QueryParams    []NamedMatch
}

// NamedMatch is a condition on a header (in lower case) or a query parameter.
//
// Of a header that was sent several times, each value is looked at for itself: the condition holds when one of them fits.
// In WithoutHeaders it is the other way round: no value may fit, and a header that is not there counts as an empty one,
// except for Present. The names ":method", ":scheme", ":authority", "host" and ":path" (with the query) stand for these
// parts of the request. Of a query parameter, the first value counts, undecoded; "a" is "a=". A Kind of Any is Present.
// (Envoy 1.40 does all this for the routes that Istio makes; see testdata of package istio.)
type NamedMatch struct {
	Name string
	StringMatch
}

// StringMatch is a condition on a string.
type StringMatch struct {
	Kind  MatchKind
	Value string // exact value, prefix, or RE2 expression that must match the whole, byte by byte (see CheckRegex)
}

// MatchKind is the kind of a StringMatch.
type MatchKind uint8

// The kinds of StringMatch.
const (
	Any     MatchKind = iota // no condition
	Present                  // it is there, whatever its value
	Exact
	Prefix
	Regex
)
