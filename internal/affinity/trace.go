package affinity

import "github.com/remora-proxy/remora/internal/problem"

// Trace is why a request goes where it goes: what `remora explain` prints.
type Trace struct {
	Fields    []FieldTrace     `json:"fields"`
	Rule      *RuleTrace       `json:"rule,omitempty"`
	Service   string           `json:"service,omitempty"`
	Key       *KeyTrace        `json:"key,omitempty"`
	Session   string           `json:"session,omitempty"`
	Endpoints []CandidateTrace `json:"endpoints,omitempty"` // in the order of preference
	Choice    string           `json:"choice,omitempty"`    // ip:port
	Why       string           `json:"why,omitempty"`       // one sentence on the choice
	Problem   *problem.Problem `json:"problem,omitempty"`
}

// FieldTrace is a promoted field: its value and where it came from.
type FieldTrace struct {
	Field  string `json:"field"`
	Header string `json:"header"`
	Value  string `json:"value,omitempty"`
	From   string `json:"from"` // "body", "header", "body (over the header's value)", "nowhere"
}

// RuleTrace is the rule that matched.
type RuleTrace struct {
	Name   string `json:"name,omitempty"`
	Object string `json:"object"`
	Source string `json:"source"` // file:line of the match that fitted, or of the rule
}

// KeyTrace is the session's key: where it was found. Its value is shown here and nowhere stored.
type KeyTrace struct {
	From   string `json:"from"` // `header "x-user"`
	Value  string `json:"value,omitempty"`
	Source string `json:"source,omitempty"` // file:line of the DestinationRule's consistentHash
}

// CandidateTrace is one endpoint of the service as placement sees it.
type CandidateTrace struct {
	Addr   string `json:"address"`
	Name   string `json:"name,omitempty"`
	State  string `json:"state"`
	Live   int    `json:"liveSessions"`
	Limit  int    `json:"limit,omitempty"` // the load bound at this moment; 0: takes no new session
	Chosen bool   `json:"chosen"`
}
