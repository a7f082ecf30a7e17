package istio

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/remora-proxy/remora/api/v1alpha1"
	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/fields"
)

// policies is what the AffinityPolicies say, by target: "Gateway shop/front", "Service shop/cart".
type policies struct {
	c       *compiler
	targets map[string]*settings
}

func (c *compiler) readPolicies() *policies {
	p := &policies{c: c, targets: map[string]*settings{}}
	for _, o := range byAge(c.set.AffinityPolicies) {
		s := c.readSettings(o)
		refs := o.Value.Spec.TargetRefs
		if n := len(refs); n < 1 || n > 16 {
			c.errorAt(o, "spec.targetRefs", fmt.Sprintf("the policy has %d targets", n), "name 1 to 16 Gateways, Services or ServiceEntries of its namespace")
		}
		for i, ref := range refs {
			p.target(o, targetField(i), ref, s)
		}
	}
	return p
}

// target adds the settings of a policy to one of its targets.
func (p *policies) target(o policyObject, field string, ref v1alpha1.TargetRef, s *settings) {
	c := p.c
	name, there, known := resolve(c.set, o.Value.Namespace, ref)
	if !known {
		c.errorAt(o, field, fmt.Sprintf("kind %q of group %q cannot be a target", ref.Kind, ref.Group),
			"targets are Gateway and ServiceEntry (group "+groupIstio+"), Gateway (group "+groupGatewayAPI+") and Service (no group)")
		return
	}
	if !there {
		c.add(unresolved(o, field, name))
		return
	}
	if ref.Kind != "Gateway" {
		for _, f := range []struct {
			field string
			set   bool
		}{{"spec.promote", s.promote.set}, {"spec.maxBody", s.maxBody.set}} {
			if f.set {
				c.errorAt(o, f.field, "it is for Gateways only, and "+name+" is a target too", "the body is read before the service is known: put it into a policy for the Gateway")
				return
			}
		}
	}
	into := p.targets[name]
	if into == nil {
		into = &settings{}
		p.targets[name] = into
	}
	add(c, name, &into.promote, s.promote)
	add(c, name, &into.maxBody, s.maxBody)
	add(c, name, &into.idleTimeout, s.idleTimeout)
	add(c, name, &into.withoutKey, s.withoutKey)
	add(c, name, &into.loadBound, s.loadBound)
	add(c, name, &into.drainDeadline, s.drainDeadline)
	add(c, name, &into.sessionHeader, s.sessionHeader)
	add(c, name, &into.key, s.key)
}

// add puts a field of another policy into a target's settings.
func add[T any](c *compiler, target string, into *setting[T], s setting[T]) {
	switch {
	case !s.set:
	case into.set && into.by.Value == s.by.Value: // the policy names its target twice
	case into.set:
		c.conflictAt(s.by, s.field, fmt.Sprintf("%s sets it for %s already (%s)", into.by.Name(), target, position(into.by, into.field)), "set each field in one of the policies of a target")
	default:
		*into = s
	}
}

// of is the settings of a target, never nil.
func (p *policies) of(target string) *settings {
	if s := p.targets[target]; s != nil {
		return s
	}
	return &settings{}
}

// apply gives a service its settings: its own, else those of the Gateways through which requests come to it, else the
// defaults.
func (p *policies) apply(sc *affinity.ServiceConfig, r *routedService) {
	own := &settings{}
	if r.service != nil {
		own = p.of(r.service.name)
	}
	from := make([]*settings, len(r.gateways))
	for i, g := range r.gateways {
		from[i] = p.of(g)
	}
	sc.IdleTimeout = choose(p, sc, own, from, affinity.DefaultIdleTimeout, func(s *settings) *setting[time.Duration] { return &s.idleTimeout })
	sc.DrainDeadline = choose(p, sc, own, from, affinity.DefaultDrainDeadline, func(s *settings) *setting[time.Duration] { return &s.drainDeadline })
	sc.WithoutKey = choose(p, sc, own, from, affinity.Balance, func(s *settings) *setting[affinity.WithoutKey] { return &s.withoutKey })
	sc.LoadBound = choose(p, sc, own, from, 0, func(s *settings) *setting[float64] { return &s.loadBound })
	sc.SessionHeader = choose(p, sc, own, from, affinity.DefaultSessionHeader, func(s *settings) *setting[string] { return &s.sessionHeader })
	if sc.Key.Kind == affinity.NoKey {
		sc.Key = choose(p, sc, own, from, affinity.Key{}, func(s *settings) *setting[affinity.Key] { return &s.key })
	}
	p.checkSessionHeader(sc, own, from)
}

// choose takes one field from a service's own settings, else from its Gateways'. A service has one table of sessions
// however its requests come in, so Gateways may not say different things.
func choose[T comparable](p *policies, sc *affinity.ServiceConfig, own *settings, gateways []*settings, otherwise T, field func(*settings) *setting[T]) T {
	if s := field(own); s.set {
		return s.value
	}
	var found *setting[T]
	for _, g := range gateways {
		s := field(g)
		switch {
		case !s.set:
		case found == nil:
			found = s
		case found.by.Value != s.by.Value && found.value != s.value:
			p.c.conflictAt(s.by, s.field, fmt.Sprintf("%s (%s) says otherwise, and %s is reached through the Gateways of both", found.by.Name(), position(found.by, found.field), sc.Name),
				"a service has one table of sessions: set it in a policy for the service, or alike for both Gateways")
		}
	}
	if found == nil {
		return otherwise
	}
	return found.value
}

// checkSessionHeader refuses a session header that a promoted field would set as well.
func (p *policies) checkSessionHeader(sc *affinity.ServiceConfig, own *settings, gateways []*settings) {
	for _, g := range gateways {
		for i, promoted := range g.promote.value {
			if promoted.Header != sc.SessionHeader {
				continue
			}
			by := own.sessionHeader
			if !by.set {
				by = g.sessionHeader
			}
			if by.set {
				p.c.errorAt(by.by, by.field, fmt.Sprintf("the field %s is promoted to the same header (%s)", promoted.Field, position(g.promote.by, fmt.Sprintf("spec.promote[%d]", i))), "use another name")
			} else {
				p.c.errorAt(g.promote.by, fmt.Sprintf("spec.promote[%d].header", i), promoted.Header+" tells the backend about the session", "use another name, or set spec.sessionHeader")
			}
		}
	}
}

// listener is what the policies of the Gateways on a port say of its requests.
func (p *policies) listener(port uint16, gateways []listening) affinity.Listener {
	l := affinity.Listener{Port: port}
	var names []string
	var maxBody *setting[int]
	var with, without []listening
	for _, g := range gateways {
		s := p.of(g.name)
		if s.promote.set {
			with = append(with, g)
			p.promote(&l, s.promote)
			names = appendOnce(names, s.promote.by.Name())
		} else {
			without = append(without, g)
		}
		if !s.maxBody.set {
			continue
		}
		names = appendOnce(names, s.maxBody.by.Name())
		switch {
		case maxBody == nil:
			maxBody, l.MaxBody = &s.maxBody, s.maxBody.value
		case maxBody.value != s.maxBody.value:
			p.c.conflictAt(s.maxBody.by, s.maxBody.field, fmt.Sprintf("%s (%s) says otherwise for port %d", maxBody.by.Name(), position(maxBody.by, maxBody.field), port), "the body is read before the host is looked at: Gateways on one port must agree")
		}
	}
	if len(with) > 0 {
		for _, g := range without {
			p.c.warnAt(g.object, g.field, fmt.Sprintf("on port %d fields of the body act as headers for requests to this Gateway too, because %s is on the same port", port, with[0].name), "give them different ports, or target both with the policy")
		}
	}
	l.Policy = strings.Join(names, ", ")
	return l
}

// listening is a Gateway that listens on a port, of Istio or the Gateway API.
type listening struct {
	name   string // as policies name it: "Gateway shop/front"
	object objectAt
	field  string // where it says what it listens on
}

func gatewaysOf(p *port) []listening {
	var gateways []*gateway
	for _, s := range p.servers {
		gateways = appendOnce(gateways, s.gateway)
	}
	out := make([]listening, len(gateways))
	for i, g := range gateways {
		out[i] = listening{"Gateway " + g.name, g.object, "spec.servers"}
	}
	return out
}

func appendOnce[T comparable](list []T, v T) []T {
	if slices.Contains(list, v) {
		return list
	}
	return append(list, v)
}

// promote adds promotions to those of a port.
func (p *policies) promote(l *affinity.Listener, s setting[[]affinity.Promotion]) {
	for i, next := range s.value {
		field := fmt.Sprintf("%s[%d]", s.field, i)
		with, what := conflict(l.Promote, next)
		switch {
		case with == next:
		case what != "":
			p.c.conflictAt(s.by, field, fmt.Sprintf("on port %d %s", l.Port, what), "Gateways on one port must promote alike")
		case len(l.Promote) == fields.MaxFields:
			p.c.errorAt(s.by, field, fmt.Sprintf("more than %d fields are promoted on port %d", fields.MaxFields, l.Port), "")
		default:
			l.Promote = append(l.Promote, next)
		}
	}
}
