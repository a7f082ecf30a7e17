// Package fields reads a few top-level string members out of a JSON body, strictly, in one pass over the bytes as they
// arrive. Its rule is that nobody behind Remora may read another value than Remora did: whatever two JSON readers could
// understand differently is refused. It does not know headers, routes or what the members mean, and it holds no body:
// the caller counts bytes and enforces the limit.
package fields

import "errors"

// Limits of what is read.
const (
	MaxFields = 8    // names in a Spec
	MaxValue  = 1024 // bytes of a promoted value, after decoding
	MaxDepth  = 64   // nesting of objects and arrays
)

// Reason says why a body was refused. Reasons are stable.
type Reason string

// The reasons for which a body is refused.
const (
	Malformed  Reason = "malformed_json"   // not one JSON object by RFC 8259 (invalid UTF-8, a BOM, and an empty body included)
	TooDeep    Reason = "json_too_deep"    // nested deeper than MaxDepth
	Trailing   Reason = "trailing_bytes"   // bytes after the value
	Duplicate  Reason = "duplicate_field"  // a promoted name twice, or a name that differs from one by case only
	NotString  Reason = "field_not_string" // a promoted value that is not a string
	EmptyValue Reason = "field_empty"      // a promoted value that is empty
	LongValue  Reason = "field_too_long"   // a promoted value over MaxValue
	BadValue   Reason = "field_bad_value"  // a promoted value with a control character, NUL, or a lone surrogate
)

// Error is the refusal of a body.
type Error struct {
	Reason Reason
	Field  string // the promoted name, where the refusal is about one
	Offset int64  // the byte where it was noticed, from 0
}

func (e *Error) Error() string { return string(e.Reason) }

// Spec is the set of member names to read. It is immutable and can be shared.
type Spec struct{ names []string }

// NewSpec makes a Spec of 1 to MaxFields names of 1 to 256 bytes of valid UTF-8, no two of which differ by case only.
func NewSpec(names ...string) (*Spec, error) { return nil, errors.New("not built yet") }

// Names are the names in the order given to NewSpec. The caller must not change the slice.
func (s *Spec) Names() []string { return s.names }

// Scanner reads one body. It can be reused, and allocates nothing for ordinary bodies. It is for one goroutine.
type Scanner struct{ spec *Spec }

// Reset makes the scanner ready for a new body.
func (s *Scanner) Reset(spec *Spec) { s.spec = spec }

// Write takes the next bytes of the body. Values may alias p, so p must stay as it is until they were used. The first
// refusal is returned again by every later call.
func (s *Scanner) Write(p []byte) *Error { return nil }

// Close says that the body has ended. Values are valid only after it returned nil.
func (s *Scanner) Close() *Error { return nil }

// Value is the decoded value of the i-th name, or nil when the body does not have it. It is valid until the next Reset.
func (s *Scanner) Value(i int) []byte { return nil }
