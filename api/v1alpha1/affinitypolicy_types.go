// Package v1alpha1 is the remora.dev/v1alpha1 API: the one kind that Remora adds to the users' own Istio and Gateway API
// objects. It holds types only.
package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Group, Version and Kind of the API.
const (
	Group   = "remora.dev"
	Version = "v1alpha1"
	Kind    = "AffinityPolicy"
)

// AffinityPolicy says how sessions are kept for the routes of a Gateway, or for single Services: which body fields act as
// request headers, when a session ends, and what a request without a key gets.
type AffinityPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec AffinityPolicySpec `json:"spec"`
}

// AffinityPolicySpec is what its author wants. A policy on a Service wins, field by field, over one on the Gateway.
type AffinityPolicySpec struct {
	// TargetRefs are the objects that the policy applies to, in its own namespace: Gateways (group networking.istio.io or
	// gateway.networking.k8s.io) or Services (group "" or, for a ServiceEntry, networking.istio.io). 1 to 16.
	TargetRefs []TargetRef `json:"targetRefs"`

	// Promote lists body fields that act as request headers. Only on Gateways, for it decides the route. 0 to 8.
	Promote []Promotion `json:"promote,omitempty"`

	// IdleTimeout is how long a session lives after its last request ended: 1s to 720h. Default 60s.
	IdleTimeout *metav1.Duration `json:"idleTimeout,omitempty"`

	// MaxBody bounds the part of a request body that is held for reading fields: 1Ki to 1Mi. Default 64Ki. Only on
	// Gateways. A larger body is not read: the headers decide if they are there, else the request gets 413.
	MaxBody *resource.Quantity `json:"maxBody,omitempty"`

	// WithoutKey says what a request gets that does not carry the session's key: Balance (the default; any replica, no
	// session) or Reject (400).
	WithoutKey WithoutKey `json:"withoutKey,omitempty"`

	// LoadBoundPercent is 100·c of bounded-load placement: no replica takes a new session while that would give it more
	// than c times its fair share of the live sessions. 101 to 1000. Default 125.
	LoadBoundPercent *int32 `json:"loadBoundPercent,omitempty"`

	// DrainDeadline is how long a draining replica keeps its sessions: 0s to 24h. Default 10m. When it has passed they move.
	DrainDeadline *metav1.Duration `json:"drainDeadline,omitempty"`

	// SessionHeader names the request header that tells the backend new, existing or moved. Default x-remora-session.
	SessionHeader string `json:"sessionHeader,omitempty"`

	// Key says where the session's key is, for services whose DestinationRule does not say it (consistentHash).
	Key *Key `json:"key,omitempty"`
}

// TargetRef names an object in the policy's namespace.
type TargetRef struct {
	Group string `json:"group,omitempty"`
	Kind  string `json:"kind"`
	Name  string `json:"name"`
}

// Promotion makes the top-level string member Field of a JSON body act as the request header Header. The body wins.
type Promotion struct {
	Field  string `json:"field"`
	Header string `json:"header"`
}

// WithoutKey is what a request without a key gets.
type WithoutKey string

// The values of WithoutKey.
const (
	Balance WithoutKey = "Balance"
	Reject  WithoutKey = "Reject"
)

// Key is where a session's key is. Exactly one is set.
type Key struct {
	Header         string `json:"header,omitempty"`
	Cookie         string `json:"cookie,omitempty"`
	QueryParameter string `json:"queryParameter,omitempty"`
	SourceIP       bool   `json:"sourceIP,omitempty"`
}
