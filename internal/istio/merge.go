package istio

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/remora-proxy/remora/internal/route"
)

// compilePort makes the rules of one port. As istiod does, every server takes its VirtualServices in their order, each host
// that both have gets their rules, and per host what matches everything goes to the end.
func (c *compiler) compilePort(p *port) route.Listener {
	pc := &portCompiler{c: c, port: p, hosts: map[string][]part{}, destinations: map[*rule][]route.Destination{}}
	for _, s := range p.servers {
		for _, vs := range c.bound[s.gateway.name] {
			pc.bind(s, vs)
		}
	}
	out := route.Listener{Port: p.number}
	// Hosts with the same parts have the same rules: they become one virtual host.
	same := map[string]int{}
	for _, host := range slices.Sorted(maps.Keys(pc.hosts)) {
		parts := pc.hosts[host]
		key := fmt.Sprint(parts)
		i, is := same[key]
		if !is {
			i = len(out.Hosts)
			same[key] = i
			out.Hosts = append(out.Hosts, route.VirtualHost{Rules: pc.merge(host, parts)})
		}
		out.Hosts[i].Domains = append(out.Hosts[i].Domains, host)
	}
	return out
}

// portCompiler makes the rules of one port.
type portCompiler struct {
	c            *compiler
	port         *port
	hosts        map[string][]part
	destinations map[*rule][]route.Destination
}

// part is the rules of one VirtualService as far as they come through one gateway.
type part struct {
	vs      *virtualService
	gateway string
}

// bind adds the rules of a VirtualService to the hosts that it has in common with a server.
func (pc *portCompiler) bind(s *server, vs *virtualService) {
	hosts := s.hostsOf(vs.object.Value.Namespace, vs.hosts)
	if len(hosts) == 0 {
		return
	}
	vs.reached = appendOnce(vs.reached, s.gateway.name)
	p := part{vs, s.gateway.name}
	if len(pc.reached(p)) == 0 {
		return // without a rule there is no host: a wildcard of others may serve it
	}
	for _, h := range hosts {
		if !slices.Contains(pc.hosts[h], p) {
			pc.hosts[h] = append(pc.hosts[h], p)
		}
	}
}

// merge puts the rules of a host in order.
func (pc *portCompiler) merge(host string, parts []part) []route.Rule {
	var first, last []routed
	seen := map[string]routed{}
	for _, p := range parts {
		for _, r := range pc.reached(p) {
			if before, is := seen[r.key]; is {
				pc.judgeRepeated(host, before, r)
				continue
			}
			seen[r.key] = r
			if r.everything {
				last = append(last, r)
			} else {
				first = append(first, r)
			}
		}
	}
	return pc.rules(append(first, last...))
}

// routed is one alternative in its place.
type routed struct {
	*alternative
	vs *virtualService
}

// nameOfRule is the object that the rule stands in, and the one that delegates to it.
func (r routed) nameOfRule() string {
	name := r.rule.object.Name()
	if root := r.vs.object; root.Name() != name {
		name += fmt.Sprintf(" (delegate of %s/%s)", root.Value.Namespace, root.Value.Name)
	}
	return name
}

// reached lists the alternatives of a part up to the first that fits everything: what comes after it is never reached.
func (pc *portCompiler) reached(p part) []routed {
	var out []routed
	var end *alternative
	for _, r := range p.vs.rules {
		for _, a := range r.alternatives {
			if !a.reaches(pc.c.namespace, p.gateway, pc.port.number) {
				continue
			}
			a.used = true
			if end != nil {
				pc.c.warnAt(a.object, a.field, fmt.Sprintf("never reached: %s (line %d) matches everything before it", end.field, end.pos.Line), "move it up, or remove it")
				continue
			}
			out = append(out, routed{a, p.vs})
			if a.everything {
				end = a
			}
		}
	}
	return out
}

// judgeRepeated says what is wrong when the same match is there before.
func (pc *portCompiler) judgeRepeated(host string, before, r routed) {
	c := pc.c
	switch {
	case before.alternative == r.alternative: // of one VirtualService on two gateways
	case before.vs == r.vs:
		c.warnAt(r.object, r.field, fmt.Sprintf("never reached: %s (line %d) has the same match", before.field, before.pos.Line), "remove it, or make it different")
	case !slices.Equal(pc.destinationsOf(before), pc.destinationsOf(r)):
		c.errorAt(r.object, r.field, fmt.Sprintf("clashes with %s, %s (%s): for host %s both have the same match, and they have different destinations",
			before.object.Name(), before.field, before.pos, host), "remove one, or make the matches different")
	}
}

// rules makes rules of alternatives. Those of one rule that follow each other become one.
func (pc *portCompiler) rules(list []routed) []route.Rule {
	var out []route.Rule
	for i, r := range list {
		if i == 0 || list[i-1].rule != r.rule {
			out = append(out, route.Rule{
				Name: r.rule.in.GetName(), Source: r.rule.source, Object: r.nameOfRule(), Destinations: pc.destinationsOf(r), ByProxy: r.rule.byProxy(),
			})
		}
		if r.match != nil {
			rule := &out[len(out)-1]
			rule.Matches = append(rule.Matches, *r.match)
		}
	}
	return out
}

// destinationsOf looks up the destinations of an alternative's rule. Those with the weight 0 get no new session, but users who have
// a live one there (the weight was another before) keep it.
func (pc *portCompiler) destinationsOf(r routed) []route.Destination {
	if known, is := pc.destinations[r.rule]; is {
		return known
	}
	var out []route.Destination
	for i, d := range r.rule.in.GetRoute() {
		weight := max(d.GetWeight(), 0)
		if d.GetDestination() == nil {
			continue
		}
		field := fmt.Sprintf("%s.route[%d].destination", r.rule.field, i)
		service := pc.c.service(r.rule.object, field, d.Destination, pc.port.number)
		if weight > 0 || len(r.rule.in.Route) == 1 {
			pc.c.warnMissing(r.rule.object, field, service)
		}
		for _, g := range pc.gateways(r.vs) {
			pc.c.routed[service].reachedThrough("Gateway " + g)
		}
		out = append(out, route.Destination{Service: service, Weight: uint32(weight)})
	}
	pc.destinations[r.rule] = out
	return out
}

// gateways lists the gateways on the port that a VirtualService is bound to.
func (pc *portCompiler) gateways(vs *virtualService) []string {
	var out []string
	for _, s := range pc.port.servers {
		if slices.Contains(vs.gateways, s.gateway.name) && !slices.Contains(out, s.gateway.name) {
			out = append(out, s.gateway.name)
		}
	}
	return out
}

// String is a part's identity among those of one compilation.
func (p part) String() string {
	return strings.Join([]string{p.vs.object.Value.Namespace, p.vs.object.Value.Name, p.gateway}, "/")
}
