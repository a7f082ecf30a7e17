package route

import (
	"fmt"
	"slices"
	"strings"
)

// hostIndex finds the virtual host of a request: an exact name, else the longest suffix, else "*". It costs a look-up for
// each label of the name, however many domains there are.
type hostIndex struct {
	exact      map[string]hostTarget
	dotSuffix  map[string]hostTarget // ".example.com" for "*.example.com"
	suffix     map[string]hostTarget // "-x.example.com" for "*-x.example.com"
	suffixLens []int                 // of the keys of suffix, longest first
	any        hostTarget
}

// hostTarget is what a domain leads to.
type hostTarget struct {
	domain string
	host   *virtualHost
}

func (x *hostIndex) add(domain string, host *virtualHost) error {
	t := hostTarget{domain, host}
	suffix, wild := strings.CutPrefix(domain, "*")
	switch {
	case domain == "" || strings.Contains(suffix, "*") || string(lowerASCII(domain, nil)) != domain:
		return fmt.Errorf("%q is not a domain: a name in lower case, *.suffix, or *", domain)
	case !wild:
		return put(&x.exact, domain, t)
	case suffix == "":
		if x.any.host != nil {
			return errTwice(domain)
		}
		x.any = t
		return nil
	case suffix[0] == '.':
		return put(&x.dotSuffix, suffix, t)
	default:
		if !slices.Contains(x.suffixLens, len(suffix)) {
			x.suffixLens = append(x.suffixLens, len(suffix))
			slices.SortFunc(x.suffixLens, func(a, b int) int { return b - a })
		}
		return put(&x.suffix, suffix, t)
	}
}

func put(m *map[string]hostTarget, key string, t hostTarget) error {
	if *m == nil {
		*m = map[string]hostTarget{}
	}
	if _, is := (*m)[key]; is {
		return errTwice(t.domain)
	}
	(*m)[key] = t
	return nil
}

func errTwice(domain string) error { return fmt.Errorf("the domain %q is there twice", domain) }

// find is the target for a Host header, whose port and case do not count. The target has no host when none fits.
func (x *hostIndex) find(authority string) hostTarget {
	if len(x.exact) == 0 && len(x.dotSuffix) == 0 && len(x.suffix) == 0 {
		return x.any
	}
	name := withoutPort(authority)
	if t, ok := x.exact[name]; ok { // it is in lower case, as nearly all are
		return t
	}
	for i := range len(name) {
		if lower(name[i]) != name[i] {
			var buf [256]byte
			return x.findLower(string(lowerASCII(name, buf[:0])))
		}
	}
	return x.findLower(name)
}

// findLower is find for a name in lower case, without a port.
func (x *hostIndex) findLower(name string) hostTarget {
	if t, ok := x.exact[name]; ok {
		return t
	}
	found, length := x.any, 0
	if len(x.dotSuffix) > 0 {
		for i := 1; i < len(name); i++ {
			if name[i] != '.' {
				continue
			}
			if t, ok := x.dotSuffix[name[i:]]; ok {
				found, length = t, len(name)-i
				break
			}
		}
	}
	for _, n := range x.suffixLens {
		if n <= length {
			break
		}
		if n < len(name) {
			if t, ok := x.suffix[name[len(name)-n:]]; ok {
				return t
			}
		}
	}
	return found
}

// domains lists all domains in the order of their names.
func (x *hostIndex) domains() []string {
	var out []string
	for _, m := range []map[string]hostTarget{x.exact, x.dotSuffix, x.suffix} {
		for _, t := range m {
			out = append(out, t.domain)
		}
	}
	if x.any.host != nil {
		out = append(out, x.any.domain)
	}
	slices.Sort(out)
	return out
}

// withoutPort cuts the port off a Host header, as Envoy does it: whatever follows the last colon that is not inside of the
// brackets of an IPv6 address.
func withoutPort(authority string) string {
	colon := strings.LastIndexByte(authority, ':')
	if colon < 0 || strings.LastIndexByte(authority, ']') > colon {
		return authority
	}
	return authority[:colon]
}
