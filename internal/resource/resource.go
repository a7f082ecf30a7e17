// Package resource is the set of configuration objects as their users wrote them, decoded, each with the place where its
// fields stand. Files (package config) and a cluster's watches fill a Set; packages istio and gatewayapi compile it. The
// package decodes nothing and judges nothing.
package resource

import (
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/remora-proxy/remora/api/v1alpha1"
	"github.com/remora-proxy/remora/internal/diag"
)

// GatewayAPIGateway is the Kind of an Object that is a Gateway of the Gateway API, as kubectl writes it where kinds of several
// groups have one name: "Gateway" is Istio's.
const GatewayAPIGateway = "Gateway.gateway.networking.k8s.io"

// Locator finds the place of a field in the source that an object came from. The path is as in diag.Diagnostic.Field; the
// nearest enclosing field that is known answers for one that is not there.
type Locator interface {
	Locate(field string) diag.Position
}

// Object is one decoded object and where it came from.
type Object[T metav1.Object] struct {
	Kind  string
	Value T
	Where Locator
}

// Name is "Kind namespace/name".
func (o Object[T]) Name() string {
	return o.Kind + " " + o.Value.GetNamespace() + "/" + o.Value.GetName()
}

// At makes a diagnostic about a field of the object.
func (o Object[T]) At(s diag.Severity, field, what, remedy string) diag.Diagnostic {
	return diag.Diagnostic{Severity: s, Pos: o.Where.Locate(field), Object: o.Name(), Field: field, What: what, Remedy: remedy}
}

// Set is all objects of one configuration. Every object has a namespace ("default" where the source gave none).
// The order within a kind is the order of the sources: files by name, then documents from the top.
type Set struct {
	Gateways         []Object[*networkingv1.Gateway]
	VirtualServices  []Object[*networkingv1.VirtualService]
	DestinationRules []Object[*networkingv1.DestinationRule]
	ServiceEntries   []Object[*networkingv1.ServiceEntry]
	Services         []Object[*corev1.Service]
	EndpointSlices   []Object[*discoveryv1.EndpointSlice]
	AffinityPolicies []Object[*v1alpha1.AffinityPolicy]

	// The Gateway API's.
	APIGateways     []Object[*gatewayv1.Gateway]
	HTTPRoutes      []Object[*gatewayv1.HTTPRoute]
	ReferenceGrants []Object[*gatewayv1.ReferenceGrant]

	// PodLabels gives the labels of a pod; known is false for a pod that is not there (yet, or any more). Without it, nothing is
	// known of pods: files have none. It may be called for as long as the set is used.
	PodLabels func(uid types.UID) (labels map[string]string, known bool)
}

// Append adds the objects of another set, which knows no pods.
func (s *Set) Append(other *Set) {
	s.Gateways = append(s.Gateways, other.Gateways...)
	s.VirtualServices = append(s.VirtualServices, other.VirtualServices...)
	s.DestinationRules = append(s.DestinationRules, other.DestinationRules...)
	s.ServiceEntries = append(s.ServiceEntries, other.ServiceEntries...)
	s.Services = append(s.Services, other.Services...)
	s.EndpointSlices = append(s.EndpointSlices, other.EndpointSlices...)
	s.AffinityPolicies = append(s.AffinityPolicies, other.AffinityPolicies...)
	s.APIGateways = append(s.APIGateways, other.APIGateways...)
	s.HTTPRoutes = append(s.HTTPRoutes, other.HTTPRoutes...)
	s.ReferenceGrants = append(s.ReferenceGrants, other.ReferenceGrants...)
}

// Len is the number of objects.
func (s *Set) Len() int {
	return len(s.Gateways) + len(s.VirtualServices) + len(s.DestinationRules) + len(s.ServiceEntries) + len(s.Services) +
		len(s.EndpointSlices) + len(s.AffinityPolicies) + len(s.APIGateways) + len(s.HTTPRoutes) + len(s.ReferenceGrants)
}

// InCluster is the Locator of an object from a cluster: it has no lines, so its name, "Kind namespace/name", stands for all
// of its fields.
type InCluster string

// Locate implements Locator.
func (name InCluster) Locate(string) diag.Position { return diag.Position{File: string(name)} }
