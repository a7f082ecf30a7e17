package affinity

import (
	"math"
	"slices"
	"strings"

	"github.com/remora-proxy/remora/internal/placement"
	"github.com/remora-proxy/remora/internal/problem"
	"github.com/remora-proxy/remora/internal/route"
	"github.com/remora-proxy/remora/internal/session"
)

// Explain takes the steps of Decide without changing any session, and says why at each. It may wait for a shared store.
func (e *Engine) Explain(req *Request, now session.Instant) *Trace {
	t := &Trace{Session: SessionNone.String()}
	v := e.view.Load()
	l := v.listener(req.Port)
	before := slices.Clone(req.Headers)
	var dec Decision
	prob := promote(l, req, &dec)
	t.explainFields(l, before, &dec)
	if !prob.IsZero() {
		return t.refuse(prob)
	}
	var found route.Result
	if !v.table.Lookup(&req.Request, &found) {
		t.Why = v.whyNoRoute(req, &found)
		return t.refuse(noRoute(v, req, &found))
	}
	t.explainRule(&found)
	if t.ByProxy = found.Rule.ByProxy; t.ByProxy != "" {
		t.Why = "the rule has a " + t.ByProxy + ", which Envoy carries out by itself"
		return t
	}
	svc, _ := e.destination(v, found.Rule, &req.Request, Wait, now)
	t.explainSplit(e, v, found.Rule, &req.Request, now)
	t.Service, t.Source = svc.Name, svc.Source
	if svc.Missing != "" {
		return t.refuse(problem.Problem{Code: problem.ServiceUnknown, Detail: svc.Missing})
	}
	return e.explainSession(t, svc, req, now)
}

func (e *Engine) explainSession(t *Trace, svc *Service, req *Request, now session.Instant) *Trace {
	user, prob := findKey(&svc.Key, &req.Request)
	l := &limits{among: req.Among}
	t.Key = &KeyTrace{From: svc.Key.String(), Value: user, Source: svc.Key.Source}
	switch {
	case svc.Key.Kind == NoKey:
		t.Key.From = Nowhere
	case svc.Key.Kind == SourceIPKey && user != "":
		t.Key.Value = req.Source.Unmap().String()
	}
	switch {
	case !prob.IsZero():
		return t.refuse(prob)
	case user == "":
		return t.explainKeyless(e, svc, l, now)
	}
	key := svc.sessionKey(user)
	t.explainCandidates(e, svc, key, l, now)
	var proposed *Endpoint
	r := e.reach(Wait)
	bound := e.bound(svc, r)
	state, why := SessionNew, "the session is new: the first replica in rendezvous order that is below its limit gets it"
	if e.shared != nil && !r.asks {
		why = "the session is new to this gateway, and the shared store does not answer: the first replica in rendezvous order gets it, whatever its limit"
	}
	if entry, live := e.find(key, now, svc.IdleTimeout, r.asks); live {
		untold := e.told.peek(key, entry.Endpoint)
		ep := e.owner(svc, entry.Endpoint)
		if ep != nil {
			t.Bound, t.Diverted = ep.Addr, e.diverted(key, ep)
		}
		switch {
		case ep != nil && ep.serves(now) && !l.within(ep):
			state, why = SessionMoved, "the session is live, but this request may not use its replica: it goes elsewhere, and the session stays"
			bound = math.Inf(1)
		case ep != nil && ep.serves(now):
			proposed, state, why = ep, untold, "the session is live, and its replica serves it"
			if state != SessionExisting {
				why = "the session is live, but no request has told its replica yet that it is " + state.String()
			}
		default:
			state, why = SessionMoved, "the session is live, but its replica is gone or its drain deadline has passed: placed anew"
			if proposed = e.successor(svc, entry.Endpoint, l, now); proposed != nil {
				why = "the session is live, and its replica was gone and is back: it goes there, but its state may be lost"
			}
		}
		if state == SessionMoved && untold == SessionNew {
			state = SessionNew
		}
	}
	if proposed == nil {
		proposed = svc.place(e.store, uint64(key), l, bound, now)
	}
	if proposed == nil {
		return t.refuse(noEndpoint(svc, l))
	}
	t.Session, t.Choice, t.Why = state.String(), proposed.Addr, why
	for i := range t.Candidates {
		t.Candidates[i].Chosen = t.Candidates[i].Addr == proposed.Addr
	}
	return t
}

// explainKeyless explains a request whose key is not there.
func (t *Trace) explainKeyless(e *Engine, svc *Service, l *limits, now session.Instant) *Trace {
	begins := svc.Key.Kind == CookieKey && svc.Key.SetTTL
	if !begins && svc.WithoutKey == Reject && svc.Key.Kind != NoKey {
		return t.refuse(noKey(svc))
	}
	if begins {
		t.Session = SessionNew.String()
	}
	t.explainCandidates(e, svc, 0, l, now)
	if svc.nth(0, l, now) == nil {
		return t.refuse(noEndpoint(svc, l))
	}
	switch {
	case begins:
		t.Why = "the client has no such cookie: it would be given one, and its session would be placed by that"
	case svc.Key.Kind == NoKey:
		t.Why = "nothing says where the key of the service's sessions is, so any ready replica takes the request and no session begins"
	default:
		t.Why = "the request has no key, so any ready replica takes it and no session begins"
	}
	return t
}

// explainFields says where each promoted field came from. before is the headers as the client sent them.
func (t *Trace) explainFields(l *listener, before []route.Header, dec *Decision) {
	if l == nil {
		return
	}
	for _, p := range l.promote {
		ft := FieldTrace{Field: p.Field, Header: p.Header, From: Nowhere}
		at, n := find(before, p.Header)
		if n > 0 {
			ft.From, ft.Value = "header", before[at].Value
		}
		for _, h := range dec.Promoted {
			if h.Name != p.Header {
				continue
			}
			ft.Value = strings.Clone(h.Value) // it aliases the body
			if ft.From = "body"; n > 0 {
				ft.From = "body, over the header"
			}
		}
		t.Fields = append(t.Fields, ft)
	}
}

func (t *Trace) explainRule(found *route.Result) {
	t.Rule = &RuleTrace{Name: found.Rule.Name, Object: found.Rule.Object, Source: found.Rule.Source}
	if found.Match != nil && found.Match.Source != "" {
		t.Rule.Source = found.Match.Source
	}
}

func (t *Trace) explainSplit(e *Engine, v *view, rule *route.Rule, req *route.Request, now session.Instant) {
	if len(rule.Destinations) == 1 {
		return
	}
	for _, d := range rule.Destinations {
		svc := v.services[d.Service]
		t.Split = append(t.Split, SplitTrace{Service: svc.Name, Weight: d.Weight, Session: e.hasSession(svc, req, e.reach(Wait).asks, now)})
	}
}

// explainCandidates lists the service's endpoints: those that may take a new session in the order in which placement tries
// them for the key, then the others.
func (t *Trace) explainCandidates(e *Engine, svc *Service, key session.Key, l *limits, now session.Instant) {
	cs, at := svc.candidates(nil, nil, e.store, l, now)
	for _, r := range placement.Rank(uint64(key), cs, svc.LoadBound, nil) {
		ep := svc.endpoints[at[r.Index]]
		t.Candidates = append(t.Candidates, CandidateTrace{
			Addr: ep.Addr, Name: ep.Name(), State: ep.State(now).String(), Live: cs[r.Index].Load, Limit: r.Limit,
		})
	}
	for i, ep := range svc.endpoints {
		if !slices.Contains(at, i) {
			t.Candidates = append(t.Candidates, CandidateTrace{
				Addr: ep.Addr, Name: ep.Name(), State: ep.State(now).String(), Live: e.store.Live(ep.id),
			})
		}
	}
}

func (t *Trace) refuse(p problem.Problem) *Trace {
	t.Problem = &ProblemTrace{Status: problem.Lookup(p.Code).Status, Code: p.Code, Detail: p.Detail}
	return t
}

// Refuse is the trace of a request whose body the scanner refused, so that there is nothing to decide.
func Refuse(p problem.Problem) *Trace {
	return (&Trace{Session: SessionNone.String()}).refuse(p)
}
