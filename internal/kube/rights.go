package kube

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/remora-proxy/remora/api/v1alpha1"
)

// Task is something that Remora does in a cluster and takes rights for.
type Task uint8

// The tasks.
const (
	Watching      Task = iota // the objects that the configuration is made from
	WritingStatus             // of AffinityPolicies
	ScalingIn                 // pods: their deletion costs, and the second deletion of those that are terminating
	HoldingLease              // in the namespace of the Lease alone: a Role there is enough
)

// Rules are the rights that tasks take, and no others: for a ClusterRole, or where namespaces are named, for a Role in each of them.
func Rules(tasks ...Task) []rbacv1.PolicyRule {
	var all []rbacv1.PolicyRule
	for _, task := range tasks {
		switch task {
		case Watching:
			all = append(all, watchingRules()...)
		case WritingStatus:
			all = append(all, statusRule)
		case ScalingIn:
			all = append(all, scaleInRule)
		case HoldingLease:
			all = append(all, leaseRule)
		}
	}
	return all
}

// statusRule is the right to apply the status. The subresource's right does not reach the rest of the object.
var statusRule = rbacv1.PolicyRule{APIGroups: []string{v1alpha1.Group}, Resources: []string{v1alpha1.Resource + "/status"}, Verbs: []string{"patch"}}

// The rights to scale in. A right to patch reaches all of a pod that can be changed, and that to delete every pod: RBAC has nothing finer.
var (
	scaleInRule = rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{podKind.resource}, Verbs: []string{"patch", "delete"}}
	leaseRule   = rbacv1.PolicyRule{APIGroups: []string{coordinationv1.GroupName}, Resources: []string{"leases"}, Verbs: []string{"get", "create", "update"}}
)

// watchingRules has a rule for each group of kinds, in the order of the kinds.
func watchingRules() []rbacv1.PolicyRule {
	var all []rbacv1.PolicyRule
	for _, k := range kinds {
		i := slices.IndexFunc(all, func(r rbacv1.PolicyRule) bool { return r.APIGroups[0] == k.group })
		if i < 0 {
			all = append(all, k.watchingRule())
		} else {
			all[i].Resources = append(all[i].Resources, k.resource)
		}
	}
	return all
}

// watchingRule is the right to watch one kind.
func (k *kind) watchingRule() rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{k.group}, Resources: []string{k.resource}, Verbs: []string{"list", "watch"}}
}

// explain says what to do about an error of the API server. rule is the right that what was asked for takes; an empty namespace means
// all of them.
func explain(err error, rule rbacv1.PolicyRule, namespace string) error {
	where, role := "", "ClusterRole"
	if namespace != "" {
		where, role = " in namespace "+namespace, "Role"
	}
	switch {
	case err == nil:
		return nil
	case apierrors.IsForbidden(err):
		return fmt.Errorf("not allowed to %s %s%s; add to its %s the rule {apiGroups: [%q], resources: [%q], verbs: [%s]}: %w",
			strings.Join(rule.Verbs, " and "), rule.Resources[0], where, role, rule.APIGroups[0], rule.Resources[0], strings.Join(rule.Verbs, ", "), err)
	case apierrors.IsUnauthorized(err):
		return fmt.Errorf("the API server does not accept the credentials; renew those of the kubeconfig: %w", err)
	case !answered(err):
		return fmt.Errorf("the API server does not answer; see that it runs, and that the kubeconfig and its context are those of the cluster that is meant: %w", err)
	default:
		return err
	}
}

// answered reports whether an error is the API server's own, and not one of the way to it.
func answered(err error) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status)
}
