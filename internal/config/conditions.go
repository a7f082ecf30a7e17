package config

import (
	"fmt"
	"strings"
	"unicode/utf8"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/remora-proxy/remora/api/v1alpha1"
	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/diag"
	"github.com/remora-proxy/remora/internal/istio"
	"github.com/remora-proxy/remora/internal/resource"
)

// Bounds of a condition's message.
const (
	maxMessageFindings = 8
	maxMessage         = 4096 // bytes
)

// Outcome is what has become of a cluster's objects.
type Outcome struct {
	Set    *resource.Set // the objects as they were read
	Errors diag.List     // about them, all that there are

	InForce *resource.Set    // what the configuration in force was made from; nil: there is none
	Config  *affinity.Config // that configuration

	policies map[string]resource.Object[*v1alpha1.AffinityPolicy] // of Set, by name
	inForce  map[types.UID]*v1alpha1.AffinityPolicy
	findings map[string]diag.List // Errors by object; under "": about none
	hosts    map[string]bool      // that requests are routed to
}

// index prepares an Outcome for questions.
func (o *Outcome) index() {
	o.policies = make(map[string]resource.Object[*v1alpha1.AffinityPolicy], len(o.Set.AffinityPolicies))
	for _, p := range o.Set.AffinityPolicies {
		o.policies[p.Name()] = p
	}
	o.inForce = map[types.UID]*v1alpha1.AffinityPolicy{}
	if o.InForce != nil {
		for _, p := range o.InForce.AffinityPolicies {
			o.inForce[p.Value.UID] = p.Value
		}
	}
	o.findings = map[string]diag.List{}
	for _, d := range o.Errors {
		o.findings[d.Object] = append(o.findings[d.Object], d)
	}
	o.hosts = map[string]bool{}
	if o.Config != nil {
		for i := range o.Config.Services {
			o.hosts[o.Config.Services[i].Host] = true
		}
	}
}

// Conditions are what is to be said of an AffinityPolicy (api/v1alpha1 has their meaning), and the generation that they are about: that
// of the object in the set, or where it could not be read the given one. They say the same wherever the same is true.
func (o *Outcome) Conditions(namespace, name string, uid types.UID, generation int64) ([]metav1.Condition, int64) {
	if o.policies == nil {
		o.index()
	}
	object := v1alpha1.Kind + " " + namespace + "/" + name
	policy, read := o.policies[object]
	if read = read && policy.Value.UID == uid; read {
		generation = policy.Value.Generation
	}
	errors := o.findings[object]
	return []metav1.Condition{
		accepted(errors),
		o.resolved(policy, read),
		o.programmed(policy, read, uid, generation, errors),
	}, generation
}

func condition(name, reason, message string) metav1.Condition {
	c := metav1.Condition{Type: name, Status: metav1.ConditionFalse, Reason: reason, Message: message}
	if reason == name {
		c.Status = metav1.ConditionTrue
	}
	return c
}

func accepted(errors diag.List) metav1.Condition {
	if len(errors) == 0 {
		return condition(v1alpha1.Accepted, v1alpha1.Accepted, "the policy is valid")
	}
	reason := v1alpha1.Conflicted
	for _, d := range errors {
		if !d.Conflict {
			reason = v1alpha1.Invalid
		}
	}
	return condition(v1alpha1.Accepted, reason, message(errors))
}

func (o *Outcome) resolved(policy resource.Object[*v1alpha1.AffinityPolicy], read bool) metav1.Condition {
	if !read {
		c := condition(v1alpha1.ResolvedRefs, v1alpha1.Invalid, "the policy cannot be read: see the condition Accepted")
		c.Status = metav1.ConditionUnknown
		return c
	}
	if missing := istio.Unresolved(o.Set, policy); len(missing) > 0 {
		return condition(v1alpha1.ResolvedRefs, v1alpha1.TargetNotFound, message(missing))
	}
	return condition(v1alpha1.ResolvedRefs, v1alpha1.ResolvedRefs, "all targets are there")
}

// programmed says whether requests are decided by the policy in this generation.
func (o *Outcome) programmed(policy resource.Object[*v1alpha1.AffinityPolicy], read bool, uid types.UID, generation int64, errors diag.List) metav1.Condition {
	is := func(reason, message string) metav1.Condition { return condition(v1alpha1.Programmed, reason, message) }
	used := o.inForce[uid]
	switch {
	case used == nil && len(errors) > 0:
		return is(v1alpha1.Invalid, "no version of the policy is in force: see the condition Accepted")
	case used != nil && used.Generation != generation && len(errors) > 0:
		return is(v1alpha1.EarlierVersion, fmt.Sprintf("generation %d of the policy is in force: see the condition Accepted", used.Generation))
	case used == nil || used.Generation != generation:
		return is(v1alpha1.ConfigurationRefused, cut("the configuration is as it was before: "+message(o.findings[""])))
	case !read:
		return is(v1alpha1.Programmed, "requests are decided by it")
	}
	missing, unrouted := istio.Unresolved(o.Set, policy), istio.Unrouted(o.Set, policy, func(host string) bool { return o.hosts[host] })
	switch n := len(used.Spec.TargetRefs); {
	case len(missing) == n:
		return is(v1alpha1.TargetNotFound, "none of its targets is there: see the condition ResolvedRefs")
	case len(missing)+len(unrouted) == n:
		return is(v1alpha1.NoRoute, message(unrouted))
	case len(unrouted) > 0:
		return is(v1alpha1.Programmed, cut("requests are decided by it; "+message(unrouted)))
	}
	return is(v1alpha1.Programmed, "requests are decided by it")
}

// message tells findings to those who look at their object.
func message(l diag.List) string {
	var lines []string
	for i, d := range l {
		if i == maxMessageFindings {
			lines = append(lines, fmt.Sprintf("and %d more", len(l)-i))
			break
		}
		d.Pos, d.Object, d.Severity = diag.Position{}, "", diag.Error
		lines = append(lines, d.String())
	}
	return cut(strings.Join(lines, "\n"))
}

// cut bounds a message.
func cut(text string) string {
	if len(text) <= maxMessage {
		return text
	}
	n := maxMessage - len("…")
	for !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n] + "…"
}
