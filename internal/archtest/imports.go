package archtest

import (
	"fmt"
	"go/ast"
	"slices"
	"strconv"
	"strings"
)

// A unit is what an import arrow starts or ends at: a folder right under internal/ with all that is below it, or one of
// "api", "bench", "cmd", "deploy" and "examples". A package whose name ends in "test" is for tests only: a suite that several packages pass.

// core is the decision core: no clock, no goroutine, no I/O, no logger, and no dependency but the keyed hash.
var core = []string{"affinity", "fields", "placement", "problem", "route", "session"}

// vocabulary is the packages of plain words about configuration.
var vocabulary = []string{"api", "diag", "resource"}

// wiring is the packages that put adapters together into running programs.
var wiring = []string{"app", "demo", "simulate"}

// above is the units that stand over the adapters. Whatever is not named in this file is an adapter.
var above = slices.Concat(wiring, []string{"bench", "cli", "cmd"})

// coreModules are the modules that the core may import.
var coreModules = []string{"github.com/dchest/siphash"}

// testModules are the modules that only tests may import.
var testModules = []string{"github.com/anishathalye/porcupine", "github.com/envoyproxy/go-control-plane/pkg", "github.com/go-json-experiment/json", "golang.org/x/tools"}

// mayImport says which units of the module each unit may import, besides itself. A unit that is not here is an adapter.
var mayImport = map[string][]string{
	"fields":    {},
	"placement": {},
	"problem":   {},
	"route":     {},
	"session":   {},
	"affinity":  {"fields", "placement", "problem", "route", "session"},

	"api":      {},
	"diag":     {},
	"resource": {"api", "diag"},
	"deploy":   {}, // files to embed
	"examples": {}, // files to embed

	// config reads files and hands the objects to the packages that know their kinds.
	"config": slices.Concat(core, vocabulary, []string{"istio", "gatewayapi"}),

	// generate writes the configuration of proxies that ask extproc, by the names that extproc, and istio, have for what both must
	// agree on.
	"generate": slices.Concat(core, vocabulary, []string{"deploy", "extproc", "istio"}),

	"cmd":   {"cli"},
	"bench": {},
}

// CheckImports reports imports that point the wrong way: cmd → cli → app → adapters → affinity → session, route, placement,
// fields → standard library. Only code that is built into programs is judged: a test of the core may well read its script
// through the package that reads configuration.
func CheckImports(m *Module) []Violation {
	var found []Violation
	for _, f := range m.code() {
		from, ok := unit(f.Dir)
		if !ok {
			found = append(found, Violation{f.Path, "Go code outside api/, bench/, cmd/, deploy/, examples/ and internal/", "move it to where the design's layout has its kind"})
			continue
		}
		for _, spec := range f.Syntax.Imports {
			if what, do := m.judge(from, importPath(spec)); what != "" {
				found = append(found, Violation{m.at(spec.Pos()), what, do})
			}
		}
	}
	return found
}

// judge says what is wrong with an import by a unit, or nothing.
func (m *Module) judge(from, target string) (what, do string) {
	rest, own := strings.CutPrefix(target, m.Path+"/")
	if !own {
		return judgeForeign(from, target)
	}
	to, ok := unit(rest)
	if !ok || to == from && !forTests(rest) {
		return "", ""
	}
	switch {
	case forTests(rest) && !forTests(from):
		return fmt.Sprintf("%s imports %s, which is for tests only", from, rest), "import it in a _test.go file"
	case allowedUnits(from, to):
		return "", ""
	case slices.Contains(core, from):
		return fmt.Sprintf("the core package %s imports %s", from, rest), "turn the arrow round: the core states a type or an interface, and the outer package fills it"
	case isAdapter(from) && isAdapter(to):
		return fmt.Sprintf("the adapter %s imports the adapter %s", from, to), "let app wire the two together, or move what both need inwards"
	default:
		return fmt.Sprintf("%s imports %s, against the direction cmd → cli → app → adapters → core", from, rest), "turn the arrow round; mayImport in internal/archtest/imports.go has the rules"
	}
}

// isStandard reports whether an import is of the standard library: its first element has no dot.
func isStandard(target string) bool {
	first, _, _ := strings.Cut(target, "/")
	return !strings.Contains(first, ".")
}

// judgeForeign judges imports of other modules.
func judgeForeign(from, target string) (what, do string) {
	if isStandard(target) || forTests(from) {
		return "", ""
	}
	if slices.ContainsFunc(testModules, func(m string) bool { return within(target, m) }) {
		return fmt.Sprintf("%s imports %s, which is for tests only", from, target), "import it in a _test.go file, or do without it"
	}
	if slices.Contains(core, from) && !slices.ContainsFunc(coreModules, func(m string) bool { return within(target, m) }) {
		return fmt.Sprintf("the core package %s imports %s", from, target), "the core has the standard library and siphash; put what needs more into an adapter"
	}
	return "", ""
}

// allowedUnits reports whether one unit may import another.
func allowedUnits(from, to string) bool {
	if allowed, ok := mayImport[from]; ok {
		return slices.Contains(allowed, to)
	}
	inner := slices.Contains(core, to) || slices.Contains(vocabulary, to)
	switch {
	case from == "cli":
		return to != "cmd" && to != "bench"
	case forTests(from):
		return inner || isAdapter(to) || forTests(to)
	case slices.Contains(wiring, from):
		return inner || isAdapter(to)
	default:
		return inner
	}
}

// isAdapter reports whether a unit is one of the packages between the core and the wiring.
func isAdapter(u string) bool {
	return !slices.Contains(core, u) && !slices.Contains(vocabulary, u) && !slices.Contains(above, u) && !forTests(u)
}

// forTests reports whether a unit or a package is for tests only.
func forTests(name string) bool { return strings.HasSuffix(name, "test") }

// unit is the unit that a folder of the module belongs to.
func unit(dir string) (string, bool) {
	first, rest, _ := strings.Cut(dir, "/")
	switch first {
	case "api", "bench", "cmd", "deploy", "examples":
		return first, true
	case "internal":
		name, _, _ := strings.Cut(rest, "/")
		return name, name != ""
	}
	return "", false
}

// within reports whether an import path is a module or a package in it.
func within(target, module string) bool {
	return target == module || strings.HasPrefix(target, module+"/")
}

// importPath is the path between the quotes.
func importPath(spec *ast.ImportSpec) string {
	p, err := strconv.Unquote(spec.Path.Value)
	if err != nil { // the parser refuses such a file before
		return spec.Path.Value
	}
	return p
}
