package config

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/remora-proxy/remora/internal/diag"
)

// kind is the kind of a value, as JSON has them, for that is what the objects are decoded from.
type kind uint8

const (
	null kind = iota
	boolean
	integer
	float
	text
	list
	mapping
)

// String names the kind as a message does: "expected a list, got a string".
func (k kind) String() string {
	return [...]string{"no value", "a boolean", "an integer", "a number", "a string", "a list", "a mapping"}[k]
}

// node is a value of a document, with aliases and merge keys resolved. It stands between the YAML parser's tree, which is
// several times as large, and the decoders.
type node struct {
	kind  kind
	plain bool  // a string without quotes
	line  int32 // where the value begins
	at    int32 // where the field begins: the line of the key for a member of a mapping, else line
	key   string
	text  string // scalars: as it is written
	kids  []node
}

// member gives the member of a mapping, or nil.
func (n *node) member(key string) *node {
	if n == nil || n.kind != mapping {
		return nil
	}
	for i := range n.kids {
		if n.kids[i].key == key {
			return &n.kids[i]
		}
	}
	return nil
}

// string gives the text of a string member, or "".
func (n *node) string(key string) string {
	if m := n.member(key); m != nil && m.kind == text {
		return m.text
	}
	return ""
}

// ambiguous are the plain words that YAML 1.1, and with it kubectl, reads as booleans, while YAML 1.2 reads them as strings.
var ambiguous = map[string]bool{
	"y": true, "Y": true, "yes": true, "Yes": true, "YES": true, "on": true, "On": true, "ON": true,
	"n": false, "N": false, "no": false, "No": false, "NO": false, "off": false, "Off": false, "OFF": false,
}

func (n *node) ambiguous() bool {
	if n.kind != text || !n.plain {
		return false
	}
	_, is := ambiguous[n.text]
	return is
}

// appendJSON appends the value as JSON.
func (n *node) appendJSON(b []byte) []byte {
	switch n.kind {
	case null:
		return append(b, "null"...)
	case boolean:
		return strconv.AppendBool(b, strings.EqualFold(n.text, "true"))
	case integer:
		i, err := parseInt(n.text)
		if err != nil {
			u, _ := parseUint(n.text)
			return strconv.AppendUint(b, u, 10)
		}
		return strconv.AppendInt(b, i, 10)
	case float:
		f, _ := parseFloat(n.text)
		return strconv.AppendFloat(b, f, 'g', -1, 64)
	case text:
		return appendQuoted(b, n.text)
	case list:
		b = append(b, '[')
		for i := range n.kids {
			if i > 0 {
				b = append(b, ',')
			}
			b = n.kids[i].appendJSON(b)
		}
		return append(b, ']')
	default:
		b = append(b, '{')
		for i := range n.kids {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendQuoted(b, n.kids[i].key)
			b = append(b, ':')
			b = n.kids[i].appendJSON(b)
		}
		return append(b, '}')
	}
}

func appendQuoted(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= 0x7f {
			q, _ := json.Marshal(s) // a string cannot fail
			return append(b, q...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// The notations of numbers are those that the YAML parser calls numbers: 1_000, 0x1f, 0o17, 1e3.

func parseInt(s string) (int64, error) {
	return strconv.ParseInt(strings.ReplaceAll(s, "_", ""), 0, 64)
}

func parseUint(s string) (uint64, error) {
	return strconv.ParseUint(strings.ReplaceAll(s, "_", ""), 0, 64)
}

func parseFloat(s string) (float64, error) {
	return strconv.ParseFloat(strings.ReplaceAll(s, "_", ""), 64)
}

// The bounds of one document. Kubernetes' own objects nest about 20 deep.
const (
	maxElements = 1_000_000 // values, counted after aliases
	maxDepth    = 64
)

// builder turns the parser's tree of one document into nodes.
type builder struct {
	report *reporter
	file   string
	offset int // lines of the file before the text that the parser was given
	root   *yaml.Node
	count  int
	open   map[*yaml.Node]bool // the aliases that are being followed
	full   bool
}

func (b *builder) line(y *yaml.Node) int32 { return int32(min(y.Line+b.offset, math.MaxInt32)) }

func (b *builder) fail(y *yaml.Node, what, remedy string) {
	b.report.errorAt(diag.Position{File: b.file, Line: int(b.line(y))}, "", "", what, remedy)
}

// build converts y. It reports false when the document cannot be used; what is wrong has been reported then.
func (b *builder) build(y *yaml.Node, depth int) (node, bool) {
	if b.count++; b.count > maxElements {
		if !b.full {
			b.full = true
			b.fail(b.root, "the document has more than "+strconv.Itoa(maxElements)+" values, aliases followed", "split it, or use fewer aliases")
		}
		return node{}, false
	}
	if depth > maxDepth {
		b.fail(y, "nested deeper than "+strconv.Itoa(maxDepth)+" levels", "no object is that deep: look for a mistake in the indentation")
		return node{}, false
	}
	line := b.line(y)
	n := node{line: line, at: line}
	switch y.Kind {
	case yaml.ScalarNode:
		return n, b.scalar(y, &n)
	case yaml.SequenceNode:
		n.kind = list
		return n, b.untagged(y, "!!seq") && b.sequence(y, &n, depth)
	case yaml.MappingNode:
		n.kind = mapping
		return n, b.untagged(y, "!!map") && b.mapping(y, &n, depth)
	case yaml.AliasNode:
		if b.open[y.Alias] {
			b.fail(y, "the alias *"+y.Value+" stands inside of what it names", "name another anchor")
			return n, false
		}
		b.open[y.Alias] = true
		n, ok := b.build(y.Alias, depth+1)
		delete(b.open, y.Alias)
		return n, ok
	default:
		b.fail(y, "this is not a value", "")
		return n, false
	}
}

// untagged reports whether y has the tag that every collection of its kind has.
func (b *builder) untagged(y *yaml.Node, tag string) bool {
	if y.ShortTag() != tag {
		b.fail(y, "the tag "+y.ShortTag()+" is not supported", "remove it")
		return false
	}
	return true
}

func (b *builder) scalar(y *yaml.Node, n *node) bool {
	n.text = y.Value
	n.plain = y.Style&^yaml.TaggedStyle == 0
	tag, valid := y.ShortTag(), true
	switch tag {
	case "!!null":
		n.kind, valid = null, n.text == "" || n.text == "~" || strings.EqualFold(n.text, "null")
	case "!!bool":
		n.kind, valid = boolean, strings.EqualFold(n.text, "true") || strings.EqualFold(n.text, "false")
	case "!!int":
		_, err := parseInt(n.text)
		_, uerr := parseUint(n.text)
		n.kind, valid = integer, err == nil || uerr == nil
	case "!!float":
		f, err := parseFloat(n.text)
		n.kind, valid = float, err == nil && !math.IsInf(f, 0) && !math.IsNaN(f)
	case "!!str", "!!timestamp":
		n.kind = text
	default:
		b.fail(y, "the tag "+tag+" is not supported", "remove it")
		return false
	}
	if !valid {
		b.fail(y, strconv.Quote(n.text)+" is not "+n.kind.String()+" that JSON has", "put it in quotes if it is meant as a string")
	}
	return valid
}

func (b *builder) sequence(y *yaml.Node, n *node, depth int) bool {
	n.kids = make([]node, 0, len(y.Content))
	ok := true
	for _, c := range y.Content {
		kid, good := b.build(c, depth+1)
		kid.at = b.line(c)
		if ok = ok && good; b.full {
			return false
		}
		n.kids = append(n.kids, kid)
	}
	return ok
}

func (b *builder) mapping(y *yaml.Node, n *node, depth int) bool {
	n.kids = make([]node, 0, len(y.Content)/2)
	add := n.adder(len(y.Content) / 2)
	var merges []*yaml.Node
	ok := true
	for i := 0; i+1 < len(y.Content); i += 2 {
		k, v := y.Content[i], y.Content[i+1]
		if k.ShortTag() == "!!merge" {
			merges = append(merges, v)
			continue
		}
		key, good := b.key(k)
		if !good {
			ok = false
			continue
		}
		kid, good := b.build(v, depth+1)
		if ok = ok && good; b.full {
			return false
		}
		kid.key, kid.at = key, b.line(k)
		if first := add(kid); first != nil {
			b.fail(k, strconv.Quote(key)+" is set twice; first on line "+strconv.Itoa(int(first.at)), "keep one of them")
			ok = false
		}
	}
	for _, m := range merges {
		ok = b.merge(m, add, depth) && ok
	}
	return ok
}

// adder gives a function that appends a member, or gives the one that has its key already.
func (n *node) adder(size int) func(node) *node {
	if size <= 16 {
		return func(kid node) *node {
			first := n.member(kid.key)
			if first == nil {
				n.kids = append(n.kids, kid)
			}
			return first
		}
	}
	index := make(map[string]int, size)
	return func(kid node) *node {
		if i, is := index[kid.key]; is {
			return &n.kids[i]
		}
		index[kid.key] = len(n.kids)
		n.kids = append(n.kids, kid)
		return nil
	}
}

// merge adds the members of the mappings that a merge key (<<) names: what is there already wins, then the first mapping.
func (b *builder) merge(y *yaml.Node, add func(node) *node, depth int) bool {
	from, ok := b.build(y, depth+1)
	if !ok {
		return false
	}
	sources := []node{from}
	if from.kind == list {
		sources = from.kids
	}
	for _, s := range sources {
		if s.kind != mapping {
			b.fail(y, "a merge key (<<) takes a mapping or a list of mappings, got "+s.kind.String(), "")
			return false
		}
		for _, kid := range s.kids {
			add(kid)
		}
	}
	return true
}

// key reads a key of a mapping. Kubernetes' YAML reader makes strings of all keys, some to the surprise of their authors
// ("y" becomes "true"), so those that are not strings are refused.
func (b *builder) key(y *yaml.Node) (string, bool) {
	for y.Kind == yaml.AliasNode {
		y = y.Alias
	}
	if y.Kind != yaml.ScalarNode {
		b.fail(y, "a key of a mapping must be a string", "")
		return "", false
	}
	_, odd := ambiguous[y.Value]
	if tag := y.ShortTag(); tag != "!!str" || odd && y.Style&^yaml.TaggedStyle == 0 {
		b.fail(y, "the key "+y.Value+" is not a string", "put it in quotes: "+strconv.Quote(y.Value))
		return "", false
	}
	return y.Value, true
}
