package fields

import "math"

// Scanner reads one body. It can be reused, and allocates nothing for ordinary bodies. It is for one goroutine. Its memory
// is bounded: promoted values that do not lie in one piece of the body are copied, and nothing else is kept. The zero
// Scanner, and one that was Reset to no Spec, checks a body and reads no member.
type Scanner struct {
	spec  *Spec
	state state
	err   *Error // the first refusal
	read  int64  // bytes in the Writes before this one

	depth   int
	objects uint64 // one bit for each open object (1) or array (0), the innermost lowest: MaxDepth of them

	field  int     // 1 + the index of the promoted name whose value comes next or is being read; 0: none
	seen   nameSet // the promoted names so far
	values [MaxFields][]byte

	literal string // in a literal: what is still to come of it
	number  numberPart
	text    text
	match   matcher  // while text is a name
	promote promoted // while text is promoted
}

// state is where in the body the scanner is.
type state uint8

// The states between tokens, which structure.go takes on from, come first.
const (
	beforeBody     state = iota
	firstName            // after '{': a name or '}'
	nextName             // after ',' in an object: a name
	beforeColon          // after a name
	beforePromoted       // after the ':' of a promoted name
	beforeValue          // after any other ':', and after ',' in an array
	firstElement         // after '[': a value or ']'
	afterMember          // ',' or '}'
	afterElement         // ',' or ']'
	afterBody            // only white space can follow
	closed               // the same, and Close was called

	inLiteral
	inNumber
	inString   // between two characters of a string
	inRune     // after the first byte of a character of several bytes
	inEscape   // after '\'
	inHex      // in the four digits after '\u'
	beforeLow  // after the escape of a high surrogate: the '\' of the low one
	beforeLowU // and its 'u'
	refused
)

const betweenTokens = inLiteral // states below it

// stop is what the steps of the scanner return in place of the next index after they refused the body.
const stop = math.MaxInt

// Reset makes the scanner ready for a new body. It keeps no reference to the last one.
func (s *Scanner) Reset(spec *Spec) {
	*s = Scanner{spec: spec, promote: promoted{buf: s.promote.buf[:0]}}
}

// Write takes the next bytes of the body. Values may alias p, so p must stay as it is until they were used. The first
// refusal is returned again by every later call.
func (s *Scanner) Write(p []byte) *Error {
	if s.err != nil {
		return s.err
	}
	for i := 0; i < len(p); {
		i = s.step(p, i)
	}
	if s.err == nil {
		s.promote.endOfPiece(p)
	}
	s.read += int64(len(p))
	return s.err
}

// Close says that the body has ended. Values are valid only after it returned nil.
func (s *Scanner) Close() *Error {
	switch s.state {
	case refused, closed:
	case afterBody:
		s.state = closed
	case beforeBody:
		if s.read == 0 {
			s.state = closed // a request without content (RFC 9110, section 6.4) has no members, whatever its content type
			break
		}
		s.refuse(0, Malformed, detailEmpty)
	default:
		s.refuse(0, Malformed, detailCutOff)
	}
	return s.err
}

// Value is the decoded value of the i-th name, or nil when the body does not have it, or was not closed without an error.
// It is valid until the next Reset.
func (s *Scanner) Value(i int) []byte {
	if s.state != closed {
		return nil
	}
	return s.values[i]
}

// refuse ends the reading at p[i].
func (s *Scanner) refuse(i int, reason Reason, detail string) int {
	s.err = &Error{Reason: reason, Offset: s.read + int64(i), detail: detail}
	s.state = refused
	return stop
}

// refuseField ends the reading at p[i] because of the k-th promoted name or its value.
func (s *Scanner) refuseField(i, k int, reason Reason, detail string) int {
	s.refuse(i, reason, detail)
	s.err.Field = s.spec.names[k]
	return stop
}

// step takes at least the byte p[i], and as much as belongs to it, and returns the index of the next one to take. (The end
// of a number is seen at the byte after it: then step takes none, but changes the state.)
func (s *Scanner) step(p []byte, i int) int {
	switch s.state {
	case inString:
		switch s.text.role {
		case otherText:
			return s.skipText(p, i)
		case nameText:
			return s.matchText(p, i)
		default:
			return s.promoteText(p, i)
		}
	case inRune:
		return s.continueRune(p, i)
	case inEscape:
		return s.escape(p, i)
	case inHex:
		return s.hexDigits(p, i)
	case beforeLow, beforeLowU:
		return s.lowSurrogate(p, i)
	case inLiteral:
		return s.continueLiteral(p, i)
	case inNumber:
		return s.continueNumber(p, i)
	default:
		return s.structure(p, i)
	}
}
