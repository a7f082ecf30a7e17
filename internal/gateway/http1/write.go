package http1

import "github.com/remora-proxy/remora/internal/route"

// RequestOptions say how a request head goes on to a server. Hop-by-hop fields (RFC 9110, 7.6.1) never go on; framing is
// kept as it came: Length and Chunked. Names are in lower case. The struct can be kept for reuse.
type RequestOptions struct {
	Target      string         // the request target to send; empty: the client's, in origin form
	DefaultHost string         // what Host says when the client sent none (HTTP/1.0)
	Set         []route.Header // replace all fields of the same name
	Drop        []string       // fields that do not go on
	DropPrefix  string         // fields whose name begins with it do not go on either; empty: none

	ForwardedFor   string // the client's address, appended to X-Forwarded-For; empty: the client's fields are left as they are
	ForwardedProto string // replaces X-Forwarded-Proto; empty: left as it is
	ForwardedHost  string // replaces X-Forwarded-Host; empty: left as it is
	RequestID      string // replaces X-Request-Id; empty: left as it is
	Via            string // the pseudonym in Via; empty: no Via is added
	ExpectContinue bool   // pass the client's Expect: 100-continue on
	Close          bool   // send Connection: close
}

// AppendRequest appends the head with which r goes on to a server.
func AppendRequest(dst []byte, r *Request, o *RequestOptions) []byte { return dst }

// ResponseOptions say how a response head goes on to the client. Hop-by-hop fields never go on.
type ResponseOptions struct {
	Framing    Framing        // of the body that the client gets, see ClientFraming; it decides Content-Length and Transfer-Encoding
	Close      bool           // the connection to the client is closed after the response: send Connection: close
	ClientHTTP uint8          // Minor of the client's request: a 1.0 client is told Connection: keep-alive when Close is not set
	Set        []route.Header // replace all fields of the same name
	Add        []route.Header // are added: Set-Cookie
	Drop       []string       // fields that do not go on
	Date       string         // added when the server sent no Date; empty: none
	Via        string         // the pseudonym in Via; empty: no Via is added
}

// ClientFraming is the framing in which the body of r goes on to the client that sent req, and whether the end of the body can
// only be shown by closing the connection. Chunked where the server's body has no known length, except for a client that
// speaks HTTP/1.0.
func ClientFraming(r *Response, req *Request) (f Framing, mustClose bool) { return NoBody, false }

// AppendResponse appends the head with which r goes on to the client, informational responses included.
func AppendResponse(dst []byte, r *Response, o *ResponseOptions) []byte { return dst }

// Answer is a response of the gateway itself.
type Answer struct {
	Status      int
	ContentType string
	Body        []byte
	Fields      []route.Header // further fields
	Date        string
	Head        bool // the request's method is HEAD: the body is not sent, its length is told
	Close       bool // send Connection: close
	ClientHTTP  uint8
}

// AppendAnswer appends a whole response.
func AppendAnswer(dst []byte, a *Answer) []byte { return dst }

// AppendContinue appends an interim 100 (Continue) response.
func AppendContinue(dst []byte) []byte { return append(dst, "HTTP/1.1 100 Continue\r\n\r\n"...) }
