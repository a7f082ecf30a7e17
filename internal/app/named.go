package app

import (
	"net/netip"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/config"
)

// Named is the configuration for a proxy that asks DNS itself: where endpoints are left to DNS, they have an address that names has
// the host's name for. The configuration must be valid.
func (l *Loaded) Named() (c *affinity.Config, names map[netip.Addr]string) {
	names = map[netip.Addr]string{}
	stands := map[string]netip.Addr{}
	next := netip.MustParseAddr("240.0.0.0") // from here on nobody has an address: RFC 1112, section 4, "Class E"
	for _, name := range l.DNSNames {
		next = next.Next()
		stands[name], names[next] = next, name
	}
	compiled, _ := config.Compile(l.Set, config.Options{Addresses: func(name string) []netip.Addr { return []netip.Addr{stands[name]} }})
	return &compiled.Config, names
}
