package extproc

import (
	"encoding/base64"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filterv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/problem"
)

// ownPrefix begins the names of the headers that only Remora sets.
const ownPrefix = "x-remora-"

// passing makes a message of what Envoy is told: the answer to the request's headers, or to its body.
type passing func(*extprocv3.CommonResponse) *extprocv3.ProcessingResponse

// set makes an option that puts a field in place of all fields of its name.
func set(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: name, RawValue: []byte(value)},
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}

// tell is a decision as Envoy is told it.
func (x *exchange) tell() *extprocv3.CommonResponse {
	dec := &x.dec
	m := &extprocv3.HeaderMutation{SetHeaders: make([]*corev3.HeaderValueOption, 0, len(dec.Promoted)+5)}
	for _, p := range dec.Promoted {
		m.SetHeaders = append(m.SetHeaders, set(p.Name, p.Value))
	}
	m.SetHeaders = append(m.SetHeaders,
		set(x.s.endpointHeader, base64.StdEncoding.EncodeToString([]byte(dec.Endpoint.Addr))), set(ServiceHeader, dec.Service.Name))
	if dec.Session != affinity.SessionNone {
		m.SetHeaders = append(m.SetHeaders, set(dec.Service.SessionHeader, dec.Session.String()))
	}
	if x.modes.request == duplex {
		m.SetHeaders = append(m.SetHeaders, set(PickedKey, dec.Endpoint.Addr))
	}
	if x.view.Path != x.path {
		m.SetHeaders = append(m.SetHeaders, set(":path", x.target()))
	}
	for i := range x.view.Headers {
		if name := x.view.Headers[i].Name; x.isForged(name, m.SetHeaders) {
			m.RemoveHeaders = append(m.RemoveHeaders, name)
		}
	}
	return &extprocv3.CommonResponse{HeaderMutation: m, ClearRouteCache: true}
}

// isForged reports whether a field that the client sent must not go on: one that only Remora sets, or one that some servers take
// for it or for what decides, since CGI and what comes from it (WSGI, PHP) make "-" and "_" in names the same.
func (x *exchange) isForged(name string, ours []*corev3.HeaderValueOption) bool {
	isOurs := func(name string) bool {
		return slices.ContainsFunc(ours, func(o *corev3.HeaderValueOption) bool { return o.Header.Key == name })
	}
	svc := x.dec.Service
	if !strings.Contains(name, "_") {
		return (strings.HasPrefix(name, ownPrefix) || name == svc.SessionHeader || name == x.s.endpointHeader) && !isOurs(name)
	}
	real := strings.ReplaceAll(name, "_", "-")
	return strings.HasPrefix(real, ownPrefix) || strings.HasPrefix(real, "x-forwarded-") || real == "x-request-id" ||
		real == svc.SessionHeader || real == svc.Key.Name || isOurs(real)
}

// forgedOf lists the trailers that must not go on: some servers take a trailer for a header.
func (x *exchange) forgedOf(trailers *corev3.HeaderMap) []string {
	var names []string
	for _, f := range trailers.GetHeaders() {
		name := f.GetKey()
		real := strings.ReplaceAll(name, "_", "-")
		if x.isForged(name, nil) || real == x.dec.Service.Key.Name || x.s.engine.Promotes(x.port, real) {
			names = append(names, name)
		}
	}
	return names
}

// target is the request target with the path in its normal form.
func (x *exchange) target() string {
	if x.view.Query == "" {
		return x.view.Path
	}
	return x.view.Path + "?" + x.view.Query
}

// passHeaders answers the request's headers: the body is not asked for. The response's trailers are, to keep the stream open until
// the request is over (see the package's doc); the other modes stay as they are configured.
func passHeaders(r *extprocv3.CommonResponse) *extprocv3.ProcessingResponse {
	return &extprocv3.ProcessingResponse{
		Response: &extprocv3.ProcessingResponse_RequestHeaders{RequestHeaders: &extprocv3.HeadersResponse{Response: r}},
		ModeOverride: &filterv3.ProcessingMode{
			RequestBodyMode: filterv3.ProcessingMode_NONE, ResponseTrailerMode: filterv3.ProcessingMode_SEND,
		},
	}
}

// waitForBody answers the request's headers when nothing is decided yet.
func waitForBody() *extprocv3.ProcessingResponse {
	return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_RequestHeaders{RequestHeaders: &extprocv3.HeadersResponse{}}}
}

// askForBody is waitForBody where bodies are not sent unless they are asked for. The trailers are as with passHeaders.
func askForBody() *extprocv3.ProcessingResponse {
	out := waitForBody()
	out.ModeOverride = &filterv3.ProcessingMode{RequestBodyMode: buffered, ResponseTrailerMode: filterv3.ProcessingMode_SEND}
	return out
}

// passBody answers the request's body.
func passBody(r *extprocv3.CommonResponse) *extprocv3.ProcessingResponse {
	return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_RequestBody{RequestBody: &extprocv3.BodyResponse{Response: r}}}
}

// responseHeaders answers the response's headers, with the cookie that the decision asks for.
func (x *exchange) responseHeaders() *extprocv3.ProcessingResponse {
	r := &extprocv3.HeadersResponse{}
	if x.decided && x.dec.SetCookie != "" {
		cookie := set("set-cookie", x.dec.SetCookie)
		cookie.AppendAction = corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD
		r.Response = &extprocv3.CommonResponse{HeaderMutation: &extprocv3.HeaderMutation{SetHeaders: []*corev3.HeaderValueOption{cookie}}}
	}
	return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ResponseHeaders{ResponseHeaders: r}}
}

// immediate makes Envoy answer with a problem of Remora's own, as the gateway would. id is the request's, if it has one.
func immediate(p problem.Problem, id string) *extprocv3.ProcessingResponse {
	return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ImmediateResponse{
		ImmediateResponse: &extprocv3.ImmediateResponse{
			Status:  &typev3.HttpStatus{Code: typev3.StatusCode(problem.Lookup(p.Code).Status)},
			Headers: &extprocv3.HeaderMutation{SetHeaders: []*corev3.HeaderValueOption{set("content-type", problem.ContentType)}},
			Body:    problem.AppendJSON(nil, p, id),
			Details: "remora_" + string(p.Code),
		},
	}}
}

// The answers to what goes on as it came.

// passRequestTrailers lets the request's trailers go on, but those named by remove.
func passRequestTrailers(remove []string) *extprocv3.ProcessingResponse {
	r := &extprocv3.TrailersResponse{}
	if len(remove) > 0 {
		r.HeaderMutation = &extprocv3.HeaderMutation{RemoveHeaders: remove}
	}
	return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_RequestTrailers{RequestTrailers: r}}
}

func passResponseBody() *extprocv3.ProcessingResponse {
	return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ResponseBody{ResponseBody: &extprocv3.BodyResponse{}}}
}

func passResponseTrailers() *extprocv3.ProcessingResponse {
	return &extprocv3.ProcessingResponse{Response: &extprocv3.ProcessingResponse_ResponseTrailers{ResponseTrailers: &extprocv3.TrailersResponse{}}}
}
