package generate

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/config"
	"github.com/remora-proxy/remora/internal/diag"
	"github.com/remora-proxy/remora/internal/resource"
)

var update = flag.Bool("update", false, "write what is made into testdata")

// option is one NAME=VALUE of an archive.
type option struct{ name, value string }

// maker gives what is found about a configuration, and what is written for it where that forbids nothing.
type maker func(t *testing.T, options []option, set *resource.Set, c *affinity.Config) (found diag.List, write func() string)

// testArchives compares what is written for the objects in folder/*.txtar with each archive's section "want", and what is found
// about them with its section "findings". The archive's first lines say what it shows; lines "options: NAME=VALUE …" are for run,
// and lines "only: KIND …" leave documents of other kinds out.
func testArchives(t *testing.T, folder string, run maker) {
	t.Helper()
	archives, err := filepath.Glob(filepath.Join(folder, "*.txtar"))
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
			options, only := settings(archive)
			set, c, text := compile(t, archive)
			want := ""
			if c != nil {
				found, write := run(t, options, set, c)
				for _, d := range found {
					text += d.String() + "\n"
				}
				if !found.HasErrors() {
					want = documents(write(), only)
				}
			}
			compare(t, archive, "findings", text)
			compare(t, archive, "want", want)
			if *update {
				if err := os.WriteFile(name, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// settings are an archive's options, and the kinds that it keeps.
func settings(archive *txtar.Archive) (options []option, only []string) {
	for line := range strings.Lines(string(archive.Comment)) {
		line = strings.TrimSpace(line)
		if kinds, is := strings.CutPrefix(line, "only:"); is {
			only = strings.Fields(kinds)
		}
		if list, is := strings.CutPrefix(line, "options:"); is {
			for _, field := range strings.Fields(list) {
				name, value, _ := strings.Cut(field, "=")
				options = append(options, option{name, value})
			}
		}
	}
	return options, only
}

func compare(t *testing.T, archive *txtar.Archive, section, got string) {
	t.Helper()
	for i := range archive.Files {
		f := &archive.Files[i]
		if f.Name != section {
			continue
		}
		if *update {
			f.Data = []byte(got)
		} else if string(f.Data) != got {
			t.Errorf("%s is not as in the archive (go test ./internal/generate -update writes it):\n%s", section, got)
		}
		return
	}
	switch {
	case *update && got != "":
		archive.Files = append(archive.Files, txtar.File{Name: section, Data: []byte(got)})
	case got != "":
		t.Errorf("the archive has no section %s for:\n%s", section, got)
	}
}

// compile compiles the YAML files of an archive, or gives the findings that forbid it.
func compile(t *testing.T, archive *txtar.Archive) (*resource.Set, *affinity.Config, string) {
	t.Helper()
	t.Chdir(t.TempDir())
	var paths []string
	for _, f := range archive.Files {
		if strings.HasSuffix(f.Name, ".yaml") {
			if err := os.WriteFile(f.Name, f.Data, 0o600); err != nil {
				t.Fatal(err)
			}
			paths = append(paths, f.Name)
		}
	}
	set, _, found := (&config.Loader{Paths: paths}).Load()
	if found.HasErrors() {
		t.Fatal(found)
	}
	compiled, found := config.Compile(set, config.Options{NoSlices: true, Proxied: true})
	var text strings.Builder
	for _, d := range found {
		text.WriteString(d.String() + "\n")
	}
	if compiled == nil {
		return nil, nil, text.String()
	}
	return set, &compiled.Config, text.String()
}

// documents keeps the documents of some kinds; none named: all.
func documents(text string, kinds []string) string {
	if len(kinds) == 0 {
		return text
	}
	var kept []string
	for _, d := range strings.Split(text, "\n---\n") {
		for _, k := range kinds {
			if strings.Contains(d, "\nkind: "+k+"\n") {
				kept = append(kept, strings.TrimSuffix(d, "\n"))
			}
		}
	}
	return strings.Join(kept, "\n---\n") + "\n"
}
