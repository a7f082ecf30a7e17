package livesessions

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Service is a Service whose pods are gateways.
type Service struct {
	Namespace, Name string
	Port            uint16 // of the pods, where gateways have their metrics; not one of the Service
}

// ParseService reads namespace/name:port.
func ParseService(text string) (Service, error) {
	namespace, rest, _ := strings.Cut(text, "/")
	name, portText, _ := strings.Cut(rest, ":")
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil || port == 0 || len(validation.IsDNS1123Label(namespace)) > 0 || len(validation.IsDNS1035Label(name)) > 0 {
		return Service{}, fmt.Errorf("%q is not namespace/name:port, like remora-system/remora-gateway:9090", text)
	}
	return Service{namespace, name, uint16(port)}, nil
}

// ListSlices lists EndpointSlices of a namespace.
type ListSlices func(ctx context.Context, namespace string, o metav1.ListOptions) (*discoveryv1.EndpointSliceList, error)

// InServices finds the pods of some Services that are ready, each once. Those that terminate are left out: their users come back through
// another gateway, which counts them from then on.
func InServices(list ListSlices, services []Service) func(context.Context) ([]netip.AddrPort, error) {
	return func(ctx context.Context) ([]netip.AddrPort, error) {
		ready := map[string]netip.AddrPort{} // by pod; in a cluster with IPv4 and IPv6 there are slices of both
		for _, s := range services {
			found, err := list(ctx, s.Namespace, metav1.ListOptions{
				LabelSelector:   discoveryv1.LabelServiceName + "=" + s.Name,
				ResourceVersion: "0", // what the API server has at hand
			})
			if err != nil {
				return nil, err
			}
			for i := range found.Items {
				if err := s.addReady(&found.Items[i], ready); err != nil {
					return nil, err
				}
			}
		}
		return slices.SortedFunc(maps.Values(ready), netip.AddrPort.Compare), nil
	}
}

func (s Service) addReady(slice *discoveryv1.EndpointSlice, found map[string]netip.AddrPort) error {
	for _, e := range slice.Endpoints {
		if ready := e.Conditions.Ready; ready != nil && !*ready {
			continue
		}
		if len(e.Addresses) == 0 {
			return errors.New("an EndpointSlice of " + s.Namespace + "/" + s.Name + " has an endpoint without an address")
		}
		address, err := netip.ParseAddr(e.Addresses[0])
		if err != nil {
			return fmt.Errorf("an EndpointSlice of %s/%s: %w", s.Namespace, s.Name, err)
		}
		pod := address.String()
		if e.TargetRef != nil {
			pod = cmp.Or(string(e.TargetRef.UID), pod)
		}
		if _, is := found[pod]; !is {
			found[pod] = netip.AddrPortFrom(address, s.Port)
		}
	}
	return nil
}
