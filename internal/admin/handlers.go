package admin

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/session"
)

func (s *Server) now() session.Instant { return session.InstantOf(s.config.Now()) }

func (s *Server) ready(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	st := s.config.Status()
	if !st.Ready {
		w.WriteHeader(http.StatusServiceUnavailable)
		fmt.Fprintln(w, st.NotReady)
		return
	}
	if st.Degraded != "" {
		fmt.Fprintln(w, "ready, degraded:", st.Degraded)
		return
	}
	fmt.Fprintln(w, "ready")
}

func (s *Server) status(w http.ResponseWriter, _ *http.Request) { writeJSON(w, s.config.Status()) }

func (s *Server) endpoints(w http.ResponseWriter, r *http.Request) {
	eps, err := s.census.take(r.Context())
	if err != nil {
		return // the client has left
	}
	slices.SortStableFunc(eps, func(a, b affinity.EndpointView) int { return strings.Compare(a.Service, b.Service) })
	if name := r.URL.Query().Get("service"); name != "" {
		if !slices.ContainsFunc(s.config.Engine.ServiceNames(), func(service string) bool { return begins(service, name) }) {
			unknownService.with("no service is called %q; the services are: %s", name, listed(s.services())).write(w)
			return
		}
		eps = slices.DeleteFunc(eps, func(ep affinity.EndpointView) bool { return !begins(ep.Service, name) })
	}
	writeJSON(w, Endpoints{Endpoints: eps, Store: s.store()})
}

func (s *Server) live(w http.ResponseWriter, _ *http.Request) {
	all := s.config.Engine.EndpointStats(s.now())
	answer := Live{Endpoints: make([]LiveEndpoint, len(all)), Store: s.store()}
	for i, ep := range all {
		answer.Endpoints[i] = LiveEndpoint{Service: ep.Service, Addr: ep.Addr, Name: ep.Name, Incarnation: ep.Incarnation, Sessions: ep.Live}
	}
	writeJSON(w, answer)
}

func (s *Server) drain(w http.ResponseWriter, r *http.Request) {
	var req DrainRequest
	if problem := readJSON(w, r, maxBody, &req); problem != nil {
		problem.write(w)
		return
	}
	done, err := s.census.wait(r.Context()) // it counts the sessions of what it has marked
	if err != nil {
		return // the client has left
	}
	eps := s.config.Engine.Drain(req.Endpoint, !req.Undo, s.now())
	done()
	if len(eps) == 0 {
		s.unknownEndpoint(req.Endpoint).write(w)
		return
	}
	answer := Endpoints{Endpoints: eps, Store: s.store()}
	if s.config.Shared != nil {
		marks := make([][2]string, len(eps))
		for i, ep := range eps {
			marks[i] = [2]string{ep.Addr, ep.Incarnation}
		}
		slices.SortFunc(marks, func(a, b [2]string) int { return slices.Compare(a[:], b[:]) })
		if err := s.config.Shared.Drain(slices.Compact(marks), !req.Undo); err != nil {
			answer.Untold = err.Error()
		}
	}
	writeJSON(w, answer)
}

// drainWait answers when neither a session nor a request is left at an endpoint, or when the time is up.
func (s *Server) drainWait(w http.ResponseWriter, r *http.Request) {
	endpoint := r.URL.Query().Get("endpoint")
	wait, err := time.ParseDuration(r.URL.Query().Get("timeout"))
	if err != nil || wait <= 0 || wait > maxWait {
		badRequest.with("timeout is to be a duration over 0s and at most %s, like timeout=30s.", maxWait).write(w)
		return
	}
	if _, known := s.load(endpoint); !known {
		s.unknownEndpoint(endpoint).write(w)
		return
	}
	select {
	case s.waiters <- struct{}{}:
		defer func() { <-s.waiters }()
	default:
		tooManyWaiters.with("%d requests wait for drains already; ask again later.", maxWaiters).write(w)
		return
	}
	timeout := time.NewTimer(wait)
	defer timeout.Stop()
	since := session.InstantOf(s.config.Now().Add(-maxWait)) // a count may take longer than one request waits
	for {
		swept := s.config.Swept() // before the look, so that no sweep falls between the two
		left, _ := s.load(endpoint)
		if s.config.Shared != nil {
			left.count(s.config.Shared.Left(endpoint, since))
		}
		if left.Drained {
			writeJSON(w, left)
			return
		}
		select {
		case <-swept:
			continue
		case <-timeout.C:
		case <-s.stopped.Done():
		case <-r.Context().Done():
		}
		writeJSON(w, left)
		return
	}
}

// load is what the endpoints of an address or name still have, also those that the configuration no longer has. One that is
// not known any more has nothing.
func (s *Server) load(endpoint string) (left DrainWait, known bool) {
	left.Live, left.InFlight, known = s.config.Engine.Busy(endpoint)
	left.Drained = left.Live == 0 && left.InFlight == 0
	return left, known
}

// count takes what all gateways together have at an endpoint that has nothing by what this one knows, or why that is not known.
func (left *DrainWait) count(sessions int, err error) {
	switch {
	case !left.Drained:
	case err != nil:
		left.Drained, left.Unknown = false, err.Error()
	default:
		left.Drained, left.Live = sessions == 0, sessions
	}
}

func (s *Server) sessionGet(w http.ResponseWriter, r *http.Request) {
	var req SessionRequest
	if problem := readJSON(w, r, maxBody, &req); problem != nil {
		problem.write(w)
		return
	}
	view, err := s.config.Engine.Session(req.Service, req.User, s.now())
	if err != nil {
		s.problemOf(err).write(w)
		return
	}
	writeJSON(w, view)
}

func (s *Server) sessionMove(w http.ResponseWriter, r *http.Request) {
	var req MoveRequest
	if problem := readJSON(w, r, maxBody, &req); problem != nil {
		problem.write(w)
		return
	}
	before := s.config.Status().Store
	view, err := s.config.Engine.MoveSession(req.Service, req.User, req.To, s.now())
	if err != nil {
		s.problemOf(err).write(w)
		return
	}
	writeJSON(w, Moved{SessionView: view, Untold: untold(before, s.config.Status().Store)})
}

// untold says why the other gateways have not heard of what happened between two looks at the store; empty: they have, or there are none.
func untold(before, after *StoreStatus) string {
	switch {
	case after == nil || after.Answers && after.Undecided <= before.Undecided:
		return ""
	case after.Error != "":
		return after.Error
	}
	return "the store did not take it"
}

// problemOf tells the engine's errors apart, and says what there is in place of what was asked for.
func (s *Server) problemOf(err error) *Problem {
	switch {
	case errors.Is(err, affinity.ErrNoService):
		return unknownService.with("%v; the services are: %s", err, listed(s.services()))
	case errors.Is(err, affinity.ErrNoSession):
		if store := s.config.Status().Store; store != nil && !store.Answers {
			return noSession.with("%v here; the store does not answer, so that sessions which only other gateways have are not found", err)
		}
		return noSession.with("%v", err)
	case errors.Is(err, affinity.ErrNoEndpoint):
		return unknownEndpoint.with("%v; the endpoints are: %s", err, listed(s.addresses()))
	}
	return notMoved.with("%v", err)
}

func (s *Server) unknownEndpoint(name string) *Problem {
	return unknownEndpoint.with("no endpoint has the address or name %q; the endpoints are: %s", name, listed(s.addresses()))
}

func (s *Server) services() []string {
	return slices.Sorted(slices.Values(s.config.Engine.ServiceNames()))
}

func (s *Server) addresses() []string {
	var addrs []string
	for _, ep := range s.config.Engine.EndpointStats(s.now()) {
		addrs = append(addrs, ep.Addr)
	}
	slices.Sort(addrs)
	return slices.Compact(addrs)
}

// begins reports whether name is a service's name, or a beginning of it that ends before a '.', ':' or '/'.
func begins(service, name string) bool {
	rest, ok := strings.CutPrefix(service, name)
	return ok && (rest == "" || strings.ContainsAny(rest[:1], ".:/"))
}

// listed joins names for a sentence, at most ten of them.
func listed(names []string) string {
	switch {
	case len(names) == 0:
		return "none"
	case len(names) > 10:
		return strings.Join(names[:10], ", ") + ", …"
	}
	return strings.Join(names, ", ")
}

func (s *Server) explain(w http.ResponseWriter, r *http.Request) {
	var req ExplainRequest
	if problem := readJSON(w, r, maxExplainBody, &req); problem != nil {
		problem.write(w)
		return
	}
	trace, err := req.Explain(s.config.Engine, s.now())
	if err != nil {
		badRequest.with("%v", err).write(w)
		return
	}
	writeJSON(w, trace)
}
