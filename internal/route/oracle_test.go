package route

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
)

// oracle is the naive reading of a Config: every domain, every rule and every condition in turn.
func oracle(c Config, r *Request) (*Rule, *Match) {
	path, ok := NormalizePath(r.Path)
	if !ok {
		return nil, nil
	}
	for _, l := range c.Listeners {
		if l.Port != r.Port {
			continue
		}
		host := oracleHost(l, r.Authority)
		if host == nil {
			return nil, nil
		}
		for i := range host.Rules {
			rule := &host.Rules[i]
			if len(rule.Matches) == 0 {
				return rule, nil
			}
			for j := range rule.Matches {
				if oracleMatches(&rule.Matches[j], r, path) {
					return rule, &rule.Matches[j]
				}
			}
		}
	}
	return nil, nil
}

func oracleHost(l Listener, authority string) *VirtualHost {
	name := strings.ToLower(authority)
	if i := strings.LastIndex(name, ":"); i > strings.LastIndex(name, "]") {
		name = name[:i]
	}
	var best *VirtualHost
	length := -1
	for i := range l.Hosts {
		for _, d := range l.Hosts[i].Domains {
			if d == name {
				return &l.Hosts[i]
			}
			suffix, wild := strings.CutPrefix(d, "*")
			if wild && len(suffix) > length && strings.HasSuffix(name, suffix) && (len(name) > len(suffix) || d == "*") {
				best, length = &l.Hosts[i], len(suffix)
			}
		}
	}
	return best
}

func oracleMatches(m *Match, r *Request, path string) bool {
	uri, wanted := path, m.URI
	if m.IgnoreURICase && wanted.Kind != Regex {
		uri, wanted.Value = strings.ToLower(uri), strings.ToLower(wanted.Value)
	}
	if m.Port != 0 && m.Port != r.Port || !oracleFits(wanted, uri) || !oracleFits(m.Method, r.Method) ||
		!oracleFits(m.Scheme, r.Scheme) || !oracleFits(m.Authority, r.Authority) {
		return false
	}
	for _, h := range m.Headers {
		if !oracleAny(h, oracleValues(r, path, h.Name)) {
			return false
		}
	}
	for _, h := range m.WithoutHeaders {
		values := oracleValues(r, path, h.Name)
		if len(values) == 0 && h.Kind != Present && h.Kind != Any {
			values = []string{""}
		}
		if oracleAny(h, values) {
			return false
		}
	}
	for _, q := range m.QueryParams {
		var values []string
		for _, p := range strings.Split(r.Query, "&") {
			name, value, _ := strings.Cut(p, "=")
			if name == q.Name && p != "" {
				values = append(values, value)
			}
		}
		if len(values) == 0 || !oracleFits(q.StringMatch, values[0]) {
			return false
		}
	}
	return true
}

func oracleValues(r *Request, path, name string) []string {
	switch name {
	case ":method":
		return []string{r.Method}
	case ":scheme":
		return []string{r.Scheme}
	case ":authority", "host":
		return []string{r.Authority}
	case ":path":
		if r.Query != "" {
			path += "?" + r.Query
		}
		return []string{path}
	}
	var values []string
	for _, h := range r.Headers {
		if h.Name == name {
			values = append(values, h.Value)
		}
	}
	return values
}

func oracleAny(m NamedMatch, values []string) bool {
	for _, v := range values {
		if oracleFits(m.StringMatch, v) {
			return true
		}
	}
	return false
}

func oracleFits(m StringMatch, v string) bool {
	switch m.Kind {
	case Exact:
		return v == m.Value
	case Prefix:
		return strings.HasPrefix(v, m.Value)
	case Regex:
		return regexp.MustCompile("^(?:" + m.Value + ")$").MatchString(v)
	default:
		return true
	}
}

// dice makes tables and requests from a small vocabulary, so that they often nearly fit.
type dice struct{ *rand.Rand }

func (d dice) of(words ...string) string { return words[d.IntN(len(words))] }

func (d dice) string(words ...string) StringMatch {
	switch d.IntN(6) {
	case 0:
		return StringMatch{Regex, d.of("a.*", "[a-c]+", "/a(/.*)?", ".*", "GET|PUT", "(?i)A")}
	case 1:
		word := d.of(words...)
		return StringMatch{Prefix, word[:min(len(word), d.IntN(3))]}
	case 2:
		return StringMatch{Kind: Present}
	default:
		return StringMatch{Exact, d.of(words...)}
	}
}

var (
	vocabularyPaths  = []string{"/", "/a", "/a/b", "/A/b", "/a/c", "/ab", "/abc/d", "//a", "/%41", "/x/../a"}
	vocabularyValues = []string{"a", "b", "c", "A", "", "a,b"}
	vocabularyNames  = []string{"x-a", "x-b", "x-c", "x-d", "x-e", "x-f"}
	vocabularyHosts  = []string{"*", "a.org", "*.a.org", "b.a.org", "*.b.a.org", "*-x.a.org", "*a.org", "[::1]", "c.net"}
)

func (d dice) match(port uint16) Match {
	var m Match
	if d.IntN(2) == 0 {
		m.URI = d.string(vocabularyPaths...)
		if d.IntN(4) == 0 {
			m.URI = StringMatch{Prefix, d.of("/", "/a", "/A", "/a/", "/ab", "")}
		}
		m.IgnoreURICase = d.IntN(3) == 0
	}
	if d.IntN(5) == 0 {
		m.Method = d.string("GET", "PUT")
	}
	if d.IntN(8) == 0 {
		m.Scheme = d.string("http", "https")
	}
	if d.IntN(8) == 0 {
		m.Authority = d.string("a.org", "b.a.org", "A.org:80")
	}
	if d.IntN(8) == 0 {
		m.Port = port + uint16(d.IntN(2))
	}
	for range d.IntN(3) {
		name := d.of(vocabularyNames...)
		if d.IntN(10) == 0 {
			name = d.of(":method", ":path", "host", ":scheme")
		}
		m.Headers = append(m.Headers, NamedMatch{name, d.string(vocabularyValues...)})
	}
	if d.IntN(4) == 0 {
		m.WithoutHeaders = []NamedMatch{{d.of(vocabularyNames...), d.string(vocabularyValues...)}}
	}
	if d.IntN(4) == 0 {
		m.QueryParams = []NamedMatch{{d.of("p", "q", "pq"), d.string(vocabularyValues...)}}
	}
	return m
}

func (d dice) config() Config {
	var c Config
	for i := range 1 + d.IntN(3) {
		l := Listener{Port: uint16(80 + i)}
		hosts := append([]string(nil), vocabularyHosts...)
		d.Shuffle(len(hosts), func(i, j int) { hosts[i], hosts[j] = hosts[j], hosts[i] })
		for range 1 + d.IntN(4) {
			n := 1 + d.IntN(2)
			host := VirtualHost{Domains: hosts[:n]}
			hosts = hosts[n:]
			for j := range d.IntN(12) {
				rule := Rule{Name: fmt.Sprint(j)}
				for range d.IntN(4) {
					rule.Matches = append(rule.Matches, d.match(l.Port))
				}
				if len(rule.Matches) > 0 || d.IntN(4) == 0 {
					host.Rules = append(host.Rules, rule)
				}
			}
			l.Hosts = append(l.Hosts, host)
		}
		c.Listeners = append(c.Listeners, l)
	}
	return c
}

func (d dice) request() Request {
	r := Request{
		Port: uint16(80 + d.IntN(4)), Scheme: d.of("http", "https"), Method: d.of("GET", "PUT", "POST"), Path: d.of(vocabularyPaths...),
		Authority: d.of("a.org", "A.org:80", "b.a.org", "c.b.a.org", "q-x.a.org", "-x.a.org", ".a.org", "xa.org", "[::1]:80", "[::1]", "c.net", "z"),
		Query:     d.of("", "p=a", "p", "p=&q=b", "q=a&q=b", "pq=a", "p=a,b&", "=a", "&p=c"),
	}
	for range d.IntN(5) {
		r.Headers = append(r.Headers, Header{d.of(vocabularyNames...), d.of(vocabularyValues...)})
	}
	return r
}

func TestTheTableDecidesAsTheOracleDoes(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	d := dice{rand.New(rand.NewPCG(seed, 0))}
	found := 0
	for range 400 {
		c := d.config()
		table, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		for range 100 {
			r := d.request()
			var res Result
			got := table.Lookup(&r, &res)
			rule, match := oracle(c, &r)
			if got != (rule != nil) || res.Rule != rule || res.Match != match {
				t.Fatalf("request %+v\nin %+v\ngot rule %+v, match %+v\nwant rule %+v, match %+v", r, c, res.Rule, res.Match, rule, match)
			}
			if got {
				found++
			}
		}
	}
	if found < 4000 {
		t.Errorf("only %d of 40,000 requests matched: the vocabulary tests little", found)
	}
}
