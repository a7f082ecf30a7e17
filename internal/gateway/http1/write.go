package http1

import (
	"net/http"
	"slices"
	"strconv"
	"unsafe"

	"github.com/remora-proxy/remora/internal/route"
)

// RequestOptions say how a request head goes on to a server. Hop-by-hop fields (RFC 9110, 7.6.1) never go on; framing is
// kept as it came. Names are in lower case, values are valid field values, and none of them is a field of framing. The struct
// can be kept for reuse.
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

// headRoom is what is usually added to a head.
const headRoom = 256

// AppendRequest appends the head with which r goes on to a server. It is always an HTTP/1.1 head.
func AppendRequest(dst []byte, r *Request, o *RequestOptions) []byte {
	dst = slices.Grow(dst, r.size+headRoom)
	drop := hopByHop.
		with(Expect, !o.ExpectContinue).
		with(Trailer, r.Framing != Chunked).
		with(XForwardedFor, o.ForwardedFor != "").
		with(XForwardedProto, o.ForwardedProto != "").
		with(XForwardedHost, o.ForwardedHost != "").
		with(XRequestID, o.RequestID != "")
	var c carrier
	c.replace(o.Set, o.Drop, o.DropPrefix)
	if o.Target == "" && r.form != absoluteForm && r.Minor == 1 {
		c.to = r.fields - len(crlf)
		c.from = r.begun
	} else {
		dst = r.appendLine(dst, o.Target)
	}
	dst = c.carry(dst, &r.Section, drop)
	if !r.seen.has(Host) {
		host := r.Host
		if host == "" {
			host = o.DefaultHost
		}
		dst = appendField(dst, "host", host)
	}
	if r.Framing == Chunked {
		dst = append(dst, "transfer-encoding: chunked\r\n"...)
	}
	for i := range o.Set {
		dst = appendField(dst, o.Set[i].Name, o.Set[i].Value)
	}
	return r.appendHops(dst, o)
}

const crlf = "\r\n"

// appendLine appends a request line that is not as it came.
func (r *Request) appendLine(dst []byte, target string) []byte {
	dst = append(dst, r.Method...)
	dst = append(dst, ' ')
	switch {
	case target != "":
		dst = append(dst, target...)
	case r.origin != "" && r.origin[0] != '?':
		dst = append(dst, r.origin...)
	default:
		dst = append(dst, r.Path...) // "/" or "*"
		dst = append(dst, r.origin...)
	}
	return append(dst, " HTTP/1.1\r\n"...)
}

// appendHops appends what this hop says, and the end of the head.
func (r *Request) appendHops(dst []byte, o *RequestOptions) []byte {
	if o.ForwardedFor != "" {
		dst = append(dst, "x-forwarded-for: "...)
		if r.seen.has(XForwardedFor) {
			for i, k := range r.kinds {
				if k == XForwardedFor && r.Fields[i].Value != "" {
					dst = append(dst, r.Fields[i].Value...)
					dst = append(dst, ", "...)
				}
			}
		}
		dst = append(dst, o.ForwardedFor...)
		dst = append(dst, crlf...)
	}
	if o.ForwardedProto != "" {
		dst = appendField(dst, "x-forwarded-proto", o.ForwardedProto)
	}
	if o.ForwardedHost != "" {
		dst = appendField(dst, "x-forwarded-host", o.ForwardedHost)
	}
	if o.RequestID != "" {
		dst = appendField(dst, "x-request-id", o.RequestID)
	}
	dst = appendVia(dst, r.Minor, o.Via)
	switch {
	case r.Trailers && o.Close:
		dst = append(dst, "te: trailers\r\nconnection: te, close\r\n"...)
	case r.Trailers:
		dst = append(dst, "te: trailers\r\nconnection: te\r\n"...)
	case o.Close:
		dst = append(dst, "connection: close\r\n"...)
	}
	return append(dst, crlf...)
}

// ResponseOptions say how a response head goes on to the client. Hop-by-hop fields never go on. Names are in lower case, values
// are valid field values, and none of them is a field of framing.
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
// only be shown by closing the connection. It is Chunked where the server's body has no known length, except for a client that
// speaks HTTP/1.0.
func ClientFraming(r *Response, req *Request) (f Framing, mustClose bool) {
	if r.Framing == NoBody || r.Framing == Length {
		return r.Framing, false
	}
	if req.Minor == 0 {
		return UntilClose, true
	}
	return Chunked, false
}

// AppendResponse appends the head with which r goes on to the client. Of the options, an informational response takes Drop only.
func AppendResponse(dst []byte, r *Response, o *ResponseOptions) []byte {
	dst = slices.Grow(dst, r.size+headRoom)
	drop := hopByHop.
		with(ContentLength, r.bodiless() || o.Framing == Chunked || o.Framing == UntilClose).
		with(Trailer, o.Framing != Chunked)
	final := r.Status >= 200
	var c carrier
	if final {
		c.replace(o.Set, o.Drop, "")
	} else {
		c.replace(nil, o.Drop, "")
	}
	if r.Minor == 1 && r.fields > len("HTTP/1.1 200\r\n") {
		c.to = r.fields - len(crlf)
	} else {
		dst = append(dst, "HTTP/1.1 "...)
		dst = strconv.AppendInt(dst, int64(r.Status), 10)
		dst = append(dst, ' ')
		dst = append(dst, r.Phrase...)
		dst = append(dst, crlf...)
	}
	dst = c.carry(dst, &r.Section, drop)
	if !final {
		return append(dst, crlf...)
	}
	if o.Framing == Chunked {
		dst = append(dst, "transfer-encoding: chunked\r\n"...)
	}
	for i := range o.Set {
		dst = appendField(dst, o.Set[i].Name, o.Set[i].Value)
	}
	for i := range o.Add {
		dst = appendField(dst, o.Add[i].Name, o.Add[i].Value)
	}
	if o.Date != "" && !r.seen.has(Date) {
		dst = appendField(dst, "date", o.Date)
	}
	dst = appendVia(dst, r.Minor, o.Via)
	dst = appendConnection(dst, o.Close, o.ClientHTTP)
	return append(dst, crlf...)
}

// Answer is a response of the gateway itself.
type Answer struct {
	Status      int
	ContentType string // empty: none
	Body        []byte
	Fields      []route.Header // further fields
	Date        string         // empty: none
	Head        bool           // the request's method is HEAD: the body is not sent, its length is told
	Close       bool           // send Connection: close
	ClientHTTP  uint8          // as in ResponseOptions
}

// AppendAnswer appends a whole response. The status is final and, unless there is no body, one that has a body.
func AppendAnswer(dst []byte, a *Answer) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(a.Status), 10)
	dst = append(dst, ' ')
	dst = append(dst, http.StatusText(a.Status)...)
	dst = append(dst, crlf...)
	if a.ContentType != "" {
		dst = appendField(dst, "content-type", a.ContentType)
	}
	if a.Status != http.StatusNoContent && a.Status != http.StatusNotModified {
		dst = append(dst, "content-length: "...)
		dst = strconv.AppendInt(dst, int64(len(a.Body)), 10)
		dst = append(dst, crlf...)
	}
	for i := range a.Fields {
		dst = appendField(dst, a.Fields[i].Name, a.Fields[i].Value)
	}
	if a.Date != "" {
		dst = appendField(dst, "date", a.Date)
	}
	dst = appendConnection(dst, a.Close, a.ClientHTTP)
	dst = append(dst, crlf...)
	if a.Head {
		return dst
	}
	return append(dst, a.Body...)
}

// AppendContinue appends an interim 100 (Continue) response.
func AppendContinue(dst []byte) []byte { return append(dst, "HTTP/1.1 100 Continue\r\n\r\n"...) }

func appendField(dst []byte, name, value string) []byte {
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = append(dst, value...)
	return append(dst, crlf...)
}

func appendVia(dst []byte, minor uint8, pseudonym string) []byte {
	if pseudonym == "" {
		return dst
	}
	dst = append(dst, "via: 1."...)
	dst = append(dst, '0'+minor, ' ')
	dst = append(dst, pseudonym...)
	return append(dst, crlf...)
}

func appendConnection(dst []byte, closes bool, client uint8) []byte {
	switch {
	case closes:
		return append(dst, "connection: close\r\n"...)
	case client == 0:
		return append(dst, "connection: keep-alive\r\n"...)
	}
	return dst
}

// carrier copies the lines of a head that go on. Lines that stand together in the buffer in the form "name: value" are copied
// as one run.
type carrier struct {
	set     []route.Header
	drop    []string
	prefix  string
	lengths uint64 // bit len(name)%64 is set for all names in set and drop

	from, to int // the run that is not copied yet, without its CRLF; to == 0: there is none
}

func (c *carrier) replace(set []route.Header, drop []string, prefix string) {
	c.set, c.drop, c.prefix = set, drop, prefix
	for i := range set {
		c.lengths |= 1 << (len(set[i].Name) & 63)
	}
	for i := range drop {
		c.lengths |= 1 << (len(drop[i]) & 63)
	}
}

// drops reports whether the fields of this name do not go on.
func (c *carrier) drops(name string) bool {
	if c.lengths>>(len(name)&63)&1 != 0 {
		for i := range c.set {
			if c.set[i].Name == name {
				return true
			}
		}
		if slices.Contains(c.drop, name) {
			return true
		}
	}
	return c.prefix != "" && len(name) >= len(c.prefix) && name[:len(c.prefix)] == c.prefix
}

// raw are the bytes of the head.
func (s *Section) raw() []byte { return unsafe.Slice(s.base, s.size) }

// carry appends the run that c has, and the fields of s except those of the kinds in drop and those that c drops.
func (c *carrier) carry(dst []byte, s *Section, drop set) []byte {
	raw := s.raw()
	base := uintptr(unsafe.Pointer(s.base))
	from, to := c.from, c.to
	for i := range s.Fields {
		f := &s.Fields[i]
		if drop.has(s.kinds[i]) || c.drops(f.Name) {
			continue
		}
		name := int(uintptr(unsafe.Pointer(unsafe.StringData(f.Name))) - base)
		value := int(uintptr(unsafe.Pointer(unsafe.StringData(f.Value))) - base)
		asWritten := value == name+len(f.Name)+2 && uint(value) < uint(len(raw)) && raw[value-1] == ' '
		if asWritten && name == to+len(crlf) {
			to = value + len(f.Value)
			continue
		}
		if to > 0 {
			dst = append(dst, raw[from:to]...)
			dst = append(dst, crlf...)
			to = 0
		}
		if asWritten {
			from, to = name, value+len(f.Value)
		} else {
			dst = appendField(dst, f.Name, f.Value)
		}
	}
	if to > 0 {
		dst = append(dst, raw[from:to]...)
		dst = append(dst, crlf...)
	}
	return dst
}
