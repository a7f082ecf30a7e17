package generate

import (
	"maps"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

func TestFilters(t *testing.T) {
	text := func(o filterOptions) string {
		t.Helper()
		o.Cluster = "outbound|9002||remora.default.svc.cluster.local"
		out, err := yaml.Marshal(httpFilters(o))
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	plain := text(filterOptions{})
	for _, tt := range []struct {
		name    string
		options filterOptions
		has     string
		instead string // what is there without the option, where that is anything
	}{
		{"the port of the Gateway's server", filterOptions{Port: 443}, `initial_metadata: [{key: x-remora-port, value: "443"}]`, ""},
		{"the headers that tell of sessions", filterOptions{SessionHeaders: []string{"x-state"}}, "{remove: x-state}", ""},
		{"open", filterOptions{FailOpen: true}, "failure_mode_allow: true #", "name: remora.closed"},
		{"closed is 503", filterOptions{}, "abort: {http_status: 503", ""},
		{"strict", filterOptions{Strict: true}, "strict: true #", "strict: false #"},
		{"the client's address", filterOptions{SourceAddress: true}, "request_attributes: [source.address] #", ""},
		{"a timeout", filterOptions{MessageTimeout: 1250 * time.Millisecond}, "message_timeout: 1.25s", "message_timeout: 1s"},
		{"the cluster", filterOptions{}, `envoy_grpc: {cluster_name: outbound|9002||remora.default.svc.cluster.local}`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := text(tt.options)
			if !strings.Contains(got, tt.has) {
				t.Errorf("%q is not in\n%s", tt.has, got)
			}
			if !reflect.DeepEqual(tt.options, filterOptions{}) && strings.Contains(plain, tt.has) {
				t.Errorf("%q is there also without the option", tt.has)
			}
			if tt.instead != "" && (!strings.Contains(plain, tt.instead) || strings.Contains(got, tt.instead)) {
				t.Errorf("%q is not what the option replaces", tt.instead)
			}
		})
	}
}

// FuzzScalar asserts that a string stays one, and the same, where it stands in templates: as a key, as a value, and as a value in flow style.
func FuzzScalar(f *testing.F) {
	for _, s := range []string{"", "a", "istio: x\n  evil", "true", "1", "~", "- a", "# a", "a # b", "{{x}}", "a}, b: {c", "'\"", "%x", "\x01\u2028\x7f\t\r\n", "é", "0x1", "2026-11-23", "<<", "=", "|"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8.ValidString(s) || len(s) > 512 { // names that were read from YAML; a key has at most 1,024 characters
			return
		}
		text, err := scalar(s)
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			Block map[string]string `yaml:"block"`
			Flow  map[string]string `yaml:"flow"`
		}
		page := "block:\n  " + text + ": " + text + "\nflow: {x: " + text + ", y: " + text + "}\n"
		if err := yaml.Unmarshal([]byte(page), &got); err != nil {
			t.Fatalf("%v in\n%s", err, page)
		}
		if !maps.Equal(got.Block, map[string]string{s: s}) || !maps.Equal(got.Flow, map[string]string{"x": s, "y": s}) {
			t.Errorf("%q is read as %q in\n%s", s, got, page)
		}
	})
}

func TestFiltersStandInTheOrderThatIsNeeded(t *testing.T) {
	var names []string
	for _, filter := range httpFilters(filterOptions{Cluster: "remora"}) {
		var f struct {
			Name   string         `yaml:"name"`
			Config map[string]any `yaml:"typed_config"`
		}
		if err := filter.Decode(&f); err != nil {
			t.Fatal(err)
		}
		if f.Config["@type"] == nil {
			t.Errorf("%s has no type", f.Name)
		}
		if filter.HeadComment == "" {
			t.Errorf("%s does not say why it is there", f.Name)
		}
		names = append(names, f.Name)
	}
	if got, want := strings.Join(names, " "), "remora.strip remora.served remora.ext_proc remora.closed remora.session remora.hide"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
