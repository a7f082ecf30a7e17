package http1

import (
	"math"
	"slices"
)

// Framing says where the body of a message ends.
type Framing uint8

// The framings.
const (
	NoBody     Framing = iota
	Length             // Content-Length
	Chunked            // Transfer-Encoding: chunked
	UntilClose         // responses only: the body ends with the connection
)

// unique are the fields of which a request has one at most, because readers differ on which of two counts.
var unique = setOf(Host, ContentLength, TransferEncoding, ContentType, Expect)

// settle reads what the fields of a complete request say together.
func (r *Request) settle(lim *Limits) *Error {
	if r.repeated&unique != 0 {
		return r.repetition()
	}
	if err := r.setHost(); err != nil {
		return err
	}
	if err := r.setFraming(); err != nil {
		return err
	}
	r.KeepAlive = r.Minor == 1
	if r.seen&settled == 0 {
		return nil
	}
	if v, ok := r.Get(Expect); ok && r.Minor == 1 { // HTTP/1.0 has no expectations (RFC 9110, 10.1.1)
		if !equalFold(v, "100-continue") {
			return errExpectation
		}
		r.ExpectContinue = r.Framing != NoBody
	}
	if r.seen.has(TE) {
		r.Trailers = r.listHas(TE, "trailers")
	}
	if r.seen.has(Trailer) && !r.trailerNames() {
		return errTrailerName
	}
	if !r.seen.has(Connection) {
		return nil
	}
	var c connection
	if err := r.readConnection(&c); err != nil {
		return err
	}
	for _, name := range c.names {
		if protected(name) || slices.Contains(lim.Protected, name) {
			return errProtected
		}
	}
	r.KeepAlive = !c.close && (r.Minor == 1 || c.keepAlive)
	if v, ok := r.Get(Upgrade); ok && c.upgrade && r.Minor == 1 {
		r.Upgrade = v
	}
	r.dropNamed(c.names)
	return nil
}

// settled are the fields that a request without is done with early.
var settled = setOf(Connection, Expect, TE, Trailer)

func (r *Request) repetition() *Error {
	switch dup := r.repeated; {
	case dup.has(Host):
		return errHostRepeated
	case dup.has(TransferEncoding):
		return errCoding
	case dup.has(ContentLength):
		return errLengthRepeated
	case dup.has(ContentType):
		return errTypeRepeated
	}
	return errExpectation
}

// setHost checks Host (RFC 9112, 3.2). A proxy would have to ignore a Host that differs from the target in absolute form; a
// client must not send one, so it is refused.
func (r *Request) setHost() *Error {
	v, ok := r.Get(Host)
	if !ok {
		if r.Minor == 1 {
			return errNoHost
		}
		return nil
	}
	if !validHost(v) {
		return errHost
	}
	if r.form == absoluteForm && v != r.Host && !sameHost(v, r.Host) {
		return errHostMismatch
	}
	r.Host = v
	return nil
}

func sameHost(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		x, y := a[i], b[i]
		if x != y && (x|0x20 != y|0x20 || x|0x20 < 'a' || x|0x20 > 'z') {
			return false
		}
	}
	return true
}

// setFraming decides where the body of a request ends (RFC 9112, 6.3), without the room that the RFC leaves for repair.
func (r *Request) setFraming() *Error {
	if v, ok := r.Get(TransferEncoding); ok {
		if err := r.coding(v, r.Minor); err != nil {
			return err
		}
		r.Framing = Chunked
		return nil
	}
	if v, ok := r.Get(ContentLength); ok {
		n, ok := r.length(v)
		if !ok {
			return errLength
		}
		if n > 0 {
			r.Framing, r.ContentLength = Length, n
		}
	}
	return nil
}

// coding checks a Transfer-Encoding. It must be chunked and nothing else; a list that ends so and is well formed is
// something that another server might understand (501), all else is a fault.
func (s *Section) coding(v string, minor uint8) *Error {
	switch {
	case minor == 0:
		return errCodingOld
	case s.seen.has(ContentLength):
		return errLengthCoding
	case v == "chunked" || equalFold(v, "chunked"):
		return nil
	}
	chunked := 0
	var last string
	for rest := v; rest != ""; {
		last, rest = nextElement(rest)
		if !isToken(last) {
			return errCoding
		}
		if equalFold(last, "chunked") {
			chunked++
		}
	}
	if chunked == 1 && equalFold(last, "chunked") {
		return errCodingUnknown
	}
	return errCoding
}

// length reads a Content-Length. Leading zeros are taken off the field, for readers who take them for an octal number.
func (s *Section) length(v string) (n int64, ok bool) {
	if v == "" {
		return 0, false
	}
	if v[0] == '0' && len(v) > 1 {
		i := 0
		for i < len(v)-1 && v[i] == '0' {
			i++
		}
		v = v[i:]
		s.Fields[s.first[ContentLength]].Value = v
	}
	if len(v) > 19 {
		return 0, false
	}
	var u uint64
	for i := range len(v) {
		if !isDigit(v[i]) {
			return 0, false
		}
		u = u*10 + uint64(v[i]-'0')
	}
	return int64(u), u <= math.MaxInt64
}

// listHas reports whether one of the lists of this kind has the element, which is in lower case.
func (s *Section) listHas(kind Field, element string) bool {
	for i, k := range s.kinds {
		if k != kind {
			continue
		}
		for e, rest := nextElement(s.Fields[i].Value); e != "" || rest != ""; e, rest = nextElement(rest) {
			if equalFold(e, element) {
				return true
			}
		}
	}
	return false
}

// trailerNames reports whether the Trailer fields name none that would change where the message ends.
func (s *Section) trailerNames() bool {
	return !s.listHas(Trailer, "content-length") && !s.listHas(Trailer, "transfer-encoding") && !s.listHas(Trailer, "trailer")
}

const maxConnectionNames = 16

// connection is what the Connection fields of a message say.
type connection struct {
	close, keepAlive, upgrade bool

	names []string // of further fields for this connection only, in lower case
}

// readConnection reads the Connection fields (RFC 9110, 7.6.1) and makes their options lower case.
func (s *Section) readConnection(c *connection) *Error {
	if !s.repeated.has(Connection) {
		switch v, _ := s.Get(Connection); v { // what is nearly always there
		case "keep-alive", "Keep-Alive":
			c.keepAlive = true
			return nil
		case "close", "Close":
			c.close = true
			return nil
		}
	}
	c.names = s.names[:0]
	for i := int(s.first[Connection]); i < len(s.kinds); i++ {
		if s.kinds[i] == Connection && !c.read(s.Fields[i].Value) {
			return errConnection
		}
	}
	s.names = c.names
	return nil
}

// read reads the options in list, and reports whether they are well formed and not too many.
func (c *connection) read(list string) bool {
	for list != "" {
		var option string
		option, list = nextElement(list)
		lowerInPlace(option)
		switch option {
		case "":
		case "close":
			c.close = true
		case "keep-alive":
			c.keepAlive = true
		case "upgrade":
			c.upgrade = true
		default:
			if len(c.names) == maxConnectionNames || !isToken(option) {
				return false
			}
			c.names = append(c.names, option)
		}
	}
	return true
}

// endToEnd are fields that a Connection field cannot take away: without them a server would understand another message than
// the gateway did.
var endToEnd = setOf(ContentEncoding, ContentLength, ContentType, Cookie, Expect, Host, XForwardedFor, XForwardedHost, XForwardedProto, XRequestID)

// protected reports whether a client that names this field in Connection is up to something.
func protected(name string) bool {
	switch name {
	case "authorization", "cache-control", "forwarded", "range", "set-cookie":
		return true
	}
	return endToEnd.has(classify(name))
}

// dropNamed removes the fields that Connection names, except those that the message needs.
func (s *Section) dropNamed(names []string) {
	if len(names) == 0 {
		return
	}
	s.keep(func(kind Field, name string) bool {
		return kind != OtherField && (endToEnd|hopByHop).has(kind) || !slices.Contains(names, name)
	})
}
