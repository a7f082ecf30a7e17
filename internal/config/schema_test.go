package config

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// crd is what is looked at in a CustomResourceDefinition.
type crd struct {
	Spec struct {
		Group    string
		Names    struct{ Kind string }
		Versions []crdVersion
	}
}

type crdVersion struct {
	Name   string
	Schema struct {
		Whole openAPI `yaml:"openAPIV3Schema"`
	}
}

type openAPI struct {
	Type       string
	Properties map[string]openAPI
	Items      *openAPI
	Values     *openAPI `yaml:"additionalProperties"`
	Enum       []string
	Nullable   bool
}

// TestTheSchemasOfIstiosKindsAreThoseOfItsDefinitions holds what is made of the protobuf descriptors against the
// CustomResourceDefinitions of the same release, which is what a cluster accepts.
func TestTheSchemasOfIstiosKindsAreThoseOfItsDefinitions(t *testing.T) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "istio.io/api").Output()
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "kubernetes", "customresourcedefinitions.gen.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	for d := yaml.NewDecoder(bytes.NewReader(data)); ; {
		var c crd
		if err := d.Decode(&c); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(used, func(u *use) bool { return u.group == c.Spec.Group && u.kind == c.Spec.Names.Kind })
		if i < 0 {
			continue
		}
		for _, v := range c.Spec.Versions {
			if !slices.Contains(used[i].versions, v.Name) {
				t.Errorf("the version %s of %s is not read", v.Name, used[i].kind)
			}
			compare(t, used[i].kind+"."+v.Name, v.Schema.Whole.Properties["spec"], used[i].schema().members["spec"].schema)
			compared++
		}
	}
	if compared != 4*3 {
		t.Errorf("%d schemas were compared, want 4 kinds in 3 versions", compared)
	}
}

// TestTheSchemasOfTheGatewayAPIsKindsAreThoseOfItsDefinitions does the same for the Gateway API. Its experimental definitions are
// those that have all fields.
func TestTheSchemasOfTheGatewayAPIsKindsAreThoseOfItsDefinitions(t *testing.T) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "sigs.k8s.io/gateway-api").Output()
	if err != nil {
		t.Fatal(err)
	}
	for kind, plural := range map[string]string{"Gateway": "gateways", "HTTPRoute": "httproutes", "ReferenceGrant": "referencegrants"} {
		data, err := os.ReadFile(filepath.Join(strings.TrimSpace(string(dir)), "config", "crd", "experimental", gatewayGroup+"_"+plural+".yaml"))
		if err != nil {
			t.Fatal(err)
		}
		var c crd
		if err := yaml.Unmarshal(data, &c); err != nil {
			t.Fatal(err)
		}
		for _, version := range []string{"v1", "v1beta1"} {
			u, fits := find(gatewayGroup+"/"+version, kind)
			i := slices.IndexFunc(c.Spec.Versions, func(v crdVersion) bool { return v.Name == version })
			if !fits || i < 0 {
				t.Fatalf("%s has no version %s", kind, version)
			}
			compare(t, kind+"."+version, c.Spec.Versions[i].Schema.Whole.Properties["spec"], u.schema().members["spec"].schema)
		}
	}
}

func compare(t *testing.T, path string, want openAPI, s *schema) {
	t.Helper()
	types := map[shape]string{
		object: "object", dictionary: "object", array: "array", aString: "string", aBool: "boolean", anInteger: "integer", aNumber: "number", anEnum: "string", custom: "string",
	}
	if types[s.shape] != want.Type || s.nullable != want.Nullable {
		t.Errorf("%s: %s (nullable %t), want %s (%t)", path, types[s.shape], s.nullable, want.Type, want.Nullable)
		return
	}
	switch s.shape {
	case object:
		names := s.names()
		for name, p := range want.Properties {
			if m, is := s.members[name]; is {
				compare(t, path+"."+name, p, m.schema)
			} else if name != "mirror_percent" { // an old spelling, hidden from the documentation
				t.Errorf("%s has no %s", path, name)
			}
		}
		for _, name := range names {
			if _, is := want.Properties[name]; !is {
				t.Errorf("%s should not have %s", path, name)
			}
		}
	case dictionary:
		compare(t, path+"[]", *want.Values, s.elem)
	case array:
		compare(t, path+"[]", *want.Items, s.elem)
	case anEnum:
		if !slices.Equal(s.values, want.Enum) {
			t.Errorf("%s has the values %v, want %v", path, s.values, want.Enum)
		}
	}
}
