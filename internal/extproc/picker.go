package extproc

import (
	"net/netip"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

// The names of the Endpoint Picker Protocol (v1.0.0), which the Gateway API Inference Extension defines
// (docs/proposals/004-endpoint-picker-protocol in its repository).
const (
	PickedKey       = "x-gateway-destination-endpoint" // a request header, and a key in pickedNamespace: ip:port
	pickedNamespace = "envoy.lb"

	subsetKey       = "x-gateway-destination-endpoint-subset" // a list of ip:port, or ip:port,ip:port…
	subsetNamespace = "envoy.lb.subset_hint"
)

// passPicked answers the request's headers, as an endpoint picker does: with the endpoint as metadata too. The modes cannot be
// changed where one of them is FULL_DUPLEX_STREAMED.
func (x *exchange) passPicked(r *extprocv3.CommonResponse) *extprocv3.ProcessingResponse {
	picked := &structpb.Struct{Fields: map[string]*structpb.Value{PickedKey: structpb.NewStringValue(x.dec.Endpoint.Addr)}}
	return &extprocv3.ProcessingResponse{
		Response:        &extprocv3.ProcessingResponse_RequestHeaders{RequestHeaders: &extprocv3.HeadersResponse{Response: r}},
		DynamicMetadata: &structpb.Struct{Fields: map[string]*structpb.Value{pickedNamespace: structpb.NewStructValue(picked)}},
	}
}

// subsetOf is the set of addresses that the endpoint must be one of; nil where there is no such hint. What is no address is
// nobody's, so a hint that says nothing allows nothing.
func subsetOf(m *corev3.Metadata) map[string]struct{} {
	hint, ok := m.GetFilterMetadata()[subsetNamespace].GetFields()[subsetKey]
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
