package v1alpha1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// AffinityPolicyStatus is what Remora says of a policy.
type AffinityPolicyStatus struct {
	// Conditions are Accepted (the policy is valid), ResolvedRefs (all of its targets are there) and Programmed (requests are
	// decided by it as it is), each with the generation of the policy that it is about.
	//
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=8
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// The types of the conditions. Each is True with a reason of the same name.
const (
	Accepted     = "Accepted"     // the policy is valid
	ResolvedRefs = "ResolvedRefs" // all of its targets are there
	Programmed   = "Programmed"   // requests are decided by it as it is
)

// The reasons why a condition is not True.
const (
	// Invalid is an error in the policy. The policy is not accepted; if it has never been valid it is not programmed; and if not
	// even its targets can be read, it is unknown whether they are there.
	Invalid = "Invalid"
	// Conflicted is a field that an older policy sets for the same target: the policy is not accepted.
	Conflicted = "Conflicted"
	// TargetNotFound is a target that is not there. A policy with no other targets is not programmed.
	TargetNotFound = "TargetNotFound"
	// NoRoute says that no route leads to any of the policy's Services: it is not programmed.
	NoRoute = "NoRoute"
	// EarlierVersion says that the policy's last valid version is in force: it is not programmed as it is.
	EarlierVersion = "EarlierVersion"
	// ConfigurationRefused says that nothing at all could be made of the cluster's objects, so the configuration is as it was before:
	// the policy is not programmed.
	ConfigurationRefused = "ConfigurationRefused"
)
