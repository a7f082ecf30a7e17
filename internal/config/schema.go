package config

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/remora-proxy/remora/internal/diag"
)

// shape is the kind of a schema.
type shape uint8

const (
	anything   shape = iota // not looked at
	object                  // a mapping with known members
	dictionary              // a mapping with keys of the user's choice
	array
	aString
	aBool
	anInteger
	aNumber
	anEnum
	custom // has a notation of its own: a duration, a quantity, a time
)

// schema says what may stand at a place of an object. Istio's kinds give theirs as protobuf descriptors, Kubernetes' and our
// own as Go types; both are turned into this, so that there is one strict reading of all.
type schema struct {
	shape    shape
	nullable bool             // a null stands for a field that is not there, as in Kubernetes' own kinds
	members  map[string]field // object
	required []string         // members that must be there
	elem     *schema          // dictionary, array
	min      int64            // anInteger
	max      uint64
	values   []string // anEnum
	// read judges a custom value, and may replace it by the notation that the decoder expects. It returns what is wrong.
	read func(n *node) (what, remedy string)
}

// field is a member of an object.
type field struct {
	*schema
	oneof string // the members with the same one, if not "", exclude each other
}

// names lists the members of an object, sorted.
func (s *schema) names() []string {
	names := make([]string, 0, len(s.members))
	for name := range s.members {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (s *schema) expected() string {
	switch s.shape {
	case object, dictionary:
		return mapping.String()
	case array:
		return list.String()
	case aBool:
		return boolean.String()
	case anInteger:
		return integer.String()
	case aNumber:
		return float.String()
	default:
		return text.String()
	}
}

// checker holds one object against its schema.
type checker struct {
	report *reporter
	file   string
	object string
	path   []step
	failed bool
}

// step is one step of a field's path.
type step struct {
	name   string // member, or key of a dictionary
	index  int    // element of a list, when name is ""
	key    bool   // name is the key of a dictionary
	within *schema
}

// field renders the path as kubectl prints one: members after dots, elements and users' own keys in brackets.
func (c *checker) field() string { return render(c.path) }

func render(path []step) string {
	var b strings.Builder
	for _, s := range path {
		switch {
		case s.name == "" && !s.key:
			b.WriteString("[" + strconv.Itoa(s.index) + "]")
		case s.key:
			b.WriteString("[" + s.name + "]")
		default:
			if b.Len() > 0 {
				b.WriteByte('.')
			}
			b.WriteString(s.name)
		}
	}
	return b.String()
}

func (c *checker) fail(n *node, what, remedy string) {
	c.failed = true
	c.report.errorAt(diag.Position{File: c.file, Line: int(n.at)}, c.object, c.field(), what, remedy)
}

// in checks a value one step further down.
func (c *checker) in(n *node, s *schema, next step) {
	c.path = append(c.path, next)
	c.value(n, s)
	c.path = c.path[:len(c.path)-1]
}

// value checks n against s.
func (c *checker) value(n *node, s *schema) {
	if s.shape == anything {
		return
	}
	if n.kind == null {
		if !s.nullable {
			c.fail(n, "has no value", "give it one or remove the field; if its value follows, indent it further")
		}
		return
	}
	switch s.shape {
	case object:
		if c.isA(n, s, mapping) {
			c.members(n, s)
		}
	case dictionary:
		if c.isA(n, s, mapping) {
			for i := range n.kids {
				c.in(&n.kids[i], s.elem, step{name: n.kids[i].key, key: true, within: s})
			}
		}
	case array:
		if c.isA(n, s, list) {
			for i := range n.kids {
				c.in(&n.kids[i], s.elem, step{index: i, within: s})
			}
		}
	case custom:
		if what, remedy := s.read(n); what != "" {
			c.fail(n, what, remedy)
		}
	default:
		c.scalar(n, s)
	}
}

func (c *checker) scalar(n *node, s *schema) {
	switch s.shape {
	case aBool:
		if v, is := ambiguous[n.text]; is && n.plain && n.kind == text {
			n.kind, n.text = boolean, strconv.FormatBool(v)
		}
		c.isA(n, s, boolean)
	case anInteger:
		if c.isA(n, s, integer) {
			c.inRange(n, s)
		}
	case aNumber:
		if n.kind != integer {
			c.isA(n, s, float)
		}
	case anEnum:
		if c.isA(n, s, text) && !slices.Contains(s.values, n.text) {
			c.fail(n, "unknown value "+quoted(n.text), c.suggest(n.text, s.values))
		}
	default:
		c.isA(n, s, text)
	}
}

func (c *checker) inRange(n *node, s *schema) {
	if i, err := parseInt(n.text); err == nil {
		if i >= s.min && (i < 0 || uint64(i) <= s.max) {
			return
		}
	} else if u, err := parseUint(n.text); err == nil && u <= s.max {
		return
	}
	c.fail(n, n.text+" is out of range", fmt.Sprintf("give an integer from %d to %d", s.min, s.max))
}

// isA reports whether n is of the kind that s expects.
func (c *checker) isA(n *node, s *schema, k kind) bool {
	if n.ambiguous() && k == text {
		c.fail(n, "expected a string, got "+n.text+", which Kubernetes reads as a boolean", "put it in quotes: "+strconv.Quote(n.text))
		return false
	}
	if n.kind == k {
		return true
	}
	got, remedy := n.kind.String(), ""
	switch n.kind {
	case boolean, integer, float:
		got = strings.TrimPrefix(strings.TrimPrefix(got, "an "), "a ")
		got = "the " + got + " " + abbreviated(n.text)
		if k == text {
			remedy = "put it in quotes: " + strconv.Quote(abbreviated(n.text))
		}
	case text:
		got = "the string " + quoted(n.text)
		switch {
		case k == mapping:
			remedy = s.asMember(n.text)
		case k == list && s.elem.shape == aString:
			remedy = "write it as a list: [" + quoted(n.text) + "]"
		case (k == integer || k == float || k == boolean) && !n.plain:
			remedy = "write it without quotes"
		}
	case mapping:
		if k == list {
			remedy = `begin each element with "- "`
		}
	case list:
		if k == mapping {
			remedy = `write its members without "- "`
		}
	}
	c.fail(n, "expected "+s.expected()+", got "+got, remedy)
	return false
}

// asMember is what to do about a string where an object belongs: one of its members is that string, or it has others.
func (s *schema) asMember(text string) string {
	if s.shape != object || len(s.members) == 0 {
		return ""
	}
	if exact, has := s.members["exact"]; has && exact.shape == aString {
		return "say how it is compared: {exact: " + quoted(text) + "}, or prefix or regex in the place of exact"
	}
	return "write its members, of " + strings.Join(s.names(), ", ")
}

// members checks the members of an object.
func (c *checker) members(n *node, s *schema) {
	var set map[string]*node // the member of each oneof that is set
	for i := range n.kids {
		kid := &n.kids[i]
		f, known := s.members[kid.key]
		if !known {
			c.unknown(kid, s)
			continue
		}
		if first := set[f.oneof]; f.oneof != "" && first != nil {
			c.fail(kid, quoted(kid.key)+" excludes "+quoted(first.key)+" (line "+strconv.Itoa(int(first.at))+")", "keep one of them")
		} else if f.oneof != "" {
			if set == nil {
				set = make(map[string]*node, 1)
			}
			set[f.oneof] = kid
		}
		c.in(kid, f.schema, step{name: kid.key, within: s})
	}
	for _, name := range s.required {
		if n.member(name) == nil {
			c.path = append(c.path, step{name: name})
			c.fail(n, "is required", "add it: "+s.members[name].expected())
			c.path = c.path[:len(c.path)-1]
		}
	}
}

// unknown reports a member that its object does not have, and looks for the one that was meant: a similar name, or an
// object further up that has one of this name.
func (c *checker) unknown(n *node, s *schema) {
	c.failed = true
	if c.report.full() {
		c.report.errors++
		return
	}
	names := s.names()
	remedy := ""
	if near := diag.Nearest(n.key, names); near != "" {
		remedy = "did you mean " + strconv.Quote(near) + "?"
	} else if up := c.above(n.key); up != "" {
		remedy = strconv.Quote(n.key) + " belongs to " + up + ": mend the indentation"
	} else {
		remedy = c.suggest(n.key, names)
	}
	c.path = append(c.path, step{name: n.key})
	c.fail(n, "unknown field "+quoted(n.key), remedy)
	c.path = c.path[:len(c.path)-1]
}

// above names the closest object around the current one that has a member of the name.
func (c *checker) above(name string) string {
	for i := len(c.path) - 1; i >= 0; i-- {
		if w := c.path[i].within; w != nil && w.shape == object {
			if _, is := w.members[name]; is {
				if at := render(c.path[:i]); at != "" {
					return at
				}
				return "the object itself"
			}
		}
	}
	return ""
}

// suggest says which names or values there are.
func (c *checker) suggest(got string, known []string) string {
	if near := diag.Nearest(got, known); near != "" {
		return "did you mean " + strconv.Quote(near) + "?"
	}
	if len(known) == 0 {
		return "there are none here"
	}
	return "known are " + strings.Join(known, ", ")
}

// quoted quotes a word of the user's for a message.
func quoted(s string) string { return strconv.Quote(abbreviated(s)) }

func abbreviated(s string) string {
	const limit = 64
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit], "") + "…"
}

// integers gives the schema of an integer of so many bits.
func integers(bits int, signed bool) *schema {
	if signed {
		return &schema{shape: anInteger, min: math.MinInt64 >> (64 - bits), max: math.MaxInt64 >> (64 - bits)}
	}
	return &schema{shape: anInteger, max: math.MaxUint64 >> (64 - bits)}
}
