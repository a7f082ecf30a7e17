package admin

import (
	"time"

	"github.com/remora-proxy/remora/internal/affinity"
)

// The paths of the API. Reads are GET, except where the question carries a user's name or a whole request: these are POST,
// so that names stay out of URLs, and change nothing.
const (
	PathStatus      = "/api/v1/status"
	PathEndpoints   = "/api/v1/endpoints"       // GET ?service=
	PathLive        = "/api/v1/endpoints/live"  // GET; for monitoring too
	PathDrain       = "/api/v1/endpoints/drain" // POST DrainRequest
	PathDrainWait   = "/api/v1/endpoints/wait"  // GET ?endpoint=&timeout=
	PathSessionGet  = "/api/v1/sessions/get"    // POST SessionRequest
	PathSessionMove = "/api/v1/sessions/move"   // POST MoveRequest
	PathExplain     = "/api/v1/explain"         // POST ExplainRequest
)

// Status is the state of the program as a whole.
type Status struct {
	Version   string         `json:"version"`
	Now       time.Time      `json:"now"` // by the program's own clock
	StartedAt time.Time      `json:"startedAt"`
	Ready     bool           `json:"ready"`
	NotReady  string         `json:"notReady,omitempty"` // why it is not
	Degraded  string         `json:"degraded,omitempty"` // what it goes without while it is ready
	Listeners []Listener     `json:"listeners"`
	Config    ConfigStatus   `json:"config"`
	Cluster   *ClusterStatus `json:"cluster,omitempty"` // where the configuration comes from, when it is one
	Sessions  SessionsStatus `json:"sessions"`
	Store     *StoreStatus   `json:"store,omitempty"`   // with --store
	Drains    []Drain        `json:"drains"`            // endpoints that are draining
	ScaleIn   *ScaleInStatus `json:"scaleIn,omitempty"` // with --scale-in
}

// StoreStatus is the store that several gateways share their sessions in.
type StoreStatus struct {
	URL     string    `json:"url"` // without a password
	Prefix  string    `json:"prefix"`
	Answers bool      `json:"answers"`         // false: this gateway decides alone
	Since   time.Time `json:"since,omitzero"`  // when it ceased to answer; zero while it does
	Error   string    `json:"error,omitempty"` // why it does not answer, or is not used
	Full    bool      `json:"full,omitempty"`  // it has refused new sessions within the last seconds, for its memory is used up
	// LastAnswer is when a call last succeeded; zero: none has.
	LastAnswer time.Time `json:"lastAnswer,omitzero"`
	Telling    bool      `json:"telling,omitempty"` // it is being told all live sessions of this gateway, since it was away or may have lost some
	// Sessions is the live sessions of all gateways, as of the last count; nil: this gateway has heard of none yet, or of none for several
	// times as long as a count takes, or the store does not answer.
	Sessions  *int `json:"liveSessions,omitempty"`
	Pending   int  `json:"pendingRenewals"` // that wait to be sent
	Undecided int  `json:"decidedAlone"`    // sessions that began or moved while it did not answer, and of which it has not heard yet
}

// Name tells stores apart: gateways of one share all sessions.
func (s *StoreStatus) Name() string {
	if s == nil {
		return ""
	}
	return s.URL + " " + s.Prefix
}

// Drain is an endpoint that keeps its sessions and gets no new ones.
type Drain struct {
	Service  string    `json:"service"`
	Address  string    `json:"address"`
	Name     string    `json:"name,omitempty"` // the pod's, where it is known
	Live     int       `json:"liveSessions"`   // may lag by a few seconds
	InFlight int       `json:"requestsInFlight"`
	Deadline time.Time `json:"deadline"` // when the sessions that are left move
}

// ScaleInStatus is about the gateways that write the pods' deletion costs, of which one does at a time.
type ScaleInStatus struct {
	Lease    string `json:"lease"`            // namespace/name
	Identity string `json:"identity"`         // this gateway's
	Holder   string `json:"holder,omitempty"` // the identity of the one that writes; empty: none is known
	Leading  bool   `json:"leading"`          // it is this one
	Error    string `json:"error,omitempty"`  // why pods are not written
	Costs    uint64 `json:"costsWritten"`     // by this gateway since its start
	Releases uint64 `json:"podsReleased"`     // the same
	Foreign  int    `json:"costsOfOthers"`    // pods whose cost somebody else has set, which stays as it is
}

// Listener is an address that is listened on besides that of the API itself.
type Listener struct {
	Door    string `json:"door"`          // gateway, extproc: for Envoy, or metrics: for monitoring
	Port    uint16 `json:"port,omitzero"` // of the Gateway's server; for Envoy, where it does not say; for monitoring, none
	Address string `json:"address"`       // ip:port or unix:/path
}

// ConfigStatus is the configuration in use and what became of the last attempt to load another one.
type ConfigStatus struct {
	Sources    []string  `json:"sources"`
	Generation int       `json:"generation"` // counts the configurations applied since the start, from 1
	AppliedAt  time.Time `json:"appliedAt"`
	Routes     int       `json:"routes"`
	Services   int       `json:"services"`
	Endpoints  int       `json:"endpoints"`
	// RefusedObjects are objects of the cluster that are not used as they are; lastLoad says why.
	RefusedObjects int        `json:"refusedObjects,omitempty"`
	LastLoad       LoadStatus `json:"lastLoad"`
}

// ClusterStatus says how well the cluster is watched. What is known of it stays in use while it is not.
type ClusterStatus struct {
	Server     string    `json:"server"`
	Namespaces []string  `json:"namespaces,omitempty"` // none: all
	Watching   bool      `json:"watching"`
	Error      string    `json:"error,omitempty"` // why it is not watched
	Since      time.Time `json:"since,omitzero"`  // when that began
	// StatusError is why the status of AffinityPolicies is not written, which holds up nothing else.
	StatusError string       `json:"statusError,omitempty"`
	Kinds       []KindStatus `json:"kinds"`
}

// KindStatus is one of the kinds that are watched.
type KindStatus struct {
	Kind    string `json:"kind"`
	Objects int    `json:"objects"`
	Missing bool   `json:"missing,omitempty"` // the cluster has no such kind
}

// LoadStatus is one attempt to load the configuration. When it was refused, the one before it is still in use.
type LoadStatus struct {
	At          time.Time    `json:"at"`
	Applied     bool         `json:"applied"`
	Diagnostics []Diagnostic `json:"diagnostics"`
}

// Diagnostic is a finding about the configuration.
type Diagnostic struct {
	Severity string `json:"severity"` // error or warning
	File     string `json:"file,omitempty"`
	Line     int    `json:"line,omitempty"`
	Object   string `json:"object,omitempty"`
	Field    string `json:"field,omitempty"`
	What     string `json:"what"`
	Remedy   string `json:"remedy,omitempty"`
}

// SessionsStatus is the session table and its file.
type SessionsStatus struct {
	Stored    int        `json:"stored"`         // expired ones that no sweep has met included
	Limit     int        `json:"limit"`          // 0: none
	File      string     `json:"file,omitempty"` // empty: sessions do not outlast the process
	SavedAt   *time.Time `json:"savedAt,omitempty"`
	SaveError string     `json:"saveError,omitempty"` // of the last save, when it failed
}

// Endpoints is the answer about endpoints.
type Endpoints struct {
	Endpoints []affinity.EndpointView `json:"endpoints"`
	// Store is StoreStatus.Name of the store whose gateways' sessions are all counted, those of this gateway among them; empty: this
	// gateway shares its sessions with none, and the others' are to be added.
	Store string `json:"store,omitempty"`
	// Untold says why the other gateways have not heard of a change yet; empty: they have, or there are none.
	Untold string `json:"untold,omitempty"`
}

// Live is how many live sessions each endpoint has: Endpoints without what has to be counted for it, so it costs little.
type Live struct {
	Endpoints []LiveEndpoint `json:"endpoints"`
	Store     string         `json:"store,omitempty"` // as Endpoints has it
}

// LiveEndpoint is one endpoint of one service.
type LiveEndpoint struct {
	Service     string `json:"service"`
	Addr        string `json:"address"`
	Name        string `json:"name,omitempty"`
	Incarnation string `json:"incarnation,omitempty"` // in a cluster, the pod's uid
	Sessions    int    `json:"liveSessions"`          // those included that have expired within the last few seconds
}

// SessionRequest asks for the live session of a user of a service. A service is given by its full name, or by a beginning of
// it that ends before a '.', ':' or '/' and fits no other. The answer is an affinity.SessionView.
type SessionRequest struct {
	Service string `json:"service"`
	User    string `json:"user"`
}

// MoveRequest binds the live session of a user to another endpoint, given by address or name. The answer is Moved.
type MoveRequest struct {
	Service string `json:"service"`
	User    string `json:"user"`
	To      string `json:"to"`
}

// Moved is the session that was moved.
type Moved struct {
	affinity.SessionView
	Untold string `json:"untold,omitempty"` // as Endpoints has it
}

// DrainRequest marks all endpoints of an address or name as draining, or takes the mark back. The answer is Endpoints.
type DrainRequest struct {
	Endpoint string `json:"endpoint"`
	Undo     bool   `json:"undo,omitempty"`
}

// DrainWait is the answer after waiting for an endpoint to lose its last session and its last request.
type DrainWait struct {
	Drained  bool `json:"drained"` // false: the time was up first
	Live     int  `json:"liveSessions"`
	InFlight int  `json:"requestsInFlight"`
	// Unknown says why it is not known what the gateways have that share a store with this one, which knows of nothing; empty: it is.
	Unknown string `json:"unknown,omitempty"`
}

// Problem is every error of the API, as application/problem+json (RFC 9457).
type Problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Code   string `json:"code"`
}

func (p *Problem) Error() string { return p.Detail }
