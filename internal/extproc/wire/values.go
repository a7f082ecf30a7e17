package wire

import (
	"math"
	"unicode/utf8"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// value is a field of a message: its content, by its type.
type value struct {
	typ    protowire.Type
	varint uint64 // also of fixed-size numbers
	bytes  []byte
	field  []byte // all of it, with the tag
}

// fields calls f for each field of a message, in their order.
func fields(b []byte, f func(protowire.Number, value) error) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return ErrMalformed
		}
		v := value{typ: typ}
		var m int
		switch typ {
		case protowire.VarintType:
			v.varint, m = protowire.ConsumeVarint(b[n:])
		case protowire.BytesType:
			v.bytes, m = protowire.ConsumeBytes(b[n:])
		case protowire.Fixed64Type:
			v.varint, m = protowire.ConsumeFixed64(b[n:])
		default:
			m = protowire.ConsumeFieldValue(num, typ, b[n:])
		}
		if m < 0 {
			return ErrMalformed
		}
		v.field = b[:n+m]
		b = b[n+m:]
		if err := f(num, v); err != nil {
			return err
		}
	}
	return nil
}

// Value is one of google.protobuf.Value's kinds that attributes have: text or a number.
type Value struct {
	Text   string
	Number float64
}

// Attribute is an attribute that Envoy was configured to send, of whichever filter; ok says whether it is there.
func (r *Request) Attribute(name string) (val Value, ok bool) {
	err := entries(r.attributes, 9, func(_ string, attributes []byte) error {
		return entries(attributes, 1, func(key string, b []byte) (err error) {
			if key == name {
				val, err = readValue(b)
				ok = true
			}
			return err
		})
	})
	if err != nil {
		return Value{}, false
	}
	return val, ok
}

// entries calls f for each entry of a map from strings to messages, which has the number num.
func entries(b []byte, num protowire.Number, f func(key string, message []byte) error) error {
	return fields(b, func(n protowire.Number, v value) error {
		if n != num || v.typ != protowire.BytesType {
			return nil
		}
		var key, message []byte
		err := fields(v.bytes, func(n protowire.Number, v value) error {
			switch {
			case v.typ != protowire.BytesType:
			case n == 1:
				key = v.bytes
			case n == 2:
				message = join(message, v.bytes)
			}
			return nil
		})
		if err != nil {
			return err
		}
		return f(Alias(key), message)
	})
}

// readValue reads a google.protobuf.Value. Of several kinds, the last counts.
func readValue(b []byte) (val Value, err error) {
	err = fields(b, func(num protowire.Number, v value) error {
		switch {
		case num == 2 && v.typ == protowire.Fixed64Type:
			val = Value{Number: math.Float64frombits(v.varint)}
		case num == 3 && v.typ == protowire.BytesType:
			if !utf8.Valid(v.bytes) {
				return ErrMalformed
			}
			val = Value{Text: Alias(v.bytes)}
		case 1 <= num && num <= 6:
			val = Value{}
		}
		return nil
	})
	return val, err
}

// Metadata is Envoy's dynamic metadata that came with the message; nil where none did. It is read into the generated types: few requests
// have it.
func (r *Request) Metadata() (*corev3.Metadata, error) {
	if len(r.metadata) == 0 {
		return nil, nil
	}
	m := &corev3.Metadata{}
	return m, proto.Unmarshal(r.metadata, m)
}
