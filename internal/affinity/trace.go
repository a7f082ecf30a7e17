package affinity

import "github.com/remora-proxy/remora/internal/problem"

// Trace is why a request goes where it goes: what `remora explain` prints.
type Trace struct {
	Fields     []FieldTrace     `json:"fields,omitempty"`
	Rule       *RuleTrace       `json:"rule,omitempty"`
	ByProxy    string           `json:"byProxy,omitempty"` // as route.Rule has it, redirect for example: the proxy answers by itself, and nothing below is set but Why
	Split      []SplitTrace     `json:"split,omitempty"`   // only for a rule with several destinations
	Service    string           `json:"service,omitempty"`
	Source     string           `json:"source,omitempty"` // file:line of what made the service
	Key        *KeyTrace        `json:"key,omitempty"`
	Session    string           `json:"session"` // new | existing | moved | none
	Bound      string           `json:"boundTo,omitempty"`
	Diverted   *Diverted        `json:"diverted,omitempty"`   // how the session came to Bound, when a proxy took it there
	Candidates []CandidateTrace `json:"candidates,omitempty"` // placement's order first, then those that take no new session
	Choice     string           `json:"choice,omitempty"`     // ip:port
	Why        string           `json:"why,omitempty"`        // one sentence on the choice, or where Problem does not say all, on that
	Problem    *ProblemTrace    `json:"problem,omitempty"`
}

// Nowhere is what From of a field says that the request does not have, and From of a key that nothing in the configuration names.
const Nowhere = "nowhere"

// FieldTrace is a promoted field: its value and where it came from.
type FieldTrace struct {
	Field  string `json:"field"`
	Header string `json:"header"`
	Value  string `json:"value,omitempty"`
	From   string `json:"from"` // "body", "header", "body, over the header", Nowhere
}

// RuleTrace is the rule that matched.
type RuleTrace struct {
	Name   string `json:"name,omitempty"`
	Object string `json:"object"`
	Source string `json:"source"` // file:line of the match that fitted, or of the rule
}

// SplitTrace is one destination of a weighted rule.
type SplitTrace struct {
	Service string `json:"service"`
	Weight  uint32 `json:"weight"`
	Session bool   `json:"session"` // the user has a live session there
}

// KeyTrace is the session's key: where it was found. Its value is shown here and nowhere stored.
type KeyTrace struct {
	From   string `json:"from"` // "the header x-user", Nowhere
	Value  string `json:"value,omitempty"`
	Source string `json:"source,omitempty"` // file:line of what says so
}

// CandidateTrace is one endpoint of the service as placement sees it.
type CandidateTrace struct {
	Addr   string `json:"address"`
	Name   string `json:"name,omitempty"`
	State  string `json:"state"`
	Live   int    `json:"liveSessions"`
	Limit  int    `json:"limit"` // live sessions at which it takes no further new one; 0: it takes none
	Chosen bool   `json:"chosen"`
}

// ProblemTrace is the answer that the client would get.
type ProblemTrace struct {
	Status int          `json:"status"`
	Code   problem.Code `json:"code"`
	Detail string       `json:"detail"`
}
