package http1

import "net/netip"

// setTarget reads line[from:to], the request target (RFC 9112, 3.2). query is the index in line of the first '?', or -1.
// percent says whether there is a '%' before it.
func (r *Request) setTarget(line []byte, from, query, to int, percent bool) *Error {
	r.Target = view(line[from:to])
	if r.Method == "CONNECT" {
		return errConnect
	}
	r.form, r.origin = originForm, r.Target
	if line[from] != '/' {
		if r.Target == "*" {
			if r.Method != "OPTIONS" {
				return errTarget
			}
			r.form = asteriskForm
		} else if n := authority(r.Target); n > 0 {
			r.form = absoluteForm
			end := n
			for end < len(r.Target) && r.Target[end] != '/' && r.Target[end] != '?' {
				end++
			}
			r.Host, r.origin = r.Target[n:end], r.Target[end:]
			if !validHost(r.Host) {
				return errTarget
			}
		} else {
			return errTarget
		}
	}
	r.Path, r.Query = r.origin, ""
	if query >= 0 {
		at := len(r.origin) - (to - query)
		r.Path, r.Query = r.origin[:at], r.origin[at+1:]
	}
	if percent && !validEscapes(r.Path) {
		return errTarget
	}
	if r.Path == "" {
		r.Path = "/"
		if r.Method == "OPTIONS" && query < 0 {
			r.Path = "*" // RFC 9112, 3.2.4
		}
	}
	return nil
}

// authority is the index of the authority in a target in absolute form with the scheme http or https, or 0.
func authority(target string) int {
	for _, prefix := range [...]string{"http://", "https://"} {
		if len(target) > len(prefix) && equalFold(target[:len(prefix)], prefix) {
			return len(prefix)
		}
	}
	return 0
}

// validEscapes reports whether every '%' is followed by two hexadecimal digits.
func validEscapes(path string) bool {
	for i := 0; i < len(path); i++ {
		if path[i] != '%' {
			continue
		}
		if i+2 >= len(path) || hexValue[path[i+1]] > 15 || hexValue[path[i+2]] > 15 {
			return false
		}
		i += 2
	}
	return true
}

// hostChar are the characters of host names that are in use: the unreserved ones of RFC 3986. Its grammar has sub-delims and
// escapes too, which no name of the DNS or of Kubernetes needs, and which readers take for separators.
var hostChar = func() (t [256]bool) {
	for c := range t {
		b := byte(c)
		t[c] = isDigit(b) || 'a' <= b|0x20 && b|0x20 <= 'z' || b == '-' || b == '.' || b == '_' || b == '~'
	}
	return t
}()

// validHost reports whether h is a host with an optional port: a name, an IPv4 address, or an IPv6 address in brackets.
func validHost(h string) bool {
	i := 0
	for i < len(h) && hostChar[h[i]] {
		i++
	}
	if i == 0 {
		if i = bracketed(h); i == 0 {
			return false
		}
	}
	if i == len(h) {
		return true
	}
	if h[i] != ':' || len(h)-i > 6 {
		return false
	}
	port := 0
	for _, c := range []byte(h[i+1:]) {
		if !isDigit(c) {
			return false
		}
		port = port*10 + int(c-'0')
	}
	return port <= 65535 // an empty port is allowed (RFC 3986, 3.2.3)
}

// bracketed is the length of an IPv6 address in brackets at the start of h, or 0.
func bracketed(h string) int {
	if h == "" || h[0] != '[' {
		return 0
	}
	for i := 1; i < len(h) && i < 48; i++ {
		switch h[i] {
		case ']':
			if a, err := netip.ParseAddr(h[1:i]); err != nil || !a.Is6() {
				return 0
			}
			return i + 1
		case '%':
			return 0 // a zone means something on the client's own machine only
		}
	}
	return 0
}
