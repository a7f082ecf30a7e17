// Package configtest writes compiled configurations down, and compares them with golden files. It is for tests of what compiles them
// only.
package configtest

import (
	"fmt"
	"strings"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/diag"
	"github.com/remora-proxy/remora/internal/route"
)

// Dump writes a configuration down for people. What has its default is left out.
func Dump(c affinity.Config, diags diag.List) string {
	var b strings.Builder
	for _, d := range diags {
		fmt.Fprintf(&b, "! %s\n", strings.ReplaceAll(d.String(), ": warning: ", ": WARNING: "))
	}
	for i, l := range c.Routes.Listeners {
		fmt.Fprintf(&b, "port %d\n", l.Port)
		dumpListener(&b, c.Listeners[i])
		for _, h := range l.Hosts {
			fmt.Fprintf(&b, "  host %s\n", strings.Join(h.Domains, " "))
			for _, r := range h.Rules {
				dumpRule(&b, c, r)
			}
		}
	}
	for _, s := range c.Services {
		dumpService(&b, s)
	}
	return b.String()
}

func dumpListener(b *strings.Builder, l affinity.Listener) {
	for _, p := range l.Promote {
		fmt.Fprintf(b, "  promote %s to %s\n", p.Field, p.Header)
	}
	if l.MaxBody != 0 {
		fmt.Fprintf(b, "  maxBody %d\n", l.MaxBody)
	}
	if l.Policy != "" {
		fmt.Fprintf(b, "  by %s\n", l.Policy)
	}
}

func dumpRule(b *strings.Builder, c affinity.Config, r route.Rule) {
	var to []string
	for _, d := range r.Destinations {
		name := c.Services[d.Service].Name
		if len(r.Destinations) > 1 {
			name = fmt.Sprintf("%d × %s", d.Weight, name)
		}
		to = append(to, name)
	}
	if r.ByProxy != "" {
		to = append(to, "Envoy's own "+r.ByProxy)
	}
	fmt.Fprintf(b, "    %s → %s  (%s, %s)\n", or(r.Name, "-"), strings.Join(to, " + "), r.Object, r.Source)
	for _, m := range r.Matches {
		fmt.Fprintf(b, "      %s  (%s)\n", dumpMatch(m), m.Source)
	}
}

func dumpMatch(m route.Match) string {
	var out []string
	if m.Name != "" {
		out = append(out, "named "+m.Name)
	}
	add := func(what string, s route.StringMatch) {
		switch s.Kind {
		case route.Present:
			out = append(out, what)
		case route.Exact:
			out = append(out, fmt.Sprintf("%s = %q", what, s.Value))
		case route.Prefix:
			out = append(out, fmt.Sprintf("%s = %q…", what, s.Value))
		case route.Regex:
			out = append(out, fmt.Sprintf("%s ~ %q", what, s.Value))
		}
	}
	uri := "uri"
	if m.IgnoreURICase {
		uri = "uri(any case)"
	}
	add(uri, m.URI)
	add("method", m.Method)
	add("scheme", m.Scheme)
	add("authority", m.Authority)
	for _, h := range m.Headers {
		add("header "+h.Name, h.StringMatch)
	}
	for _, h := range m.WithoutHeaders {
		add("without header "+h.Name, h.StringMatch)
	}
	for _, q := range m.QueryParams {
		add("query "+q.Name, q.StringMatch)
	}
	if m.Port != 0 {
		out = append(out, fmt.Sprintf("port %d", m.Port))
	}
	return or(strings.Join(out, ", "), "everything")
}

func dumpService(b *strings.Builder, s affinity.ServiceConfig) {
	fmt.Fprintf(b, "service %s  (%s)\n", s.Name, s.Source)
	if s.Missing != "" {
		fmt.Fprintf(b, "  missing: %s\n", s.Missing)
		return
	}
	kinds := []string{"none", "header", "cookie", "query", "source ip"}
	if s.Key.Kind != affinity.NoKey {
		fmt.Fprintf(b, "  key %s %s", kinds[s.Key.Kind], s.Key.Name)
		if s.Key.SetTTL {
			fmt.Fprintf(b, " ttl %v", s.Key.TTL)
		}
		if s.Key.Path != "" {
			fmt.Fprintf(b, " path %s", s.Key.Path)
		}
		fmt.Fprintf(b, "  (%s)\n", s.Key.Source)
	}
	if s.LoadBalancer != affinity.LeastRequest {
		fmt.Fprintf(b, "  balance %s\n", []string{"", "round robin", "random"}[s.LoadBalancer])
	}
	if s.WithoutKey == affinity.Reject {
		fmt.Fprintf(b, "  without key: reject\n")
	}
	if s.IdleTimeout != affinity.DefaultIdleTimeout {
		fmt.Fprintf(b, "  idle %v\n", s.IdleTimeout)
	}
	if s.LoadBound != 0 {
		fmt.Fprintf(b, "  bound %v\n", s.LoadBound)
	}
	if s.DrainDeadline != affinity.DefaultDrainDeadline {
		fmt.Fprintf(b, "  drain %v\n", s.DrainDeadline)
	}
	if s.SessionHeader != affinity.DefaultSessionHeader {
		fmt.Fprintf(b, "  session header %s\n", s.SessionHeader)
	}
	for _, e := range s.Endpoints {
		fmt.Fprintf(b, "  %s %s %s", e.State, e.Addr, strings.TrimSpace(e.Name+" "+e.Incarnation))
		if e.Weight != 0 {
			fmt.Fprintf(b, " weight %d", e.Weight)
		}
		b.WriteString("\n")
	}
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
