package archtest

import (
	"fmt"
	"go/ast"
	"path"
	"slices"
	"strings"
)

// impure are packages of the standard library that the core may not import, with the reason.
var impure = map[string]string{
	"log":       "the core has no logger",
	"log/slog":  "the core has no logger",
	"net":       "the core does no I/O (net/netip has the types for addresses)",
	"net/http":  "the core knows no proxy",
	"os":        "the core does no I/O (it takes an io.Reader or an io.Writer)",
	"os/exec":   "the core does no I/O",
	"os/signal": "the core does no I/O",
	"syscall":   "the core does no I/O",
}

// clock are the functions of package time that read the clock or wait for it.
var clock = []string{"After", "AfterFunc", "NewTicker", "NewTimer", "Now", "Since", "Sleep", "Tick", "Until"}

// CheckPurity reports I/O, clocks and goroutines in the core. Packages whose name ends in "test" (a contract suite that
// several implementations pass) are tests in all but file name, and are left alone.
func CheckPurity(m *Module) []Violation {
	var found []Violation
	for _, f := range m.code() {
		if u, ok := unit(f.Dir); !ok || !slices.Contains(core, u) || strings.HasSuffix(f.Dir, "test") {
			continue
		}
		timeName := ""
		for _, spec := range f.Syntax.Imports {
			p := importPath(spec)
			if why, ok := impure[p]; ok {
				found = append(found, Violation{m.at(spec.Pos()), "imports " + p, why + "; do this in an adapter"})
			}
			if p == "time" {
				timeName = localName(spec, p)
			}
		}
		found = append(found, m.impureNodes(f, timeName)...)
	}
	return found
}

// impureNodes finds go statements and uses of the clock.
func (m *Module) impureNodes(f *File, timeName string) []Violation {
	var found []Violation
	ast.Inspect(f.Syntax, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			found = append(found, Violation{m.at(n.Pos()), "starts a goroutine", "the core has none: let the caller, who owns its life, start it"})
		case *ast.SelectorExpr:
			pkg, ok := n.X.(*ast.Ident)
			if ok && timeName != "" && pkg.Name == timeName && slices.Contains(clock, n.Sel.Name) {
				found = append(found, Violation{m.at(n.Pos()), fmt.Sprintf("uses time.%s", n.Sel.Name), "the core has no clock: take the time as an argument"})
			}
		}
		return true
	})
	return found
}

// localName is the name under which a file uses an import.
func localName(spec *ast.ImportSpec, importPath string) string {
	if spec.Name != nil {
		return spec.Name.Name
	}
	return path.Base(importPath)
}
