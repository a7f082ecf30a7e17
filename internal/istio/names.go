package istio

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// clusterDomain ends the host names of Kubernetes Services.
const clusterDomain = "svc.cluster.local"

// meshGateway is the reserved name of all sidecars in a VirtualService's gateways.
const meshGateway = "mesh"

// fullHost completes a host name without a dot, as Istio does: "reviews" in an object of namespace shop is
// "reviews.shop.svc.cluster.local". A name with a dot is complete, and so is an address.
func fullHost(host, namespace string) string {
	if host == "*" || strings.Contains(host, ".") {
		return host
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return host
	}
	return host + "." + namespace + "." + clusterDomain
}

// fullGateway completes the name of a Gateway in a VirtualService to "namespace/name". Names with dots are an old form:
// name.namespace.svc.cluster.local.
func fullGateway(name, namespace string) string {
	if ns, rest, is := strings.Cut(name, "/"); is {
		if ns == "." {
			ns = namespace
		}
		return ns + "/" + rest
	}
	if name, rest, is := strings.Cut(name, "."); is {
		ns, _, _ := strings.Cut(rest, ".")
		return ns + "/" + name
	}
	return namespace + "/" + name
}

var (
	label         = regexp.MustCompile(`^[a-zA-Z0-9](?:[-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?$`)
	wildcardLabel = regexp.MustCompile(`^(?:\*|(?:\*-?)?[a-zA-Z0-9](?:[-a-zA-Z0-9]{0,61}[a-zA-Z0-9])?)$`)
)

// checkHost says what is wrong with a host name, which may begin with "*", or gives "".
func checkHost(host string) string {
	if host == "" {
		return "the host name is empty"
	}
	if len(host) > 255 {
		return "the host name has more than 255 characters"
	}
	first, rest, more := strings.Cut(host, ".")
	ok := wildcardLabel.MatchString(first)
	if more {
		labels := strings.Split(rest, ".")
		if n := len(labels) - 1; labels[n] == "" && n > 0 {
			labels = labels[:n] // "example.com."
		}
		for _, l := range labels {
			ok = ok && label.MatchString(l)
		}
		last := labels[len(labels)-1]
		ok = ok && strings.Trim(last, "0123456789") != ""
	}
	if !ok {
		return fmt.Sprintf("%q is not a host name", host)
	}
	return ""
}

// isAddress reports whether a host is an IP address.
func isAddress(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

// within reports whether every name that a host stands for is one that the pattern stands for. Both may begin with "*".
func within(host, pattern string) bool {
	if host == pattern {
		return true
	}
	suffix, wild := strings.CutPrefix(pattern, "*")
	if !wild {
		return false
	}
	rest, hostWild := strings.CutPrefix(host, "*")
	return strings.HasSuffix(rest, suffix) && (!hostWild || len(rest) >= len(suffix))
}

// visible reports whether an object is exported to a namespace. Without exportTo it is exported to all.
func visible(exportTo []string, own, namespace string) bool {
	return len(exportTo) == 0 || slices.ContainsFunc(exportTo, func(e string) bool {
		return e == "*" || e == namespace || e == "." && own == namespace
	})
}
