package problem

import "net/http"

// Codes of the decision: what affinity.Engine answers with. The reasons for which a body is refused are the same strings as
// package fields' Reason.
const (
	MalformedJSON   Code = "malformed_json"
	JSONTooDeep     Code = "json_too_deep"
	TrailingBytes   Code = "trailing_bytes"
	DuplicateField  Code = "duplicate_field"
	FieldNotString  Code = "field_not_string"
	FieldEmpty      Code = "field_empty"
	FieldTooLong    Code = "field_too_long"
	FieldBadValue   Code = "field_bad_value"
	DuplicateHeader Code = "duplicate_header"
	NoKey           Code = "no_key"
	NoRoute         Code = "no_route"
	BodyTooLarge    Code = "body_too_large"
	NoEndpoint      Code = "no_endpoint"
	ServiceUnknown  Code = "service_unknown"
)

// Codes of the request's form: what a front door that reads HTTP itself refuses before anything is decided.
const (
	BadRequestLine      Code = "bad_request_line"
	BadHeader           Code = "bad_header"
	BadHost             Code = "bad_host"
	BadContentLength    Code = "bad_content_length"
	BadTransferEncoding Code = "bad_transfer_encoding"
	BadChunk            Code = "bad_chunk"
	BadTrailer          Code = "bad_trailer"
	RequestTimeout      Code = "request_timeout"
	URITooLong          Code = "uri_too_long"
	ExpectationFailed   Code = "expectation_failed"
	HeaderTooLarge      Code = "header_too_large"
	NotImplemented      Code = "not_implemented"
	VersionNotSupported Code = "version_not_supported"
)

// Codes of forwarding: what happens between a front door and a replica, or inside Remora.
const (
	Internal        Code = "internal"
	UpstreamReset   Code = "upstream_reset"
	BadResponse     Code = "bad_response"
	ConnectFailed   Code = "connect_failed"
	Overloaded      Code = "overloaded"
	ShuttingDown    Code = "shutting_down"
	ConnectTimeout  Code = "connect_timeout"
	ResponseTimeout Code = "response_timeout"
)

// Entry is what the catalogue says of one code.
type Entry struct {
	Code   Code
	Status int    // HTTP status
	Title  string // the same for every occurrence (RFC 9457, section 3.1.3)
}

// catalogue is in the order of docs/errors.md: by status, then as a request meets them.
var catalogue = [...]Entry{
	{BadRequestLine, http.StatusBadRequest, "The request line is malformed"},
	{BadHeader, http.StatusBadRequest, "A header field is malformed"},
	{BadHost, http.StatusBadRequest, "The Host header is missing, repeated or malformed"},
	{BadContentLength, http.StatusBadRequest, "The Content-Length header is malformed or in conflict"},
	{BadTransferEncoding, http.StatusBadRequest, "The Transfer-Encoding header is malformed or in conflict"},
	{BadChunk, http.StatusBadRequest, "The chunked body is malformed"},
	{BadTrailer, http.StatusBadRequest, "The trailer section is malformed"},
	{MalformedJSON, http.StatusBadRequest, "The body is not one JSON object or array"},
	{JSONTooDeep, http.StatusBadRequest, "The JSON body is nested too deeply"},
	{TrailingBytes, http.StatusBadRequest, "There are bytes after the JSON value"},
	{DuplicateField, http.StatusBadRequest, "A promoted field is there twice"},
	{FieldNotString, http.StatusBadRequest, "A promoted field is not a string"},
	{FieldEmpty, http.StatusBadRequest, "A promoted field is empty"},
	{FieldTooLong, http.StatusBadRequest, "A promoted field is too long"},
	{FieldBadValue, http.StatusBadRequest, "A promoted field has a character that it must not have"},
	{DuplicateHeader, http.StatusBadRequest, "A header that must be unique was sent twice"},
	{NoKey, http.StatusBadRequest, "The request has no session key"},
	{NoRoute, http.StatusNotFound, "No route matches the request"},
	{RequestTimeout, http.StatusRequestTimeout, "The request did not arrive in time"},
	{BodyTooLarge, http.StatusRequestEntityTooLarge, "The body is too large to be read for its fields"},
	{URITooLong, http.StatusRequestURITooLong, "The request target is too long"},
	{ExpectationFailed, http.StatusExpectationFailed, "The expectation cannot be met"},
	{HeaderTooLarge, http.StatusRequestHeaderFieldsTooLarge, "The header section is too large"},
	{Internal, http.StatusInternalServerError, "Internal error"},
	{NotImplemented, http.StatusNotImplemented, "The request needs something that is not implemented"},
	{UpstreamReset, http.StatusBadGateway, "The replica closed the connection before it answered"},
	{BadResponse, http.StatusBadGateway, "The replica's response is malformed"},
	{ServiceUnknown, http.StatusServiceUnavailable, "The route names a service that is not configured"},
	{NoEndpoint, http.StatusServiceUnavailable, "The service has no endpoint that can serve"},
	{ConnectFailed, http.StatusServiceUnavailable, "No replica could be connected to"},
	{Overloaded, http.StatusServiceUnavailable, "The gateway is at its limit"},
	{ShuttingDown, http.StatusServiceUnavailable, "The gateway is shutting down"},
	{ConnectTimeout, http.StatusGatewayTimeout, "The replica could not be connected to in time"},
	{ResponseTimeout, http.StatusGatewayTimeout, "The replica did not answer in time"},
	{VersionNotSupported, http.StatusHTTPVersionNotSupported, "The HTTP version is not supported"},
}

var byCode = func() map[Code]int {
	m := make(map[Code]int, len(catalogue))
	for i, e := range catalogue {
		m[e.Code] = i
	}
	return m
}()

// All lists the catalogue in the order of docs/errors.md. The caller owns the slice.
func All() []Entry { return append([]Entry(nil), catalogue[:]...) }

// Lookup gives the status and title of a code. A code that the catalogue does not know is answered as Internal: a code that
// somebody forgot to list must not become a malformed response.
func Lookup(c Code) Entry {
	if i, ok := byCode[c]; ok {
		return catalogue[i]
	}
	return catalogue[byCode[Internal]]
}

// Index gives the position of a code in All, for counters that are kept by code; that of Internal for an unknown code.
func Index(c Code) int {
	if i, ok := byCode[c]; ok {
		return i
	}
	return byCode[Internal]
}
