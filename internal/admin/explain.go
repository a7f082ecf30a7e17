package admin

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/http/httpguts"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/fields"
	"github.com/remora-proxy/remora/internal/problem"
	"github.com/remora-proxy/remora/internal/route"
	"github.com/remora-proxy/remora/internal/session"
)

// ExplainRequest is a request to explain: what a client would send to the gateway.
type ExplainRequest struct {
	Method   string   `json:"method,omitempty"`  // default POST with a body, else GET
	Scheme   string   `json:"scheme,omitempty"`  // http (the default) or https
	Host     string   `json:"host,omitempty"`    // the Host header; default localhost
	Port     uint16   `json:"port,omitempty"`    // of the Gateway's server; default 80
	Path     string   `json:"path,omitempty"`    // with the query; default /
	Headers  []Header `json:"headers,omitempty"` // content-type is application/json when there is a body and it is not given
	Body     []byte   `json:"bodyBase64,omitempty"`
	Text     string   `json:"body,omitempty"`     // the body as text, in place of bodyBase64
	SourceIP string   `json:"sourceIP,omitempty"` // the client's address; default 127.0.0.1
}

// Header is one header field.
type Header struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Explain runs the decision for the request, as a front door would, without changing anything. The error says what is wrong
// with the question; a request that Remora would refuse is no error but explained.
func (r *ExplainRequest) Explain(e *affinity.Engine, now session.Instant) (*affinity.Trace, error) {
	req, err := r.Read(e)
	if refused := (*refusedError)(nil); errors.As(err, &refused) {
		return affinity.Refuse(refused.problem), nil
	}
	if err != nil {
		return nil, err
	}
	return e.Explain(req, now), nil
}

// refusedError says that a request is refused before it can be decided.
type refusedError struct{ problem problem.Problem }

func (e *refusedError) Error() string { return e.problem.Detail }

// Read does what a front door does before the decision: it makes the engine's view of the request, and reads the body as the
// engine plans it.
func (r *ExplainRequest) Read(e *affinity.Engine) (*affinity.Request, error) {
	req, body, err := r.view()
	if err != nil {
		return nil, err
	}
	plan := e.Plan(req)
	switch {
	case !plan.Problem.IsZero():
		return nil, &refusedError{plan.Problem}
	case plan.Spec == nil || len(body) == 0:
		return req, nil
	case len(body) > plan.MaxBody:
		req.BodyState = affinity.BodyTooLarge
		return req, nil
	}
	req.Body, req.BodyState = new(fields.Scanner), affinity.BodyRead
	req.Body.Reset(plan.Spec)
	refused := req.Body.Write(body)
	if refused == nil {
		refused = req.Body.Close()
	}
	if refused != nil {
		return nil, &refusedError{affinity.BodyProblem(refused)}
	}
	return req, nil
}

// view is the request as a front door hands it to the engine.
func (r *ExplainRequest) view() (*affinity.Request, []byte, error) {
	body := r.Body
	if r.Text != "" {
		if body != nil {
			return nil, nil, errors.New("body and bodyBase64 are both there; give one of them")
		}
		body = []byte(r.Text)
	}
	req := &affinity.Request{Request: route.Request{
		Port: cmp.Or(r.Port, 80), Scheme: cmp.Or(strings.ToLower(r.Scheme), "http"), Method: r.Method, Authority: cmp.Or(r.Host, "localhost"),
	}}
	if req.Method == "" {
		req.Method = "GET"
		if body != nil {
			req.Method = "POST"
		}
	}
	if req.Scheme != "http" && req.Scheme != "https" {
		return nil, nil, fmt.Errorf("scheme %q is neither http nor https", r.Scheme)
	}
	if !httpguts.ValidHeaderFieldName(req.Method) {
		return nil, nil, fmt.Errorf("method %q is not an HTTP method", r.Method)
	}
	target := cmp.Or(r.Path, "/")
	if target[0] != '/' || strings.ContainsAny(target, " #\t\r\n\x00") {
		return nil, nil, fmt.Errorf("path %q is not a path: it begins with / and has no space and no #", r.Path)
	}
	req.Path, req.Query, _ = strings.Cut(target, "?")
	if refused := refusedTarget(target, req.Path); refused != nil {
		return nil, nil, refused
	}
	source, err := netip.ParseAddr(cmp.Or(r.SourceIP, "127.0.0.1"))
	if err != nil {
		return nil, nil, fmt.Errorf("sourceIP %q is not an IP address", r.SourceIP)
	}
	req.Source = source
	if req.Headers, err = r.headers(req.Authority, body); err != nil {
		return nil, nil, err
	}
	return req, body, nil
}

// refusedTarget says what a gateway refuses of a request target before it decides: by its grammar, and by what the path could
// mean to a replica.
func refusedTarget(target, path string) error {
	visible := !strings.ContainsFunc(target, func(r rune) bool { return r <= ' ' || r > '~' })
	if _, err := url.PathUnescape(path); err != nil || !visible {
		return &refusedError{problem.Problem{Code: "bad_target", Detail: "The request target is not in visible ASCII with whole percent escapes."}}
	}
	if _, ok := route.NormalizePath(path); !ok {
		return &refusedError{problem.Problem{
			Code: problem.BadPath, Detail: "The path of the request has a character, or an escape of one, that a path must not have.",
		}}
	}
	return nil
}

// headers are the request's fields as the gateway would see them.
func (r *ExplainRequest) headers(authority string, body []byte) ([]route.Header, error) {
	headers := []route.Header{{Name: "host", Value: authority}}
	typed := false
	for _, h := range r.Headers {
		name := strings.ToLower(h.Name)
		if !httpguts.ValidHeaderFieldName(name) {
			return nil, fmt.Errorf("header name %q is not valid", h.Name)
		}
		if !httpguts.ValidHeaderFieldValue(h.Value) {
			return nil, fmt.Errorf("the value of header %s has characters that no header may have", name)
		}
		if name == "host" {
			return nil, errors.New("header host: give it as the host")
		}
		typed = typed || name == "content-type"
		headers = append(headers, route.Header{Name: name, Value: strings.Trim(h.Value, " \t")})
	}
	if body != nil {
		if !typed {
			headers = append(headers, route.Header{Name: "content-type", Value: "application/json"})
		}
		headers = append(headers, route.Header{Name: "content-length", Value: strconv.Itoa(len(body))})
	}
	return headers, nil
}

// SetBody sets the body, as text where it is text.
func (r *ExplainRequest) SetBody(body []byte) {
	r.Body, r.Text = nil, ""
	if len(body) > 0 && utf8.Valid(body) {
		r.Text = string(body)
	} else {
		r.Body = body
	}
}
