package archtest

import (
	"os"
	"testing"
)

// TestTheCodeBase runs every rule over this module.
func TestTheCodeBase(t *testing.T) {
	m, err := Load(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Files) < 20 || m.Path == "" || len(m.Requires) == 0 {
		t.Fatalf("read only %d Go files and %d dependencies of module %q: is this its root?", len(m.Files), len(m.Requires), m.Path)
	}
	rules := []struct {
		name  string
		check func(*Module) []Violation
	}{
		{"imports point one way", CheckImports},
		{"the core has no clock, goroutine, I/O or logger", CheckPurity},
		{"every package says what it is for", CheckPackageDocs},
		{"files and functions can be read in one go", CheckSizes},
		{"every direct dependency has a reason", CheckDependencies},
		{"links in documents lead somewhere", CheckLinks},
		{"paths named in documents are there", CheckPaths},
	}
	for _, rule := range rules {
		t.Run(rule.name, func(t *testing.T) {
			for _, v := range rule.check(m) {
				t.Error(v)
			}
		})
	}
}
