package app

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/remora-proxy/remora/internal/diag"
)

// privileged is the number of ports that only root may listen on.
const privileged = 1024

// privilegedOffset is what is added to a privileged port, so that the gateway needs no privilege: it gives 8080 for 80 and
// 8443 for 443, which is where Istio's own ingress gateway listens.
const privilegedOffset = 8000

// Ports says where the gateway listens for the ports of its Gateways' servers, where that is not the default.
type Ports map[uint16]uint16

// ParsePorts reads GATEWAYPORT=PORT pairs.
func ParsePorts(pairs []string) (Ports, error) {
	ports := make(Ports, len(pairs))
	for _, pair := range pairs {
		from, to, ok := strings.Cut(pair, "=")
		gateway, err1 := parsePort(from)
		listen, err2 := parsePort(to)
		if !ok || err1 != nil || err2 != nil || gateway == 0 {
			return nil, fmt.Errorf("--port %q is not GATEWAYPORT=PORT; write it as 80=9080, with ports of 1 to 65535 (0 behind the = takes a free one)", pair)
		}
		if other, ok := ports[gateway]; ok && other != listen {
			return nil, fmt.Errorf("--port gives both %d and %d for port %d; give one", other, listen, gateway)
		}
		ports[gateway] = listen
	}
	return ports, nil
}

func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	return uint16(n), err
}

// Listen is the port to listen on for the port of a Gateway's server; 0 takes a free one.
func (p Ports) Listen(gateway uint16) uint16 {
	if listen, ok := p[gateway]; ok {
		return listen
	}
	if gateway < privileged {
		return gateway + privilegedOffset
	}
	return gateway
}

// Unused warns of pairs whose port no Gateway has: mistyped, they leave the port that was meant where it is.
func (p Ports) Unused(gatewayPorts []uint16) diag.List {
	var found diag.List
	for _, port := range slices.Sorted(maps.Keys(p)) {
		if !slices.Contains(gatewayPorts, port) {
			found.Add(diag.Diagnostic{
				Severity: diag.Warning, What: fmt.Sprintf("--port %d=%d has no effect: no Gateway has port %d", port, p[port], port),
				Remedy: "the port before the = is that of a Gateway's server or listener; there is " + portList(gatewayPorts),
			})
		}
	}
	return found
}

// Colliding warns where serve would refuse a configuration unless it is given --port.
func Colliding(gatewayPorts []uint16) diag.List {
	if _, err := (Ports{}).Addresses(netip.Addr{}, gatewayPorts); err != nil {
		return diag.List{{Severity: diag.Warning, What: "to remora serve without --port: " + err.Error()}}
	}
	return nil
}

func portList(ports []uint16) string {
	if len(ports) == 0 {
		return "none"
	}
	names := make([]string, len(ports))
	for i, port := range slices.Sorted(slices.Values(ports)) {
		names[i] = strconv.Itoa(int(port))
	}
	return strings.Join(names, ", ")
}
