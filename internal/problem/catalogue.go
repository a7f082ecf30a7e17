package problem

// Codes of the decision: what affinity.Engine answers with. The reasons for which a body is refused are the same strings as
// package fields' Reason.
const (
	MalformedJSON      Code = "malformed_json"
	JSONTooDeep        Code = "json_too_deep"
	UnsupportedCharset Code = "unsupported_charset"
	TrailingBytes      Code = "trailing_bytes"
	DuplicateField     Code = "duplicate_field"
	FieldNotString     Code = "field_not_string"
	FieldEmpty         Code = "field_empty"
	FieldTooLong       Code = "field_too_long"
	FieldBadValue      Code = "field_bad_value"
	DuplicateHeader    Code = "duplicate_header"
	NoKey              Code = "no_key"
	NoRoute            Code = "no_route"
	BodyTooLarge       Code = "body_too_large"
	NoEndpoint         Code = "no_endpoint"
	ServiceUnknown     Code = "service_unknown"
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
	ConnectTimeout  Code = "connect_timeout"
	ResponseTimeout Code = "response_timeout"
)

// Undecided is the answer of a front door that has Remora asked by another program and got no decision.
const Undecided Code = "undecided"

// Entry is what the catalogue says of one code.
type Entry struct {
	Code   Code
	Status int    // HTTP status
	Title  string // the same for every occurrence (RFC 9457, section 3.1.3)
}

// catalogue is in the order of docs/errors.md: by status, then as a request meets them.
var catalogue = [...]Entry{
	{"bad_request_line", 400, "The request line is malformed"},
	{"bad_method", 400, "The method is malformed"},
	{"bad_target", 400, "The request target is malformed"},
	{"bad_version", 400, "The HTTP version is malformed"},
	{"host_missing", 400, "The Host header is missing"},
	{"host_repeated", 400, "There is more than one Host header"},
	{"bad_host", 400, "The host is malformed"},
	{"host_mismatch", 400, "The Host header and the request target name different hosts"},
	{BadPath, 400, "The path has a character that it must not have"},
	{"bare_lf", 400, "A line ends with LF alone"},
	{"bare_cr", 400, "A CR is not followed by LF"},
	{"bad_field_name", 400, "A header name is malformed"},
	{"space_before_colon", 400, "There is whitespace before the colon of a header"},
	{"line_folding", 400, "A header is folded over several lines"},
	{"bad_field_value", 400, "A header value has a control character"},
	{"bad_content_length", 400, "The Content-Length header is malformed"},
	{"content_length_repeated", 400, "There is more than one Content-Length header"},
	{"content_length_with_transfer_encoding", 400, "Content-Length and Transfer-Encoding are both there"},
	{"bad_transfer_encoding", 400, "The Transfer-Encoding header is not exactly chunked"},
	{"transfer_encoding_in_http_1_0", 400, "A Transfer-Encoding header in an HTTP/1.0 request"},
	{"bad_connection_option", 400, "The Connection header is malformed"},
	{"protected_connection_option", 400, "The Connection header names a header that must reach the server"},
	{"bad_trailer", 400, "The Trailer header names a header that says where the message ends"},
	{"bad_chunk_size", 400, "A chunk size is malformed"},
	{"bad_chunk_extension", 400, "A chunk extension is malformed"},
	{"chunk_extensions_too_long", 400, "The chunk extensions are too long"},
	{"bad_chunk_end", 400, "The data of a chunk is not followed by CRLF"},
	{"framing_field_in_trailer", 400, "The trailer section has a header that says where the message ends"},
	{"head_cut_short", 400, "The connection ended in the header section"},
	{"body_cut_short", 400, "The connection ended in the body"},
	{MalformedJSON, 400, "The body is not one JSON object or array"},
	{JSONTooDeep, 400, "The JSON body is nested too deeply"},
	{TrailingBytes, 400, "There are bytes after the JSON value"},
	{DuplicateField, 400, "A promoted field is there twice"},
	{FieldNotString, 400, "A promoted field is not a string"},
	{FieldEmpty, 400, "A promoted field is empty"},
	{FieldTooLong, 400, "A promoted field is too long"},
	{FieldBadValue, 400, "A promoted field has a character that it must not have"},
	{DuplicateHeader, 400, "A header that must be unique was sent twice"},
	{NoKey, 400, "The request has no session key"},
	{NoRoute, 404, "No route matches the request"},
	{RequestTimeout, 408, "The request did not arrive in time"},
	{BodyTooLarge, 413, "The body is too large to be read for its fields"},
	{"request_line_too_long", 414, "The request line is too long"},
	{UnsupportedCharset, 415, "The charset of the JSON body is not UTF-8"},
	{"expectation_not_supported", 417, "The expectation cannot be met"},
	{"head_too_large", 431, "The header section is too large"},
	{"too_many_fields", 431, "There are too many headers"},
	{"trailer_too_large", 431, "The trailer section is too large"},
	{Internal, 500, "Internal error"},
	{"connect_refused", 501, "CONNECT is not offered"},
	{"transfer_coding_not_supported", 501, "The transfer coding is not supported"},
	{UpstreamReset, 502, "The replica closed the connection before it answered"},
	{BadResponse, 502, "The replica's response is malformed"},
	{ServiceUnknown, 503, "The route names a service that is not configured"},
	{NoEndpoint, 503, "The service has no endpoint that can serve"},
	{ConnectFailed, 503, "No replica could be connected to"},
	{Overloaded, 503, "The gateway is at its limit"},
	{Undecided, 503, "Nobody could decide where the request goes"},
	{ConnectTimeout, 504, "The replica could not be connected to in time"},
	{ResponseTimeout, 504, "The replica did not answer in time"},
	{"version_not_supported", 505, "The HTTP version is not supported"},
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
