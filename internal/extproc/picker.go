package extproc

import (
	"net/netip"
	"strings"

	"github.com/remora-proxy/remora/internal/affinity"
)

// The names of the Endpoint Picker Protocol (v1.0.0), which the Gateway API Inference Extension defines
// (docs/proposals/004-endpoint-picker-protocol in its repository).
const (
	PickedKey       = "x-gateway-destination-endpoint" // a request header, and a key in pickedNamespace: ip:port
	pickedNamespace = "envoy.lb"

	servedKey = "x-gateway-destination-endpoint-served" // in pickedNamespace, with the response's headers: ip:port

	subsetKey       = "x-gateway-destination-endpoint-subset" // a list of ip:port, or ip:port,ip:port…
	subsetNamespace = "envoy.lb.subset_hint"

	livenessService  = "liveness" // for the gRPC health service: the process answers
	readinessService = "readiness"
)

// servedBy takes over which endpoint served the request, where a proxy says so with the response. It was given one to choose from, so
// another one is its own choice. Then the response goes on.
func (x *exchange) servedBy() {
	if !x.decided || x.dec.Passed {
		x.responseHeaders()
		return
	}
	value, ok := x.metadata(pickedNamespace, servedKey)
	addr, err := parseAddr(value.GetStringValue())
	if !ok || err == nil && addr == x.dec.Endpoint.Addr {
		x.responseHeaders()
		return
	}
	x.s.stats.reports.Add(1)
	goOn := func(known bool) {
		if !known {
			x.s.stats.uselessReports.Add(1)
		}
		x.responseHeaders()
	}
	if err != nil {
		goOn(false)
		return
	}
	x.served(x.dec.Pick(), affinity.Used{Addr: addr, Attempts: 1}, goOn)
}

// parseAddr brings an ip:port to the form that endpoints have it in.
func parseAddr(text string) (string, error) {
	addr, err := netip.ParseAddrPort(strings.TrimSpace(text))
	if err != nil {
		return "", err
	}
	return netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port()).String(), nil
}

// subset is the set of addresses that the endpoint must be one of; nil where there is no such hint. What is no address is
// nobody's, so a hint that says nothing allows nothing.
func (x *exchange) subset() map[string]struct{} {
	hint, ok := x.metadata(subsetNamespace, subsetKey)
	if !ok {
		return nil
	}
	subset := make(map[string]struct{})
	add := func(list string) {
		for text := range strings.SplitSeq(list, ",") {
			if addr, err := parseAddr(text); err == nil {
				subset[addr] = struct{}{}
			}
		}
	}
	add(hint.GetStringValue())
	for _, v := range hint.GetListValue().GetValues() {
		add(v.GetStringValue())
	}
	return subset
}
