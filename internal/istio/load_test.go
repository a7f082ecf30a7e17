package istio_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/remora-proxy/remora/internal/config"
	"github.com/remora-proxy/remora/internal/diag"
	"github.com/remora-proxy/remora/internal/resource"
)

// load reads YAML documents as the objects of a file called test.yaml.
func load(t testing.TB, yaml string) *resource.Set {
	t.Helper()
	return loadFiles(t, map[string]string{"test.yaml": yaml})
}

func loadFiles(t testing.TB, files map[string]string) *resource.Set {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Chdir(dir)
	loader := config.Loader{Paths: []string{"."}}
	set, _, diags := loader.Load()
	if err := diags.Err(); err != nil {
		t.Fatal(err)
	}
	return set
}

// said is the diagnostics, one a line.
func said(diags diag.List) string {
	lines := make([]string, len(diags))
	for i, d := range diags {
		lines[i] = d.String()
	}
	return strings.Join(lines, "\n")
}
