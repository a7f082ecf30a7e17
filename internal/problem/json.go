package problem

import (
	"strconv"
	"unicode/utf8"
)

// ContentType is the media type of what AppendJSON writes.
const ContentType = "application/problem+json"

// TypeBase is what a code is appended to for the "type" member: a URI that identifies the code.
const TypeBase = "https://remora.dev/errors#"

// AppendJSON appends p as a problem details object (RFC 9457, section 3) with the members type, title, status, detail, code and
// instance. instance is the request's id; it and the detail are left out when empty. Nothing is allocated beyond dst's growth.
func AppendJSON(dst []byte, p Problem, instance string) []byte {
	e := Lookup(p.Code)
	dst = append(dst, `{"type":"`+TypeBase...)
	dst = append(dst, e.Code...)
	dst = append(dst, `","title":`...)
	dst = appendString(dst, e.Title)
	dst = append(dst, `,"status":`...)
	dst = strconv.AppendInt(dst, int64(e.Status), 10)
	if p.Detail != "" {
		dst = append(dst, `,"detail":`...)
		dst = appendString(dst, p.Detail)
	}
	dst = append(dst, `,"code":"`...)
	dst = append(dst, e.Code...)
	dst = append(dst, '"')
	if instance != "" {
		dst = append(dst, `,"instance":`...)
		dst = appendString(dst, instance)
	}
	return append(dst, "}\n"...)
}

// appendString appends s as a JSON string (RFC 8259, section 7). Bytes that are not UTF-8 become U+FFFD; what could end a script
// element is escaped, since a browser may be shown the answer.
func appendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			dst = utf8.AppendRune(dst, r)
			i += n
			continue
		}
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < ' ' || c == 0x7f || c == '<' || c == '>' || c == '&':
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		default:
			dst = append(dst, c)
		}
		i++
	}
	return append(dst, '"')
}
