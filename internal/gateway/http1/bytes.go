package http1

import (
	"encoding/binary"
	"math/bits"
	"unsafe"
)

// tokenLower maps the characters of a token (RFC 9110, 5.6.2) to themselves in lower case, and all others to 0.
var tokenLower = func() (t [256]byte) {
	for _, c := range []byte("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz") {
		t[c] = c
		if 'a' <= c && c <= 'z' {
			t[c-'a'+'A'] = c
		}
	}
	return t
}()

// Classes of the characters of a request target.
const (
	notTarget = iota
	plainTarget
	queryTarget   // '?'
	percentTarget // '%'
)

var targetClass = func() (t [256]uint8) {
	for c := 0x21; c < 0x7f; c++ {
		t[c] = plainTarget
	}
	t['#'], t['?'], t['%'] = notTarget, queryTarget, percentTarget
	return t
}()

// hexValue maps a hexadecimal digit to its value, and all others to 0xff.
var hexValue = func() (t [256]uint8) {
	for c := range t {
		switch {
		case '0' <= c && c <= '9':
			t[c] = uint8(c - '0')
		case 'a' <= c && c <= 'f':
			t[c] = uint8(c - 'a' + 10)
		case 'A' <= c && c <= 'F':
			t[c] = uint8(c - 'A' + 10)
		default:
			t[c] = 0xff
		}
	}
	return t
}()

const (
	ones  = 0x0101010101010101
	highs = 0x80 * ones
)

// valueEnd is the index of the first byte of buf from i on that cannot be in a field value (RFC 9110, 5.5): a control
// character but HTAB. It is len(buf) when there is none. Eight bytes are looked at together; the lowest bit that is set in
// hit is exact, because a borrow goes upwards only.
func valueEnd(buf []byte, i int) int {
	for i+8 <= len(buf) {
		w := binary.LittleEndian.Uint64(buf[i:])
		del := w ^ 0x7f*ones
		hit := ((w-0x20*ones)&^w | (del-ones)&^del) & highs
		if hit == 0 {
			i += 8
			continue
		}
		i += bits.TrailingZeros64(hit) >> 3
		if buf[i] != '\t' {
			return i
		}
		i++
	}
	for ; i < len(buf); i++ {
		if c := buf[i]; c < 0x20 && c != '\t' || c == 0x7f {
			return i
		}
	}
	return i
}

// view is b as a string, without a copy.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// lowerInPlace makes the bytes that s is a view of lower case.
func lowerInPlace(s string) {
	b := unsafe.Slice(unsafe.StringData(s), len(s))
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c | 0x20
		}
	}
}

// equalFold compares s with lower, which is in lower case, in ASCII.
func equalFold(s, lower string) bool {
	if len(s) != len(lower) {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

func isToken(s string) bool {
	for i := 0; i < len(s); i++ {
		if tokenLower[s[i]] == 0 {
			return false
		}
	}
	return s != ""
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' }

// nextElement splits the first element off a comma-separated list (RFC 9110, 5.6.1). Elements may be empty.
func nextElement(list string) (element, rest string) {
	i := 0
	for i < len(list) && list[i] != ',' {
		i++
	}
	element = list[:i]
	if i < len(list) {
		rest = list[i+1:]
	}
	for element != "" && isSpace(element[0]) {
		element = element[1:]
	}
	for element != "" && isSpace(element[len(element)-1]) {
		element = element[:len(element)-1]
	}
	return element, rest
}
