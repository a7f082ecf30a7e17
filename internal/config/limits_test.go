package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// many is a VirtualService with n rules, and what it needs to compile.
func many(n int) string {
	var b strings.Builder
	b.WriteString(`apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: front}
spec:
  servers:
  - port: {number: 80, name: http, protocol: HTTP}
    hosts: ["*"]
---
apiVersion: v1
kind: Service
metadata: {name: backend}
spec:
  ports:
  - port: 8080
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: many}
spec:
  hosts: ["*"]
  gateways: [front]
  http:
`)
	for i := range n {
		fmt.Fprintf(&b, `  - match:
    - headers:
        target:
          exact: tenant-%d
    route:
    - destination:
        host: backend.default.svc.cluster.local
        port:
          number: 8080
`, i)
	}
	return b.String()
}

func TestTenThousandRoutesAreLoadedAndEachHasItsLine(t *testing.T) {
	text := many(10_000)
	lines := strings.Split(text, "\n")
	set, list := loadBytes("many.yaml", []byte(text))
	if len(list) != 0 {
		t.Fatal(list)
	}
	vs := set.VirtualServices[0]
	if n := len(vs.Value.Spec.Http); n != 10_000 {
		t.Fatalf("%d rules", n)
	}
	for i := range vs.Value.Spec.Http {
		at := vs.Where.Locate(fmt.Sprintf("spec.http[%d].match[0].headers[target].exact", i))
		if want := fmt.Sprintf("exact: tenant-%d", i); strings.TrimSpace(lines[at.Line-1]) != want {
			t.Fatalf("rule %d: %v is %q, want %q", i, at, lines[at.Line-1], want)
		}
	}
	compiled, list := Compile(set, Options{})
	if list.HasErrors() {
		t.Fatal(list)
	}
	if n := len(compiled.Config.Routes.Listeners[0].Hosts[0].Rules); n != 10_000 {
		t.Errorf("%d rules are compiled", n)
	}
}

// The bounds hold: hostile files cost about what a large honest one does, and end with one error that names the bound.
func TestHostileFilesAreRefusedAtTheBounds(t *testing.T) {
	var bomb strings.Builder
	bomb.WriteString("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n")
	for i := 1; i < 12; i++ {
		fmt.Fprintf(&bomb, "a%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 10), ", "))
	}
	var merges strings.Builder
	merges.WriteString("a0: &a0 {k: v}\n")
	for i := 1; i < 40; i++ {
		fmt.Fprintf(&merges, "a%d: &a%d {<<: [*a%d, *a%d]}\n", i, i, i-1, i-1)
	}
	for name, test := range map[string]struct{ text, want string }{
		"aliases that multiply":           {bomb.String(), "f.yaml:1: the document has more than 1000000 values, aliases followed; split it, or use fewer aliases"},
		"merge keys that multiply":        {merges.String(), "f.yaml:1: the document has more than 1000000 values, aliases followed; split it, or use fewer aliases"},
		"lists nested deep":               {strings.Repeat("[", 70) + strings.Repeat("]", 70), "f.yaml:1: nested deeper than 64 levels; no object is that deep: look for a mistake in the indentation"},
		"lists nested very deep":          {strings.Repeat("[", 1<<20), "f.yaml:1: not valid YAML: exceeded max depth of 10000"},
		"mappings nested deep":            {deep(70), "f.yaml:66: nested deeper than 64 levels; no object is that deep: look for a mistake in the indentation"},
		"more values than can be counted": {"[" + strings.Repeat(",", maxMarks) + "]", "f.yaml:1: the document is too large: 2000001 characters in it may begin a value, at most 2000000 are read; split it into several"},
		"too many documents":              {strings.Repeat("---\n\"\"\n", 3) + strings.Repeat("---\n~\n", maxDocuments), ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, list := loadBytes("f.yaml", []byte(test.text))
			if test.want == "" {
				test.want = fmt.Sprintf("f.yaml:%d: more than %d documents; split the file into several", 2*maxDocuments+1, maxDocuments)
				list = list[len(list)-1:]
			}
			if len(list) != 1 || list[0].String() != test.want {
				t.Errorf("said:\n%.2000s\nwant:\n%s", list.Error(), test.want)
			}
		})
	}
}

func deep(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

func TestErrorsBeyondTheBoundAreCounted(t *testing.T) {
	var b strings.Builder
	b.WriteString("apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec:\n")
	for i := range 150 {
		fmt.Fprintf(&b, "  field%d: 1\n", i)
	}
	_, list := loadBytes("f.yaml", []byte(b.String()))
	if len(list) != MaxDiagnostics+1 {
		t.Fatalf("%d findings, want %d", len(list), MaxDiagnostics+1)
	}
	if got := list[MaxDiagnostics-1].Pos.Line; got != 104 {
		t.Errorf("the last that is listed is at line %d, want 104", got)
	}
	if got := list[MaxDiagnostics].String(); got != "50 more errors are not listed" {
		t.Errorf("the last line is %q", got)
	}
}

func TestFilesOverTheLimitAndWhatIsNoFileAreRefused(t *testing.T) {
	t.Chdir(t.TempDir())
	write(t, "small.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n")
	large, err := os.Create("large.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if err := large.Truncate(maxFile + 1); err != nil { // takes no space
		t.Fatal(err)
	}
	large.Close()
	if err := os.Symlink("nowhere", "dangling.yaml"); err != nil {
		t.Fatal(err)
	}
	l := Loader{Paths: []string{"small.yaml", "large.yaml", "dangling.yaml", os.DevNull}}
	_, _, list := l.Load()
	want := os.DevNull + `: this is not a regular file; give a file or folder, or pipe it in and give "-"
dangling.yaml: there is no such file or folder; check the path, and that a link does not lead nowhere
large.yaml: the file is larger than 64 MiB; split it into several`
	if got := list.Error(); got != want {
		t.Errorf("said:\n%s\nwant:\n%s", got, want)
	}
}

func TestTheOrderOfASetIsThatOfPathsThenNamesThenDocuments(t *testing.T) {
	t.Chdir(t.TempDir())
	service := func(names ...string) string {
		var docs []string
		for _, n := range names {
			docs = append(docs, "apiVersion: v1\nkind: Service\nmetadata: {name: "+n+"}\n")
		}
		return strings.Join(docs, "---\n")
	}
	write(t, "folder/b.yaml", service("three"))
	write(t, "folder/a.json", `{"apiVersion": "v1", "kind": "List", "items": [{"apiVersion": "v1", "kind": "Service", "metadata": {"name": "two"}}]}`)
	write(t, "folder/c.yml", service("four", "five"))
	write(t, "z.yaml", service("one"))
	l := Loader{Paths: []string{"z.yaml", "folder", "./folder/b.yaml", "folder/"}} // twice is once
	set, sources, list := l.Load()
	if len(list) != 0 {
		t.Fatal(list)
	}
	var got []string
	for _, s := range set.Services {
		got = append(got, s.Value.Name+"@"+s.Where.Locate("metadata").String())
	}
	want := "one@z.yaml:3 two@folder/a.json:1 three@folder/b.yaml:3 four@folder/c.yml:3 five@folder/c.yml:7"
	if strings.Join(got, " ") != want {
		t.Errorf("order: %s, want %s", strings.Join(got, " "), want)
	}
	if sources.Objects != 5 || len(sources.Files) != 4 {
		t.Errorf("sources: %+v", sources)
	}
}

func TestAMountedConfigMapIsReadOnce(t *testing.T) {
	dir := t.TempDir()
	mountConfigMap(t, dir, "1", "a.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n")
	l := Loader{Paths: []string{dir}}
	set, sources, list := l.Load()
	if len(list) != 0 || len(set.Services) != 1 || len(sources.Files) != 1 || sources.Files[0] != filepath.Join(dir, "a.yaml") {
		t.Errorf("%d services from %v, said: %v", len(set.Services), sources.Files, list)
	}
}

// mountConfigMap does what kubelet does for a volume that is a ConfigMap: the files lie in a folder of their own, which a link
// names that is turned to the next folder in one step.
func mountConfigMap(t *testing.T, dir, version, name, text string) {
	t.Helper()
	write(t, filepath.Join(dir, ".."+version, name), text)
	if err := os.Symlink(".."+version, filepath.Join(dir, "..data_tmp")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("..data/"+name, filepath.Join(dir, name)); err != nil && !os.IsExist(err) {
		t.Fatal(err)
	}
}

func TestStandardInputIsReadOnceAndKept(t *testing.T) {
	l := Loader{Paths: []string{Stdin}, Stdin: strings.NewReader("apiVersion: v1\nkind: Service\nmetadata: {name: a}\n")}
	for range 2 {
		set, _, list := l.Load()
		if len(list) != 0 || len(set.Services) != 1 {
			t.Fatalf("%d services, said: %v", len(set.Services), list)
		}
	}
}

func BenchmarkLoad10kRoutes(b *testing.B) {
	text := []byte(many(10_000))
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, list := loadBytes("many.yaml", text); len(list) != 0 {
			b.Fatal(list)
		}
	}
}

func BenchmarkLoadAndCompile10kRoutes(b *testing.B) {
	text := []byte(many(10_000))
	b.ReportAllocs()
	for b.Loop() {
		set, list := loadBytes("many.yaml", text)
		if _, more := Compile(set, Options{}); list.HasErrors() || more.HasErrors() {
			b.Fatal(append(list, more...))
		}
	}
}
