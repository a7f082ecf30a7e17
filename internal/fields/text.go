package fields

import (
	"unicode/utf16"
	"unicode/utf8"
)

// text is what a string is read for, and between the pieces of a body all that is known of the string.
type text struct {
	role textRole
	next state // after the closing quote, for otherText; the other roles know it

	// In a character of several bytes (inRune): how many bytes are still to come, the range of the next one, and the
	// bits so far. In an escape (inHex and after it): digits still to come, the code unit so far, and the high surrogate
	// that came before it, if any.
	missing uint8
	lo, hi  byte
	r       rune
	high    rune
}

type textRole uint8

const (
	otherText    textRole = iota // checked only
	nameText                     // a top-level name that can still be a promoted one
	promotedText                 // a promoted value
)

// beginOther takes a string that is only checked, from after its opening quote on.
func (s *Scanner) beginOther(p []byte, i int, next state) int {
	s.state, s.text.role, s.text.next = inString, otherText, next
	return s.skipText(p, i)
}

// skipText takes a string that is only checked up to its end, the end of p, or something that it cannot take whole.
func (s *Scanner) skipText(p []byte, i int) int {
	for {
		i = plainEnd(p, i)
		if i == len(p) {
			return i
		}
		switch c := p[i]; {
		case c == '"':
			s.state = s.text.next
			return i + 1
		case c == '\\':
			n := wholeEscape(p[i:])
			if n == 0 {
				s.state = inEscape
				return i + 1
			}
			i += n
		case c < ' ':
			return s.refuse(i, Malformed, detailRawControl)
		default:
			n := wholeRunes(p[i:])
			if n == 0 {
				return s.beginRune(c, i)
			}
			i += n
		}
	}
}

// wholeEscape is the length of the escape that p begins with, or 0 when that is a surrogate, wrong, or cut off.
func wholeEscape(p []byte) int {
	if len(p) < 2 {
		return 0
	}
	switch p[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if len(p) < 6 {
			return 0
		}
		digits := hexValue[p[2]] | hexValue[p[3]] | hexValue[p[4]] | hexValue[p[5]]
		if digits >= 16 || hexValue[p[2]] == 0xD && hexValue[p[3]] >= 8 {
			return 0
		}
		return 6
	}
	return 0
}

// wholeRunes is the length of the characters of several bytes that p begins with; one that is wrong or cut off ends them.
func wholeRunes(p []byte) int {
	i := 0
	for i+utf8.UTFMax <= len(p) {
		l := leads[p[i]]
		if l.missing == 0 || p[i+1] < l.lo || p[i+1] > l.hi {
			break
		}
		if l.missing > 1 && !isContinuation(p[i+2]) || l.missing > 2 && !isContinuation(p[i+3]) {
			break
		}
		i += 1 + int(l.missing)
	}
	return i
}

func isContinuation(c byte) bool { return c&0xC0 == 0x80 }

// lead is what the first byte of a character of several bytes says of the others.
type lead struct {
	missing uint8 // how many they are; 0: this byte cannot be the first
	lo, hi  byte  // the range of the next one
	bits    byte  // the part of this byte that belongs to the character
}

// leads is Unicode's table of well-formed UTF-8 (table 3-7), which leaves out overlong forms, surrogates and all above
// U+10FFFF.
var leads = func() (table [256]lead) {
	for c := 0xC2; c <= 0xDF; c++ {
		table[c] = lead{missing: 1, lo: 0x80, hi: 0xBF, bits: byte(c) & 0x1F}
	}
	for c := 0xE0; c <= 0xEF; c++ {
		table[c] = lead{missing: 2, lo: 0x80, hi: 0xBF, bits: byte(c) & 0x0F}
	}
	for c := 0xF0; c <= 0xF4; c++ {
		table[c] = lead{missing: 3, lo: 0x80, hi: 0xBF, bits: byte(c) & 0x07}
	}
	table[0xE0].lo = 0xA0
	table[0xED].hi = 0x9F
	table[0xF0].lo = 0x90
	table[0xF4].hi = 0x8F
	return table
}()

// beginRune takes the first byte of a character of several bytes.
func (s *Scanner) beginRune(c byte, i int) int {
	l := leads[c]
	if l.missing == 0 {
		return s.refuse(i, Malformed, detailUTF8)
	}
	s.text.missing, s.text.lo, s.text.hi, s.text.r = l.missing, l.lo, l.hi, rune(l.bits)
	s.state = inRune
	return i + 1
}

// continueRune takes the other bytes of a character of several bytes.
func (s *Scanner) continueRune(p []byte, i int) int {
	t := &s.text
	for ; i < len(p); i++ {
		c := p[i]
		if c < t.lo || c > t.hi {
			return s.refuse(i, Malformed, detailUTF8)
		}
		if t.role == promotedText && s.promote.length(i) == MaxValue {
			return s.refuseField(i, s.field-1, LongValue, "")
		}
		t.lo, t.hi = 0x80, 0xBF
		t.r = t.r<<6 | rune(c&0x3F)
		if t.missing--; t.missing == 0 {
			s.state = inString
			return s.takeRune(t.r, i)
		}
	}
	return i
}

// takeRune takes a character of several bytes, of which p[i] is the last.
func (s *Scanner) takeRune(r rune, i int) int {
	switch s.text.role {
	case nameText:
		return s.matchRune(r, i)
	case promotedText:
		if isControl(r) {
			return s.refuseField(i, s.field-1, BadValue, detailControl)
		}
	}
	return i + 1
}

// escape takes the byte after a '\'.
func (s *Scanner) escape(p []byte, i int) int {
	switch p[i] {
	case '"', '\\', '/':
		return s.takeEscaped(rune(p[i]), i)
	case 'b':
		return s.takeEscaped('\b', i)
	case 'f':
		return s.takeEscaped('\f', i)
	case 'n':
		return s.takeEscaped('\n', i)
	case 'r':
		return s.takeEscaped('\r', i)
	case 't':
		return s.takeEscaped('\t', i)
	case 'u':
		s.text.high = 0
		return s.beginHex(i)
	}
	return s.refuse(i, Malformed, detailEscape)
}

// beginHex takes the 'u' of an escape.
func (s *Scanner) beginHex(i int) int {
	s.state, s.text.missing, s.text.r = inHex, 4, 0
	return i + 1
}

// hexDigits takes the four digits of an escape.
func (s *Scanner) hexDigits(p []byte, i int) int {
	t := &s.text
	for ; i < len(p); i++ {
		digit := hexValue[p[i]]
		if digit >= 16 {
			return s.refuse(i, Malformed, detailEscape)
		}
		t.r = t.r<<4 | rune(digit)
		if t.missing--; t.missing == 0 {
			return s.codeUnit(i)
		}
	}
	return i
}

// hexValue is the value of a hexadecimal digit, and 255 for all other bytes.
var hexValue = func() (table [256]byte) {
	for c := range table {
		table[c] = 0xFF
	}
	for v, c := range "0123456789abcdef" {
		table[c] = byte(v)
	}
	for v, c := range "ABCDEF" {
		table[c] = byte(10 + v)
	}
	return table
}()

// codeUnit takes the UTF-16 code unit of an escape, of which p[i] is the last digit.
func (s *Scanner) codeUnit(i int) int {
	t := &s.text
	switch {
	case t.high != 0:
		r := utf16.DecodeRune(t.high, t.r)
		if r == utf8.RuneError {
			return s.refuseHalf(i)
		}
		return s.takeEscaped(r, i)
	case !utf16.IsSurrogate(t.r):
		return s.takeEscaped(t.r, i)
	case t.r >= 0xDC00: // a low one first
		return s.refuseHalf(i)
	}
	t.high = t.r
	s.state = beforeLow
	return i + 1
}

// lowSurrogate takes the '\' or the 'u' that must come after the escape of a high surrogate.
func (s *Scanner) lowSurrogate(p []byte, i int) int {
	switch {
	case s.state == beforeLow && p[i] == '\\':
		s.state = beforeLowU
		return i + 1
	case s.state == beforeLowU && p[i] == 'u':
		return s.beginHex(i)
	}
	return s.refuseHalf(i)
}

func (s *Scanner) refuseHalf(i int) int {
	if s.text.role == promotedText {
		return s.refuseField(i, s.field-1, BadValue, detailHalfPromoted)
	}
	return s.refuse(i, Malformed, detailHalfPair)
}

// takeEscaped takes a character that was written as an escape, of which p[i] is the last byte.
func (s *Scanner) takeEscaped(r rune, i int) int {
	s.state = inString
	switch s.text.role {
	case nameText:
		return s.matchRune(r, i)
	case promotedText:
		return s.promoteEscaped(r, i)
	default:
		return i + 1
	}
}
