package affinity

import (
	"time"

	"github.com/remora-proxy/remora/internal/route"
)

// Defaults of a service that no policy says anything about.
const (
	DefaultIdleTimeout   = 60 * time.Second
	DefaultMaxBody       = 64 << 10
	DefaultDrainDeadline = 10 * time.Minute
	DefaultSessionHeader = "x-remora-session"
)

// Config is what a Snapshot is compiled from: the whole of the configuration in the engine's own terms. The packages that
// read the users' objects make it.
type Config struct {
	Routes route.Config
	// Listeners says what applies to requests that come in through a port, before a route is known.
	Listeners []Listener
	// Services are what route.Destination.Service indexes.
	Services []ServiceConfig
}

// Listener is the promotion of one port.
type Listener struct {
	Port    uint16
	Promote []Promotion // at most fields.MaxFields
	MaxBody int         // bytes; 0: DefaultMaxBody
	Policy  string      // "AffinityPolicy ns/name", for explain
}

// Promotion makes the body's member Field act as the request header Header (in lower case).
type Promotion struct{ Field, Header string }

// ServiceConfig is one destination: a service's port, or a subset of it. Its Name is unique, the same on every gateway,
// and part of the identity of its sessions.
type ServiceConfig struct {
	Name          string // "backend-1.default.svc.cluster.local:8080", with a subset ".../v1" appended: "reviews.default.svc.cluster.local:9080/v1"
	Host          string // full host name
	Port          uint16
	Subset        string
	Source        string // file:line of what made it, for explain
	Key           Key
	WithoutKey    WithoutKey
	LoadBalancer  LoadBalancer // for requests without a session
	IdleTimeout   time.Duration
	LoadBound     float64 // c; 0: placement.DefaultBound
	DrainDeadline time.Duration
	SessionHeader string
	Endpoints     []EndpointConfig
	HTTP2         bool   // its endpoints speak HTTP/2 from the first byte, where the front door can
	Missing       string // why the service cannot be used (unknown host, unknown subset); such a service answers 503
}

// EndpointConfig is one replica. (Addr, Incarnation) is unique in its service.
type EndpointConfig struct {
	Addr        string // ip:port
	Incarnation string // tells a replica from its successor on the same address; may be empty
	Name        string // the pod's name where it is known, for people
	Weight      uint32 // 0 counts as 1
	State       EndpointState
}

// EndpointState is what the source of endpoints says of one.
type EndpointState uint8

// The endpoint states, the best first. Warming and Unhealthy are never configured: an endpoint is warming when it is new (see
// Options.EndpointDelay), and becomes unhealthy when it refuses connections.
const (
	Ready     EndpointState = iota
	Warming                 // ready, and known for too short a time: gets no new session while another is ready
	Draining                // serves its sessions, gets no new one
	Unhealthy               // ejected for a while: gets no new session while another is ready; its own are tried
	Gone                    // not there any more
)

func (s EndpointState) String() string {
	return [...]string{"ready", "warming", "draining", "unhealthy", "gone"}[s]
}

// KeyKind says where the key of a service's sessions is.
type KeyKind uint8

// The kinds of key.
const (
	NoKey KeyKind = iota // requests to the service have no session
	HeaderKey
	CookieKey
	QueryKey
	SourceIPKey
)

// Key is where the key of a service's sessions is.
type Key struct {
	Kind   KeyKind
	Name   string        // header (lower case), cookie, or query parameter
	TTL    time.Duration // CookieKey: Max-Age of the cookie that is set when the client has none; 0: a session cookie
	SetTTL bool          // CookieKey: whether a cookie is set at all (DestinationRule's ttl is there)
	Path   string        // CookieKey: its Path
	Source string        // file:line, for explain
}

// WithoutKey is what a request without a key gets.
type WithoutKey uint8

// The values of WithoutKey.
const (
	Balance WithoutKey = iota
	Reject
)

// LoadBalancer spreads requests that have no session.
type LoadBalancer uint8

// The load balancers, as in DestinationRule's simple.
const (
	LeastRequest LoadBalancer = iota
	RoundRobin
	Random
)
