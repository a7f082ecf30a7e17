// Package problem is the catalogue of the errors that Remora itself answers with: one stable code each, its HTTP status,
// and its rendering as problem+json (RFC 9457). Every front door answers from this catalogue, and docs/errors.md is tested
// against it. The package knows no proxy and no configuration.
package problem

// Code names one reason for which Remora answers a request itself. Codes are stable: clients and dashboards may match on them.
type Code string

// Problem is one answer. The zero value means "no problem".
type Problem struct {
	Code   Code
	Detail string // one sentence on this occurrence: what was wrong and what to do; safe to show to the client
}

// IsZero reports whether there is no problem.
func (p Problem) IsZero() bool { return p.Code == "" }
