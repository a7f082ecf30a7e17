package wire

import (
	"errors"
	"unicode/utf8"
	"unsafe"

	"google.golang.org/protobuf/encoding/protowire"
)

// Kind is what a message is about.
type Kind uint8

// The kinds of messages, of Envoy and to it.
const (
	Other Kind = iota // none of these
	RequestHeaders
	ResponseHeaders
	RequestBody
	ResponseBody
	RequestTrailers
	ResponseTrailers
)

// BodyMode is envoy.extensions.filters.http.ext_proc.v3.ProcessingMode.BodySendMode.
type BodyMode int32

// The modes that Remora works with.
const (
	None               BodyMode = 0
	Buffered           BodyMode = 2
	FullDuplexStreamed BodyMode = 4
)

// Header is a field of a header map.
type Header struct{ Name, Value string }

// Request is a ProcessingRequest. Its strings and slices alias the message that it was read from.
type Request struct {
	Kind        Kind
	Headers     []Header // of headers and trailers, in Envoy's order
	Body        []byte   // of RequestBody and ResponseBody
	EndOfStream bool     // of headers and bodies

	// Config says how Envoy sends bodies; only a stream's first message has one.
	HasConfig    bool
	RequestBody  BodyMode
	ResponseBody BodyMode

	attributes []byte // entries of the map, each with its tag
	metadata   []byte // MetadataContext
}

// ErrMalformed is the error of Read.
var ErrMalformed = errors.New("the message is no ProcessingRequest")

// MaxHeaders bounds Request.Headers, which take sixteen times the room that an empty header takes in a message. Envoy's own limit is 100
// (max_headers_count), unless it is configured otherwise.
const MaxHeaders = 4096

// maxKept is the number of headers that there is room for in a Request which is used again.
const maxKept = 256

// Read reads a message, which must not be changed while r is used. On ErrMalformed, r holds nothing of use.
func (r *Request) Read(message []byte) error {
	*r = Request{Headers: r.Headers[:0]}
	return fields(message, func(num protowire.Number, v value) error {
		switch num {
		case 2:
			return r.oneof(RequestHeaders, v)
		case 3:
			return r.oneof(ResponseHeaders, v)
		case 4:
			return r.oneof(RequestBody, v)
		case 5:
			return r.oneof(ResponseBody, v)
		case 6:
			return r.oneof(RequestTrailers, v)
		case 7:
			return r.oneof(ResponseTrailers, v)
		case 8:
			r.metadata = join(r.metadata, v.bytes)
		case 9:
			r.attributes = join(r.attributes, v.field)
		case 11:
			return r.config(v)
		}
		return nil
	})
}

// Clear drops what r holds of a message, and keeps its memory for the next one, unless that is much.
func (r *Request) Clear() {
	clear(r.Headers)
	if cap(r.Headers) > maxKept {
		r.Headers = nil
	}
	*r = Request{Headers: r.Headers[:0]}
}

// oneof reads the message that a ProcessingRequest is about. Of several the last counts; of several of one kind, all are one.
func (r *Request) oneof(k Kind, v value) error {
	if v.typ != protowire.BytesType {
		return nil
	}
	if r.Kind != k {
		r.Kind, r.Headers, r.Body, r.EndOfStream = k, r.Headers[:0], nil, false
	}
	switch k {
	case RequestHeaders, ResponseHeaders:
		return r.httpHeaders(v.bytes)
	case RequestBody, ResponseBody:
		return r.httpBody(v.bytes)
	default:
		return r.httpTrailers(v.bytes)
	}
}

func (r *Request) httpTrailers(b []byte) error {
	return fields(b, func(num protowire.Number, v value) error {
		if num == 1 && v.typ == protowire.BytesType {
			return r.headerMap(v.bytes)
		}
		return nil
	})
}

// headerMap reads a HeaderMap.
func (r *Request) headerMap(b []byte) error {
	return fields(b, func(num protowire.Number, v value) error {
		if num == 1 && v.typ == protowire.BytesType {
			return r.header(v.bytes)
		}
		return nil
	})
}

func (r *Request) httpHeaders(b []byte) error {
	return fields(b, func(num protowire.Number, v value) error {
		switch {
		case num == 1 && v.typ == protowire.BytesType:
			return r.headerMap(v.bytes)
		case num == 3 && v.typ == protowire.VarintType:
			r.EndOfStream = v.varint != 0
		}
		return nil
	})
}

// header reads a HeaderValue. Envoy sends values as bytes, in raw_value; value is for those that are text.
func (r *Request) header(b []byte) error {
	var name, text, raw []byte
	err := fields(b, func(num protowire.Number, v value) error {
		if v.typ != protowire.BytesType {
			return nil
		}
		switch num {
		case 1:
			name = v.bytes
		case 2:
			text = v.bytes
		case 3:
			raw = v.bytes
		}
		return nil
	})
	if err != nil {
		return err
	}
	if !utf8.Valid(name) || !utf8.Valid(text) {
		return ErrMalformed
	}
	if len(raw) > 0 {
		text = raw
	}
	if len(r.Headers) == MaxHeaders {
		return ErrMalformed
	}
	r.Headers = append(r.Headers, Header{Alias(name), Alias(text)})
	return nil
}

func (r *Request) httpBody(b []byte) error {
	return fields(b, func(num protowire.Number, v value) error {
		switch {
		case num == 1 && v.typ == protowire.BytesType:
			r.Body = v.bytes
		case num == 2 && v.typ == protowire.VarintType:
			r.EndOfStream = v.varint != 0
		}
		return nil
	})
}

// config reads a ProtocolConfiguration.
func (r *Request) config(v value) error {
	if v.typ != protowire.BytesType {
		return nil
	}
	r.HasConfig = true
	return fields(v.bytes, func(num protowire.Number, v value) error {
		switch {
		case v.typ != protowire.VarintType:
		case num == 1:
			r.RequestBody = BodyMode(v.varint)
		case num == 2:
			r.ResponseBody = BodyMode(v.varint)
		}
		return nil
	})
}

// join appends where there was something before, which no Envoy does: protobuf merges messages that come in parts so. The first part is
// b itself, without its room, so that the next ones move it away from the message, and then grow it at leisure: a message of a million
// parts must not cost a million copies.
func join(a, b []byte) []byte {
	if len(a) == 0 {
		return b[:len(b):len(b)]
	}
	return append(a, b...)
}

// Alias is b as a string that shares its memory.
func Alias(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
