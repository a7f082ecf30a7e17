package config

import (
	"encoding/json"
	"reflect"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	gatewayv1 "sigs.k8s.io/gateway-api/apis/v1"

	"github.com/remora-proxy/remora/api/v1alpha1"
)

// goSchemas builds the schemas of Go types by the rules of encoding/json; what has no omitempty is required. Null stands for an absent field in the types of
// Kubernetes, whose lists of endpoints, as a cluster writes them, may be null; elsewhere it is refused.
type goSchemas struct {
	nullable bool
	seen     map[reflect.Type]*schema
}

var unmarshaler = reflect.TypeFor[json.Unmarshaler]()

// notations are the types with a JSON notation of their own, and what to call it.
var notations = map[reflect.Type]string{
	reflect.TypeFor[metav1.Time]():        "a time such as 2006-01-02T15:04:05Z",
	reflect.TypeFor[metav1.MicroTime]():   "a time such as 2006-01-02T15:04:05.000000Z",
	reflect.TypeFor[resource.Quantity]():  "a quantity such as 64Ki",
	reflect.TypeFor[intstr.IntOrString](): "an integer or a name",
}

// choices are the string types that have a fixed set of values.
var choices = map[reflect.Type][]string{
	reflect.TypeFor[corev1.Protocol]():                     {"TCP", "UDP", "SCTP"},
	reflect.TypeFor[corev1.ServiceType]():                  {"ClusterIP", "NodePort", "LoadBalancer", "ExternalName"},
	reflect.TypeFor[corev1.ServiceAffinity]():              {"None", "ClientIP"},
	reflect.TypeFor[corev1.IPFamily]():                     {"IPv4", "IPv6"},
	reflect.TypeFor[corev1.IPFamilyPolicy]():               {"SingleStack", "PreferDualStack", "RequireDualStack"},
	reflect.TypeFor[corev1.ServiceExternalTrafficPolicy](): {"Cluster", "Local"},
	reflect.TypeFor[corev1.ServiceInternalTrafficPolicy](): {"Cluster", "Local"},
	reflect.TypeFor[discoveryv1.AddressType]():             {"IPv4", "IPv6", "FQDN"},
	reflect.TypeFor[gatewayv1.PathMatchType]():             {"Exact", "PathPrefix", "RegularExpression"},
	reflect.TypeFor[gatewayv1.HeaderMatchType]():           {"Exact", "RegularExpression"},
	reflect.TypeFor[gatewayv1.QueryParamMatchType]():       {"Exact", "RegularExpression"},
	reflect.TypeFor[gatewayv1.HTTPMethod]():                {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"},
	reflect.TypeFor[v1alpha1.WithoutKey]():                 {string(v1alpha1.Balance), string(v1alpha1.Reject)},
}

func (g *goSchemas) of(t reflect.Type) *schema {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if s := g.seen[t]; s != nil {
		return s
	}
	s := &schema{nullable: g.nullable}
	g.seen[t] = s // before its members: types may hold themselves
	switch {
	case t == reflect.TypeFor[metav1.FieldsV1]():
		s.shape = anything
	case t == reflect.TypeFor[metav1.Duration]():
		s.shape, s.read = custom, func(n *node) (what, remedy string) {
			_, what, remedy = parseDuration(n)
			return what, remedy
		}
	case reflect.PointerTo(t).Implements(unmarshaler):
		s.shape, s.read = custom, notation(t)
	case choices[t] != nil:
		s.shape, s.values = anEnum, choices[t]
	default:
		g.fill(s, t)
	}
	return s
}

func (g *goSchemas) fill(s *schema, t reflect.Type) {
	switch t.Kind() {
	case reflect.Struct:
		s.shape, s.members = object, make(map[string]field, t.NumField())
		g.members(s, t)
	case reflect.Map:
		s.shape, s.elem = dictionary, g.of(t.Elem())
	case reflect.Slice, reflect.Array:
		s.shape, s.elem = array, g.of(t.Elem())
	case reflect.Bool:
		s.shape = aBool
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		i := integers(t.Bits(), true)
		s.shape, s.min, s.max = anInteger, i.min, i.max
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		i := integers(t.Bits(), false)
		s.shape, s.min, s.max = anInteger, i.min, i.max
	case reflect.Float32, reflect.Float64:
		s.shape = aNumber
	case reflect.String:
		s.shape = aString
	default:
		panic("config: no schema for the Go type " + t.String())
	}
}

func (g *goSchemas) members(s *schema, t reflect.Type) {
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case name == "-" || !f.IsExported():
		case f.Anonymous && name == "":
			g.members(s, f.Type)
		default:
			if name == "" {
				name = f.Name
			}
			s.members[name] = field{schema: g.of(f.Type)}
			if !strings.Contains(options, "omit") && !(g.nullable && collection(f.Type)) {
				s.required = append(s.required, name)
			}
		}
	}
}

// collection reports whether a cluster may leave out, or write as null, what has no omitempty.
func collection(t reflect.Type) bool {
	return t.Kind() == reflect.Slice || t.Kind() == reflect.Map || t.Kind() == reflect.Struct
}

// notation reads values of a type by the type's own decoder.
func notation(t reflect.Type) func(*node) (what, remedy string) {
	expected := notations[t]
	return func(n *node) (what, remedy string) {
		err := json.Unmarshal(n.appendJSON(nil), reflect.New(t).Interface())
		switch {
		case err == nil:
			return "", ""
		case expected == "":
			return "cannot be read: " + abbreviated(err.Error()), ""
		case len(n.kids) > 0:
			return "expected " + expected + ", got " + n.kind.String(), ""
		default:
			return "expected " + expected + ", got " + quoted(n.text), ""
		}
	}
}
