package generate

import (
	"flag"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
	"golang.org/x/tools/txtar"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/config"
	"github.com/remora-proxy/remora/internal/resource"
)

var update = flag.Bool("update", false, "write what is made into testdata")

// TestIstio compares what is written for the objects in testdata/istio/*.txtar with each archive's section "want", and what is
// found about them with its section "findings". The archive's first lines say what it shows; lines "options: NAME=VALUE …" and
// "only: KIND …" set IstioOptions and leave documents of other kinds out.
func TestIstio(t *testing.T) {
	archives, err := filepath.Glob("testdata/istio/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatal("no archives", err)
	}
	for _, name := range archives {
		name, err := filepath.Abs(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			o, only := options(t, archive)
			set, c, text := compile(t, archive)
			if c != nil {
				found := CheckIstio(set, c, o)
				for _, d := range found {
					text += d.String() + "\n"
				}
				compare(t, archive, "findings", text)
				text = ""
				if !found.HasErrors() {
					text = documents(Istio(set, c, o), only)
				}
				compare(t, archive, "want", text)
			} else {
				compare(t, archive, "findings", text)
			}
			if *update {
				if err := os.WriteFile(name, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func compare(t *testing.T, archive *txtar.Archive, section, got string) {
	t.Helper()
	for i := range archive.Files {
		f := &archive.Files[i]
		if f.Name != section {
			continue
		}
		if *update {
			f.Data = []byte(got)
		} else if string(f.Data) != got {
			t.Errorf("%s is not as in the archive (go test ./internal/generate -update writes it):\n%s", section, got)
		}
		return
	}
	switch {
	case *update && got != "":
		archive.Files = append(archive.Files, txtar.File{Name: section, Data: []byte(got)})
	case got != "":
		t.Errorf("the archive has no section %s for:\n%s", section, got)
	}
}

func options(t *testing.T, archive *txtar.Archive) (o IstioOptions, only []string) {
	t.Helper()
	o = IstioOptions{Namespace: "remora-system", GatewayNamespace: "istio-system", Image: "remora:latest", Replicas: 1, ListenerPorts: map[uint16]uint16{}}
	for line := range strings.Lines(string(archive.Comment)) {
		if kinds, is := strings.CutPrefix(strings.TrimSpace(line), "only:"); is {
			only = strings.Fields(kinds)
		}
		list, _ := strings.CutPrefix(strings.TrimSpace(line), "options:")
		if list == strings.TrimSpace(line) {
			continue
		}
		for _, field := range strings.Fields(list) {
			name, value, _ := strings.Cut(field, "=")
			switch name {
			case "namespace":
				o.Namespace = value
			case "gateway-namespace":
				o.GatewayNamespace = value
			case "image":
				o.Image = value
			case "replicas":
				o.Replicas, _ = strconv.Atoi(value)
			case "store":
				o.Store.URL = value
			case "store-secret":
				o.Store.Secret = value
			case "fail-open":
				o.FailOpen = true
			case "message-timeout":
				o.MessageTimeout, _ = time.ParseDuration(value)
			case "listener-port":
				from, to, _ := strings.Cut(value, "=")
				f, _ := strconv.Atoi(from)
				n, _ := strconv.Atoi(to)
				o.ListenerPorts[uint16(f)] = uint16(n)
			default:
				t.Fatalf("there is no option %q", name)
			}
		}
	}
	return o, only
}

// compile compiles the YAML files of an archive, or gives the findings that forbid it.
func compile(t *testing.T, archive *txtar.Archive) (*resource.Set, *affinity.Config, string) {
	t.Helper()
	t.Chdir(t.TempDir())
	var paths []string
	for _, f := range archive.Files {
		if strings.HasSuffix(f.Name, ".yaml") {
			if err := os.WriteFile(f.Name, f.Data, 0o600); err != nil {
				t.Fatal(err)
			}
			paths = append(paths, f.Name)
		}
	}
	set, _, found := (&config.Loader{Paths: paths}).Load()
	if found.HasErrors() {
		t.Fatal(found)
	}
	compiled, found := config.Compile(set, config.Options{NoSlices: true, Proxied: true})
	var text strings.Builder
	for _, d := range found {
		text.WriteString(d.String() + "\n")
	}
	if compiled == nil {
		return nil, nil, text.String()
	}
	return set, &compiled.Config, text.String()
}

// documents keeps the documents of some kinds; none named: all.
func documents(text string, kinds []string) string {
	if len(kinds) == 0 {
		return text
	}
	var kept []string
	for _, d := range strings.Split(text, "\n---\n") {
		for _, k := range kinds {
			if strings.Contains(d, "\nkind: "+k+"\n") {
				kept = append(kept, strings.TrimSuffix(d, "\n"))
			}
		}
	}
	return strings.Join(kept, "\n---\n") + "\n"
}

// TestTheLabelsOfPodsAreOnlyLabels has a selector that tries to be more.
func TestTheLabelsOfPodsAreOnlyLabels(t *testing.T) {
	labels := map[string]string{"istio: x\n  evil": "gate\"way\n\x01{{.}}", "app": "true"}
	archive := txtar.Parse([]byte("-- gateway.yaml --\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: gw}\nspec:\n" +
		`  selector: {"istio: x\n  evil": "gate\"way\n\x01{{.}}", app: "true"}` + "\n  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]\n"))
	set, c, text := compile(t, archive)
	if c == nil {
		t.Fatal(text)
	}
	var filter struct {
		Spec struct {
			Selector struct {
				Labels map[string]string `yaml:"labels"`
			} `yaml:"workloadSelector"`
		} `yaml:"spec"`
	}
	if err := yaml.Unmarshal([]byte(documents(Istio(set, c, IstioOptions{Namespace: "r", GatewayNamespace: "g", Image: "i", Replicas: 1}), []string{"EnvoyFilter"})), &filter); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(filter.Spec.Selector.Labels, labels) {
		t.Errorf("the labels are %q, want %q", filter.Spec.Selector.Labels, labels)
	}
}
