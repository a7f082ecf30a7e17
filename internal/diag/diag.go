// Package diag is how Remora speaks about configuration: where something stands (file:line: field), what is wrong with it,
// and what to do. Everything that reads or compiles configuration reports through it; it knows no kind of object.
package diag

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Severity says whether a diagnostic stops the configuration from being used.
type Severity uint8

// The severities.
const (
	Error   Severity = iota // the configuration is refused
	Warning                 // it is used, but something in it cannot have the effect that its author may expect
)

// Position is a place in a source of configuration. For an object from a cluster, File is "Kind namespace/name" and Line 0.
type Position struct {
	File string
	Line int // from 1; 0 when unknown
}

func (p Position) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d", p.File, p.Line)
}

// Diagnostic is one finding.
type Diagnostic struct {
	Severity Severity
	Pos      Position
	Object   string // "VirtualService default/reviews"; empty when it is about a file
	Field    string // path in the object, as kubectl prints it: spec.http[0].match[1].uri
	What     string // what is wrong
	Remedy   string // what to do
	Conflict bool   // the object is right by itself, and excludes another one
	Unserved bool   // requests that it is about get 404 or 503
}

// String renders the diagnostic as "file:line: field: what; remedy (object)". For an object from a cluster, which stands in the
// file's place, it is "object: field: what; remedy".
func (d Diagnostic) String() string {
	var b strings.Builder
	if d.Pos != (Position{}) {
		b.WriteString(d.Pos.String())
		b.WriteString(": ")
	}
	if d.Severity == Warning {
		b.WriteString("warning: ")
	}
	if d.Field != "" {
		b.WriteString(d.Field)
		b.WriteString(": ")
	}
	b.WriteString(d.What)
	if d.Remedy != "" {
		b.WriteString("; ")
		b.WriteString(d.Remedy)
	}
	if d.Object != "" && d.Object != d.Pos.File {
		b.WriteString(" (")
		b.WriteString(d.Object)
		b.WriteString(")")
	}
	return b.String()
}

// List collects diagnostics. The zero value is empty and ready.
type List []Diagnostic

// Add appends d.
func (l *List) Add(d Diagnostic) { *l = append(*l, d) }

// HasErrors reports whether the configuration must be refused.
func (l List) HasErrors() bool {
	return slices.ContainsFunc(l, func(d Diagnostic) bool { return d.Severity == Error })
}

// Sort orders the list by file and line, and leaves the order of findings on one line as it is.
func (l List) Sort() {
	slices.SortStableFunc(l, func(a, b Diagnostic) int {
		return cmp.Or(cmp.Compare(a.Pos.File, b.Pos.File), cmp.Compare(a.Pos.Line, b.Pos.Line))
	})
}

// Err returns the list as an error when it has errors, else nil.
func (l List) Err() error {
	if !l.HasErrors() {
		return nil
	}
	return l
}

// Error implements error: one diagnostic a line.
func (l List) Error() string {
	lines := make([]string, len(l))
	for i, d := range l {
		lines[i] = d.String()
	}
	return strings.Join(lines, "\n")
}
