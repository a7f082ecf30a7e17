package affinity

import (
	"slices"
	"strings"
	"unicode/utf8"
	"unsafe"

	"github.com/remora-proxy/remora/internal/fields"
	"github.com/remora-proxy/remora/internal/problem"
	"github.com/remora-proxy/remora/internal/route"
)

// Plan says whether the body of a request has to be read before Decide.
func (e *Engine) Plan(req *Request) Plan {
	req.plannedBy = e.view.Load()
	l := req.plannedBy.listener(req.Port)
	if l == nil || l.spec == nil {
		return Plan{}
	}
	contentType, n := req.Header("content-type")
	switch {
	case n > 1: // one reader might take the first for the truth, another one the last
		return Plan{Problem: problem.Problem{
			Code:   problem.DuplicateHeader,
			Detail: "The header content-type is there more than once; send it once.",
		}}
	case !isJSON(contentType):
		return Plan{}
	case !isUTF8(contentType):
		return Plan{Problem: problem.Problem{
			Code:   problem.UnsupportedCharset,
			Detail: "The body's charset is not UTF-8; JSON is sent in UTF-8 (RFC 8259, section 8.1).",
		}}
	}
	if encoding, n := req.Header("content-encoding"); n > 0 && !strings.EqualFold(encoding, "identity") {
		return Plan{} // not readable: the headers decide
	}
	return Plan{Spec: l.spec, MaxBody: l.maxBody, Cookie: req.plannedBy.maySetCookie(req)}
}

// maySetCookie reports whether a request lacks a cookie that one of the services sets.
func (s *Snapshot) maySetCookie(req *Request) bool {
	return slices.ContainsFunc(s.cookies, func(name string) bool { return cookieValue(req.Headers, name) == "" })
}

// isJSON reports whether a content type is application/json, text/json or has the structured syntax suffix +json (RFC 6839). gRPC
// and Connect name their streams so where each message in them is JSON; the stream, with a frame around each, is not.
func isJSON(contentType string) bool {
	if contentType == "application/json" {
		return true
	}
	media, _, _ := strings.Cut(contentType, ";")
	media = strings.TrimRight(media, " \t")
	return strings.EqualFold(media, "application/json") || strings.EqualFold(media, "text/json") ||
		len(media) > 5 && strings.EqualFold(media[len(media)-5:], "+json") && !isFramed(media)
}

// isFramed reports whether a content type is one of application/grpc+…, grpc-web+…, grpc-web-text+… and connect+….
func isFramed(media string) bool {
	const application = "application/"
	if len(media) < len(application) || !strings.EqualFold(media[:len(application)], application) {
		return false
	}
	kind, _, _ := strings.Cut(strings.ToLower(media[len(application):]), "+")
	return kind == "grpc" || kind == "grpc-web" || kind == "grpc-web-text" || kind == "connect"
}

// isUTF8 reports whether the charset of a JSON body is UTF-8 or a part of it. RFC 8259 gives JSON no such parameter, but there are
// readers that go by it, and would read other members than Remora.
func isUTF8(contentType string) bool {
	_, parameters, _ := strings.Cut(contentType, ";")
	for rest := parameters; rest != ""; {
		var parameter string
		parameter, rest, _ = strings.Cut(rest, ";")
		name, value, _ := strings.Cut(strings.Trim(parameter, " \t"), "=")
		value = strings.Trim(value, `"`)
		if strings.EqualFold(strings.TrimRight(name, " \t*"), "charset") && !strings.EqualFold(value, "utf-8") && !strings.EqualFold(value, "us-ascii") {
			return false
		}
	}
	return true
}

// Promotes reports whether a header (in lower case) is one that a field of the body acts as, for requests of a port.
func (e *Engine) Promotes(port uint16, header string) bool {
	l := e.view.Load().listener(port)
	return l != nil && slices.ContainsFunc(l.promote, func(p Promotion) bool { return p.Header == header })
}

// BodyProblem is the answer to a body that the scanner refused.
func BodyProblem(err *fields.Error) problem.Problem {
	return problem.Problem{Code: problem.Code(err.Reason), Detail: err.Error()}
}

// promote makes the body's fields act as headers: they overwrite what the client sent in req.Headers, and dec.Promoted lists
// them for the front door.
func promote(l *listener, req *Request, dec *Decision) problem.Problem {
	if l == nil {
		return problem.Problem{}
	}
	for i := range l.promote {
		p := &l.promote[i]
		at, n := find(req.Headers, p.Header)
		if n > 1 {
			return duplicateHeader(p.Header)
		}
		if req.BodyState == BodyRead {
			if v := req.Body.Value(i); v != nil {
				value := unsafe.String(unsafe.SliceData(v), len(v))
				if n == 0 {
					req.Headers = append(req.Headers, route.Header{Name: p.Header, Value: value})
				} else {
					req.Headers[at].Value = value
				}
				dec.Promoted = append(dec.Promoted, route.Header{Name: p.Header, Value: value})
				continue
			}
		}
		if n == 1 {
			if prob := checkHeader(p.Header, req.Headers[at].Value); !prob.IsZero() {
				return prob
			}
		}
	}
	if req.BodyState == BodyTooLarge {
		return l.tooLarge(req)
	}
	return problem.Problem{}
}

// checkHeader holds a promoted header that the client sent to the rules for the body's field, as far as HTTP has not done so.
func checkHeader(name, value string) problem.Problem {
	switch {
	case len(value) > fields.MaxValue:
		return problem.Problem{Code: problem.FieldTooLong, Detail: "The header " + name + " is longer than 1,024 bytes."}
	case !utf8.ValidString(value):
		return problem.Problem{Code: problem.FieldBadValue, Detail: "The header " + name + " is not valid UTF-8."}
	}
	return problem.Problem{}
}

// tooLarge judges a request whose body is over the limit, so that its fields are unknown: the headers decide if they are
// there. Those that the routes look at must be; where the routes look at none, one of the promoted headers must be.
func (l *listener) tooLarge(req *Request) problem.Problem {
	need := l.routing
	for _, i := range need {
		if _, n := find(req.Headers, l.promote[i].Header); n == 0 {
			return l.bodyTooLarge(l.promote[i].Header)
		}
	}
	if len(need) > 0 || len(l.promote) == 0 {
		return problem.Problem{}
	}
	for i := range l.promote {
		if _, n := find(req.Headers, l.promote[i].Header); n > 0 {
			return problem.Problem{}
		}
	}
	return l.bodyTooLarge(l.promote[0].Header)
}

// find is the position of the last header of a name (in lower case) and how many there are.
func find(hs []route.Header, name string) (at, n int) {
	for i := range hs {
		if h := &hs[i]; len(h.Name) == len(name) && h.Name == name {
			at = i
			n++
		}
	}
	return at, n
}

// bytesOf views a string as bytes that must not be written to.
func bytesOf(s string) []byte { return unsafe.Slice(unsafe.StringData(s), len(s)) }
