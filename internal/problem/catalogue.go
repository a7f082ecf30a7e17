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

// Codes of the request's form: what a front door that reads HTTP itself refuses before anything is decided. The catalogue has
// more of them: each refusal of the gateway's message layer is a code of its own.
const (
	BadPath        Code = "bad_path"
	RequestTimeout Code = "request_timeout"
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
	{"bad_request_line", http.StatusBadRequest, "The request line is malformed"},
	{"bad_method", http.StatusBadRequest, "The method is malformed"},
	{"bad_target", http.StatusBadRequest, "The request target is malformed"},
	{"bad_version", http.StatusBadRequest, "The HTTP version is malformed"},
	{"host_missing", http.StatusBadRequest, "The Host header is missing"},
	{"host_repeated", http.StatusBadRequest, "There is more than one Host header"},
	{"bad_host", http.StatusBadRequest, "The host is malformed"},
	{"host_mismatch", http.StatusBadRequest, "The Host header and the request target name different hosts"},
	{BadPath, http.StatusBadRequest, "The path has a character that it must not have"},
	{"bare_lf", http.StatusBadRequest, "A line ends with LF alone"},
	{"bare_cr", http.StatusBadRequest, "A CR is not followed by LF"},
	{"bad_field_name", http.StatusBadRequest, "A header name is malformed"},
	{"space_before_colon", http.StatusBadRequest, "There is whitespace before the colon of a header"},
	{"line_folding", http.StatusBadRequest, "A header is folded over several lines"},
	{"bad_field_value", http.StatusBadRequest, "A header value has a control character"},
	{"bad_content_length", http.StatusBadRequest, "The Content-Length header is malformed"},
	{"content_length_repeated", http.StatusBadRequest, "There is more than one Content-Length header"},
	{"content_length_with_transfer_encoding", http.StatusBadRequest, "Content-Length and Transfer-Encoding are both there"},
	{"bad_transfer_encoding", http.StatusBadRequest, "The Transfer-Encoding header is not exactly chunked"},
	{"transfer_encoding_in_http_1_0", http.StatusBadRequest, "A Transfer-Encoding header in an HTTP/1.0 request"},
	{"content_type_repeated", http.StatusBadRequest, "There is more than one Content-Type header"},
	{"bad_connection_option", http.StatusBadRequest, "The Connection header is malformed"},
	{"protected_connection_option", http.StatusBadRequest, "The Connection header names a header that must reach the server"},
	{"bad_trailer", http.StatusBadRequest, "The Trailer header names a header that says where the message ends"},
	{"bad_chunk_size", http.StatusBadRequest, "A chunk size is malformed"},
	{"bad_chunk_extension", http.StatusBadRequest, "A chunk extension is malformed"},
	{"chunk_extensions_too_long", http.StatusBadRequest, "The chunk extensions are too long"},
	{"bad_chunk_end", http.StatusBadRequest, "The data of a chunk is not followed by CRLF"},
	{"framing_field_in_trailer", http.StatusBadRequest, "The trailer section has a header that says where the message ends"},
	{"head_cut_short", http.StatusBadRequest, "The connection ended in the header section"},
	{"body_cut_short", http.StatusBadRequest, "The connection ended in the body"},
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
	{"request_line_too_long", http.StatusRequestURITooLong, "The request line is too long"},
	{"expectation_not_supported", http.StatusExpectationFailed, "The expectation cannot be met"},
	{"head_too_large", http.StatusRequestHeaderFieldsTooLarge, "The header section is too large"},
	{"too_many_fields", http.StatusRequestHeaderFieldsTooLarge, "There are too many headers"},
	{"trailer_too_large", http.StatusRequestHeaderFieldsTooLarge, "The trailer section is too large"},
	{Internal, http.StatusInternalServerError, "Internal error"},
	{"connect_refused", http.StatusNotImplemented, "CONNECT is not offered"},
	{"transfer_coding_not_supported", http.StatusNotImplemented, "The transfer coding is not supported"},
	{UpstreamReset, http.StatusBadGateway, "The replica closed the connection before it answered"},
	{BadResponse, http.StatusBadGateway, "The replica's response is malformed"},
	{ServiceUnknown, http.StatusServiceUnavailable, "The route names a service that is not configured"},
	{NoEndpoint, http.StatusServiceUnavailable, "The service has no endpoint that can serve"},
	{ConnectFailed, http.StatusServiceUnavailable, "No replica could be connected to"},
	{Overloaded, http.StatusServiceUnavailable, "The gateway is at its limit"},
	{ShuttingDown, http.StatusServiceUnavailable, "The gateway is shutting down"},
	{ConnectTimeout, http.StatusGatewayTimeout, "The replica could not be connected to in time"},
	{ResponseTimeout, http.StatusGatewayTimeout, "The replica did not answer in time"},
	{"version_not_supported", http.StatusHTTPVersionNotSupported, "The HTTP version is not supported"},
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
