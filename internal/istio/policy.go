package istio

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/net/http/httpguts"

	"github.com/remora-proxy/remora/api/v1alpha1"
	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/fields"
	"github.com/remora-proxy/remora/internal/resource"
)

// policyObject is an AffinityPolicy as it was written.
type policyObject = resource.Object[*v1alpha1.AffinityPolicy]

// setting is one field of an AffinityPolicy, when it is set.
type setting[T any] struct {
	value T
	set   bool
	by    policyObject
	field string
}

// settings is what AffinityPolicies say of one target.
type settings struct {
	promote       setting[[]affinity.Promotion]
	maxBody       setting[int]
	idleTimeout   setting[time.Duration]
	withoutKey    setting[affinity.WithoutKey]
	loadBound     setting[float64]
	drainDeadline setting[time.Duration]
	sessionHeader setting[string]
	key           setting[affinity.Key]
}

// readSettings checks the fields of a policy and takes those that are set.
func (c *compiler) readSettings(o policyObject) *settings {
	spec := &o.Value.Spec
	s := &settings{}
	if len(spec.Promote) > 0 {
		take(&s.promote, o, "spec.promote", c.readPromotions(o))
	}
	if q := spec.MaxBody; q != nil {
		inRange(c, &s.maxBody, o, "spec.maxBody", int(q.Value()), 1<<10, 1<<20, "1Ki to 1Mi")
	}
	if d := spec.IdleTimeout; d != nil {
		inRange(c, &s.idleTimeout, o, "spec.idleTimeout", d.Duration, time.Second, 720*time.Hour, "1s to 720h")
	}
	if d := spec.DrainDeadline; d != nil {
		inRange(c, &s.drainDeadline, o, "spec.drainDeadline", d.Duration, 0, 24*time.Hour, "0s to 24h")
	}
	if p := spec.LoadBoundPercent; p != nil {
		inRange(c, &s.loadBound, o, "spec.loadBoundPercent", float64(*p)/100, 1.01, 10, "101 to 1000")
	}
	switch spec.WithoutKey {
	case "":
	case v1alpha1.Balance:
		take(&s.withoutKey, o, "spec.withoutKey", affinity.Balance)
	case v1alpha1.Reject:
		take(&s.withoutKey, o, "spec.withoutKey", affinity.Reject)
	default:
		c.errorAt(o, "spec.withoutKey", fmt.Sprintf("%q is not a value of withoutKey", spec.WithoutKey), "write Balance or Reject")
	}
	if spec.SessionHeader != "" && c.checkHeader(o, "spec.sessionHeader", spec.SessionHeader) {
		take(&s.sessionHeader, o, "spec.sessionHeader", strings.ToLower(spec.SessionHeader))
	}
	if spec.Key != nil {
		take(&s.key, o, "spec.key", c.readKey(o, spec.Key))
	}
	return s
}

func take[T any](s *setting[T], o policyObject, field string, value T) {
	*s = setting[T]{value: value, set: true, by: o, field: field}
}

func inRange[T int | float64 | time.Duration](c *compiler, s *setting[T], o policyObject, field string, value, low, high T, words string) {
	if value < low || value > high {
		c.errorAt(o, field, fmt.Sprintf("the value is not in %s", words), "")
		return
	}
	take(s, o, field, value)
}

// notOurs are the headers that describe the message or the connection: another value would break them.
var notOurs = []string{
	"connection", "content-length", "expect", "host", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection",
	"te", "trailer", "transfer-encoding", "upgrade",
}

// between are the prefixes of headers between proxies, Remora and replicas: Envoy does what some of them say, and the rest would be dropped.
var between = []string{"x-envoy-", "x-gateway-", "x-remora-"}

// checkHeader checks the name of a header that Remora sets.
func (c *compiler) checkHeader(o policyObject, field, name string) bool {
	switch {
	case !httpguts.ValidHeaderFieldName(name):
		c.errorAt(o, field, fmt.Sprintf("%q is not the name of a header", name), "names are letters, digits, and -_.!#$%&'*+^`|~")
	case slices.Contains(notOurs, strings.ToLower(name)):
		c.errorAt(o, field, fmt.Sprintf("the header %s belongs to the message or the connection", name), "use a name of your own")
	case slices.ContainsFunc(between, func(prefix string) bool { return strings.HasPrefix(strings.ToLower(name), prefix) }) &&
		!strings.EqualFold(name, affinity.DefaultSessionHeader):
		c.errorAt(o, field, fmt.Sprintf("the header %s is one between proxies and Remora", name), "use a name of your own, that does not begin so")
	default:
		return true
	}
	return false
}

func (c *compiler) readPromotions(o policyObject) []affinity.Promotion {
	var out []affinity.Promotion
	if n := len(o.Value.Spec.Promote); n > fields.MaxFields {
		c.errorAt(o, "spec.promote", fmt.Sprintf("%d fields are promoted, more than %d", n, fields.MaxFields), "")
		return nil
	}
	for i, p := range o.Value.Spec.Promote {
		at := fmt.Sprintf("spec.promote[%d]", i)
		if n := len(p.Field); n < 1 || n > 256 || !utf8.ValidString(p.Field) {
			c.errorAt(o, at+".field", "a field is 1 to 256 bytes of UTF-8", "name a member of the body's top-level object")
			continue
		}
		if !c.checkHeader(o, at+".header", p.Header) {
			continue
		}
		next := affinity.Promotion{Field: p.Field, Header: strings.ToLower(p.Header)}
		if with, what := conflict(out, next); what != "" {
			c.errorAt(o, at, what+" (see the promotion of "+with.Field+")", "each field is promoted once, and to a header of its own")
			continue
		}
		out = append(out, next)
	}
	return out
}

// conflict says which promotion of a list cannot stand beside another one.
func conflict(list []affinity.Promotion, p affinity.Promotion) (with affinity.Promotion, what string) {
	for _, other := range list {
		switch {
		case strings.EqualFold(other.Field, p.Field):
			return other, fmt.Sprintf("the field %s is promoted twice", p.Field)
		case other.Header == p.Header:
			return other, fmt.Sprintf("two fields are promoted to the header %s", p.Header)
		}
	}
	return affinity.Promotion{}, ""
}

func (c *compiler) readKey(o policyObject, in *v1alpha1.Key) affinity.Key {
	key := affinity.Key{Source: position(o, "spec.key")}
	said := 0
	for _, k := range []struct {
		field, name string
		kind        affinity.KeyKind
	}{
		{"header", strings.ToLower(in.Header), affinity.HeaderKey},
		{"cookie", in.Cookie, affinity.CookieKey},
		{"queryParameter", in.QueryParameter, affinity.QueryKey},
	} {
		if k.name == "" {
			continue
		}
		said++
		key.Kind, key.Name = k.kind, k.name
		if k.kind != affinity.QueryKey && !httpguts.ValidHeaderFieldName(k.name) {
			c.errorAt(o, "spec.key."+k.field, fmt.Sprintf("%q is not a name that HTTP allows there", k.name), "names are letters, digits, and -_.!#$%&'*+^`|~")
		}
	}
	if in.SourceIP {
		said++
		key.Kind = affinity.SourceIPKey
	}
	if said != 1 {
		c.errorAt(o, "spec.key", fmt.Sprintf("the key is said in %d ways", said), "write exactly one of header, cookie, queryParameter and sourceIP: true")
	}
	return key
}
