package http1

import (
	"bytes"
	"encoding/binary"
)

// Request is a request head. Its strings are views of the buffer that was parsed: they are valid as long as its bytes stay
// where they are (see Rebase). The zero value is ready for use; Reset makes it ready for the next message and keeps its memory.
type Request struct {
	Method string
	Target string // as sent
	Path   string // without the query; "/" for an absolute form without a path; "*" for the asterisk form
	Query  string // what follows the first '?', undecoded
	Host   string // of the Host field; in HTTP/1.0 without one that of an absolute-form target, else empty
	Minor  uint8  // of the version: 1 for HTTP/1.1, 0 for HTTP/1.0

	Section

	Framing        Framing // NoBody, Length or Chunked; a Content-Length of 0 is NoBody
	ContentLength  int64   // bytes; for Length
	KeepAlive      bool    // the client will go on with the connection
	ExpectContinue bool    // the client waits for 100 (Continue) before it sends the body
	Upgrade        string  // the protocols that the client offers to switch to; empty: none
	Trailers       bool    // the client accepts trailers (TE: trailers)

	begun    int    // offset of the method, behind an empty line
	lineDone bool   // the request line is parsed
	form     form   // of Target
	origin   string // Target from its path on; without a path it may begin with '?' or be empty
}

// form is the form of a request target (RFC 9112, 3.2).
type form uint8

const (
	originForm form = iota
	absoluteForm
	asteriskForm
)

// Parse reads a request head at the start of buf. n is its size; n == 0 without an error says that it is not complete: call
// again with more bytes after the same ones (the buffer may have moved or grown). Work that was done is not done again.
// The result and a refusal are the same however the bytes were split. Field names become lower case in buf. lim may be nil.
//
// One empty line before the request line is skipped (RFC 9112, 2.2), and counts in n.
func (r *Request) Parse(buf []byte, lim *Limits) (n int, err *Error) {
	if lim == nil {
		lim = &defaultLimits
	}
	maxHead := lim.head()
	if len(buf) > maxHead {
		buf = buf[:maxHead]
	}
	r.Rebase(buf)
	if !r.lineDone {
		if err := r.parseLine(buf, lim.requestLine()); err != nil {
			return 0, err
		}
		if !r.lineDone {
			if len(buf) == maxHead {
				return 0, errRequestLineLong
			}
			return 0, nil
		}
	}
	if r.resume(buf) {
		if err := r.parse(buf, lim.fields()); err != nil {
			return 0, err
		}
	}
	if r.size == 0 {
		if len(buf) == maxHead {
			return 0, errHeadLong
		}
		return 0, nil
	}
	if err := r.settle(lim); err != nil {
		return 0, err
	}
	return r.size, nil
}

// Reset makes r ready for another message.
func (r *Request) Reset() {
	r.Section.reset()
	r.Host, r.Upgrade = "", ""
	r.Framing, r.ContentLength = NoBody, 0
	r.KeepAlive, r.ExpectContinue, r.Trailers = false, false, false
	r.begun, r.lineDone = 0, false
}

// Rebase makes the views of r point into buf, which holds the bytes of the parsed head at its start: for a caller that had
// to move its buffer.
func (r *Request) Rebase(buf []byte) {
	if len(buf) == 0 || r.base == &buf[0] {
		return
	}
	if r.base != nil && r.lineDone {
		for _, v := range []*string{&r.Method, &r.Target, &r.Path, &r.Query, &r.Host, &r.Upgrade, &r.origin} {
			*v = r.moved(*v, buf)
		}
	}
	r.move(buf)
}

// parseLine reads the request line. It sets lineDone when the line was complete.
func (r *Request) parseLine(buf []byte, maxLine int) *Error {
	if r.begun == 0 && len(buf) > 0 && (buf[0] == '\r' || buf[0] == '\n') {
		if buf[0] == '\n' {
			return errBareLF
		}
		if len(buf) == 1 {
			return nil
		}
		if buf[1] != '\n' {
			return errBareCR
		}
		r.begun = 2
	}
	start := r.begun
	if start == len(buf) {
		return nil
	}
	if tokenLower[buf[start]] == 0 {
		return errMethod // whatever it is, it is not HTTP/1: a TLS hello has no LF to wait for
	}
	line := buf[start:]
	if len(line) > maxLine {
		line = line[:maxLine]
	}
	end, err := 0, (*Error)(nil)
	if r.resume(buf[:start+len(line)]) {
		end, err = r.splitLine(line)
	}
	switch {
	case err != nil && bytes.IndexByte(line, '\n') >= 0:
		return err
	case end > 0:
		r.lineDone, r.scan = true, 0
		r.fields, r.line = start+end, start+end
	case len(line) == maxLine:
		return errRequestLineLong
	default:
		r.wait(buf)
	}
	return nil
}

// splitLine splits line, which begins with a request line, into its parts. end is 0 when the line is not complete, also if
// there is an error, which counts only when it is.
func (r *Request) splitLine(line []byte) (end int, err *Error) {
	i := 0
	for i < len(line) && tokenLower[line[i]] != 0 {
		i++
	}
	if i == len(line) {
		return 0, nil
	}
	if line[i] != ' ' {
		return 0, lineFault(line, i, errMethod)
	}
	r.Method = view(line[:i])
	i++
	from, query := i, -1
	percent := false
	for i < len(line) {
		c := targetClass[line[i]]
		if c != plainTarget {
			if c == notTarget {
				break
			}
			if c == percentTarget {
				percent = percent || query < 0
			} else if query < 0 {
				query = i
			}
		}
		i++
	}
	if i == len(line) {
		return 0, nil
	}
	if line[i] != ' ' {
		return 0, lineFault(line, i, errTarget)
	}
	if i == from {
		return 0, errRequestLine
	}
	to := i
	end, r.Minor, err = version(line, i+1)
	if end == 0 || err != nil {
		return 0, err
	}
	return end, r.setTarget(line, from, query, to, percent)
}

// lineFault is the refusal of a request line for its byte at i.
func lineFault(line []byte, i int, err *Error) *Error {
	switch line[i] {
	case '\n':
		if i > 0 && line[i-1] == '\r' {
			return errRequestLine
		}
		return errBareLF
	case '\r':
		if i+1 < len(line) && line[i+1] != '\n' {
			return errBareCR
		}
		return errRequestLine // it ended early
	case '\t':
		return errRequestLine
	}
	return err
}

var http11 = binary.LittleEndian.Uint64([]byte("HTTP/1.1"))

// version reads the version at i and the end of the line. end is 0 when the line is not complete.
func version(line []byte, i int) (end int, minor uint8, err *Error) {
	if i+10 <= len(line) && binary.LittleEndian.Uint64(line[i:]) == http11 && line[i+8] == '\r' && line[i+9] == '\n' {
		return i + 10, 1, nil
	}
	n := bytes.IndexByte(line[i:], '\n')
	if n < 0 {
		return 0, 0, nil
	}
	v := line[i : i+n]
	if n == 0 || v[n-1] != '\r' {
		return 0, 0, errBareLF
	}
	v = v[:n-1]
	if bytes.IndexByte(v, '\r') >= 0 {
		return 0, 0, errBareCR
	}
	if bytes.IndexByte(v, ' ') >= 0 || bytes.IndexByte(v, '\t') >= 0 {
		return 0, 0, errRequestLine
	}
	if len(v) != 8 || string(v[:5]) != "HTTP/" || !isDigit(v[5]) || v[6] != '.' || !isDigit(v[7]) {
		return 0, 0, errVersion
	}
	if v[5] != '1' || v[7] > '1' {
		return 0, 0, errVersionUnknown
	}
	return i + n + 1, v[7] - '0', nil
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
