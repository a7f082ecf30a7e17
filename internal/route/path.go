package route

import (
	"bytes"
	"strings"
)

// NormalizePath brings a request's path (without its query) into the form that rules are matched against and that is sent
// on, as Envoy does at an Istio gateway with the default pathNormalization of BASE. Nothing behind the gateway may see
// another path than the one that chose the route, so a front door calls it before it forwards, answers 400 when ok is
// false, and sends the result. Table.Lookup applies it as well, for callers that have no front door; it is idempotent.
//
//   - "." and ".." segments are removed (RFC 3986 §5.2.4), also when their dots are escaped (%2e) or followed by path
//     parameters ("..;x": Tomcat and others take that for ".."). Envoy leaves escaped dots with parameters alone; it is
//     the one case that is handled here otherwise, because the outcome would change when it is normalised again.
//   - A backslash becomes "/".
//   - Escapes of unreserved characters (RFC 3986 §2.3) are decoded. Other escapes stay byte for byte: %2F is not "/".
//   - " < > ` { } | ^ are escaped.
//   - Empty segments stay: "//a" is not "/a".
//
// ok is false for a path that does not begin with "/" (the "*" of OPTIONS excepted), and for one with %00, a control
// character, a space, "#", "?", or a byte outside of ASCII. The result is path itself, and nothing is allocated, when
// there is nothing to change.
func NormalizePath(path string) (normal string, ok bool) {
	if path == "" || path[0] != '/' {
		return path, path == "*"
	}
	for i := 1; i < len(path); i++ {
		// Most paths have only characters that stay, and no segment that begins with a dot.
		if c := path[i]; pathClass[c] > pathSlash || c == '.' && path[i-1] == '/' {
			return normalizePathFrom(path, i)
		}
	}
	return path, true
}

// normalizePathFrom is NormalizePath for a path with nothing to change before i.
func normalizePathFrom(path string, i int) (normal string, ok bool) {
	change := false
	for i--; i < len(path); i++ {
		switch pathClass[path[i]] {
		case pathRefuse:
			return path, false
		case pathEscape, pathBackslash:
			change = true
		case pathPercent:
			if c, valid := unescape(path, i); valid {
				if c == 0 {
					return path, false
				}
				change = change || isUnreserved(c)
			}
		case pathSlash:
			if !change {
				_, dots := dotSegment(path, i+1)
				change = dots > 0
			}
		}
	}
	if !change {
		return path, true
	}
	return rewritePath(path), true
}

// rewritePath is the part of NormalizePath that changes something. path begins with "/" and has no refused byte.
func rewritePath(path string) string {
	w := pathWriter{out: make([]byte, 0, len(path)+8), badPercent: -2}
	w.out = append(w.out, '/')
	for i := 1; i < len(path); {
		if end, dots := dotSegment(path, i); dots > 0 {
			if dots == 2 {
				w.pop()
			}
			i = end + 1
			continue
		}
		for i < len(path) && path[i] != '/' && path[i] != '\\' {
			i = w.copyChar(path, i)
		}
		if i < len(path) {
			w.out = append(w.out, '/')
			i++
		}
	}
	return string(w.out)
}

// dotSegment says whether the segment of path that begins at i is "." (dots is 1) or ".." (2), and where it ends. 0: neither.
func dotSegment(path string, i int) (end, dots int) {
	for i < len(path) {
		switch c := path[i]; {
		case c == '.' && dots < 2:
			dots, i = dots+1, i+1
		case c == '%' && dots < 2 && i+2 < len(path) && path[i+1] == '2' && path[i+2]|0x20 == 'e':
			dots, i = dots+1, i+3
		case c == '/' || c == '\\':
			return i, dots
		case c == ';':
			if slash := strings.IndexByte(path[i:], '/'); slash >= 0 {
				return i + slash, dots
			}
			return len(path), dots
		default:
			return 0, 0
		}
	}
	return i, dots
}

// pathWriter builds a normalised path.
type pathWriter struct {
	out        []byte
	badPercent int // where in out the last "%" stands that begins no escape
}

// pop takes the last segment off. The path ends with "/" before and after.
func (w *pathWriter) pop() {
	if len(w.out) > 1 {
		w.out = w.out[:bytes.LastIndexByte(w.out[:len(w.out)-1], '/')+1]
	}
}

// copyChar appends the character or escape of path at i in its normal form, and returns where the next one begins.
func (w *pathWriter) copyChar(path string, i int) int {
	switch c := path[i]; pathClass[c] {
	case pathEscape:
		w.out = append(w.out, '%', upperHex[c>>4], upperHex[c&15])
		return i + 1
	case pathPercent:
		c, valid := unescape(path, i)
		switch {
		case !valid:
			w.badPercent = len(w.out)
			w.out = append(w.out, '%')
			return i + 1
		case isUnreserved(c):
			w.decoded(c, path, i+3)
		default:
			w.out = append(w.out, path[i:i+3]...)
		}
		return i + 3
	default:
		w.out = append(w.out, c)
		return i + 1
	}
}

// decoded appends a character that came from an escape. Where it would make an escape out of a stray "%" before it
// ("%2%41" is not "%2A"), the "%" is escaped.
func (w *pathWriter) decoded(c byte, path string, next int) {
	p := len(w.out) - w.badPercent
	switch {
	case p == 1 && isHex(c) && next < len(path) && isHex(path[next]):
		w.out = append(w.out, '2', '5', c)
		w.badPercent = -2
	case p == 2 && isHex(c) && isHex(w.out[len(w.out)-1]):
		first := w.out[len(w.out)-1]
		w.out = append(w.out[:len(w.out)-1], '2', '5', first, c)
		w.badPercent = -2
	default:
		w.out = append(w.out, c)
	}
}

// unescape decodes the escape of s at i, where a "%" stands.
func unescape(s string, i int) (c byte, valid bool) {
	if i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2]) {
		return 0, false
	}
	return hexValue(s[i+1])<<4 | hexValue(s[i+2]), true
}

const upperHex = "0123456789ABCDEF"

func isHex(c byte) bool { return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'f' }

func hexValue(c byte) byte {
	if c <= '9' {
		return c - '0'
	}
	return c | 0x20 - 'a' + 10
}

// isUnreserved: RFC 3986 §2.3.
func isUnreserved(c byte) bool {
	return 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}

// The classes of a byte in a path.
const (
	pathPlain uint8 = iota
	pathSlash
	pathBackslash
	pathPercent
	pathEscape
	pathRefuse
)

var pathClass = func() (t [256]uint8) {
	for c := range t {
		if c <= ' ' || c >= 0x7f {
			t[c] = pathRefuse
		}
	}
	for _, c := range []byte("\"<>`{}|^") {
		t[c] = pathEscape
	}
	t['/'], t['\\'], t['%'], t['#'], t['?'] = pathSlash, pathBackslash, pathPercent, pathRefuse, pathRefuse
	return t
}()
