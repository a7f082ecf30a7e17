package route

import (
	"cmp"
	"fmt"
	"slices"
)

// Table is a compiled Config. It is immutable, for any number of goroutines at once.
type Table struct{ listeners []*listener } // by port

type listener struct {
	port    uint16
	hosts   hostIndex
	headers map[string]struct{} // that some match looks at
}

// Result is what Lookup found. A caller keeps one for reuse.
type Result struct {
	Rule   *Rule  // nil: no rule matches
	Match  *Match // the alternative that matched; nil when Rule has none
	Domain string // the domain whose rules were tried; empty: none fits the request
	Path   string // the normalised path; empty when it was refused
}

// New compiles c, which must not be changed afterwards. An error names the place in the source.
func New(c Config) (*Table, error) {
	t := &Table{}
	for i := range c.Listeners {
		in := &c.Listeners[i]
		l, err := newListener(in)
		if err != nil {
			return nil, fmt.Errorf("port %d: %w", in.Port, err)
		}
		at, is := slices.BinarySearchFunc(t.listeners, in.Port, (*listener).compare)
		if is {
			return nil, fmt.Errorf("port %d is there twice", in.Port)
		}
		t.listeners = slices.Insert(t.listeners, at, l)
	}
	return t, nil
}

func (l *listener) compare(port uint16) int { return cmp.Compare(l.port, port) }

// listener finds the listener of a port, or nil.
func (t *Table) listener(port uint16) *listener {
	low, high := 0, len(t.listeners)
	for low < high {
		switch middle := (low + high) / 2; {
		case t.listeners[middle].port == port:
			return t.listeners[middle]
		case t.listeners[middle].port < port:
			low = middle + 1
		default:
			high = middle
		}
	}
	return nil
}

func newListener(in *Listener) (*listener, error) {
	l := &listener{port: in.Port, headers: map[string]struct{}{}}
	for i := range in.Hosts {
		host := &in.Hosts[i]
		matchers, err := l.matchers(in.Port, host.Rules)
		if err != nil {
			return nil, err
		}
		compiled := newVirtualHost(matchers)
		for _, domain := range host.Domains {
			if err := l.hosts.add(domain, compiled); err != nil {
				return nil, err
			}
		}
	}
	return l, nil
}

// matchers compiles the alternatives of all rules in their order, without those for other ports.
func (l *listener) matchers(port uint16, rules []Rule) ([]*matcher, error) {
	var out []*matcher
	add := func(rule *Rule, match *Match) error {
		m, err := newMatcher(len(out), rule, match)
		if err != nil {
			return fmt.Errorf("%s: %w", match.Source, err)
		}
		out = append(out, m)
		return nil
	}
	for i := range rules {
		rule := &rules[i]
		if len(rule.Matches) == 0 {
			if err := add(rule, nil); err != nil {
				return nil, err
			}
		}
		for j := range rule.Matches {
			match := &rule.Matches[j]
			if match.Port != 0 && match.Port != port {
				continue
			}
			if err := add(rule, match); err != nil {
				return nil, err
			}
			for _, n := range match.Headers {
				l.headers[n.Name] = struct{}{}
			}
			for _, n := range match.WithoutHeaders {
				l.headers[n.Name] = struct{}{}
			}
		}
	}
	return out, nil
}

// Lookup finds the rule for a request: in the virtual host whose domain fits best, the first rule that matches. It reports
// whether there is one, and fills res. For ordinary requests it allocates nothing.
func (t *Table) Lookup(req *Request, res *Result) bool {
	*res = Result{}
	l := t.listener(req.Port)
	if l == nil {
		return false
	}
	path, ok := NormalizePath(req.Path)
	if !ok {
		return false
	}
	res.Path = path
	target := l.hosts.find(req.Authority)
	if target.host == nil {
		return false
	}
	res.Domain = target.domain
	s := search{req: req, path: path}
	target.host.lookup(&s)
	if s.best == nil {
		return false
	}
	res.Rule, res.Match = s.best.rule, s.best.match
	return true
}

// UsesHeader reports whether a match of some rule for requests through port looks at the header (in lower case).
func (t *Table) UsesHeader(port uint16, header string) bool {
	l := t.listener(port)
	if l == nil {
		return false
	}
	_, uses := l.headers[header]
	return uses
}

// Ports lists the ports that the table has listeners for, ascending.
func (t *Table) Ports() []uint16 {
	out := make([]uint16, len(t.listeners))
	for i, l := range t.listeners {
		out[i] = l.port
	}
	return out
}

// Domains lists the domains that requests through port are sorted by, in the order of their names. known is false where the table has no listener
// for the port.
func (t *Table) Domains(port uint16) (domains []string, known bool) {
	l := t.listener(port)
	if l == nil {
		return nil, false
	}
	return l.hosts.domains(), true
}
