package config

import (
	"fmt"
	"time"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// protoSchemas builds the schemas of protobuf messages. Members have their JSON names only: Istio's CustomResourceDefinitions
// know no others, so an API server drops or refuses a name such as http_header_name.
type protoSchemas map[protoreflect.FullName]*schema

func (p protoSchemas) message(m protoreflect.MessageDescriptor) *schema {
	if s := wellKnown(m.FullName()); s != nil {
		return s
	}
	if s := p[m.FullName()]; s != nil {
		return s
	}
	s := &schema{shape: object, members: make(map[string]field, m.Fields().Len())}
	p[m.FullName()] = s // before its members: messages may hold themselves
	for i := range m.Fields().Len() {
		f := m.Fields().Get(i)
		member := field{schema: p.field(f)}
		if one := f.ContainingOneof(); one != nil && !one.IsSynthetic() {
			member.oneof = string(one.Name())
		}
		s.members[f.JSONName()] = member
	}
	return s
}

func (p protoSchemas) field(f protoreflect.FieldDescriptor) *schema {
	switch {
	case f.IsMap():
		return &schema{shape: dictionary, elem: p.single(f.MapValue())}
	case f.IsList():
		return &schema{shape: array, elem: p.single(f)}
	default:
		return p.single(f)
	}
}

func (p protoSchemas) single(f protoreflect.FieldDescriptor) *schema {
	switch f.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return p.message(f.Message())
	case protoreflect.EnumKind:
		s := &schema{shape: anEnum}
		for i := range f.Enum().Values().Len() {
			s.values = append(s.values, string(f.Enum().Values().Get(i).Name()))
		}
		return s
	case protoreflect.BoolKind:
		return &schema{shape: aBool}
	case protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind:
		return integers(32, true)
	case protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind:
		return integers(64, true)
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return integers(32, false)
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return integers(64, false)
	case protoreflect.FloatKind, protoreflect.DoubleKind:
		return &schema{shape: aNumber}
	default:
		return &schema{shape: aString}
	}
}

// wellKnown gives the schema of the messages that have a JSON notation of their own, as far as Istio's kinds use them.
func wellKnown(name protoreflect.FullName) *schema {
	switch name {
	case "google.protobuf.Duration":
		return &schema{shape: custom, read: protoDuration}
	case "google.protobuf.BoolValue":
		return &schema{shape: aBool, nullable: true}
	case "google.protobuf.DoubleValue":
		return &schema{shape: aNumber, nullable: true}
	case "google.protobuf.UInt32Value":
		s := integers(32, false)
		s.nullable = true
		return s
	default:
		return nil
	}
}

// protoDuration takes what Istio takes, Go's notation ("1m30s"), and turns it into protobuf's JSON notation ("90s").
func protoDuration(n *node) (what, remedy string) {
	d, what, remedy := parseDuration(n)
	if what != "" {
		return what, remedy
	}
	sign := ""
	if d < 0 {
		sign, d = "-", -d
	}
	n.text = fmt.Sprintf("%s%d.%09ds", sign, uint64(d/time.Second), uint64(d%time.Second))
	return "", ""
}

const durationRemedy = "write a number and a unit: 500ms, 60s, 1m30s, 1h"

func parseDuration(n *node) (d time.Duration, what, remedy string) {
	if n.kind != text {
		return 0, "expected a duration, got " + n.kind.String(), durationRemedy
	}
	d, err := time.ParseDuration(n.text)
	if err != nil {
		return 0, quoted(n.text) + " is not a duration", durationRemedy
	}
	return d, "", ""
}
