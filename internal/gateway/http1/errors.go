package http1

// Reason says why a message was refused. Reasons are stable.
type Reason string

// Error is the refusal of a message. After it, nothing more on the connection that the bytes came from can be trusted: the
// caller closes that connection (after it has answered, where it is the client's). Errors are static: they can be compared
// by pointer, and a refusal allocates nothing.
type Error struct {
	Reason    Reason // of a response: the reason for the same fault in a request, after "response_"
	Status    int    // what the client is answered: 4xx or 5xx for its own messages, 502 for a server's
	Detail    string // what was wrong, for people; safe to show to the client
	Smuggling bool   // the message looks like an attempt to make two readers disagree on where it ends

	response *Error // the same fault in a server's message
}

func (e *Error) Error() string { return e.Detail }

// Errors lists every refusal that this package can give.
func Errors() []*Error { return catalogue }

var catalogue []*Error

const badGateway = 502

// inBoth makes the refusal of a fault that requests and responses can have.
func inBoth(reason Reason, status int, smuggling bool, detail string) *Error {
	e := inRequest(reason, status, smuggling, detail)
	e.response = inResponse(reason, smuggling, detail)
	return e
}

func inRequest(reason Reason, status int, smuggling bool, detail string) *Error {
	e := &Error{Reason: reason, Status: status, Detail: detail, Smuggling: smuggling}
	catalogue = append(catalogue, e)
	return e
}

func inResponse(reason Reason, smuggling bool, detail string) *Error {
	return inRequest("response_"+reason, badGateway, smuggling, "the server's response: "+detail)
}

// Faults of start lines.
var (
	errRequestLine     = inRequest("bad_request_line", 400, false, "the request line is not: method, one space, target, one space, version")
	errMethod          = inRequest("bad_method", 400, false, "the method has a character that is not of a token")
	errConnect         = inRequest("connect_refused", 501, false, "CONNECT is not offered: this is not a forward proxy")
	errTarget          = inRequest("bad_target", 400, false, "the request target is not a path, an http or https URL, or * with OPTIONS, in visible ASCII without # and with whole percent escapes")
	errRequestLineLong = inRequest("request_line_too_long", 414, false, "the request line is over the limit")
	errVersion         = inRequest("bad_version", 400, false, "the request line does not end with an HTTP version")
	errVersionUnknown  = inRequest("version_not_supported", 505, false, "only HTTP/1.1 and HTTP/1.0 are spoken here")
	errStatusLine      = inResponse("bad_status_line", false, "the status line is not: HTTP/1.1 or HTTP/1.0, one space, three digits, one space, a phrase")
	errSwitch          = inResponse("switches_protocols", false, "101 (Switching Protocols) to a request that did not ask for it")
)

// Faults of lines and sections.
var (
	errHeadLong    = inBoth("head_too_large", 431, false, "the header section is over the limit")
	errFieldCount  = inBoth("too_many_fields", 431, false, "there are more fields than the limit allows")
	errTrailerLong = inBoth("trailer_too_large", 431, false, "the trailer section is over the limit")
	errBareLF      = inBoth("bare_lf", 400, true, "a line ends with LF alone")
	errBareCR      = inBoth("bare_cr", 400, true, "a CR is not followed by LF")
	errFieldName   = inBoth("bad_field_name", 400, true, "a field name is empty, lacks its colon, or has a character that is not of a token")
	errFieldSpace  = inBoth("space_before_colon", 400, true, "whitespace stands between a field name and its colon")
	errFolding     = inBoth("line_folding", 400, true, "a field line begins with whitespace (obsolete line folding)")
	errFieldValue  = inBoth("bad_field_value", 400, true, "a field value has NUL or another control character")
)

// Faults of what the fields say.
var (
	errNoHost         = inRequest("host_missing", 400, false, "an HTTP/1.1 request must have a Host field")
	errHostRepeated   = inRequest("host_repeated", 400, true, "there is more than one Host field")
	errHost           = inRequest("bad_host", 400, false, "the host is not a name or an address with an optional port")
	errHostMismatch   = inRequest("host_mismatch", 400, true, "the Host field and the request target name different hosts")
	errLength         = inBoth("bad_content_length", 400, true, "Content-Length is not one decimal number")
	errLengthRepeated = inBoth("content_length_repeated", 400, true, "there is more than one Content-Length")
	errLengthCoding   = inBoth("content_length_with_transfer_encoding", 400, true, "Content-Length and Transfer-Encoding are both there")
	errCoding         = inBoth("bad_transfer_encoding", 400, true, "Transfer-Encoding is not exactly chunked")
	errCodingUnknown  = inBoth("transfer_coding_not_supported", 501, false, "no transfer coding but chunked is supported")
	errCodingOld      = inBoth("transfer_encoding_in_http_1_0", 400, true, "HTTP/1.0 has no Transfer-Encoding")
	errTypeRepeated   = inRequest("duplicate_header", 400, true, "there is more than one Content-Type")
	errConnection     = inBoth("bad_connection_option", 400, false, "Connection is not a list of a few tokens")
	errProtected      = inRequest("protected_connection_option", 400, true, "Connection names a field that must reach the server")
	errExpectation    = inRequest("expectation_not_supported", 417, false, "no expectation but 100-continue is supported")
	errTrailerName    = inBoth("bad_trailer", 400, true, "Trailer names a field that says where the message ends")
)

// Faults of bodies.
var (
	errChunkSize      = inBoth("bad_chunk_size", 400, true, "a chunk size is not 1 to 16 hexadecimal digits and CRLF, or is too large")
	errChunkExtension = inBoth("bad_chunk_extension", 400, true, "a chunk extension is malformed")
	errExtensionsLong = inBoth("chunk_extensions_too_long", 400, true, "the chunk extensions are over the limit")
	errChunkEnd       = inBoth("bad_chunk_end", 400, true, "the data of a chunk is not followed by CRLF")
	errTrailerField   = inBoth("framing_field_in_trailer", 400, true, "the trailer section has Content-Length, Transfer-Encoding or Host")
	errCut            = inBoth("body_cut_short", 400, false, "the connection ended before the body did")
)
