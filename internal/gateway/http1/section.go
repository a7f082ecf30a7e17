package http1

import (
	"bytes"
	"unsafe"

	"github.com/remora-proxy/remora/internal/route"
)

// Section is the header section of a message, or the trailer section of a body.
type Section struct {
	// Fields are the fields in the order in which they came: names in lower case, values without surrounding whitespace.
	// Fields that Connection names are not there any more.
	Fields []route.Header

	kinds    []Field // of Fields
	seen     set
	repeated set
	first    [endFields]uint16 // index in Fields of the first of a kind; only for what is seen

	names []string // room for the names in Connection

	base   *byte // where the buffer was that the views point into
	fields int   // offset of the first field line
	line   int   // offset of the first line that is not parsed yet
	scan   int   // offset from which to look for the end of that line; 0: nothing is known of it
	size   int   // bytes of the head with its last empty line, once it is complete
}

// Get gives the value of the first field of this kind, and whether there is one.
func (s *Section) Get(f Field) (value string, ok bool) {
	if !s.seen.has(f) {
		return "", false
	}
	return s.Fields[s.first[f]].Value, true
}

func (s *Section) reset() {
	s.Fields, s.kinds = s.Fields[:0], s.kinds[:0]
	s.seen, s.repeated = 0, 0
	s.base, s.fields, s.line, s.scan, s.size = nil, 0, 0, 0, 0
}

// wait says that the line at s.line is not complete in buf.
func (s *Section) wait(buf []byte) { s.scan = len(buf) }

// resume reports whether the line at s.line may be complete in buf, when it was not in the call before.
func (s *Section) resume(buf []byte) bool {
	if s.scan == 0 {
		return true
	}
	if bytes.IndexByte(buf[s.scan:], '\n') < 0 {
		s.wait(buf)
		return false
	}
	s.scan = 0
	return true
}

// parse takes field lines from s.line on and sets s.size behind the empty line that ends them. As long as s.size is 0, more
// bytes are needed. A line is judged only when its LF is there: so a refusal does not depend on how the bytes were split.
func (s *Section) parse(buf []byte, maxFields int) *Error {
	fields, kinds := s.Fields, s.kinds
	start := s.line
	err := (*Error)(nil)
	for {
		i := start
		for i < len(buf) {
			c := tokenLower[buf[i]]
			if c == 0 {
				break
			}
			buf[i] = c
			i++
		}
		if i >= len(buf) {
			s.wait(buf)
			break
		}
		if i == start || buf[i] != ':' {
			s.line = start
			err = s.endOrFault(buf, i)
			break
		}
		nameEnd := i
		i++
		if i < len(buf) && buf[i] == ' ' {
			i++
		}
		for i < len(buf) && isSpace(buf[i]) {
			i++
		}
		from := i
		i = valueEnd(buf, i)
		if i+1 >= len(buf) || buf[i] != '\r' || buf[i+1] != '\n' {
			s.line = start
			err = s.fault(buf, i, errFieldValue)
			break
		}
		to := i
		for to > from && isSpace(buf[to-1]) {
			to--
		}
		if len(fields) >= maxFields {
			err = errFieldCount
			break
		}
		name := view(buf[start:nameEnd])
		kind := classify(name)
		if kind != OtherField {
			s.note(kind, len(fields))
		}
		kinds = append(kinds, kind)
		fields = append(fields, route.Header{Name: name, Value: view(buf[from:to])})
		start = i + 2
	}
	s.Fields, s.kinds, s.line = fields, kinds, start
	return err
}

// note keeps where the first field of a kind is.
func (s *Section) note(kind Field, index int) {
	if s.seen.has(kind) {
		s.repeated |= 1 << kind
		return
	}
	s.seen |= 1 << kind
	s.first[kind] = uint16(index)
}

// endOrFault looks at the line at s.line, which is not a field line: at i is the first character that is not of a name.
func (s *Section) endOrFault(buf []byte, i int) *Error {
	switch {
	case i > s.line:
		if isSpace(buf[i]) {
			return s.fault(buf, i, errFieldSpace)
		}
		return s.fault(buf, i, errFieldName)
	case isSpace(buf[i]):
		return s.fault(buf, i, errFolding)
	case i+1 < len(buf) && buf[i] == '\r' && buf[i+1] == '\n':
		s.size = i + 2
		return nil
	}
	return s.fault(buf, i, errFieldName)
}

// fault is the refusal of the line at s.line for its byte at i, or nil when the line is not complete yet.
func (s *Section) fault(buf []byte, i int, err *Error) *Error {
	if bytes.IndexByte(buf[s.line:], '\n') < 0 {
		s.wait(buf)
		return nil
	}
	switch buf[i] {
	case '\n':
		return errBareLF
	case '\r':
		if buf[i+1] != '\n' {
			return errBareCR
		}
	}
	return err
}

// move makes the views point into buf, where the bytes that they point to are now.
func (s *Section) move(buf []byte) {
	if len(buf) == 0 || s.base == unsafe.SliceData(buf) {
		return
	}
	if s.base != nil {
		for i := range s.Fields {
			f := &s.Fields[i]
			f.Name, f.Value = s.moved(f.Name, buf), s.moved(f.Value, buf)
		}
	}
	s.base = unsafe.SliceData(buf)
}

// moved is v with its bytes in buf, when they were in the buffer at s.base.
func (s *Section) moved(v string, buf []byte) string {
	off := uintptr(unsafe.Pointer(unsafe.StringData(v))) - uintptr(unsafe.Pointer(s.base))
	if off > uintptr(len(buf)) || uintptr(len(v)) > uintptr(len(buf))-off {
		return v // not a view of the buffer
	}
	return view(buf[off : int(off)+len(v)])
}

// keep removes the fields for which it says no.
func (s *Section) keep(keep func(kind Field, name string) bool) {
	s.seen, s.repeated = 0, 0
	fields, kinds := s.Fields, s.kinds
	s.Fields, s.kinds = fields[:0], kinds[:0]
	for i := range fields {
		if keep(kinds[i], fields[i].Name) {
			if kinds[i] != OtherField {
				s.note(kinds[i], len(s.Fields))
			}
			s.Fields, s.kinds = append(s.Fields, fields[i]), append(s.kinds, kinds[i])
		}
	}
}
