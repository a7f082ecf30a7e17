package archtest

import (
	"fmt"
	"go/ast"
	"path"
	"slices"
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
}

// memoryCalls are what the core may use of package syscall: memory from the system that the garbage collector does not count.
var memoryCalls = []string{"Getpagesize", "MAP_ANON", "MAP_PRIVATE", "Mmap", "Munmap", "PROT_READ", "PROT_WRITE"}

// clock are the functions of package time that read the clock or wait for it.
var clock = []string{"After", "AfterFunc", "NewTicker", "NewTimer", "Now", "Since", "Sleep", "Tick", "Until"}

// pure is the packages that decide and do nothing else: the core, and the autoscaler's algorithm, which is not a part of it.
var pure = slices.Concat(core, []string{"autoscale"})

// CheckPurity reports I/O, clocks and goroutines in the core and its like. Its packages for tests only are left alone.
func CheckPurity(m *Module) []Violation {
	var found []Violation
	for _, f := range m.code() {
		if u, ok := unit(f.Dir); !ok || !slices.Contains(pure, u) || forTests(f.Dir) {
			continue
		}
		used := map[string]string{} // local name → import path
		for _, spec := range f.Syntax.Imports {
			p := importPath(spec)
			if why, ok := impure[p]; ok {
				found = append(found, Violation{m.at(spec.Pos()), "imports " + p, why + "; do this in an adapter"})
			}
			used[localName(spec, p)] = p
		}
		found = append(found, m.impureNodes(f, used)...)
	}
	return found
}

// impureNodes finds go statements, uses of the clock, and system calls that are about more than memory.
func (m *Module) impureNodes(f *File, imports map[string]string) []Violation {
	var found []Violation
	ast.Inspect(f.Syntax, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.GoStmt:
			found = append(found, Violation{m.at(n.Pos()), "starts a goroutine", "the core has none: let the caller, who owns its life, start it"})
		case *ast.SelectorExpr:
			pkg, ok := n.X.(*ast.Ident)
			if !ok {
				return true
			}
			switch p := imports[pkg.Name]; {
			case p == "time" && slices.Contains(clock, n.Sel.Name):
				found = append(found, Violation{m.at(n.Pos()), fmt.Sprintf("uses time.%s", n.Sel.Name), "the core has no clock: take the time as an argument"})
			case p == "syscall" && !slices.Contains(memoryCalls, n.Sel.Name):
				found = append(found, Violation{m.at(n.Pos()), fmt.Sprintf("uses syscall.%s", n.Sel.Name), "the core does no I/O; do this in an adapter"})
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
