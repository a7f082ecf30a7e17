package config

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/remora-proxy/remora/api/v1alpha1"
	"github.com/remora-proxy/remora/internal/diag"
	"github.com/remora-proxy/remora/internal/resource"
)

// The API groups that Remora reads kinds of.
const (
	istioGroup     = "networking.istio.io"
	discoveryGroup = "discovery.k8s.io"
	gatewayGroup   = "gateway.networking.k8s.io"
	envoyGroup     = "gateway.envoyproxy.io"
)

// use is a kind that Remora uses: its names, and how an object of it gets into a Set.
type use struct {
	group    string
	kind     string
	label    string   // what its objects are called: the kind, or where Istio has one of the same name, kind and group
	versions []string // the one to recommend first
	schema   func() *schema
	add      func(*resource.Set, *node, resource.Locator) error
}

// apiVersions lists the values of apiVersion that an object of the kind may have.
func (u *use) apiVersions() []string {
	if u.group == "" {
		return u.versions
	}
	all := make([]string, len(u.versions))
	for i, v := range u.versions {
		all[i] = u.group + "/" + v
	}
	return all
}

// used are all kinds that Remora uses. The versions of Istio's kinds share one protobuf message each.
var used = []*use{
	istioKind("Gateway",
		func(s *resource.Set) *[]resource.Object[*networkingv1.Gateway] { return &s.Gateways },
		func(o *networkingv1.Gateway) proto.Message { return &o.Spec }),
	istioKind("VirtualService",
		func(s *resource.Set) *[]resource.Object[*networkingv1.VirtualService] { return &s.VirtualServices },
		func(o *networkingv1.VirtualService) proto.Message { return &o.Spec }),
	istioKind("DestinationRule",
		func(s *resource.Set) *[]resource.Object[*networkingv1.DestinationRule] { return &s.DestinationRules },
		func(o *networkingv1.DestinationRule) proto.Message { return &o.Spec }),
	istioKind("ServiceEntry",
		func(s *resource.Set) *[]resource.Object[*networkingv1.ServiceEntry] { return &s.ServiceEntries },
		func(o *networkingv1.ServiceEntry) proto.Message { return &o.Spec }),
	gatewayKind("Gateway", resource.GatewayAPIGateway,
		func(s *resource.Set) *[]resource.Object[*gatewayv1.Gateway] { return &s.APIGateways }),
	gatewayKind("HTTPRoute", "HTTPRoute",
		func(s *resource.Set) *[]resource.Object[*gatewayv1.HTTPRoute] { return &s.HTTPRoutes }),
	gatewayKind("ReferenceGrant", "ReferenceGrant",
		func(s *resource.Set) *[]resource.Object[*gatewayv1.ReferenceGrant] { return &s.ReferenceGrants }),
	goKind("", "v1", "Service", true,
		func(s *resource.Set) *[]resource.Object[*corev1.Service] { return &s.Services }),
	goKind(discoveryGroup, "v1", "EndpointSlice", true,
		func(s *resource.Set) *[]resource.Object[*discoveryv1.EndpointSlice] { return &s.EndpointSlices }),
	goKind(v1alpha1.Group, v1alpha1.Version, v1alpha1.Kind, false,
		func(s *resource.Set) *[]resource.Object[*v1alpha1.AffinityPolicy] { return &s.AffinityPolicies }),
}

// refused are the groups whose other kinds change where requests go, or which of them may go, so that leaving them out
// would not be what their author means. A kind stands for itself, "" for the whole group.
var refused = map[string]string{
	istioGroup:                      "",
	"security.istio.io":             "",
	"extensions.istio.io":           "",
	gatewayGroup:                    "",
	"gateway.networking.x-k8s.io":   "",
	envoyGroup:                      "",
	"inference.networking.k8s.io":   "",
	"inference.networking.x-k8s.io": "",
	"":                              "Endpoints",
}

// isRefused reports whether a kind that is not used must not be left out either.
func isRefused(group, kind string) bool {
	which, is := refused[group]
	return is && (which == "" || which == kind) && !(group == gatewayGroup && kind == "GatewayClass")
}

// isForProxy reports whether a kind that is refused is one by which Istio or Envoy Gateway are told what their proxies do beside the routes
// that Remora knows of. Where such a proxy forwards the requests, it carries that out, and Remora has no part in it.
func isForProxy(group, kind string) bool {
	switch group {
	case istioGroup, "security.istio.io", "extensions.istio.io", envoyGroup:
		return true
	case gatewayGroup:
		return slices.Contains([]string{"BackendTLSPolicy", "TLSRoute", "TCPRoute", "UDPRoute"}, kind)
	}
	return false
}

// objectPointer is a pointer to T that is an API object.
type objectPointer[T any] interface {
	*T
	metav1.Object
}

// istioKind is a kind whose spec is a protobuf message.
func istioKind[T any, P objectPointer[T]](kind string, in func(*resource.Set) *[]resource.Object[P], spec func(P) proto.Message) *use {
	return &use{
		group: istioGroup, kind: kind, label: kind, versions: []string{"v1", "v1beta1", "v1alpha3"},
		schema: sync.OnceValue(func() *schema {
			return whole(&schema{members: map[string]field{
				"spec": {schema: protoSchemas{}.message(spec(new(T)).ProtoReflect().Descriptor())},
			}})
		}),
		add: func(set *resource.Set, n *node, where resource.Locator) error {
			o := P(new(T))
			if err := decodeGo(n, o, "spec", "status"); err != nil {
				return err
			}
			if s := n.member("spec"); s != nil {
				if err := decodeProto(s, spec(o)); err != nil {
					return err
				}
			}
			put(in(set), kind, o, where)
			return nil
		},
	}
}

// goKind is a kind that is a Go type throughout.
func goKind[T any, P objectPointer[T]](group, version, kind string, nullable bool, in func(*resource.Set) *[]resource.Object[P]) *use {
	u := &use{
		group: group, kind: kind, label: kind, versions: []string{version},
		schema: sync.OnceValue(func() *schema {
			g := &goSchemas{nullable: nullable, seen: map[reflect.Type]*schema{}}
			return whole(g.of(reflect.TypeFor[T]()))
		}),
	}
	u.add = func(set *resource.Set, n *node, where resource.Locator) error {
		o := P(new(T))
		if err := decodeGo(n, o, "status"); err != nil {
			return err
		}
		put(in(set), u.label, o, where)
		return nil
	}
	return u
}

// gatewayKind is a kind of the Gateway API. Its versions have the same fields.
func gatewayKind[T any, P objectPointer[T]](kind, label string, in func(*resource.Set) *[]resource.Object[P]) *use {
	u := goKind(gatewayGroup, "v1", kind, false, in)
	u.label, u.versions = label, []string{"v1", "v1beta1"}
	return u
}

// whole completes the schema of an object: what every kind has, and a status, which a cluster writes and nothing here reads.
func whole(of *schema) *schema {
	g := &goSchemas{nullable: true, seen: map[reflect.Type]*schema{}}
	s := &schema{shape: object, members: maps.Clone(of.members), required: of.required}
	s.members["apiVersion"] = field{schema: &schema{shape: aString}}
	s.members["kind"] = field{schema: &schema{shape: aString}}
	s.members["metadata"] = field{schema: g.of(reflect.TypeFor[metav1.ObjectMeta]())}
	s.members["status"] = field{schema: &schema{shape: anything}}
	return s
}

func put[P metav1.Object](into *[]resource.Object[P], kind string, o P, where resource.Locator) {
	if o.GetNamespace() == "" {
		o.SetNamespace(DefaultNamespace)
	}
	*into = append(*into, resource.Object[P]{Kind: kind, Value: o, Where: where})
}

// find gives the used kind of this name, and whether the group and version are ones that it has.
func find(apiVersion, kind string) (u *use, fits bool) {
	group, version := splitVersion(apiVersion)
	for _, other := range used {
		switch {
		case other.kind != kind:
		case other.group == group:
			return other, slices.Contains(other.versions, version)
		case u == nil:
			u = other // of another group, which may be what was meant
		}
	}
	return u, false
}

// similar gives a used kind of the group whose name was probably meant.
func similar(group, kind string) *use {
	for _, u := range used {
		if u.group == group && diag.Nearest(kind, []string{u.kind}) != "" && diag.Distance(kind, u.kind) <= 2 {
			return u
		}
	}
	return nil
}

func splitVersion(apiVersion string) (group, version string) {
	if i := strings.LastIndexByte(apiVersion, '/'); i >= 0 {
		return apiVersion[:i], apiVersion[i+1:]
	}
	return "", apiVersion
}
