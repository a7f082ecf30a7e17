package samplebackend

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Reply is the answer to a hit.
type Reply struct {
	Target      string `json:"target"`       // the service that answered, whatever the request asked for
	ServiceName string `json:"service_name"` // the same
	Username    string `json:"username"`     // as the body has it; where it has none, as the header has it
	PodID       string `json:"podId"`        // the replica's name
	PodIP       string `json:"podIp"`
	Session     string `json:"session"`        // what the gateway said of the session: new, existing, moved; none where it said nothing
	Visits      uint64 `json:"visits"`         // calls of this user that this replica remembers, this one included; 0 without a user
	PodIDSnake  string `json:"pod_id"`         // podId again, as some clients spell it
	Echo        *Echo  `json:"echo,omitempty"` // with echo=1
}

// Echo is a request as it arrived.
type Echo struct {
	Method    string      `json:"method"`
	Path      string      `json:"path"`
	Query     string      `json:"query"`
	Host      string      `json:"host"`
	Header    http.Header `json:"header"`
	Trailer   http.Header `json:"trailer,omitempty"`
	BodyBytes int64       `json:"bodyBytes"`
}

// Error is the body of every answer that is not 200.
type Error struct {
	Status int    `json:"status"`
	Error  string `json:"error"`
}

// service is one replica.
type service struct {
	config Config
	visits *visits
}

func (s *service) health(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]string{"status": "ok", "podId": s.config.Name})
}

// hit answers one call of a user.
func (s *service) hit(w http.ResponseWriter, r *http.Request) {
	work, err := parseWork(r.URL.Query())
	if err != nil {
		fail(w, http.StatusBadRequest, "%v", err)
		return
	}
	user, size, err := readUser(r)
	if errors.Is(err, errCharset) {
		fail(w, http.StatusUnsupportedMediaType, "%v", err)
		return
	}
	if err != nil {
		fail(w, http.StatusBadRequest, "%v", err)
		return
	}
	reply := Reply{
		Target: s.config.Service, ServiceName: s.config.Service,
		Username: user,
		PodID:    s.config.Name, PodIDSnake: s.config.Name,
		PodIP:   s.ip(r),
		Session: sessionState(r.Header.Get(SessionHeader)),
	}
	if user != "" {
		reply.Visits = s.visits.add(user)
	}
	if work.echo {
		reply.Echo = &Echo{
			Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, Host: r.Host,
			Header: r.Header, Trailer: r.Trailer, BodyBytes: size,
		}
	}
	burn(r.Context(), work.burn)
	if work.events > 0 {
		stream(w, r, reply, work)
		return
	}
	if pause(r.Context(), work.wait) {
		answer(w, http.StatusOK, reply)
	}
}

// ip is the address that the replica says it has.
func (s *service) ip(r *http.Request) string {
	if s.config.IP != "" {
		return s.config.IP
	}
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok {
		return local.IP.String()
	}
	return ""
}

// sessionState reads the gateway's header.
func sessionState(told string) string {
	switch told {
	case "new", "existing", "moved":
		return told
	}
	return "none"
}

// errCharset says that a body is JSON in another encoding than the one that JSON has (RFC 8259, section 8.1).
var errCharset = errors.New("the body's charset is not utf-8, which is the one that JSON is sent in")

// isJSON reports whether a content type is JSON: application/json, text/json, or one with the suffix +json (RFC 6839).
func isJSON(contentType string) (bool, error) {
	t, parameters, err := mime.ParseMediaType(contentType)
	if err != nil && !errors.Is(err, mime.ErrInvalidMediaParameter) || t != "application/json" && t != "text/json" && !strings.HasSuffix(t, "+json") {
		return false, nil
	}
	if charset, ok := parameters["charset"]; ok && !strings.EqualFold(charset, "utf-8") && !strings.EqualFold(charset, "us-ascii") {
		return true, errCharset
	}
	return true, nil
}

// readUser reads the whole body and returns the user and the body's size. A body that is not there, is not JSON or does not fit
// into MaxBody leaves the header to say who the user is.
func readUser(r *http.Request) (user string, size int64, err error) {
	held, err := io.ReadAll(io.LimitReader(r.Body, MaxBody+1))
	if err != nil {
		return "", 0, fmt.Errorf("the body could not be read: %w", err)
	}
	rest, err := io.Copy(io.Discard, r.Body)
	if err != nil {
		return "", 0, fmt.Errorf("the body could not be read: %w", err)
	}
	user, size = r.Header.Get(UserHeader), int64(len(held))+rest
	if len(held) > MaxBody || len(bytes.TrimSpace(held)) == 0 {
		return user, size, nil
	}
	if is, err := isJSON(r.Header.Get("Content-Type")); !is || err != nil {
		return user, size, err
	}
	var body struct {
		Username *string `json:"username"`
	}
	if err := json.Unmarshal(held, &body); err != nil {
		return "", size, fmt.Errorf(`the body is not JSON of the form {"username":"…","target":"…"}: %w`, err)
	}
	if body.Username != nil {
		user = *body.Username
	}
	return user, size, nil
}

// work is what the query asks for besides the reply.
type work struct {
	burn, wait time.Duration
	events     int
	echo       bool
}

// parseWork reads the query parameters.
func parseWork(q url.Values) (work, error) {
	var w work
	var err error
	if w.burn, err = duration(q, "burn", MaxBurn); err != nil {
		return w, err
	}
	if w.wait, err = duration(q, "wait", MaxWait); err != nil {
		return w, err
	}
	if v := q.Get("stream"); v != "" {
		w.events, err = strconv.Atoi(v)
		if err != nil || w.events < 1 || w.events > MaxEvents {
			return w, fmt.Errorf("query parameter stream=%q: want a number of events from 1 to %d", v, MaxEvents)
		}
	}
	w.echo = q.Get("echo") == "1"
	return w, nil
}

// duration reads one query parameter that is a duration from 0 to limit.
func duration(q url.Values, name string, limit time.Duration) (time.Duration, error) {
	v := q.Get(name)
	if v == "" {
		return 0, nil
	}
	d, err := time.ParseDuration(v)
	if err != nil || d < 0 || d > limit {
		return 0, fmt.Errorf("query parameter %s=%q: want a duration such as 10ms, from 0s to %s", name, v, limit)
	}
	return d, nil
}

// stream sends the reply as server-sent events, each on the wire before the next is waited for.
func stream(w http.ResponseWriter, r *http.Request, reply Reply, work work) {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-store")
	data, err := json.Marshal(reply)
	if err != nil {
		fail(w, http.StatusInternalServerError, "the reply could not be written as JSON: %v", err)
		return
	}
	flush := http.NewResponseController(w)
	for i := range work.events {
		if i > 0 && !pause(r.Context(), work.wait) {
			return
		}
		if _, err := fmt.Fprintf(w, "id: %d\ndata: %s\n\n", i+1, data); err != nil {
			return
		}
		if flush.Flush() != nil {
			return
		}
	}
}

// burn spins for d, or until the client is gone.
func burn(ctx context.Context, d time.Duration) {
	start := time.Now()
	for ctx.Err() == nil && time.Since(start) < d {
		sha256.Sum256(make([]byte, 1024))
	}
}

// pause waits for d and reports whether the client is still there.
func pause(ctx context.Context, d time.Duration) bool {
	if d == 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// answer writes v as JSON on one line.
func answer(w http.ResponseWriter, status int, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	data = append(data, '\n')
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(data)))
	w.WriteHeader(status)
	w.Write(data) //nolint:errcheck // a client that went away has nothing to be told
}

// fail answers with an Error.
func fail(w http.ResponseWriter, status int, format string, args ...any) {
	answer(w, status, Error{Status: status, Error: fmt.Sprintf(format, args...)})
}
