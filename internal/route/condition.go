package route

import (
	"fmt"
	"strings"
)

// part is the part of a request that a condition looks at.
type part uint8

const (
	partPath part = iota
	partMethod
	partScheme
	partAuthority
	partTarget // path and query, as Envoy's :path
	partHeader
	partQuery
)

// condition is one compiled conjunct of a Match.
type condition struct {
	part  part
	kind  MatchKind
	fold  bool // of the path: ASCII letters whatever their case; value is in lower case
	not   bool // of WithoutHeaders
	name  string
	value string
	regex *regex
}

// newCondition compiles m. what names it in errors.
func newCondition(what string, p part, name string, m StringMatch) (condition, error) {
	c := condition{part: p, kind: m.Kind, name: name, value: m.Value}
	switch m.Kind {
	case Present, Exact, Prefix:
	case Regex:
		re, err := newRegex(m.Value)
		if err != nil {
			return c, fmt.Errorf("%s: %w", what, err)
		}
		c.regex = re
	default:
		return c, fmt.Errorf("%s: unknown kind of match %d", what, m.Kind)
	}
	return c, nil
}

// holds reports whether the condition is true of r, whose normalised path is path.
func (c *condition) holds(r *Request, path string) bool {
	switch c.part {
	case partPath:
		return c.fits(path)
	case partMethod:
		return c.fits(r.Method) != c.not
	case partScheme:
		return c.fits(r.Scheme) != c.not
	case partAuthority:
		return c.fits(r.Authority) != c.not
	case partTarget:
		if r.Query != "" {
			path += "?" + r.Query
		}
		return c.fits(path) != c.not
	case partHeader:
		return c.header(r)
	default:
		v, there := queryValue(r.Query, c.name)
		return there && c.fits(v)
	}
}

func (c *condition) header(r *Request) bool {
	there := false
	for i := range r.Headers {
		if h := &r.Headers[i]; len(h.Name) == len(c.name) && h.Name == c.name {
			if c.fits(h.Value) {
				return !c.not
			}
			there = true
		}
	}
	if c.not && !there && c.kind != Present && c.fits("") {
		return false
	}
	return c.not
}

// fits reports whether one value fulfils the condition, which is taken as not negated.
func (c *condition) fits(v string) bool {
	switch c.kind {
	case Exact:
		if c.fold {
			return len(v) == len(c.value) && hasPrefixFold(v, c.value)
		}
		return v == c.value
	case Prefix:
		if c.fold {
			return hasPrefixFold(v, c.value)
		}
		return strings.HasPrefix(v, c.value)
	case Regex:
		return c.regex.match(v)
	default:
		return true
	}
}

// hasPrefixFold is strings.HasPrefix whatever the case of s's ASCII letters. prefix is in lower case.
func hasPrefixFold(s, prefix string) bool {
	if len(s) < len(prefix) {
		return false
	}
	for i := range len(prefix) {
		if lower(s[i]) != prefix[i] {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c + 'a' - 'A'
	}
	return c
}

// lowerASCII is s with ASCII letters in lower case. It uses buf where s fits in, and s itself where nothing changes.
func lowerASCII(s string, buf []byte) []byte {
	if len(s) > cap(buf) {
		buf = make([]byte, len(s))
	}
	buf = buf[:len(s)]
	for i := range len(s) {
		buf[i] = lower(s[i])
	}
	return buf
}

// queryValue is the first value of a parameter, undecoded. A parameter without "=" has an empty value.
func queryValue(query, name string) (value string, there bool) {
	for query != "" {
		var param string
		param, query, _ = strings.Cut(query, "&")
		if rest, ok := strings.CutPrefix(param, name); ok {
			if rest == "" {
				return "", true
			}
			if rest[0] == '=' {
				return rest[1:], true
			}
		}
	}
	return "", false
}

// matcher is one compiled alternative of a rule.
type matcher struct {
	order  int // among all alternatives of all rules of a virtual host: the lowest wins
	rule   *Rule
	match  *Match // nil: the rule has none and matches everything
	checks []condition
}

// newMatcher compiles an alternative; m is nil for a rule that has none.
func newMatcher(order int, rule *Rule, m *Match) (*matcher, error) {
	out := &matcher{order: order, rule: rule, match: m}
	if m == nil {
		return out, nil
	}
	for _, c := range []struct {
		what string
		part part
		StringMatch
	}{
		{"uri", partPath, m.URI},
		{"method", partMethod, m.Method},
		{"scheme", partScheme, m.Scheme},
		{"authority", partAuthority, m.Authority},
	} {
		if c.Kind == Any || c.Kind == Present {
			continue // each of them is always there
		}
		cond, err := newCondition(c.what, c.part, "", c.StringMatch)
		if err != nil {
			return nil, err
		}
		if c.part == partPath && m.IgnoreURICase && cond.kind != Regex {
			cond.fold, cond.value = true, string(lowerASCII(cond.value, nil))
		}
		out.checks = append(out.checks, cond)
	}
	for _, list := range []struct {
		what    string
		part    part
		not     bool
		matches []NamedMatch
	}{
		{"headers", partHeader, false, m.Headers},
		{"withoutHeaders", partHeader, true, m.WithoutHeaders},
		{"queryParams", partQuery, false, m.QueryParams},
	} {
		for _, n := range list.matches {
			cond, err := newNamed(fmt.Sprintf("%s[%s]", list.what, n.Name), list.part, n)
			if err != nil {
				return nil, err
			}
			cond.not = list.not
			out.checks = append(out.checks, cond)
		}
	}
	return out, nil
}

func newNamed(what string, p part, n NamedMatch) (condition, error) {
	if n.Kind == Any {
		n.Kind = Present
	}
	if n.Name == "" {
		return condition{}, fmt.Errorf("%s: the name is empty", what)
	}
	if p == partHeader {
		switch n.Name {
		case ":method":
			p = partMethod
		case ":scheme":
			p = partScheme
		case ":authority", "host":
			p = partAuthority
		case ":path":
			p = partTarget
		default:
			if n.Name[0] == ':' || string(lowerASCII(n.Name, nil)) != n.Name {
				return condition{}, fmt.Errorf("%s: not the name of a header in lower case", what)
			}
		}
	}
	return newCondition(what, p, n.Name, n.StringMatch)
}

func (m *matcher) holds(r *Request, path string) bool {
	for i := range m.checks {
		if !m.checks[i].holds(r, path) {
			return false
		}
	}
	return true
}
