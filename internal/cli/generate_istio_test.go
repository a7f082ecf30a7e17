package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// written are the examples that a command prints for the use case, by their files.
var written = map[string][]string{
	"../../examples/hit-backend/istio/remora.yaml":         {"generate", "istio", "-f", "../../examples/hit-backend"},
	"../../examples/hit-backend/envoy-gateway/remora.yaml": {"generate", "envoy-gateway", "-f", "../../examples/hit-backend/gateway-api", "-f", "../../examples/hit-backend/services.yaml"},
}

// TestTheExamplesAreWhatIsPrinted compares them with what the commands print; -update writes them.
func TestTheExamplesAreWhatIsPrinted(t *testing.T) {
	for path, args := range written {
		var out, findings bytes.Buffer
		if status := Main("v0.0.0", args, Env{Stdout: &out, Stderr: &findings}); status != exitOK {
			t.Fatalf("%v: status %d:\n%s", args, status, findings.String())
		}
		if *update {
			must(t, os.WriteFile(path, out.Bytes(), 0o644))
			continue
		}
		page, err := os.ReadFile(path)
		must(t, err)
		if !bytes.Equal(page, out.Bytes()) {
			t.Errorf("%s is not what is printed (go test ./internal/cli -update writes it):\n%s", path, firstDifference(page, out.Bytes()))
		}
	}
}

// TestTheProcessorUnderstandsItsArguments looks up the flags of the printed Deployments.
func TestTheProcessorUnderstandsItsArguments(t *testing.T) {
	for path := range written {
		text, err := os.ReadFile(path)
		must(t, err)
		understandsItsArguments(t, text)
	}
}

func understandsItsArguments(t *testing.T, text []byte) {
	t.Helper()
	documents := strings.Split(string(text), "\n---\n")
	at := slices.IndexFunc(documents, func(d string) bool { return strings.Contains(d, "kind: Deployment") })
	if at < 0 {
		t.Fatal("there is no Deployment")
	}
	var deployment appsv1.Deployment
	text, err := yaml.ToJSON([]byte(documents[at]))
	must(t, err)
	strict := json.NewDecoder(bytes.NewReader(text))
	strict.DisallowUnknownFields()
	must(t, strict.Decode(&deployment))
	container := deployment.Spec.Template.Spec.Containers[0]
	args := container.Args
	cmd, rest, err := newRoot("v0.0.0", Env{}).Find(args)
	must(t, err)
	if cmd.Name() != "extproc" {
		t.Fatalf("%v runs %s", args, cmd.Name())
	}
	must(t, cmd.ParseFlags(rest))
	most := container.Resources.Limits.Memory().Value() * 9 / 10
	if limit := resource.MustParse(strings.TrimSuffix(container.Env[0].Value, "B")); container.Env[0].Name != "GOMEMLIMIT" || limit.Value() > most {
		t.Errorf("%s is %s, more than nine tenths (%d) of the container's limit", container.Env[0].Name, limit.String(), most)
	}
}

// TestWhatIsPrintedMayLieBesideWhatItWasMadeFrom prints into the folder that is read, beside kinds that only Istio reads.
func TestWhatIsPrintedMayLieBesideWhatItWasMadeFrom(t *testing.T) {
	folder := t.TempDir()
	must(t, os.CopyFS(folder, os.DirFS("../../examples/hit-backend")))
	run := func(args ...string) (string, string) {
		t.Helper()
		var out, findings bytes.Buffer
		if status := Main("v0.0.0", append(args, "-f", folder), Env{Stdout: &out, Stderr: &findings}); status != exitOK {
			t.Fatalf("%v: status %d:\n%s%s", args, status, out.String(), findings.String())
		}
		return out.String(), findings.String()
	}
	first, _ := run("generate", "istio")
	must(t, os.WriteFile(filepath.Join(folder, "remora.yaml"), []byte(first), 0o644))
	must(t, os.WriteFile(filepath.Join(folder, "istio.yaml"), []byte(`
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: all}
spec: {rules: [{}]}
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: logs}
spec: {accessLogging: [{providers: [{name: envoy}]}]}
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: default}
spec: {egress: [{hosts: ["./*"]}]}
`), 0o644))
	if again, _ := run("generate", "istio"); again != first {
		t.Errorf("beside itself, something else is printed:\n%s", firstDifference([]byte(first), []byte(again)))
	}
	if out, _ := run("generate", "istio", "--check"); !strings.Contains(out, "it would work") {
		t.Errorf("--check says\n%s", out)
	}
	run("validate", "--istio")
	run("explain", "--istio", "--body", `{"target":"backend-1","username":"ann"}`)
}
