package route

// virtualHost is the compiled rules of some domains. Each alternative of a rule is filed once: under one of its exact
// conditions, or its path prefix, whichever it shares with the fewest others; the rest are in a list. A look-up collects the
// few places that a request can be filed under and takes the alternative that comes first in the order of the rules, so its
// cost does not grow with the number of exact conditions.
type virtualHost struct {
	filed *filed // nil: all are in rest
	rest  []*matcher
}

// filed is the alternatives of a virtual host that are filed.
type filed struct {
	paths       map[string][]*matcher
	authorities map[string][]*matcher
	methods     map[string][]*matcher
	headers     namedIndexes
	queries     namedIndexes
	prefixes    *prefixTree
	foldPaths   map[string][]*matcher
	foldPrefix  *prefixTree
}

// namedIndexes has the alternatives that are filed under values of headers or query parameters, by the name.
type namedIndexes struct {
	list []namedIndex
	at   map[string]int // of a name in list
}

type namedIndex struct {
	name   string
	values map[string][]*matcher
}

// maxScans is how many indexed headers are looked for one by one. With more of them, each header of a request is looked up.
const maxScans = 4

// place is where an alternative can be filed.
type place struct {
	part  part
	kind  MatchKind
	fold  bool
	name  string
	value string
}

// places lists where m can be filed, and with which of its checks. What costs least at a look-up comes first.
func (m *matcher) places(yield func(check int, p place) bool) {
	for _, want := range []struct {
		part part
		kind MatchKind
	}{{partPath, Exact}, {partHeader, Exact}, {partQuery, Exact}, {partAuthority, Exact}, {partPath, Prefix}, {partMethod, Exact}} {
		for i := range m.checks {
			c := &m.checks[i]
			if c.part == want.part && c.kind == want.kind && !c.not {
				if !yield(i, place{c.part, c.kind, c.fold, c.name, c.value}) {
					return
				}
			}
		}
	}
}

// newVirtualHost files the matchers, which are in the order of the rules.
func newVirtualHost(matchers []*matcher) *virtualHost {
	shared := map[place]int{}
	for _, m := range matchers {
		for _, p := range m.places {
			shared[p]++
		}
	}
	v := &virtualHost{}
	for _, m := range matchers {
		best, at := -1, place{}
		for i, p := range m.places {
			if best < 0 || shared[p] < shared[at] {
				best, at = i, p
			}
		}
		if best < 0 {
			v.rest = append(v.rest, m)
			continue
		}
		// What m is filed under need not be checked again.
		m.checks = append(m.checks[:best:best], m.checks[best+1:]...)
		if v.filed == nil {
			v.filed = &filed{}
		}
		v.filed.file(at, m)
	}
	return v
}

func (f *filed) file(p place, m *matcher) {
	switch p.part {
	case partPath:
		switch {
		case p.kind == Prefix && p.fold:
			filePrefix(&f.foldPrefix, p.value, m)
		case p.kind == Prefix:
			filePrefix(&f.prefixes, p.value, m)
		case p.fold:
			fileExact(&f.foldPaths, p.value, m)
		default:
			fileExact(&f.paths, p.value, m)
		}
	case partAuthority:
		fileExact(&f.authorities, p.value, m)
	case partMethod:
		fileExact(&f.methods, p.value, m)
	case partHeader:
		f.headers.file(p, m)
	default:
		f.queries.file(p, m)
	}
}

func filePrefix(t **prefixTree, prefix string, m *matcher) {
	if *t == nil {
		*t = &prefixTree{}
	}
	(*t).add(prefix, m)
}

func fileExact(values *map[string][]*matcher, value string, m *matcher) {
	if *values == nil {
		*values = map[string][]*matcher{}
	}
	(*values)[value] = append((*values)[value], m)
}

func (x *namedIndexes) file(p place, m *matcher) {
	i, is := x.at[p.name]
	if !is {
		if x.at == nil {
			x.at = map[string]int{}
		}
		i = len(x.list)
		x.at[p.name] = i
		x.list = append(x.list, namedIndex{name: p.name})
	}
	fileExact(&x.list[i].values, p.value, m)
}

// search is one look-up in progress.
type search struct {
	req  *Request
	path string // normalised
	best *matcher
}

// try looks for a match among alternatives of one place, which are in the order of the rules.
func (s *search) try(matchers []*matcher) {
	for _, m := range matchers {
		if s.best != nil && m.order > s.best.order {
			return
		}
		if m.holds(s.req, s.path) {
			s.best = m
			return
		}
	}
}

// lookup finds the first alternative that matches.
func (v *virtualHost) lookup(s *search) {
	if v.filed != nil {
		v.filed.lookup(s)
	}
	s.try(v.rest)
}

func (f *filed) lookup(s *search) {
	if f.paths != nil {
		s.try(f.paths[s.path])
	}
	f.lookupHeaders(s)
	for i := range f.queries.list {
		q := &f.queries.list[i]
		if value, there := queryValue(s.req.Query, q.name); there {
			s.try(q.values[value])
		}
	}
	if f.authorities != nil {
		s.try(f.authorities[s.req.Authority])
	}
	if f.prefixes != nil {
		f.prefixes.search(s, s.path)
	}
	if f.foldPaths != nil || f.foldPrefix != nil {
		f.lookupFolded(s)
	}
	if f.methods != nil {
		s.try(f.methods[s.req.Method])
	}
}

func (f *filed) lookupHeaders(s *search) {
	if len(f.headers.list) > maxScans {
		for i := range s.req.Headers {
			h := &s.req.Headers[i]
			if at, is := f.headers.at[h.Name]; is {
				s.try(f.headers.list[at].values[h.Value])
			}
		}
		return
	}
	for i := range f.headers.list {
		x := &f.headers.list[i]
		for j := range s.req.Headers {
			if h := &s.req.Headers[j]; len(h.Name) == len(x.name) && h.Name == x.name {
				s.try(x.values[h.Value])
			}
		}
	}
}

func (f *filed) lookupFolded(s *search) {
	folded := s.path
	for i := range len(folded) {
		if lower(folded[i]) != folded[i] {
			folded = string(lowerASCII(folded, nil))
			break
		}
	}
	s.try(f.foldPaths[folded])
	if f.foldPrefix != nil {
		f.foldPrefix.search(s, folded)
	}
}
