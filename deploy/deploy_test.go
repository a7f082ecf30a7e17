package deploy_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/remora-proxy/remora/internal/kubetest"
)

var update = flag.Bool("update", false, "write what the chart makes into remora.yaml, testdata and docs/kubernetes.md")

func TestMain(m *testing.M) { os.Exit(kubetest.Main(m)) }

const (
	chart    = "chart/remora"
	manifest = "remora.yaml"
	release  = "remora-gateway"
	system   = "remora-system"
)

// tryHelm runs helm, without a cluster, and gives what it prints on standard output.
func tryHelm(t *testing.T, args ...string) (printed, complaint string) {
	t.Helper()
	path := filepath.Join(kubetest.Root(t), ".cache", "bin", "helm")
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("helm is not there (%v); build it with: make helm", err)
	}
	var out, complaints bytes.Buffer
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+os.DevNull, "HELM_CACHE_HOME="+t.TempDir())
	cmd.Stdout, cmd.Stderr = &out, &complaints
	if err := cmd.Run(); err != nil {
		return out.String(), err.Error() + ": " + complaints.String()
	}
	return out.String(), ""
}

func helm(t *testing.T, args ...string) string {
	t.Helper()
	printed, complaint := tryHelm(t, args...)
	if complaint != "" {
		t.Fatalf("helm %s: %s", strings.Join(args, " "), complaint)
	}
	return printed
}

// render is the objects that a release of the chart has, in YAML.
func render(t *testing.T, name string, args ...string) string {
	t.Helper()
	var kept []string
	for doc := range strings.SplitSeq("\n"+helm(t, append([]string{"template", name, chart, "--namespace", system}, args...)...), "\n---\n") {
		_, text, _ := strings.Cut(doc, "\n") // the template's name
		if text = strings.TrimSpace(text); text != "" {
			kept = append(kept, text)
		}
	}
	return strings.Join(kept, "\n---\n") + "\n"
}

// program builds the program as `make image` does, once for all tests, and gives its path.
var program = sync.OnceValues(func() (string, error) {
	_, err := runMake("program-for-image")
	return filepath.Join("..", "bin", "linux-"+runtime.GOARCH, "remora"), err
})

// runMake runs make in the module's root, and gives what it prints on standard output.
func runMake(args ...string) (string, error) {
	cmd := exec.Command("make", append([]string{"-s", "-C", ".."}, args...)...)
	for _, setting := range os.Environ() {
		if name, _, _ := strings.Cut(setting, "="); name != "MAKEFLAGS" && name != "MAKELEVEL" && name != "MFLAGS" { // of a make that runs the tests
			cmd.Env = append(cmd.Env, setting)
		}
	}
	return output(cmd)
}

// output runs a command, and gives what it prints on standard output. An error has what it says on standard error.
func output(cmd *exec.Cmd) (string, error) {
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		return string(out), &failure{strings.Join(cmd.Args, " "), err, complaints.String()}
	}
	return string(out), nil
}

// failure is a command that failed.
type failure struct {
	command   string
	err       error
	complaint string
}

func (f *failure) Error() string { return f.command + ": " + f.err.Error() + "\n" + f.complaint }

// decode reads the objects of a kind that a manifest has.
func decode[T any](t *testing.T, text, kind string) []T {
	t.Helper()
	var all []T
	for doc := range strings.SplitSeq("\n"+text, "\n---\n") {
		var o map[string]any
		must(t, yaml.Unmarshal([]byte(doc), &o))
		if o["kind"] != kind {
			continue
		}
		// Kubernetes' types are read as JSON.
		data, err := json.Marshal(o)
		must(t, err)
		var typed T
		must(t, json.Unmarshal(data, &typed))
		all = append(all, typed)
	}
	return all
}

// only is decode of the one object of a kind.
func only[T any](t *testing.T, text, kind string) T {
	t.Helper()
	all := decode[T](t, text, kind)
	if len(all) != 1 {
		t.Fatalf("%d objects are a %s, want 1", len(all), kind)
	}
	return all[0]
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	must(t, err)
	return string(text)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
