package gatewayapi

import (
	"fmt"
	"net/netip"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"
)

// everyHost stands for a hostname that is not given.
const everyHost = "*"

const hostnameRemedy = `a hostname is a name or *.suffix, in lower case; leave it away for all`

// hostnameOf is a listener's hostname; an empty one counts as none.
func hostnameOf(in *gatewayv1.Hostname) string {
	if in == nil || *in == "" {
		return everyHost
	}
	return string(*in)
}

// checkHostname says what is wrong with a hostname, or gives "".
func checkHostname(host string) string {
	if _, err := netip.ParseAddr(host); err == nil {
		return fmt.Sprintf("%q is an address, and no name", host)
	}
	name, wild := strings.CutPrefix(host, "*.")
	if len(validation.IsDNS1123Subdomain(name)) > 0 {
		if wild || strings.Contains(host, "*") {
			return fmt.Sprintf("%q is not a hostname: a wildcard is the whole of the first label, and what follows is a name", host)
		}
		return fmt.Sprintf("%q is not a hostname", host)
	}
	return ""
}

// within reports whether every name that a hostname stands for is one that the pattern stands for.
func within(host, pattern string) bool {
	if host == pattern || pattern == everyHost {
		return true
	}
	suffix, wild := strings.CutPrefix(pattern, "*")
	// "*.b" covers "a.b" and "*.a.b", and not "b": what its star stands for is not empty.
	return wild && host != everyHost && strings.HasSuffix(strings.TrimPrefix(host, "*"), suffix)
}

// intersection is the hostnames that both stand for: the more specific of the two, or "" when they have none in common.
func intersection(a, b string) string {
	switch {
	case within(a, b):
		return a
	case within(b, a):
		return b
	}
	return ""
}
