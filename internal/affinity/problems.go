package affinity

import (
	"fmt"
	"strings"

	"github.com/remora-proxy/remora/internal/problem"
	"github.com/remora-proxy/remora/internal/route"
)

// The answers to requests that cannot be decided. Details are for the client: they name its own fields and the configuration
// by the names that the client can know, and never repeat values.

func duplicateHeader(name string) problem.Problem {
	return problem.Problem{
		Code:   problem.DuplicateHeader,
		Detail: "The header " + name + " is there more than once; send it once.",
	}
}

func noKey(svc *Service) problem.Problem {
	return problem.Problem{
		Code:   problem.NoKey,
		Detail: "The request does not say whose it is: it needs " + svc.Key.String() + ".",
	}
}

func noEndpoint(svc *Service, l *limits) problem.Problem {
	which := svc.Name
	if l.among != nil {
		which += " that the proxy offers"
	}
	return problem.Problem{
		Code:   problem.NoEndpoint,
		Detail: "No replica of " + which + " can take the request now; try again.",
	}
}

func (l *listener) bodyTooLarge(header string) problem.Problem {
	return problem.Problem{
		Code: problem.BodyTooLarge,
		Detail: fmt.Sprintf("The body is over %d bytes, so its fields are not read, and the header %s is not there; send the header, or a smaller body.",
			l.maxBody, header),
	}
}

// noRoute names the likely reason: no route is for the host, or the request lacks promoted headers that the routes look at.
func noRoute(v *view, req *Request, found *route.Result) problem.Problem {
	p := problem.Problem{Code: problem.NoRoute, Detail: "No route matches the request."}
	l := v.listener(req.Port)
	switch {
	case l == nil || found.Path == "":
		return p
	case found.Domain == "":
		p.Detail = "No route is for the request's host."
		return p
	}
	for _, i := range l.routing {
		name := l.promote[i].Header
		if _, n := find(req.Headers, name); n > 0 {
			p.Detail = "No route matches the request. Routes look at " + name + ", which it has: see whether one of them is for that value."
			continue
		}
		p.Detail = "No route matches the request: it has neither the body field " + l.promote[i].Field + " nor the header " + name + "."
		if req.BodyState == BodyNotRead {
			p.Detail += whyNotRead(req)
		}
		break
	}
	return p
}

// maxListed bounds the names that a sentence lists.
const maxListed = 8

// whyNoRoute tells those who write the routes what clients are not told: the ports and the hosts that there are. It is empty where the answer
// itself says what there is to say.
func (v *view) whyNoRoute(req *Request, found *route.Result) string {
	ports := v.table.Ports()
	domains, known := v.table.Domains(req.Port)
	switch {
	case len(ports) == 0:
		return "there is no Gateway"
	case !known:
		return fmt.Sprintf("no Gateway has port %d; there is %s", req.Port, listed(ports))
	case len(domains) == 0:
		return fmt.Sprintf("no route is attached to a Gateway with port %d", req.Port)
	case found.Path != "" && found.Domain == "":
		return fmt.Sprintf("no Gateway with port %d has routes for the host %q; there is %s", req.Port, req.Authority, listed(domains))
	}
	return ""
}

// listed names the first of a list.
func listed[T any](list []T) string {
	names := make([]string, 0, maxListed+1)
	for i, v := range list {
		if i == maxListed {
			names = append(names, fmt.Sprintf("%d more", len(list)-i))
			break
		}
		names = append(names, fmt.Sprint(v))
	}
	return strings.Join(names, ", ")
}

// whyNotRead says why a body, if there was one, was not read for its fields.
func whyNotRead(req *Request) string {
	if contentType, n := req.Header("content-type"); n == 1 && !isJSON(contentType) {
		return " Its body is not read, for the content type is not JSON."
	}
	if _, n := req.Header("content-encoding"); n > 0 {
		return " Its body is not read, for it has a content encoding."
	}
	return ""
}

// String names where a key is, as in an error or a trace.
func (k Key) String() string {
	switch k.Kind {
	case HeaderKey:
		return "the header " + k.Name
	case CookieKey:
		return "the cookie " + k.Name
	case QueryKey:
		return "the query parameter " + k.Name
	case SourceIPKey:
		return "the client's address"
	case NoKey:
	}
	return "no key"
}
