package gatewayapi

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/remora-proxy/remora/internal/route"
)

// compilePorts makes the rules of each port.
func (c *compiler) compilePorts() {
	ports := map[uint16][]*gateway{}
	for _, g := range c.gateways {
		for _, l := range g.listeners {
			if !slices.Contains(ports[l.port], g) {
				ports[l.port] = append(ports[l.port], g)
			}
		}
	}
	for _, port := range slices.Sorted(maps.Keys(ports)) {
		c.compilePort(port, ports[port])
	}
}

// compilePort makes the rules of one port. Each hostname of a listener and each that it has in common with a route is a domain: also one without
// a route, so that a wildcard's routes do not take the requests of a listener that none is attached to.
func (c *compiler) compilePort(port uint16, gateways []*gateway) {
	out := route.Listener{Port: port}
	var objects []gatewayObject
	var of []map[string][]*httpRoute // the domains of each Gateway
	all := map[string]bool{}
	for _, g := range gateways {
		objects = append(objects, g.object)
		domains := g.domains(port)
		of = append(of, domains)
		for d, routes := range domains {
			all[d] = true
			for _, r := range routes {
				c.reach(g, r)
			}
		}
	}
	// Domains with the same routes have the same rules: they become one virtual host.
	same := map[string]int{}
	for _, domain := range slices.Sorted(maps.Keys(all)) {
		var routes []*httpRoute
		for _, domains := range of {
			for _, r := range domains[mostSpecific(domain, domains)] {
				if !slices.Contains(routes, r) {
					routes = append(routes, r)
				}
			}
		}
		slices.SortFunc(routes, func(a, b *httpRoute) int { return a.order - b.order })
		key := keyOf(routes)
		i, is := same[key]
		if !is {
			i = len(out.Hosts)
			same[key] = i
			out.Hosts = append(out.Hosts, route.VirtualHost{Rules: c.merge(domain, routes)})
		}
		out.Hosts[i].Domains = append(out.Hosts[i].Domains, domain)
	}
	c.into.Listen(out, objects)
}

// domains are those of a Gateway's listeners on a port, with the routes of each.
func (g *gateway) domains(port uint16) map[string][]*httpRoute {
	out := map[string][]*httpRoute{}
	for _, l := range g.listeners {
		if l.port != port {
			continue
		}
		if _, is := out[l.hostname]; !is {
			out[l.hostname] = nil
		}
		for d, routes := range l.domains {
			out[d] = append(out[d], routes...)
		}
	}
	return out
}

// mostSpecific is the domain, of those given, that requests for a domain go to; "" where none fits.
func mostSpecific(domain string, domains map[string][]*httpRoute) string {
	for d := domain; ; {
		if _, is := domains[d]; is {
			return d
		}
		if d == everyHost {
			return ""
		}
		_, rest, more := strings.Cut(strings.TrimPrefix(d, "*."), ".")
		if d = "*." + rest; !more {
			d = everyHost
		}
	}
}

func keyOf(routes []*httpRoute) string {
	var b strings.Builder
	for _, r := range routes {
		fmt.Fprintf(&b, "%d ", r.order)
	}
	return b.String()
}

// reach notes that requests come to the services of an HTTPRoute through a Gateway.
func (c *compiler) reach(g *gateway, r *httpRoute) {
	for _, rule := range r.rules {
		for _, d := range c.destinationsOf(r.object, rule) {
			c.into.Reached(d.Service, g.object.Name())
		}
	}
}

// placed is an alternative among those of a domain.
type placed struct {
	*alternative
	route *httpRoute
}

// merge puts the rules of HTTPRoutes, the first in precedence first, in the order in which they are tried.
func (c *compiler) merge(domain string, routes []*httpRoute) []route.Rule {
	var list []placed
	for _, r := range routes {
		for _, rule := range r.rules {
			for _, a := range rule.alternatives {
				list = append(list, placed{a, r})
			}
		}
	}
	// Stable: equal ones stay in the order of routes, of rules, and of matches.
	slices.SortStableFunc(list, func(a, b placed) int { return a.rank.compare(b.rank) })
	var out []route.Rule
	seen := map[string]placed{}
	var last *rule
	for _, p := range list {
		if first, is := seen[p.key]; is {
			c.warnHidden(domain, first, p)
			continue
		}
		seen[p.key] = p
		if p.rule != last {
			out = append(out, route.Rule{
				Name: string(defaulted(p.rule.in.Name, "")), Source: p.rule.source, Object: p.route.object.Name(),
				Destinations: c.destinationsOf(p.route.object, p.rule), ByProxy: p.rule.byProxy,
			})
			last = p.rule
		}
		rule := &out[len(out)-1]
		rule.Matches = append(rule.Matches, p.matches...)
	}
	return out
}

// warnHidden tells of an alternative that another one with the same match hides.
func (c *compiler) warnHidden(domain string, first, p placed) {
	switch {
	case first.route != p.route:
		c.warnAt(p.route.object, p.field, fmt.Sprintf("never reached for host %s: %s, %s (%s) has the same match, and is older or comes first by its name",
			domain, first.route.object.Name(), first.field, first.pos), "make the matches different, or remove one")
	default:
		c.warnAt(p.route.object, p.field, fmt.Sprintf("never reached: %s (line %d) has the same match", first.field, first.pos.Line), "remove it, or make it different")
	}
}
