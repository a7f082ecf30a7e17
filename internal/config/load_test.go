package config

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "write what is found into testdata")

// TestDiagnostics loads the files of each archive in testdata/load and compares what is said with the archive's section
// "want". The archive's first lines say what it shows; a line "paths: …" names what is loaded in place of the folder.
func TestDiagnostics(t *testing.T) {
	archives, err := filepath.Glob("testdata/load/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatal("no archives", err)
	}
	for _, name := range archives {
		name, err := filepath.Abs(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			got := diagnose(t, archive)
			want := section(archive, "want")
			if got == string(want.Data) {
				return
			}
			if !*update {
				t.Fatalf("said:\n%s\nwant:\n%s", got, want.Data)
			}
			want.Data = []byte(got)
			if err := os.WriteFile(name, txtar.Format(archive), 0o644); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// diagnose loads, and where that finds no error compiles, what is in the archive.
func diagnose(t *testing.T, archive *txtar.Archive) string {
	t.Helper()
	t.Chdir(t.TempDir())
	loader := Loader{Paths: []string{"."}}
	for line := range strings.Lines(string(archive.Comment)) {
		if paths, is := strings.CutPrefix(strings.TrimSpace(line), "paths:"); is {
			loader.Paths = strings.Fields(paths)
		}
	}
	for _, f := range archive.Files {
		switch {
		case f.Name == "want":
		case f.Name == "stdin":
			loader.Stdin = strings.NewReader(string(f.Data))
		default:
			write(t, f.Name, string(f.Data))
		}
	}
	set, _, list := loader.Load()
	if !list.HasErrors() {
		_, compiled := Compile(set, Options{})
		list = append(list, compiled...)
	}
	var b strings.Builder
	for _, d := range list {
		b.WriteString(d.String())
		b.WriteByte('\n')
	}
	return b.String()
}

func section(archive *txtar.Archive, name string) *txtar.File {
	for i := range archive.Files {
		if archive.Files[i].Name == name {
			return &archive.Files[i]
		}
	}
	archive.Files = append(archive.Files, txtar.File{Name: name})
	return &archive.Files[len(archive.Files)-1]
}

func write(t testing.TB, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
