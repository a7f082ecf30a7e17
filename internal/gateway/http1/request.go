package http1

import "github.com/remora-proxy/remora/internal/route"

// Framing says where the body of a message ends.
type Framing uint8

// The framings.
const (
	NoBody     Framing = iota
	Length             // Content-Length
	Chunked            // Transfer-Encoding: chunked
	UntilClose         // responses only: the body ends with the connection
)

// Request is a request head. Its strings are views of the buffer that was parsed: they are valid as long as its bytes stay
// where they are (see Rebase). The zero value is ready for use; Reset makes it ready for the next message and keeps its memory.
type Request struct {
	Method string
	Target string // as sent
	Path   string // without the query; "/" for an absolute form without a path; "*" for the asterisk form
	Query  string // what follows the first '?', undecoded
	Host   string // of an absolute-form target, else of the Host field; empty only in HTTP/1.0 without Host
	Minor  uint8  // of the version: 1 for HTTP/1.1, 0 for HTTP/1.0

	// Fields are the header fields in the order in which they came: names in lower case, values without surrounding
	// whitespace. Fields that Connection names are not there any more.
	Fields []route.Header

	Framing        Framing // NoBody, Length or Chunked; a Content-Length of 0 is NoBody
	ContentLength  int64   // bytes; for Length
	KeepAlive      bool    // the client will go on with the connection
	ExpectContinue bool    // the client waits for 100 (Continue) before it sends the body
	Upgrade        string  // the protocols that the client offers to switch to; empty: none
	Trailers       bool    // the client accepts trailers (TE: trailers)
}

// Parse reads a request head at the start of buf. n is its size; n == 0 without an error says that it is not complete: call
// again with more bytes after the same ones (the buffer may have moved or grown). Work that was done is not done again.
// The result and a refusal are the same however the bytes were split. Field names become lower case in buf.
func (r *Request) Parse(buf []byte, lim *Limits) (n int, err *Error) { return 0, nil }

// Reset makes r ready for another message.
func (r *Request) Reset() {}

// Rebase makes the views of r point into buf, which holds the bytes of the parsed head at its start: for a caller that had
// to move its buffer.
func (r *Request) Rebase(buf []byte) {}

// Get gives the value of the first field of this kind, and whether there is one.
func (r *Request) Get(f Field) (value string, ok bool) { return "", false }
