package istio

import (
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	networking "istio.io/api/networking/v1alpha3"
)

// TestEveryFieldOfTheAPIIsReadOrRefused sets each field of each message that can be part of an object, alone: it is refused
// unless it is among those that are read.
func TestEveryFieldOfTheAPIIsReadOrRefused(t *testing.T) {
	seen := map[protoreflect.FullName]bool{}
	refused := 0
	var visit func(m protoreflect.Message)
	visit = func(m protoreflect.Message) {
		name := m.Descriptor().FullName()
		if seen[name] {
			return
		}
		seen[name] = true
		fields := m.Descriptor().Fields()
		for i := range fields.Len() {
			f := fields.Get(i)
			one := m.New()
			part := set(one, f)
			found := unsupported(one.Interface(), false)
			if byProxy := unsupported(one.Interface(), true); slices.Contains(proxied[name], f.Name()) == (len(byProxy) == len(found)) && len(found) > 0 {
				t.Errorf("%s: refused %v where a proxy carries it out, %v where none does", f.FullName(), byProxy, found)
			}
			switch {
			case slices.Contains(supported[name], f.Name()):
				if len(found) != 0 {
					t.Errorf("%s is read, but %s is refused", f.FullName(), found[0].path)
				}
				if part != nil {
					visit(part)
				}
			case len(found) != 1 || found[0].path != "spec."+f.JSONName() || found[0].name != f.JSONName():
				t.Errorf("%s is not read; refused: %v", f.FullName(), found)
			default:
				refused++
			}
		}
	}
	for _, m := range []proto.Message{&networking.Gateway{}, &networking.VirtualService{}, &networking.DestinationRule{}, &networking.ServiceEntry{}} {
		visit(m.ProtoReflect())
	}
	for name := range supported {
		if !seen[name] {
			t.Errorf("%s is in the list and part of nothing", name)
		}
	}
	for name, fields := range proxied {
		d, err := protoregistry.GlobalFiles.FindDescriptorByName(name)
		if err != nil || !seen[name] {
			t.Errorf("%s is in the list and part of nothing: %v", name, err)
			continue
		}
		for _, f := range fields {
			if d.(protoreflect.MessageDescriptor).Fields().ByName(f) == nil || slices.Contains(supported[name], f) {
				t.Errorf("%s.%s is no field, or is read", name, f)
			}
		}
	}
	if refused < 30 {
		t.Errorf("only %d fields were refused", refused)
	}
}

// set gives a field of m some value, and returns the empty message in it when it holds messages.
func set(m protoreflect.Message, f protoreflect.FieldDescriptor) protoreflect.Message {
	switch {
	case f.IsMap():
		v := m.Mutable(f).Map()
		key := protoreflect.ValueOfString("key").MapKey()
		if f.MapValue().Message() != nil {
			part := v.NewValue()
			v.Set(key, part)
			return part.Message()
		}
		v.Set(key, scalar(f.MapValue()))
	case f.IsList() && f.Message() != nil:
		part := m.Mutable(f).List().AppendMutable()
		return part.Message()
	case f.IsList():
		m.Mutable(f).List().Append(scalar(f))
	case f.Message() != nil:
		return m.Mutable(f).Message()
	default:
		m.Set(f, scalar(f))
	}
	return nil
}

func scalar(f protoreflect.FieldDescriptor) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.StringKind:
		return protoreflect.ValueOfString("x")
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(1)
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(1)
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(1)
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(1)
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(1)
	default:
		panic(f.FullName())
	}
}
