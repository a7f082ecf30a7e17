package route

import (
	"bytes"
	"strings"
)

// prefixTree is a radix tree of prefixes: all that a path begins with are found in one walk down.
type prefixTree struct {
	label    string // what the edge to this node adds
	matchers []*matcher
	first    []byte // the first byte of each child's label
	children []prefixTree
}

func (t *prefixTree) add(prefix string, m *matcher) {
	for prefix != "" {
		i := bytes.IndexByte(t.first, prefix[0])
		if i < 0 {
			t.first = append(t.first, prefix[0])
			t.children = append(t.children, prefixTree{label: prefix, matchers: []*matcher{m}})
			return
		}
		child := t.children[i]
		n := commonPrefix(child.label, prefix)
		if n < len(child.label) {
			first := child.label[n]
			child.label = child.label[n:]
			t.children[i] = prefixTree{label: prefix[:n], first: []byte{first}, children: []prefixTree{child}}
		}
		t, prefix = &t.children[i], prefix[n:]
	}
	t.matchers = append(t.matchers, m)
}

// search tries the matchers of all prefixes of path.
func (t *prefixTree) search(s *search, path string) {
	for {
		s.try(t.matchers)
		if path == "" {
			return
		}
		i := bytes.IndexByte(t.first, path[0])
		if i < 0 || !strings.HasPrefix(path, t.children[i].label) {
			return
		}
		t = &t.children[i]
		path = path[len(t.label):]
	}
}

func commonPrefix(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}
