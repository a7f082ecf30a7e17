package extproc

import (
	"strconv"
	"strings"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/extproc/wire"
	"github.com/remora-proxy/remora/internal/session"
)

// Envoy's dynamic metadata with what a decision was: Envoy gets it with the decision, and gives it back with a report.
// The others are for people: an access log may have them.
const (
	MetadataNamespace = "remora"
	PickMetadata      = "pick"
	ServiceMetadata   = "service"
	EndpointMetadata  = "endpoint" // ip:port
	SessionMetadata   = "session"  // new, existing, moved or none
)

// Attributes that a report must have, in the filter's response_attributes.
const (
	addressAttribute  = "upstream.address"
	attemptsAttribute = "upstream.request_attempt_count"
	detailsAttribute  = "response.code_details"
)

// sessionLetters stand for the states of a session in a pick's text.
const sessionLetters = "-nem"

// A pick's text: a letter for the session's state, the session's key and the endpoint's identity with pickDigits hexadecimal digits
// each, and the service's name. No user's name is in it.
const pickDigits = 16

func appendPick(to []byte, p affinity.Pick) []byte {
	to = append(to, sessionLetters[p.Session])
	to = appendHex(to, uint64(p.Key))
	to = appendHex(to, p.Endpoint)
	return append(to, p.Service...)
}

func appendHex(to []byte, n uint64) []byte {
	const digits = "0123456789abcdef"
	for shift := 60; shift >= 0; shift -= 4 {
		to = append(to, digits[n>>shift&15])
	}
	return to
}

func parsePick(text string) (p affinity.Pick, ok bool) {
	if len(text) <= 1+2*pickDigits {
		return p, false
	}
	state := strings.IndexByte(sessionLetters, text[0])
	key, err := strconv.ParseUint(text[1:1+pickDigits], 16, 64)
	endpoint, err2 := strconv.ParseUint(text[1+pickDigits:1+2*pickDigits], 16, 64)
	if state < 0 || err != nil || err2 != nil {
		return p, false
	}
	return affinity.Pick{
		Service: text[1+2*pickDigits:], Key: session.Key(key), Endpoint: endpoint, Session: affinity.SessionState(state),
	}, true
}

// isReport reports whether a stream's first message tells what became of a request that another stream decided.
func (x *exchange) isReport() bool {
	if x.in.Kind != wire.ResponseHeaders {
		return false
	}
	_, ok := x.in.Attribute(detailsAttribute)
	return ok
}

// report takes over what Envoy did with a request that was decided before, by this processor or by another one. The response goes on
// whatever the report says.
func (x *exchange) report() {
	s := x.s
	x.reported = true
	s.stats.reports.Add(1)
	used := x.used()
	text, _ := x.metadata(MetadataNamespace, PickMetadata)
	goOn := func(known bool) {
		if !known {
			s.stats.uselessReports.Add(1)
		}
		x.pass(wire.ResponseHeaders)
	}
	pick, ok := parsePick(text.GetStringValue())
	if !ok {
		goOn(false)
		return
	}
	used.ToldMoved = used.Attempts > 1 && x.retries
	x.served(pick, used, goOn)
}

// metadata is a value of Envoy's dynamic metadata, if Envoy has sent it.
func (x *exchange) metadata(namespace, key string) (*structpb.Value, bool) {
	m, err := x.in.Metadata()
	if err != nil {
		return nil, false
	}
	v, ok := m.GetFilterMetadata()[namespace].GetFields()[key]
	return v, ok
}

// used is which host Envoy used. It comes from Envoy's own account of the request, not from the response: what a replica writes
// in its headers has no part in it.
func (x *exchange) used() affinity.Used {
	addr, _ := x.in.Attribute(addressAttribute)
	attempts, _ := x.in.Attribute(attemptsAttribute)
	details, _ := x.in.Attribute(detailsAttribute)
	u := affinity.Used{Addr: addr.Text, Attempts: int(attempts.Number)}
	// Envoy's response code details: "upstream_reset_before_response_started{connection_timeout}", and more behind "|" at times.
	reset, ok := strings.CutPrefix(details.Text, "upstream_reset_before_response_started{")
	if !ok {
		return u
	}
	if i := strings.IndexAny(reset, "|}"); i >= 0 {
		reset = reset[:i]
	}
	switch reset {
	case "connection_failure", "local_connection_failure", "remote_connection_failure", "connection_timeout":
		u.Unreached = true
	case "overflow":
		u.Addr = "" // a circuit breaker kept the request from a host that may be well
	}
	return u
}
