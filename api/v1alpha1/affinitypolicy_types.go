// Package v1alpha1 is the remora.dev/v1alpha1 API: the one kind that Remora adds to the users' own Istio and Gateway API
// objects. It holds types only. The CustomResourceDefinition in deploy/crd and the DeepCopy methods are made from them by
// `make generate`. What its markers say is checked by the API server; internal/istio checks the same for files, and what
// takes more than one object.
//
// +groupName=remora.dev
// +kubebuilder:object:generate=true
package v1alpha1

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Group, Version and Kind of the API, and the name of the kind in its paths.
const (
	Group    = "remora.dev"
	Version  = "v1alpha1"
	Kind     = "AffinityPolicy"
	Resource = "affinitypolicies"
)

// AffinityPolicy says how sessions are kept for the routes of a Gateway, or for single Services: which body fields act as
// request headers, when a session ends, and what a request without a key gets.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:categories=remora
// +kubebuilder:printcolumn:name="Target",type=string,JSONPath=`.spec.targetRefs[*].name`,description="The first of the objects that the policy applies to."
// +kubebuilder:printcolumn:name="Idle",type=string,JSONPath=`.spec.idleTimeout`,description="How long a session lives after its last request; empty for the default of 60s."
// +kubebuilder:printcolumn:name="Accepted",type=string,JSONPath=`.status.conditions[?(@.type=="Accepted")].status`,description="Whether the policy is valid."
// +kubebuilder:printcolumn:name="Programmed",type=string,JSONPath=`.status.conditions[?(@.type=="Programmed")].status`,description="Whether requests are decided by it as it is."
// +kubebuilder:printcolumn:name="Reason",type=string,priority=1,JSONPath=`.status.conditions[?(@.status!="True")].reason`,description="Why it is not accepted, resolved or programmed."
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type AffinityPolicy struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   AffinityPolicySpec   `json:"spec"`
	Status AffinityPolicyStatus `json:"status,omitempty,omitzero"`
}

// AffinityPolicySpec is what its author wants. A policy on a Service wins, field by field, over one on the Gateway, so there
// are no defaults in the object itself.
//
// +kubebuilder:validation:XValidation:rule="!has(self.promote) || self.targetRefs.all(t, t.kind == 'Gateway')",message="promote is for Gateways only, since the body is read before the service is known; put it into a policy whose targets are all Gateways",fieldPath=".promote"
// +kubebuilder:validation:XValidation:rule="!has(self.maxBody) || self.targetRefs.all(t, t.kind == 'Gateway')",message="maxBody is for Gateways only, since the body is read before the service is known; put it into a policy whose targets are all Gateways",fieldPath=".maxBody"
type AffinityPolicySpec struct {
	// TargetRefs are the objects that the policy applies to, in its own namespace: Gateways (group networking.istio.io or
	// gateway.networking.k8s.io) or Services (group "" or, for a ServiceEntry, networking.istio.io). 1 to 16.
	//
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +listType=atomic
	TargetRefs []TargetRef `json:"targetRefs"`

	// Promote lists body fields that act as request headers. Only on Gateways, for it decides the route. 0 to 8.
	//
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:XValidation:rule="self.all(p, self.exists_one(q, q.field.lowerAscii() == p.field.lowerAscii()))",message="a field is promoted twice (upper and lower case count as the same); promote each once"
	// +kubebuilder:validation:XValidation:rule="self.all(p, self.exists_one(q, q.header.lowerAscii() == p.header.lowerAscii()))",message="two fields are promoted to one header; give each a header of its own"
	// +listType=atomic
	Promote []Promotion `json:"promote,omitempty"`

	// IdleTimeout is how long a session lives after its last request ended: 1s to 720h. Default 60s.
	//
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern="^([0-9]+([.][0-9]+)?(ns|us|ms|s|m|h))+$"
	// +kubebuilder:validation:XValidation:rule="duration(self) >= duration('1s') && duration(self) <= duration('720h')",message="the value is not in 1s to 720h"
	IdleTimeout *metav1.Duration `json:"idleTimeout,omitempty"`

	// MaxBody bounds the part of a request body that is held for reading fields: 1Ki to 1Mi. Default 64Ki. Only on
	// Gateways. A larger body is not read: the headers decide if they are there, else the request gets 413.
	//
	// +kubebuilder:validation:XValidation:rule="quantity(string(self)).compareTo(quantity('1Ki')) >= 0 && quantity(string(self)).compareTo(quantity('1Mi')) <= 0",message="the value is not in 1Ki to 1Mi"
	MaxBody *resource.Quantity `json:"maxBody,omitempty"`

	// WithoutKey says what a request gets that does not carry the session's key: Balance (the default; any replica, no
	// session) or Reject (400).
	WithoutKey WithoutKey `json:"withoutKey,omitempty"`

	// LoadBoundPercent is 100·c of bounded-load placement: no replica takes a new session while that would give it more
	// than c times its fair share of the live sessions. 101 to 1000. Default 125.
	//
	// +kubebuilder:validation:Minimum=101
	// +kubebuilder:validation:Maximum=1000
	LoadBoundPercent *int32 `json:"loadBoundPercent,omitempty"`

	// DrainDeadline is how long a draining replica keeps its sessions: 0s to 24h. Default 10m. When it has passed they move.
	//
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=32
	// +kubebuilder:validation:Pattern="^([0-9]+([.][0-9]+)?(ns|us|ms|s|m|h))+$"
	// +kubebuilder:validation:XValidation:rule="duration(self) <= duration('24h')",message="the value is not in 0s to 24h"
	DrainDeadline *metav1.Duration `json:"drainDeadline,omitempty"`

	// SessionHeader names the request header that tells the backend new, existing or moved. Default x-remora-session.
	//
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern="^[-A-Za-z0-9!#$%&'*+.^_|~\x60]+$"
	// +kubebuilder:validation:XValidation:rule="!(self.lowerAscii() in ['connection', 'content-length', 'expect', 'host', 'keep-alive', 'proxy-authenticate', 'proxy-authorization', 'proxy-connection', 'te', 'trailer', 'transfer-encoding', 'upgrade'])",message="the header belongs to the message or the connection; use a name of your own"
	SessionHeader string `json:"sessionHeader,omitempty"`

	// Key says where the session's key is, for services whose DestinationRule does not say it (consistentHash).
	Key *Key `json:"key,omitempty"`
}

// TargetRef names an object in the policy's namespace.
//
// +kubebuilder:validation:XValidation:rule="self.kind == 'Service' ? !has(self.group) || size(self.group) == 0 : has(self.group) && (self.group == 'networking.istio.io' && self.kind in ['Gateway', 'ServiceEntry'] || self.group == 'gateway.networking.k8s.io' && self.kind == 'Gateway')",message="targets are Gateway and ServiceEntry (group networking.istio.io), Gateway (group gateway.networking.k8s.io) and Service (no group)"
type TargetRef struct {
	// Group is networking.istio.io, gateway.networking.k8s.io, or for a Service empty.
	//
	// +kubebuilder:validation:MaxLength=253
	Group string `json:"group,omitempty"`
	// Kind is Gateway, Service or ServiceEntry.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=63
	Kind string `json:"kind"`
	// Name is the object's name.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
}

// Promotion makes the top-level string member Field of a JSON body act as the request header Header. The body wins.
type Promotion struct {
	// Field is the name of a member of the body's top-level object: 1 to 256 bytes.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	Field string `json:"field"`
	// Header is the name of the request header, not of one that describes the message or the connection.
	//
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern="^[-A-Za-z0-9!#$%&'*+.^_|~\x60]+$"
	// +kubebuilder:validation:XValidation:rule="!(self.lowerAscii() in ['connection', 'content-length', 'expect', 'host', 'keep-alive', 'proxy-authenticate', 'proxy-authorization', 'proxy-connection', 'te', 'trailer', 'transfer-encoding', 'upgrade'])",message="the header belongs to the message or the connection; use a name of your own"
	Header string `json:"header"`
}

// WithoutKey is what a request without a key gets.
//
// +kubebuilder:validation:Enum=Balance;Reject
type WithoutKey string

// The values of WithoutKey.
const (
	Balance WithoutKey = "Balance"
	Reject  WithoutKey = "Reject"
)

// Key is where a session's key is. Exactly one is set.
//
// +kubebuilder:validation:XValidation:rule="[has(self.header), has(self.cookie), has(self.queryParameter), has(self.sourceIP) && self.sourceIP].exists_one(said, said)",message="write exactly one of header, cookie, queryParameter and sourceIP: true"
type Key struct {
	// Header is the name of a request header.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern="^[-A-Za-z0-9!#$%&'*+.^_|~\x60]+$"
	Header string `json:"header,omitempty"`
	// Cookie is the name of a cookie.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	// +kubebuilder:validation:Pattern="^[-A-Za-z0-9!#$%&'*+.^_|~\x60]+$"
	Cookie string `json:"cookie,omitempty"`
	// QueryParameter is the name of a parameter of the URL's query.
	//
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=256
	QueryParameter string `json:"queryParameter,omitempty"`
	// SourceIP takes the client's address.
	SourceIP bool `json:"sourceIP,omitempty"`
}
