package http1

import (
	"bytes"
	"encoding/binary"
)

// Response is the head of a server's response. Views, Reset and Rebase are as for Request.
type Response struct {
	Status int    // 100 to 999, never 101: the gateway does not ask for a switch of protocols
	Phrase string // the reason phrase; may be empty
	Minor  uint8

	Section // a repeated Content-Length with the same value is there once

	Framing       Framing
	ContentLength int64 // what Content-Length says: the bytes of a Length body, or for HEAD and 304 of the one that is not sent
	KeepAlive     bool  // the connection can carry another request after the body

	lineDone bool
}

// Parse reads a response head at the start of buf, in the way of Request.Parse. method is the request's: it decides, with the
// status, whether there is a body. After an informational response (Status below 200) the next one follows: Reset, then Parse.
func (r *Response) Parse(buf []byte, method string, lim *Limits) (n int, err *Error) {
	if lim == nil {
		lim = &defaultLimits
	}
	maxHead := lim.head()
	if len(buf) > maxHead {
		buf = buf[:maxHead]
	}
	r.Rebase(buf)
	if !r.lineDone && r.resume(buf) {
		if err := r.parseLine(buf); err != nil {
			return 0, err
		}
	}
	if r.lineDone && r.resume(buf) {
		if err := r.parse(buf, lim.fields()); err != nil {
			return 0, err.response
		}
	}
	if r.size == 0 {
		if len(buf) == maxHead {
			return 0, errHeadLong.response
		}
		return 0, nil
	}
	if err := r.settle(method); err != nil {
		return 0, err
	}
	return r.size, nil
}

// Reset makes r ready for another message.
func (r *Response) Reset() {
	r.Section.reset()
	r.Phrase = ""
	r.Framing, r.ContentLength = NoBody, 0
	r.lineDone = false
}

// Rebase makes the views of r point into buf, which holds the bytes of the parsed head at its start.
func (r *Response) Rebase(buf []byte) {
	if len(buf) == 0 || r.base == &buf[0] {
		return
	}
	if r.base != nil && r.lineDone {
		r.Phrase = r.moved(r.Phrase, buf)
	}
	r.move(buf)
}

// parseLine reads the status line (RFC 9112, 4). The space before an empty phrase may be missing: many servers leave it out.
func (r *Response) parseLine(buf []byte) *Error {
	if len(buf) > 0 && buf[0] != 'H' {
		return errStatusLine // not HTTP/1: there may be no LF to wait for
	}
	end := valueEnd(buf, 0)
	if end+1 >= len(buf) || buf[end] != '\r' || buf[end+1] != '\n' {
		return r.badLine(buf, end)
	}
	line := buf[:end]
	if len(line) < 12 || len(line) > 12 && line[12] != ' ' || line[8] != ' ' {
		return errStatusLine
	}
	switch binary.LittleEndian.Uint64(line) {
	case http11:
		r.Minor = 1
	case http10:
		r.Minor = 0
	default:
		return errStatusLine
	}
	a, b, c := line[9], line[10], line[11]
	if a < '1' || a > '9' || !isDigit(b) || !isDigit(c) {
		return errStatusLine
	}
	r.Status = int(a-'0')*100 + int(b-'0')*10 + int(c-'0')
	if len(line) > 12 {
		r.Phrase = view(line[13:])
	}
	r.lineDone, r.fields, r.line = true, end+2, end+2
	return nil
}

// badLine is the refusal of a status line for its byte at i, or nil when the line is not complete yet.
func (r *Response) badLine(buf []byte, i int) *Error {
	if bytes.IndexByte(buf, '\n') < 0 {
		r.wait(buf)
		return nil
	}
	switch buf[i] {
	case '\n':
		return errBareLF.response
	case '\r':
		return errBareCR.response
	}
	return errStatusLine
}

var http10 = binary.LittleEndian.Uint64([]byte("HTTP/1.0"))

// settle reads what the fields of a complete response say together.
func (r *Response) settle(method string) *Error {
	if r.Status == 101 {
		return errSwitch
	}
	if err := r.setFraming(method); err != nil {
		return err.response
	}
	reusable := r.Framing != UntilClose
	if r.bodiless() && (r.seen.has(TransferEncoding) || r.ContentLength > 0) {
		reusable = false // a body that came all the same would be taken for the next response
	}
	r.KeepAlive = reusable && r.Minor == 1
	if r.seen.has(Trailer) && !r.trailerNames() {
		return errTrailerName.response
	}
	if !r.seen.has(Connection) {
		return nil
	}
	var c connection
	if err := r.readConnection(&c); err != nil {
		return err.response
	}
	r.KeepAlive = reusable && !c.close && (r.Minor == 1 || c.keepAlive)
	r.dropNamed(c.names)
	return nil
}

// bodiless reports whether the status forbids a body and the fields that announce one.
func (r *Response) bodiless() bool { return r.Status < 200 || r.Status == 204 }

// setFraming decides where the body of a response ends (RFC 9112, 6.3).
func (r *Response) setFraming(method string) *Error {
	if r.repeated.has(TransferEncoding) {
		return errCoding
	}
	if r.repeated.has(ContentLength) {
		if err := r.mergeLengths(); err != nil {
			return err
		}
	}
	if v, ok := r.Get(TransferEncoding); ok {
		if err := r.coding(v, r.Minor); err != nil {
			return err
		}
	}
	length, hasLength := int64(0), false
	if v, ok := r.Get(ContentLength); ok {
		if length, hasLength = r.length(v); !hasLength {
			return errLength
		}
	}
	switch {
	case r.bodiless() || r.Status == 304 || method == "HEAD":
		r.Framing, r.ContentLength = NoBody, length
	case r.seen.has(TransferEncoding):
		r.Framing = Chunked
	case !hasLength:
		r.Framing = UntilClose
	case length > 0:
		r.Framing, r.ContentLength = Length, length
	}
	return nil
}

// mergeLengths makes equal Content-Length fields one (RFC 9112, 6.3).
func (r *Response) mergeLengths() *Error {
	want, _ := r.Get(ContentLength)
	n := 0
	for i, k := range r.kinds {
		if k == ContentLength && r.Fields[i].Value != want {
			return errLengthRepeated
		}
	}
	r.keep(func(kind Field, _ string) bool {
		if kind == ContentLength {
			n++
		}
		return kind != ContentLength || n == 1
	})
	return nil
}
