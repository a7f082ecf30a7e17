package config

import (
	"fmt"

	"github.com/remora-proxy/remora/internal/diag"
)

// MaxDiagnostics bounds the errors, and apart from them the warnings, that one load or one compilation lists. The rest is
// counted.
const MaxDiagnostics = 100

// reporter collects diagnostics up to the bound.
type reporter struct {
	list     diag.List
	errors   int
	warnings int
}

func (r *reporter) add(d diag.Diagnostic) {
	count := &r.errors
	if d.Severity == diag.Warning {
		count = &r.warnings
	}
	if *count++; *count <= MaxDiagnostics {
		r.list.Add(d)
	}
}

func (r *reporter) errorAt(pos diag.Position, object, field, what, remedy string) {
	r.add(diag.Diagnostic{Severity: diag.Error, Pos: pos, Object: object, Field: field, What: what, Remedy: remedy})
}

// full reports whether further errors are only counted, so that nothing is spent on their wording.
func (r *reporter) full() bool { return r.errors >= MaxDiagnostics }

// done gives the list, in the order of files and lines, with a last line for what is not in it.
func (r *reporter) done() diag.List {
	r.list.Sort()
	if n := r.errors - MaxDiagnostics; n > 0 {
		r.list.Add(diag.Diagnostic{Severity: diag.Error, What: fmt.Sprintf("%d more %s not listed", n, plural(n, "error is", "errors are"))})
	}
	if n := r.warnings - MaxDiagnostics; n > 0 {
		r.list.Add(diag.Diagnostic{Severity: diag.Warning, What: fmt.Sprintf("%d more %s not listed", n, plural(n, "warning is", "warnings are"))})
	}
	return r.list
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}
