package admin

import (
	"encoding/json"
	"fmt"
	"net/http"
)

// refusal is one reason for which the API refuses a request: stable code, status and title.
type refusal struct {
	code   string
	status int
	title  string
}

// The codes of the answers that there is no such thing (any more).
const (
	CodeUnknownService  = "admin_unknown_service"
	CodeUnknownEndpoint = "admin_unknown_endpoint"
	CodeNoSession       = "admin_no_session"
)

// The refusals of the API. docs/operating.md lists them.
var (
	badRequest       = refusal{"admin_bad_request", http.StatusBadRequest, "The request cannot be understood"}
	notJSON          = refusal{"admin_not_json", http.StatusUnsupportedMediaType, "The request is not JSON"}
	bodyTooLarge     = refusal{"admin_body_too_large", http.StatusRequestEntityTooLarge, "The request is too large"}
	hostNotAllowed   = refusal{"admin_host_not_allowed", http.StatusForbidden, "The Host is not one of this API's names"}
	crossOrigin      = refusal{"admin_cross_origin", http.StatusForbidden, "Another web site sent the request"}
	notFound         = refusal{"admin_not_found", http.StatusNotFound, "There is nothing here"}
	methodNotAllowed = refusal{"admin_method_not_allowed", http.StatusMethodNotAllowed, "The method does not apply here"}
	unknownService   = refusal{CodeUnknownService, http.StatusNotFound, "No such service"}
	unknownEndpoint  = refusal{CodeUnknownEndpoint, http.StatusNotFound, "No such endpoint"}
	noSession        = refusal{CodeNoSession, http.StatusNotFound, "The user has no live session"}
	notMoved         = refusal{"admin_not_moved", http.StatusConflict, "The session was not moved"}
	tooManyWaiters   = refusal{"admin_too_many_waiters", http.StatusServiceUnavailable, "Too many requests wait already"}
)

// Codes lists the codes of all errors of the API.
func Codes() []string {
	var codes []string
	for _, r := range []refusal{
		badRequest, notJSON, bodyTooLarge, hostNotAllowed, crossOrigin, notFound,
		methodNotAllowed, unknownService, unknownEndpoint, noSession, notMoved, tooManyWaiters,
	} {
		codes = append(codes, r.code)
	}
	return codes
}

// with makes a Problem of the refusal. The detail says what was wrong and what to do.
func (r refusal) with(format string, args ...any) *Problem {
	return &Problem{Type: "about:blank", Title: r.title, Status: r.status, Detail: fmt.Sprintf(format, args...), Code: r.code}
}

func (p *Problem) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/problem+json")
	writeBody(w, p.Status, p)
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	writeBody(w, http.StatusOK, v)
}

func writeBody(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ") // people read it with curl
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // what fails here is the client's connection: there is nobody left to tell
}
