// Package http1 is the HTTP/1.1 message layer of the gateway (RFC 9110, RFC 9112): bytes in, bytes out. It parses request
// and response heads in place, walks bodies in any framing, and writes the heads that go on. Whatever two HTTP readers could
// understand differently is refused, because a gateway that reads a message otherwise than the server behind it lets requests
// be smuggled.
//
// It has no socket, no goroutine, no clock and no logger, decides nothing about routes or sessions, and allocates nothing
// once its structs have grown to the messages they see. Everything it returns is a view of the caller's buffer.
//
// Where things are:
//
//	bytes.go     classes of bytes, views, lists
//	limits.go    Limits and their defaults
//	errors.go    Error: the catalogue of refusals
//	field.go     Field: the header fields that mean something here, and their classification
//	section.go   header and trailer sections: the one pass over field lines
//	request.go   Request: the request line
//	target.go    the forms of the request target, host names
//	response.go  Response: the status line
//	framing.go   Content-Length, Transfer-Encoding, Connection, Expect: what they say together
//	body.go      Body: where a body ends, and its decoded bytes
//	chunked.go   the chunked coding, read and written
//	write.go     heads to servers and to clients
package http1
