// Package fields reads a few top-level string members out of a JSON body, strictly, in one pass over the bytes as they
// arrive. Its rule is that nobody behind Remora may read another value than Remora did: whatever two JSON readers could
// understand differently is refused. It does not know headers, routes or what the members mean, and it holds no body:
// the caller counts bytes and enforces the limit.
//
// A reader is taken to match names byte for byte, or without regard to case one character at a time (as Go's encoding/json,
// C#, and Java's equalsIgnoreCase do), or only up to a NUL (as C strings end). Readers that match more loosely, by dropping
// '_' and '-' or by Unicode's normal forms, see other names than Remora does; promote the spelling that the services use.
//
// A body that is an array is read as strictly and has no members; so has a body of no bytes.
package fields

import "fmt"

// Limits of what is read.
const (
	MaxFields = 8    // names in a Spec
	MaxValue  = 1024 // bytes of a promoted value, after decoding
	MaxDepth  = 64   // nesting of objects and arrays, the body itself being 1
)

// Reason says why a body was refused. Reasons are stable.
type Reason string

// The reasons for which a body is refused. Of several, the one that is noticed first counts.
const (
	Malformed  Reason = "malformed_json"   // not one JSON object or array by RFC 8259 (invalid UTF-8, a lone surrogate, and a BOM included)
	TooDeep    Reason = "json_too_deep"    // nested deeper than MaxDepth
	Trailing   Reason = "trailing_bytes"   // bytes other than white space after the object
	Duplicate  Reason = "duplicate_field"  // a promoted name twice, or a name that differs from one by case only, or by a NUL and what follows it
	NotString  Reason = "field_not_string" // a promoted value that is not a string
	EmptyValue Reason = "field_empty"      // a promoted value that is empty
	LongValue  Reason = "field_too_long"   // a promoted value over MaxValue
	BadValue   Reason = "field_bad_value"  // a promoted value with a control character (C0, DEL, C1) or a lone surrogate, or with a space at an end, which a header would lose
)

// Error is the refusal of a body.
type Error struct {
	Reason Reason
	Field  string // the promoted name, where the refusal is about one
	Offset int64  // the byte where it was noticed, from 0

	detail string // what exactly was wrong, for the reasons that cover several things; never bytes of the body
}

// Error is one sentence for the client. It holds nothing that the client sent.
func (e *Error) Error() string {
	return fmt.Sprintf("%s (offset %d)", e.complaint(), e.Offset)
}

func (e *Error) complaint() string {
	switch e.Reason {
	case Malformed:
		if e.detail == "" {
			return "the body is not one valid JSON object or array"
		}
		return "the body is not one valid JSON object or array: " + e.detail
	case TooDeep:
		return fmt.Sprintf("the body nests objects and arrays more than %d deep", MaxDepth)
	case Trailing:
		return "the body has more bytes after its JSON value"
	case Duplicate:
		if e.detail == "" {
			return fmt.Sprintf("field %q must not occur more than once", e.Field)
		}
		return fmt.Sprintf("field %q %s", e.Field, e.detail)
	case NotString:
		return fmt.Sprintf("field %q must be a string", e.Field)
	case EmptyValue:
		return fmt.Sprintf("field %q must not be empty", e.Field)
	case LongValue:
		return fmt.Sprintf("field %q must not be longer than %d bytes", e.Field, MaxValue)
	case BadValue:
		if e.detail == "" {
			return fmt.Sprintf("field %q has a value that no header can carry", e.Field)
		}
		return fmt.Sprintf("field %q %s", e.Field, e.detail)
	default:
		return "the body was refused: " + string(e.Reason)
	}
}

// What was wrong, for the reasons that cover several things.
const (
	detailEmpty        = "it is nothing but white space"
	detailCutOff       = "it ends too early"
	detailNeither      = "it does not begin with '{' or '['"
	detailName         = "a member name in double quotes was expected"
	detailColon        = "a ':' was expected after a member name"
	detailValue        = "a value was expected"
	detailObjectEnd    = "a ',' or '}' was expected after a member"
	detailArrayEnd     = "a ',' or ']' was expected after an element"
	detailLiteral      = "a value is not true, false or null"
	detailNumber       = "a number is not complete"
	detailRawControl   = "a string holds a control character that is not escaped"
	detailUTF8         = "a string holds invalid UTF-8"
	detailEscape       = "a string holds an escape that JSON does not have"
	detailHalfPair     = "a string holds one half of a surrogate pair"
	detailAlike        = "must have its exact name: a reader could take another name in the body for it"
	detailControl      = "must not hold a control character"
	detailSpace        = "must not begin or end with a space"
	detailHalfPromoted = "must not hold one half of a surrogate pair"
)
