package extproc

import (
	"encoding/base64"
	"slices"
	"strings"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/extproc/rpc"
	"github.com/remora-proxy/remora/internal/extproc/wire"
	"github.com/remora-proxy/remora/internal/problem"
)

// Prefixes of the names of headers that no client may set: Remora's own, and those of the Endpoint Picker Protocol.
const (
	ownPrefix    = "x-remora-"
	pickerPrefix = "x-gateway-"
)

// isInternal reports whether a header is one between Envoy and a processor or replica, by its name.
func isInternal(name string) bool {
	return strings.HasPrefix(name, ownPrefix) || strings.HasPrefix(name, pickerPrefix)
}

// passing is the way in which Envoy is told a decision.
type passing int

const (
	// passHeaders answers the request's headers: the body is not asked for.
	passHeaders passing = iota
	// passBody answers the request's body.
	passBody
	// passPicked answers the request's headers, as an endpoint picker does: with the endpoint as metadata too. The modes cannot be changed
	// where one of them is FULL_DUPLEX_STREAMED.
	passPicked
)

// answer begins an answer to a message.
func (x *exchange) answer(to wire.Kind) *wire.Response {
	x.reply.Kind = to
	x.text = x.text[:0]
	return &x.reply
}

// say sends the answer that was begun last.
func (x *exchange) say() {
	start := len(x.out)
	x.out = rpc.End(x.reply.Append(rpc.Begin(x.out)), start)
	x.reply.Clear()
}

// pass answers a message that goes on as it came.
func (x *exchange) pass(kind wire.Kind) {
	x.answer(kind)
	x.say()
}

// askForBody answers the request's headers when nothing is decided yet, whether or not Envoy is configured to send bodies. The response's
// headers are asked for where a cookie may have to go with them.
func (x *exchange) askForBody() {
	r := x.answer(wire.RequestHeaders)
	r.Mode = mode(wire.Buffered, x.plan.Cookie)
	x.say()
}

// mode is how the rest of a request is to be sent here. The request's trailers, for what must not go on in them; the response's, to
// keep the stream open until the request is over (see the package's doc). Either is a message only where there are trailers.
func mode(body wire.BodyMode, responseHeaders bool) wire.Mode {
	return wire.Mode{IsSet: true, RequestBody: body, ResponseHeaders: responseHeaders, RequestTrailers: true, ResponseTrailers: true}
}

// passTrailers lets the request's trailers go on, but for those that some servers would take for a header that decides.
func (x *exchange) passTrailers() {
	r := x.answer(wire.RequestTrailers)
	_, key := x.serviceNames()
	for _, f := range x.in.Headers {
		real := strings.ReplaceAll(f.Name, "_", "-")
		if x.isForged(f.Name) || real == key || x.s.engine.Promotes(x.port, real) {
			r.Remove = append(r.Remove, f.Name)
		}
	}
	x.say()
}

// keep puts text that was appended to x.text from at on into a string, which is good for this answer.
func (x *exchange) keep(at int) string { return wire.Alias(x.text[at:]) }

func (x *exchange) set(name, value string) {
	x.reply.Set = append(x.reply.Set, wire.SetHeader{Name: name, Value: value})
}

// tell tells Envoy the decision.
func (x *exchange) tell(how passing) {
	dec := &x.dec
	kind := wire.RequestHeaders
	if how == passBody {
		kind = wire.RequestBody
	}
	r := x.answer(kind)
	for _, p := range dec.Promoted {
		x.set(p.Name, p.Value)
	}
	if dec.Passed {
		x.set(x.s.endpointHeader, noEndpoint)
	} else {
		x.setPicked()
	}
	if x.view.Path != x.path {
		x.set(":path", x.target())
	}
	for i := range x.view.Headers {
		if name := x.view.Headers[i].Name; x.isForged(name) {
			r.Remove = append(r.Remove, name)
		}
	}
	r.ClearRouteCache = true
	if how == passHeaders {
		r.Mode = mode(wire.None, dec.SetCookie != "") // the cookie goes with the response's headers
	}
	if !dec.Passed {
		x.addPick(how)
	}
	x.say()
}

// noEndpoint is the endpoint's header of a request that Envoy answers by itself. It has to be there, since what has none was not decided,
// and names no host: it is neither base64 nor an address.
const noEndpoint = "-"

// setPicked sets the headers that say where the request goes.
func (x *exchange) setPicked() {
	dec := &x.dec
	x.set(x.s.endpointHeader, x.endpointText())
	x.set(ServiceHeader, dec.Service.Name)
	if dec.Session != affinity.SessionNone {
		x.set(dec.Service.SessionHeader, dec.Session.String())
	}
	if x.modes.request == wire.FullDuplexStreamed {
		x.pickList()
		x.set(PickedKey, x.picked)
	}
}

// maxSubstitutes is how many more endpoints an endpoint picker names: as many as the retries of the gateway's example.
const maxSubstitutes = 2

// pickList makes the list of endpoints to try, ip:port,ip:port.
func (x *exchange) pickList() {
	var others [maxSubstitutes]*affinity.Endpoint
	at := len(x.text)
	x.text = append(x.text, x.dec.Endpoint.Addr...)
	for _, ep := range x.s.engine.Substitutes(others[:0], &x.dec, maxSubstitutes, x.s.now()) {
		x.text = append(append(x.text, ','), ep.Addr...)
	}
	x.picked = x.keep(at)
}

// addPick adds the metadata that says where the request goes.
func (x *exchange) addPick(how passing) {
	r := &x.reply
	if how == passPicked {
		r.Metadata = append(r.Metadata, wire.Metadata{Namespace: pickedNamespace, Key: PickedKey, Text: x.picked})
	}
	at := len(x.text)
	x.text = appendPick(x.text, x.dec.Pick())
	dec := &x.dec
	r.Metadata = append(r.Metadata,
		wire.Metadata{Namespace: MetadataNamespace, Key: PickMetadata, Text: x.keep(at)},
		wire.Metadata{Namespace: MetadataNamespace, Key: ServiceMetadata, Text: dec.Service.Name},
		wire.Metadata{Namespace: MetadataNamespace, Key: EndpointMetadata, Text: dec.Endpoint.Addr},
		wire.Metadata{Namespace: MetadataNamespace, Key: SessionMetadata, Text: dec.Session.String()})
}

// endpointText is the endpoint as Envoy is told it: base64 of ip:port, which the header-based session state has, or ip:port.
func (x *exchange) endpointText() string {
	if x.s.plainEndpoint {
		return x.dec.Endpoint.Addr
	}
	at := len(x.text)
	x.text = append(x.text, x.dec.Endpoint.Addr...)
	end := len(x.text)
	x.text = base64.StdEncoding.AppendEncode(x.text, x.text[at:end])
	return x.keep(end)
}

// isForged reports whether a field that the client sent must not go on: one that only Remora sets, or one that some servers take
// for it or for what decides, since CGI and what comes from it (WSGI, PHP) make "-" and "_" in names the same.
func (x *exchange) isForged(name string) bool {
	session, key := x.serviceNames()
	if !strings.Contains(name, "_") {
		return (isInternal(name) || name == session || name == x.s.endpointHeader) && !x.isOurs(name)
	}
	real := strings.ReplaceAll(name, "_", "-")
	return isInternal(real) || strings.HasPrefix(real, "x-forwarded-") || real == "x-request-id" || real == "content-length" ||
		real == "transfer-encoding" || real == session || real == key || real == x.s.endpointHeader ||
		x.s.engine.Promotes(x.port, real)
}

// serviceNames are the names of the session header and of the key of the service; empty where Envoy answers by itself.
func (x *exchange) serviceNames() (session, key string) {
	if svc := x.dec.Service; svc != nil {
		return svc.SessionHeader, svc.Key.Name
	}
	return "", ""
}

// isOurs reports whether the answer sets a field.
func (x *exchange) isOurs(name string) bool {
	return slices.ContainsFunc(x.reply.Set, func(h wire.SetHeader) bool { return h.Name == name })
}

// target is the request target with the path in its normal form.
func (x *exchange) target() string {
	if x.view.Query == "" {
		return x.view.Path
	}
	return x.view.Path + "?" + x.view.Query
}

// responseHeaders answers the response's headers, with the cookie that the decision asks for.
func (x *exchange) responseHeaders() {
	r := x.answer(wire.ResponseHeaders)
	if x.decided && x.dec.SetCookie != "" {
		r.Set = append(r.Set, wire.SetHeader{Name: "set-cookie", Value: x.dec.SetCookie, Beside: true})
	}
	x.say()
}

// immediate makes Envoy answer with a problem of Remora's own, as the gateway would.
func (x *exchange) immediate(p problem.Problem) {
	r := x.answer(wire.Other)
	r.Immediate = &wire.Immediate{
		Status:      problem.Lookup(p.Code).Status,
		ContentType: problem.ContentType,
		Body:        problem.AppendJSON(nil, p, x.id),
		Details:     "remora_" + string(p.Code),
	}
	x.say()
}
