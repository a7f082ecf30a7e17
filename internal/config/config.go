// Package config turns files into a compiled configuration: files and folders → objects (a resource.Set), strictly decoded →
// the decision core's snapshot; and it says when the files have changed. Every finding names its file, line and field.
//
// It knows how objects are written (YAML, JSON, Kubernetes' conventions, the kinds that Remora uses) and nothing of what
// they mean: that is for the packages that compile a Set. It does not decide what happens with a configuration that is
// refused; its callers keep the one they have.
package config

import (
	"fmt"
	"io"

	"github.com/remora-proxy/remora/internal/diag"
	"github.com/remora-proxy/remora/internal/resource"
)

// DefaultNamespace is the namespace of objects that name none.
const DefaultNamespace = "default"

// Stdin is the path that stands for standard input.
const Stdin = "-"

// Loader reads the configuration from the same paths again and again.
type Loader struct {
	// Paths are files, folders and "-". Of a folder, the files that end in .yaml, .yml or .json are read, in the order of
	// their names, but not its sub-folders, nor names that begin with a dot.
	Paths []string
	// Stdin is what the path "-" reads, once: later loads use the same bytes.
	Stdin io.Reader
	// Proxied says that a proxy reads the same objects (see Options): kinds of Istio's that are for it alone are left out.
	Proxied bool

	stdin   []byte
	stdinIn bool
}

// Sources says where a Set came from.
type Sources struct {
	Files   []string // in the order of reading
	Objects int      // that are used
}

// Load reads all objects. When the list has errors, the set lacks the objects that they are about and must not be used.
func (l *Loader) Load() (*resource.Set, Sources, diag.List) {
	ld := newLoad()
	ld.proxied = l.Proxied
	r := ld.report
	var sources Sources
	for _, f := range l.files(r) {
		ld.file(f)
		sources.Files = append(sources.Files, f.path)
	}
	ld.warnUnused()
	sources.Objects = len(ld.defined)
	if r.errors == 0 && sources.Objects == 0 {
		r.errorAt(diag.Position{}, "", "", fmt.Sprintf("no object that Remora uses in %s", listed(l.Paths)),
			"give files or folders that have a Gateway and VirtualServices, or an AffinityPolicy")
	}
	return ld.set, sources, r.done()
}

// load is the state of one Load.
type load struct {
	report  *reporter
	proxied bool
	set     *resource.Set
	defined map[identity]diag.Position
	unused  map[string]*leftOut // by apiVersion and kind
	order   []*leftOut
}

func newLoad() *load {
	return &load{report: &reporter{}, set: &resource.Set{}, defined: map[identity]diag.Position{}, unused: map[string]*leftOut{}}
}

// identity tells the objects of a configuration apart.
type identity struct{ group, kind, namespace, name string }

// leftOut counts the objects of a kind that Remora has no use for.
type leftOut struct {
	kind  string
	first diag.Position
	count int
}

func (ld *load) file(f file) {
	parse(f.path, f.data, ld.report, func(n *node) { ld.document(f.path, n, "", "") })
}

// document reads an object, or a list of them. The elements of a typed list have its version and kind.
func (ld *load) document(path string, n *node, apiVersion, kind string) {
	pos := diag.Position{File: path, Line: int(n.at)}
	if n.kind != mapping {
		ld.report.errorAt(pos, "", "", "expected an object, got "+n.kind.String(), `an object begins with "apiVersion: …" and "kind: …"`)
		return
	}
	for _, word := range []struct {
		field string
		value *string
	}{{"apiVersion", &apiVersion}, {"kind", &kind}} {
		m := n.member(word.field)
		switch {
		case m != nil && m.kind == text && m.text != "":
			*word.value = m.text
		case m != nil:
			ld.report.errorAt(diag.Position{File: path, Line: int(m.at)}, "", word.field, "expected a string, got "+describe(m), "")
			return
		case *word.value == "":
			ld.report.errorAt(pos, "", "", "the object has no "+word.field, ld.missing(n, word.field))
			return
		}
	}
	if items := n.member("items"); items != nil && isList(kind) {
		ld.items(path, items, apiVersion, kind)
		return
	}
	ld.object(path, n, apiVersion, kind)
}

func describe(n *node) string {
	if n.kind == text {
		return "an empty string"
	}
	return n.kind.String()
}

// missing looks for a misspelt apiVersion or kind.
func (ld *load) missing(n *node, field string) string {
	for i := range min(len(n.kids), 16) {
		if key := n.kids[i].key; diag.Nearest(key, []string{"apiVersion", "kind", "metadata", "spec", "items"}) == field {
			return fmt.Sprintf("did you mean %q where it says %q?", field, key)
		}
	}
	return `every object begins with "apiVersion: …" and "kind: …"`
}

func (ld *load) items(path string, items *node, apiVersion, kind string) {
	if items.kind == null {
		return
	}
	if items.kind != list {
		ld.report.errorAt(diag.Position{File: path, Line: int(items.at)}, "", "items", "expected a list, got "+items.kind.String(), "")
		return
	}
	if kind == "List" {
		apiVersion, kind = "", ""
	} else {
		kind = kind[:len(kind)-len("List")]
	}
	for i := range items.kids {
		if item := &items.kids[i]; isList(item.string("kind")) {
			ld.report.errorAt(diag.Position{File: path, Line: int(item.at)}, "", fmt.Sprintf("items[%d]", i), "a list in a list", "put its items into one list")
		} else {
			ld.document(path, item, apiVersion, kind)
		}
	}
}

func isList(kind string) bool {
	return len(kind) >= len("List") && kind[len(kind)-len("List"):] == "List"
}
