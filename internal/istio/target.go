package istio

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/remora-proxy/remora/api/v1alpha1"
	"github.com/remora-proxy/remora/internal/diag"
	"github.com/remora-proxy/remora/internal/resource"
)

// The groups of the objects that a policy may target.
const (
	groupIstio      = "networking.istio.io"
	groupGatewayAPI = "gateway.networking.k8s.io"
)

// resolve finds the target of a policy in a namespace: its name as settings are filed, whether it is in the set, and whether its kind is
// known as one that can be a target.
func resolve(set *resource.Set, namespace string, ref v1alpha1.TargetRef) (name string, there, known bool) {
	kind := ref.Kind
	switch known = true; ref.Group + "/" + ref.Kind {
	case groupIstio + "/Gateway":
		there = contains(set.Gateways, namespace, ref.Name)
	case groupGatewayAPI + "/Gateway":
		kind, there = resource.GatewayAPIGateway, contains(set.APIGateways, namespace, ref.Name)
	case "/Service":
		there = contains(set.Services, namespace, ref.Name)
	case groupIstio + "/ServiceEntry":
		there = contains(set.ServiceEntries, namespace, ref.Name)
	default:
		known = false
	}
	return kind + " " + namespace + "/" + ref.Name, there, known
}

func contains[T metav1.Object](list []resource.Object[T], namespace, name string) bool {
	return slices.ContainsFunc(list, func(o resource.Object[T]) bool {
		return o.Value.GetNamespace() == namespace && o.Value.GetName() == name
	})
}

func unresolved(o policyObject, field, target string) diag.Diagnostic {
	return o.At(diag.Warning, field, "there is no "+target+": the policy has no effect on it", "targets are in the policy's own namespace")
}

// Unresolved are the findings about targets of a policy that are not in the set, as Compile has them.
func Unresolved(set *resource.Set, o resource.Object[*v1alpha1.AffinityPolicy]) diag.List {
	var found diag.List
	for i, ref := range o.Value.Spec.TargetRefs {
		if name, there, known := resolve(set, o.Value.Namespace, ref); known && !there {
			found.Add(unresolved(o, targetField(i), name))
		}
	}
	return found
}

// Unrouted are findings about targets of a policy that are in the set, and that no route leads to. routed says of a service's host, as the
// compiled configuration has it, whether one does.
func Unrouted(set *resource.Set, o resource.Object[*v1alpha1.AffinityPolicy], routed func(host string) bool) diag.List {
	var found diag.List
	for i, ref := range o.Value.Spec.TargetRefs {
		name, there, _ := resolve(set, o.Value.Namespace, ref)
		if there && ref.Kind != "Gateway" && !slices.ContainsFunc(hostsOf(set, o.Value.Namespace, ref), routed) {
			found.Add(o.At(diag.Warning, targetField(i), "no route leads to "+name, "let a route of a Gateway lead to it"))
		}
	}
	return found
}

func targetField(i int) string { return fmt.Sprintf("spec.targetRefs[%d]", i) }

// hostsOf are the hosts of a Service or ServiceEntry.
func hostsOf(set *resource.Set, namespace string, ref v1alpha1.TargetRef) []string {
	if ref.Kind == "Service" {
		return []string{ref.Name + "." + namespace + "." + clusterDomain}
	}
	var hosts []string
	for _, o := range set.ServiceEntries {
		if o.Value.Namespace == namespace && o.Value.Name == ref.Name {
			for _, host := range o.Value.Spec.Hosts {
				hosts = append(hosts, strings.ToLower(host))
			}
		}
	}
	return hosts
}
