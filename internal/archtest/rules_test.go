package archtest

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"
)

// module makes a Module of made-up files: path, text, path, text …
func module(t *testing.T, pathsAndTexts ...string) *Module {
	t.Helper()
	fsys := fstest.MapFS{"go.mod": {Data: []byte("module example.com/m\n\ngo 1.26\n")}}
	for i := 0; i < len(pathsAndTexts); i += 2 {
		fsys[pathsAndTexts[i]] = &fstest.MapFile{Data: []byte(pathsAndTexts[i+1])}
	}
	m, err := Load(fsys)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// expect compares what a rule found with a substring of each violation, in order.
func expect(t *testing.T, got []Violation, want ...string) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("found %d violations, want %d: %v", len(got), len(want), got)
	}
	for i, v := range got {
		if !strings.Contains(v.String(), want[i]) {
			t.Errorf("violation %d is %q, want it to say %q", i, v, want[i])
		}
	}
}

func TestImportArrows(t *testing.T) {
	const own = "example.com/m/"
	for _, c := range []struct {
		name, dir, imports, want string
	}{
		{"the engine may import the table", "internal/affinity", own + "internal/session", ""},
		{"the core may import siphash", "internal/affinity", "github.com/dchest/siphash", ""},
		{"the core may import the standard library", "internal/fields", "unicode/utf8", ""},
		{"an adapter may import the core", "internal/gateway", own + "internal/affinity", ""},
		{"an adapter may import the vocabulary", "internal/istio", own + "internal/resource", ""},
		{"an adapter may import its own sub-packages", "internal/gateway", own + "internal/gateway/http1", ""},
		{"config may import the packages that know the kinds", "internal/config", own + "internal/istio", ""},
		{"app may import adapters", "internal/app", own + "internal/gateway", ""},
		{"cli may skip a layer", "internal/cli", own + "internal/affinity", ""},
		{"a suite for tests may import adapters", "internal/decisiontest", own + "internal/config", ""},
		{"a suite for tests may import what only tests may", "internal/decisiontest", "golang.org/x/tools/txtar", ""},
		{"main may import cli", "cmd/remora", own + "internal/cli", ""},
		{"the tour may import the examples", "internal/demo", own + "examples", ""},

		{"the table may not import the engine", "internal/session", own + "internal/affinity", "the core package session imports internal/affinity"},
		{"parts of the core may not import each other", "internal/route", own + "internal/session", "the core package route imports"},
		{"a contract suite of the core counts as its package", "internal/session/storetest", own + "internal/gateway", "the core package session imports"},
		{"the engine may not import an adapter", "internal/affinity", own + "internal/gateway", "the core package affinity imports"},
		{"the core may not import another module", "internal/fields", "golang.org/x/sys/unix", "the core package fields imports golang.org/x/sys/unix"},
		{"adapters may not import each other", "internal/gateway", own + "internal/admin", "the adapter gateway imports the adapter admin"},
		{"a package nobody has listed is an adapter", "internal/newcomer", own + "internal/gateway", "the adapter newcomer imports"},
		{"istio may not import config", "internal/istio", own + "internal/config", "the adapter istio imports the adapter config"},
		{"an adapter may not import the wiring", "internal/admin", own + "internal/app", "against the direction"},
		{"the vocabulary may not import the core", "internal/diag", own + "internal/route", "against the direction"},
		{"the wiring may not import the commands", "internal/app", own + "internal/cli", "against the direction"},
		{"programs of the wiring may not import each other", "internal/demo", own + "internal/app", "against the direction"},
		{"main may import nothing but cli", "cmd/remora", own + "internal/app", "against the direction"},
		{"nothing may import the benchmarks", "internal/cli", own + "bench/compare", "against the direction"},
		{"an adapter may not import the examples", "internal/gateway", own + "examples", "the adapter gateway imports"},
		{"the examples hold files only", "examples", own + "internal/config", "examples imports"},
		{"a suite for tests may not import the wiring", "internal/decisiontest", own + "internal/app", "against the direction"},
		{"a suite for tests may not be built in", "internal/gateway", own + "internal/decisiontest", "for tests only"},
		{"nor may the package's own", "internal/session", own + "internal/session/storetest", "for tests only"},
		{"the tests' decoder may not be built in", "internal/gateway", "github.com/go-json-experiment/json/jsontext", "for tests only"},
		{"code has a place", "pkg/util", "fmt", "outside api/"},
	} {
		t.Run(c.name, func(t *testing.T) {
			source := fmt.Sprintf("package x\n\nimport _ %q\n", c.imports)
			m := module(t, c.dir+"/x.go", source)
			if c.want == "" {
				expect(t, CheckImports(m))
			} else {
				expect(t, CheckImports(m), c.want)
			}
			if c.dir != "pkg/util" {
				expect(t, CheckImports(module(t, c.dir+"/x_test.go", source))) // tests import what they need
			}
		})
	}
}

func TestPurityOfTheCore(t *testing.T) {
	const impureSource = `package x

import (
	clock "time"
	"os"
	"syscall"
)

func f() {
	go f()
	_ = clock.Now()
	_ = clock.Second
	os.Exit(1)
	syscall.Munmap(nil)
	syscall.Open("", 0, 0)
}
`
	for _, dir := range []string{"internal/session", "internal/autoscale"} {
		expect(t, CheckPurity(module(t, dir+"/x.go", impureSource)),
			dir+"/x.go:5: imports os; the core does no I/O",
			dir+"/x.go:10: starts a goroutine",
			dir+"/x.go:11: uses time.Now",
			dir+"/x.go:15: uses syscall.Open")
	}
	for _, dir := range []string{"internal/gateway", "internal/session/storetest"} {
		expect(t, CheckPurity(module(t, dir+"/x.go", impureSource)))
	}
	expect(t, CheckPurity(module(t, "internal/session/x_test.go", impureSource)))
}

func TestPackageDocs(t *testing.T) {
	long := "// Package b does one thing. " + strings.Repeat("It knows nothing of the rest. ", 3) + "\n// It has a second line.\npackage b\n"
	m := module(t,
		"internal/a/a.go", "package a\n",
		"internal/b/b.go", "package b\n",
		"internal/b/doc.go", long,
		"internal/c/c.go", "// Package c is here.\npackage c\n",
		"internal/c/testdata/d/d.go", "package d\n",
		"tools/go.mod", "module example.com/tools\n",
		"tools/x.go", "package x\n",
	)
	expect(t, CheckPackageDocs(m), "internal/a: the package has no doc", "internal/c: the package's doc is a single remark")
}

func TestSizes(t *testing.T) {
	body := func(n int) string { return "func f() {\n" + strings.Repeat("\t_ = 0\n", n-2) + "}\n" }
	long := "package x\n" + strings.Repeat("// .\n", fileLimit)
	m := module(t,
		"internal/a/fits.go", "package x\n\n"+body(funcLimit),
		"internal/a/long.go", "package x\n\n"+body(funcLimit+1),
		"internal/a/longfile.go", long,
		"internal/a/long_test.go", long+body(funcLimit+1),
		"internal/a/zz_generated.go", "// Code generated by hand. DO NOT EDIT.\n"+long,
	)
	expect(t, CheckSizes(m), "internal/a/long.go:3: func f has 81 lines", "internal/a/longfile.go: has 451 lines")
}

func TestDependencies(t *testing.T) {
	m := module(t,
		DependenciesFile, "| module | reason |\n|---|---|\n| `example.com/used` | for this |\n| `example.com/bare` | |\n| `example.com/old` | for that |\n",
		"internal/a/a.go", "package a\n\nimport (\n\t_ \"example.com/used/deep\"\n\t_ \"example.com/far\"\n\t_ \"example.com/m/internal/b\"\n\t_ \"os\"\n)\n",
		"internal/a/a_test.go", "package a\n\nimport _ \"example.com/bare\"\n",
	)
	m.parseGoMod(`module example.com/m

require example.com/single v1.0.0

require (
	example.com/used v1.0.0
	example.com/bare v1.0.0
	example.com/far v1.0.0 // indirect
)
`)
	expect(t, CheckDependencies(m),
		"example.com/bare has no reason",
		"example.com/old is no direct dependency",
		"internal/a/a.go:5: example.com/far is of no direct dependency",
		"go.mod: example.com/single is not in docs/dependencies.md",
		"go.mod: nothing imports example.com/single")
}

func TestLinks(t *testing.T) {
	m := module(t,
		"README.md", strings.Join([]string{
			"# The `name`, told",
			"[a](docs/a.md) [b](docs/a.md#two-words-1) [c](#the-name-told) [d](docs) [e](https://example.com/x) [f](mailto:a@example.com)",
			"[gone](docs/b.md)",
			"```",
			"[in code](docs/c.md)",
			"```",
			"`[in code](docs/c.md)` [no heading](docs/a.md#three)",
			"[ref]: docs/d.md",
		}, "\n"),
		"docs/a.md", "# Two words\n\n## Two words\n\n[back](../README.md)\n",
	)
	expect(t, CheckLinks(m),
		"README.md:3: the link to docs/b.md leads nowhere",
		"README.md:7: the link to docs/a.md#three leads nowhere",
		"README.md:8: the link to docs/d.md leads nowhere")
}

func TestPaths(t *testing.T) {
	m := module(t,
		"docs/a.md", "`internal/b` `internal/b/` `internal/b/b.go`\n`internal/c`\n`other/thing` `make x`\n",
		"CHANGELOG.md", "`internal/c`\n",
		"internal/b/b.go", "package b\n",
	)
	expect(t, CheckPaths(m), "docs/a.md:2: internal/c is not there")
}
