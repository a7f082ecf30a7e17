package deploy_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// value is something that can be set in the chart.
type value struct{ name, initially, says string }

// values are what values.yaml says that can be set, in its order.
func values(t *testing.T) []value {
	t.Helper()
	var root yaml.Node
	must(t, yaml.Unmarshal([]byte(read(t, chart+"/values.yaml")), &root))
	var all []value
	var walk func(prefix string, n *yaml.Node)
	walk = func(prefix string, n *yaml.Node) {
		for i := 0; i < len(n.Content); i += 2 {
			key, v := n.Content[i], n.Content[i+1]
			says := strings.TrimSpace(strings.ReplaceAll(strings.TrimPrefix(key.HeadComment, "# "), "\n# ", " "))
			if says == "" && v.Kind == yaml.MappingNode {
				walk(prefix+key.Value+".", v)
				continue
			}
			all = append(all, value{prefix + key.Value, written(t, v), says})
		}
	}
	walk("", root.Content[0])
	return all
}

// written writes a value on one line.
func written(t *testing.T, n *yaml.Node) string {
	t.Helper()
	var v any
	must(t, n.Decode(&v))
	text, err := json.Marshal(v)
	must(t, err)
	return string(text)
}

// TestTheTableOfValues compares the table in docs/kubernetes.md with values.yaml.
func TestTheTableOfValues(t *testing.T) {
	const page, head, begin = "../docs/kubernetes.md", "| value | at first | what for |\n|---|---|---|\n", "<!-- made from values.yaml by: go test ./deploy -update -->\n"
	var table strings.Builder
	table.WriteString(head)
	for _, v := range values(t) {
		if v.says == "" {
			t.Errorf("values.yaml: %s has no comment that says what it is for", v.name)
		}
		fmt.Fprintf(&table, "| `%s` | `%s` | %s |\n", v.name, v.initially, v.says)
	}
	text := read(t, page)
	before, rest, found := strings.Cut(text, begin)
	_, after, ended := strings.Cut(rest, "\n\n")
	if !found || !ended {
		t.Fatalf("%s has no table of values", page)
	}
	compare(t, page, before+begin+table.String()+"\n"+after)
}

// TestTheSchemaKnowsAllValues compares the names in values.schema.json with those in values.yaml.
func TestTheSchemaKnowsAllValues(t *testing.T) {
	type node struct {
		Properties           map[string]json.RawMessage
		AdditionalProperties *bool
	}
	var walk func(where string, schema json.RawMessage, values map[string]any)
	walk = func(where string, schema json.RawMessage, values map[string]any) {
		var n node
		must(t, json.Unmarshal(schema, &n))
		if n.Properties == nil {
			return // its names are the user's
		}
		if n.AdditionalProperties == nil || *n.AdditionalProperties {
			t.Errorf("%s: names that there are not are not refused", where)
		}
		delete(n.Properties, "global")
		known, there := slices.Sorted(maps.Keys(n.Properties)), slices.Sorted(maps.Keys(values))
		if !slices.Equal(known, there) {
			t.Errorf("%s: the schema has\n%v\nvalues.yaml has\n%v", where, known, there)
		}
		for name, schema := range n.Properties {
			if below, is := values[name].(map[string]any); is {
				walk(where+"."+name, schema, below)
			}
		}
	}
	var all map[string]any
	must(t, yaml.Unmarshal([]byte(read(t, chart+"/values.yaml")), &all))
	walk("values", json.RawMessage(read(t, chart+"/values.schema.json")), all)
}
