package configtest

import (
	"os"
	"testing"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/diag"
)

// Golden compares a configuration, and what was found in making it, with a golden file, or writes that anew. A configuration without
// errors has to be one that the core takes.
func Golden(t testing.TB, c affinity.Config, found diag.List, file string, update bool) {
	t.Helper()
	got := Dump(c, found)
	if !found.HasErrors() {
		if _, err := affinity.Compile(c); err != nil {
			t.Errorf("the core refuses the configuration: %v", err)
		}
	}
	if update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("differs from %s; run with -update and look at the difference. Got:\n%s", file, got)
	}
}
