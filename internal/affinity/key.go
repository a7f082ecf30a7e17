package affinity

import (
	"encoding/hex"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/dchest/siphash"

	"github.com/remora-proxy/remora/internal/problem"
	"github.com/remora-proxy/remora/internal/route"
	"github.com/remora-proxy/remora/internal/session"
)

// userKey reads the key of a service's sessions out of a request: "" when it is not there. For a cookie that has to be set, it
// is a fresh key, and cookie is the Set-Cookie value. A key header that is there twice is a problem: the backend may read the
// other one.
func (e *Engine) userKey(svc *Service, req *route.Request) (key, cookie string, _ problem.Problem) {
	key, prob := findKey(&svc.Key, req)
	if key == "" && svc.Key.Kind == CookieKey && svc.Key.SetTTL && prob.IsZero() {
		key = e.freshKey()
		cookie = setCookie(&svc.Key, key)
	}
	return key, cookie, prob
}

// findKey reads a key out of a request.
func findKey(k *Key, req *route.Request) (string, problem.Problem) {
	switch k.Kind {
	case HeaderKey:
		at, n := find(req.Headers, k.Name)
		if n > 1 {
			return "", duplicateHeader(k.Name)
		}
		if n == 1 {
			return req.Headers[at].Value, problem.Problem{}
		}
	case CookieKey:
		return cookieValue(req.Headers, k.Name), problem.Problem{}
	case QueryKey:
		return queryValue(req.Query, k.Name), problem.Problem{}
	case SourceIPKey:
		if req.Source.IsValid() {
			return addressKey(req.Source), problem.Problem{}
		}
	case NoKey:
	}
	return "", problem.Problem{}
}

// addressKey is the key of a client's address: its 16 bytes, so that no spelling of it makes another session.
func addressKey(a netip.Addr) string {
	b := a.Unmap().As16()
	return string(b[:])
}

// keyOf is the key of a user whom a person names: the name itself, or the address that it spells.
func (s *Service) keyOf(user string) session.Key {
	if s.Key.Kind == SourceIPKey {
		if a, err := netip.ParseAddr(user); err == nil {
			user = addressKey(a)
		}
	}
	return s.sessionKey(user)
}

// cookieValue is the value of the first cookie of a name (RFC 6265 section 5.4 lets user agents send several).
func cookieValue(hs []route.Header, name string) string {
	for i := range hs {
		if hs[i].Name != "cookie" {
			continue
		}
		for rest := hs[i].Value; rest != ""; {
			var pair string
			pair, rest, _ = strings.Cut(rest, ";")
			n, v, ok := strings.Cut(strings.Trim(pair, " \t"), "=")
			if ok && n == name {
				return strings.Trim(v, `"`)
			}
		}
	}
	return ""
}

// queryValue is the decoded value of the first query parameter of a name.
func queryValue(query, name string) string {
	for rest := query; rest != ""; {
		var pair string
		pair, rest, _ = strings.Cut(rest, "&")
		n, v, _ := strings.Cut(pair, "=")
		if n == name || unescape(n) == name {
			return unescape(v)
		}
	}
	return ""
}

// unescape decodes percent-encoding; what is not encoded properly stays as it is.
func unescape(s string) string {
	if !strings.ContainsAny(s, "%+") {
		return s
	}
	if d, err := url.QueryUnescape(s); err == nil {
		return d
	}
	return s
}

// freshKey is a key that nobody can guess: a counter under a secret derived from the engine's.
func (e *Engine) freshKey() string {
	var b [16]byte
	n := strconv.AppendUint(b[:0], e.ticket.Add(1), 36)
	hi, lo := siphash.Hash128(e.cookieSecret[0], e.cookieSecret[1], n)
	for i := range 8 {
		b[i], b[8+i] = byte(hi>>(8*i)), byte(lo>>(8*i))
	}
	return hex.EncodeToString(b[:])
}

// setCookie is a Set-Cookie field's value (RFC 6265 section 4.1), with the attributes that Envoy gives such a cookie.
func setCookie(k *Key, value string) string {
	var b strings.Builder
	b.WriteString(k.Name)
	b.WriteString("=")
	b.WriteString(value)
	if k.TTL > 0 {
		b.WriteString("; Max-Age=")
		b.WriteString(strconv.FormatInt(int64((k.TTL+time.Second-1)/time.Second), 10)) // 0 would end it at once
	}
	if k.Path != "" {
		b.WriteString("; Path=")
		b.WriteString(k.Path)
	}
	b.WriteString("; HttpOnly")
	return b.String()
}
