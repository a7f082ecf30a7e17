package extproc

import (
	"net/netip"
	"strings"
)

// The names of the Endpoint Picker Protocol (v1.0.0), which the Gateway API Inference Extension defines
// (docs/proposals/004-endpoint-picker-protocol in its repository).
const (
	PickedKey       = "x-gateway-destination-endpoint" // a request header, and a key in pickedNamespace: ip:port
	pickedNamespace = "envoy.lb"

	subsetKey       = "x-gateway-destination-endpoint-subset" // a list of ip:port, or ip:port,ip:port…
	subsetNamespace = "envoy.lb.subset_hint"
)

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
			if addr, err := netip.ParseAddrPort(strings.TrimSpace(text)); err == nil {
				subset[netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port()).String()] = struct{}{}
			}
		}
	}
	add(hint.GetStringValue())
	for _, v := range hint.GetListValue().GetValues() {
		add(v.GetStringValue())
	}
	return subset
}
