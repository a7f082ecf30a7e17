package http1

import "github.com/remora-proxy/remora/internal/route"

// Response is the head of a server's response. Views, Reset and Rebase are as for Request.
type Response struct {
	Status int    // 100 to 999, never 101: the gateway does not ask for a switch of protocols
	Phrase string // the reason phrase; may be empty
	Minor  uint8

	Fields []route.Header // as in Request; a repeated Content-Length with the same value is there once

	Framing       Framing
	ContentLength int64 // bytes; for Length
	KeepAlive     bool  // the connection can carry another request after the body
}

// Parse reads a response head at the start of buf, in the way of Request.Parse. method is the request's: it decides, with the
// status, whether there is a body. After an informational response (Status below 200) the next one follows: Reset, then Parse.
func (r *Response) Parse(buf []byte, method string, lim *Limits) (n int, err *Error) { return 0, nil }

// Reset makes r ready for another message.
func (r *Response) Reset() {}

// Rebase makes the views of r point into buf, which holds the bytes of the parsed head at its start.
func (r *Response) Rebase(buf []byte) {}

// Get gives the value of the first field of this kind, and whether there is one.
func (r *Response) Get(f Field) (value string, ok bool) { return "", false }
