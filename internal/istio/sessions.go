package istio

import (
	"fmt"
	"slices"
	"strings"

	"github.com/remora-proxy/remora/internal/affinity"
)

// warnWithoutSessions tells of what keeps sessions from being there: services that nothing gives a key, and promoted fields that nothing looks
// at. In a configuration with errors the cause of both may be what is refused.
func (c *compiler) warnWithoutSessions() {
	if c.diags.HasErrors() {
		return
	}
	var keyless []*service
	names := map[*service][]string{} // its ports and subsets
	for i := range c.config.Services {
		if s, of := &c.config.Services[i], c.routed[i].service; of != nil && s.Missing == "" && s.Key.Kind == affinity.NoKey {
			if names[of] == nil {
				keyless = append(keyless, of)
			}
			names[of] = append(names[of], s.Name)
		}
	}
	for _, s := range keyless {
		c.warnAt(s.object, "metadata.name", "requests to "+strings.Join(names[s], ", ")+" have no session: nothing says where its key is",
			"write key in an AffinityPolicy for the Service or its Gateway, or a DestinationRule with consistentHash for "+s.host)
	}
	looked := c.lookedAt()
	for _, p := range c.set.AffinityPolicies {
		if len(Unresolved(c.set, p)) == len(p.Value.Spec.TargetRefs) {
			continue // told already: it has no effect at all
		}
		for i, f := range p.Value.Spec.Promote {
			if !slices.Contains(looked, strings.ToLower(f.Header)) {
				c.warnAt(p, fmt.Sprintf("spec.promote[%d].header", i), fmt.Sprintf("no route and no key looks at the header %s: the field %s has no effect but that the replica sees it", f.Header, f.Field),
					"match on the header in a VirtualService or HTTPRoute, or name it in the key of an AffinityPolicy or a DestinationRule's consistentHash")
			}
		}
	}
}

// lookedAt is the headers, in lower case, that decisions depend on: those of routes and of keys.
func (c *compiler) lookedAt() []string {
	names := c.config.Routes.Headers()
	for i := range c.config.Services {
		if key := c.config.Services[i].Key; key.Kind == affinity.HeaderKey {
			names = append(names, key.Name)
		}
	}
	return names
}
