package config

import (
	"fmt"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/remora-proxy/remora/api/v1alpha1"
	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/diag"
	"github.com/remora-proxy/remora/internal/istio"
	"github.com/remora-proxy/remora/internal/placement"
	set "github.com/remora-proxy/remora/internal/resource"
)

const reference = "../../docs/configuration.md"

// table is a table of the reference: the comment before it says what of.
type table struct {
	what string     // "fields: AffinityPolicySpec"
	rows [][]string // cells, with the field in backquotes first
}

var (
	marked = regexp.MustCompile(`(?m)^<!-- (fields|reads): (\S+) -->\n((?:\|.*\n)+)`)
	coded  = regexp.MustCompile("`([^`]+)`")
	fenced = regexp.MustCompile("(?ms)^```yaml\n(.*?)^```$")
)

func readReference(t *testing.T) (text string, tables []table) {
	t.Helper()
	data, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range marked.FindAllStringSubmatch(string(data), -1) {
		tab := table{what: m[1] + ": " + m[2]}
		for _, line := range strings.Split(strings.TrimSpace(m[3]), "\n")[2:] {
			cells := strings.Split(strings.Trim(line, "| "), "|")
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			tab.rows = append(tab.rows, cells)
		}
		tables = append(tables, tab)
	}
	return string(data), tables
}

// fields gives the names in the first column.
func (tab table) fields() []string {
	var names []string
	for _, row := range tab.rows {
		for _, m := range coded.FindAllStringSubmatch(row[0], -1) {
			names = append(names, m[1])
		}
	}
	return names
}

func differ(t *testing.T, what string, documented, there []string) {
	t.Helper()
	slices.Sort(documented)
	slices.Sort(there)
	for _, name := range there {
		if !slices.Contains(documented, name) {
			t.Errorf("%s lacks %s: %s", reference, what, name)
		}
	}
	for _, name := range documented {
		if !slices.Contains(there, name) {
			t.Errorf("%s has %s: %s, which is not there", reference, what, name)
		}
	}
}

func TestTheReferenceHasTheFieldsOfOurOwnKind(t *testing.T) {
	_, tables := readReference(t)
	documented := map[string][]string{}
	for _, tab := range tables {
		documented[tab.what] = tab.fields()
	}
	for _, typ := range []reflect.Type{
		reflect.TypeFor[v1alpha1.AffinityPolicySpec](), reflect.TypeFor[v1alpha1.TargetRef](), reflect.TypeFor[v1alpha1.Promotion](), reflect.TypeFor[v1alpha1.Key](),
	} {
		g := &goSchemas{seen: map[reflect.Type]*schema{}}
		differ(t, typ.Name(), documented["fields: "+typ.Name()], g.of(typ).names())
	}
}

func TestTheReferenceHasTheDefaultsOfOurOwnKind(t *testing.T) {
	_, tables := readReference(t)
	i := slices.IndexFunc(tables, func(tab table) bool { return tab.what == "fields: AffinityPolicySpec" })
	seen := 0
	for _, row := range tables[i].rows {
		name, value := strings.Trim(row[0], "`"), strings.Trim(row[2], "`")
		check := func(want any, got any, err error) {
			seen++
			if err != nil || got != want {
				t.Errorf("the default of %s is %v in the reference (%v), and %v", name, got, err, want)
			}
		}
		duration := func() (time.Duration, error) { return time.ParseDuration(value) }
		switch name {
		case "idleTimeout":
			got, err := duration()
			check(affinity.DefaultIdleTimeout, got, err)
		case "drainDeadline":
			got, err := duration()
			check(affinity.DefaultDrainDeadline, got, err)
		case "maxBody":
			got, err := resource.ParseQuantity(value)
			check(int64(affinity.DefaultMaxBody), got.Value(), err)
		case "sessionHeader":
			check(affinity.DefaultSessionHeader, value, nil)
		case "loadBoundPercent":
			check(fmt.Sprint(placement.DefaultBound*100), value, nil)
		}
	}
	if seen != 5 {
		t.Errorf("%d defaults were looked at, want 5", seen)
	}
}

// TestTheReferenceHasTheSupportedFieldsOfIstio asks package istio: an object with one more field set compiles with the finding
// that the field is not supported, or without.
func TestTheReferenceHasTheSupportedFieldsOfIstio(t *testing.T) {
	supported := map[string][]string{}
	probe(supported, func() (*networkingv1.Gateway, proto.Message) { o := &networkingv1.Gateway{}; return o, &o.Spec },
		func(s *set.Set, o set.Object[*networkingv1.Gateway]) { s.Gateways = append(s.Gateways, o) })
	probe(supported, func() (*networkingv1.VirtualService, proto.Message) {
		o := &networkingv1.VirtualService{}
		o.Spec.Gateways = []string{"front"}
		return o, &o.Spec
	}, func(s *set.Set, o set.Object[*networkingv1.VirtualService]) {
		s.VirtualServices = append(s.VirtualServices, o)
	})
	probe(supported, func() (*networkingv1.DestinationRule, proto.Message) {
		o := &networkingv1.DestinationRule{}
		return o, &o.Spec
	}, func(s *set.Set, o set.Object[*networkingv1.DestinationRule]) {
		s.DestinationRules = append(s.DestinationRules, o)
	})
	probe(supported, func() (*networkingv1.ServiceEntry, proto.Message) {
		o := &networkingv1.ServiceEntry{}
		return o, &o.Spec
	},
		func(s *set.Set, o set.Object[*networkingv1.ServiceEntry]) {
			s.ServiceEntries = append(s.ServiceEntries, o)
		})

	documented := map[string][]string{}
	_, tables := readReference(t)
	for _, tab := range tables {
		name, is := strings.CutPrefix(tab.what, "fields: istio.")
		if !is {
			continue
		}
		d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName("istio." + name))
		if err != nil {
			t.Errorf("%s: %v", tab.what, err)
			continue
		}
		for _, path := range tab.fields() {
			m := d.(protoreflect.MessageDescriptor)
			for field := range strings.SplitSeq(path, ".") { // port.number stands for a field of Destination and one of PortSelector
				if names := documented[string(m.FullName())]; !slices.Contains(names, field) {
					documented[string(m.FullName())] = append(names, field)
				}
				f := m.Fields().ByJSONName(field)
				if f == nil {
					t.Errorf("%s: there is no field %s", tab.what, path)
					break
				}
				m = f.Message()
			}
		}
	}
	messages := slices.AppendSeq(slices.Collect(maps.Keys(supported)), maps.Keys(documented))
	slices.Sort(messages)
	for _, message := range slices.Compact(messages) {
		differ(t, message, documented[message], supported[message])
	}
}

// probe notes for the spec of a kind, and for the messages in it, which fields are supported.
func probe[T metav1.Object](supported map[string][]string, object func() (T, proto.Message), put func(*set.Set, set.Object[T])) {
	var visit func(m protoreflect.MessageDescriptor, way []protoreflect.FieldDescriptor)
	visit = func(m protoreflect.MessageDescriptor, way []protoreflect.FieldDescriptor) {
		name := string(m.FullName())
		if _, is := supported[name]; is || !strings.HasPrefix(name, "istio.") {
			return
		}
		supported[name] = []string{}
		for i := range m.Fields().Len() {
			f := m.Fields().Get(i)
			way := append(slices.Clone(way), f)
			o, spec := object()
			path := fill(spec.ProtoReflect(), way)
			s := &set.Set{}
			put(s, set.Object[T]{Kind: "Probe", Value: o, Where: nowhere{}})
			_, found := istio.Compile(s, istio.Options{})
			if slices.ContainsFunc(found, func(d diag.Diagnostic) bool {
				return d.Field == path && strings.HasSuffix(d.What, f.JSONName()+" is not supported")
			}) {
				continue
			}
			supported[name] = append(supported[name], f.JSONName())
			if f.IsMap() {
				f = f.MapValue()
			}
			if f.Message() != nil {
				visit(f.Message(), way)
			}
		}
	}
	_, spec := object()
	visit(spec.ProtoReflect().Descriptor(), nil)
}

// fill sets the field that a way leads to, and gives its path.
func fill(m protoreflect.Message, way []protoreflect.FieldDescriptor) string {
	path := "spec"
	for i, f := range way {
		path += "." + f.JSONName()
		last := i == len(way)-1
		switch {
		case f.IsMap():
			v := m.Mutable(f).Map()
			k := protoreflect.ValueOfString("k").MapKey()
			value := v.NewValue()
			if f.MapValue().Message() == nil {
				value = scalar(f.MapValue())
			}
			v.Set(k, value)
			if !last {
				m, path = v.Get(k).Message(), path+"[k]"
			}
		case f.IsList():
			v := m.Mutable(f).List()
			if f.Message() == nil {
				v.Append(scalar(f))
			} else {
				m = v.AppendMutable().Message()
			}
			if !last {
				path += "[0]"
			}
		case f.Message() != nil:
			m = m.Mutable(f).Message()
		default:
			m.Set(f, scalar(f))
		}
	}
	return path
}

// scalar is a value that is not the default one.
func scalar(f protoreflect.FieldDescriptor) protoreflect.Value {
	switch f.Kind() {
	case protoreflect.BoolKind:
		return protoreflect.ValueOfBool(true)
	case protoreflect.EnumKind:
		return protoreflect.ValueOfEnum(f.Enum().Values().Get(f.Enum().Values().Len() - 1).Number())
	case protoreflect.Int32Kind:
		return protoreflect.ValueOfInt32(1)
	case protoreflect.Int64Kind:
		return protoreflect.ValueOfInt64(1)
	case protoreflect.Uint32Kind:
		return protoreflect.ValueOfUint32(1)
	case protoreflect.Uint64Kind:
		return protoreflect.ValueOfUint64(1)
	case protoreflect.DoubleKind:
		return protoreflect.ValueOfFloat64(1)
	default:
		return protoreflect.ValueOfString("a")
	}
}

type nowhere struct{}

func (nowhere) Locate(string) diag.Position { return diag.Position{} }

// TestTheReferenceNamesFieldsThatKubernetesHas: of Service, EndpointSlice and the Gateway API's kinds it lists what is read, not all there is.
func TestTheReferenceNamesFieldsThatKubernetesHas(t *testing.T) {
	_, tables := readReference(t)
	for _, tab := range tables {
		kind, is := strings.CutPrefix(tab.what, "reads: ")
		if !is {
			continue
		}
		i := slices.IndexFunc(used, func(u *use) bool { return u.label == kind })
		for _, path := range tab.fields() {
			s := used[i].schema()
			for name := range strings.SplitSeq(strings.ReplaceAll(path, "[]", ".[]"), ".") {
				if name == "[]" {
					s = s.elem
				} else {
					s = s.members[name].schema
				}
				if s == nil {
					t.Errorf("%s: there is no field %s", kind, path)
					break
				}
			}
		}
	}
}

func TestTheReferenceHasAllKindsAndEndings(t *testing.T) {
	text, _ := readReference(t)
	for _, u := range used {
		version := u.apiVersions()[0]
		if !strings.Contains(text, "\n## "+u.kind+"\n") || !strings.Contains(text, "`"+version+"`") {
			t.Errorf("%s lacks the kind %s (%s)", reference, u.kind, version)
		}
	}
	for _, e := range extensions {
		if !strings.Contains(text, "`"+e+"`") {
			t.Errorf("%s lacks the ending %s", reference, e)
		}
	}
}

func TestTheExamplesOfTheReferenceAreAccepted(t *testing.T) {
	text, _ := readReference(t)
	examples := fenced.FindAllStringSubmatch(text, -1)
	if len(examples) == 0 {
		t.Fatal("there are none")
	}
	for _, m := range examples {
		if _, list := loadBytes("example.yaml", []byte(m[1])); len(list) != 0 {
			t.Errorf("%v\n%s", list, m[1])
		}
	}
}
