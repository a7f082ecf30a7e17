package cli

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// TestTheExampleForIstioIsWhatIsPrinted compares examples/hit-backend/istio/remora.yaml with what the command prints for the use case;
// -update writes it.
func TestTheExampleForIstioIsWhatIsPrinted(t *testing.T) {
	const path = "../../examples/hit-backend/istio/remora.yaml"
	var out, findings bytes.Buffer
	if status := Main("v0.0.0", []string{"generate", "istio", "-f", "../../examples/hit-backend"}, Env{Stdout: &out, Stderr: &findings}); status != exitOK {
		t.Fatalf("status %d:\n%s", status, findings.String())
	}
	if *update {
		must(t, os.WriteFile(path, out.Bytes(), 0o644))
		return
	}
	page, err := os.ReadFile(path)
	must(t, err)
	if !bytes.Equal(page, out.Bytes()) {
		t.Errorf("%s is not what is printed (go test ./internal/cli -update writes it):\n%s", path, firstDifference(page, out.Bytes()))
	}
}

// TestTheProcessorUnderstandsItsArguments looks up the flags of the printed Deployment.
func TestTheProcessorUnderstandsItsArguments(t *testing.T) {
	text, err := os.ReadFile("../../examples/hit-backend/istio/remora.yaml")
	must(t, err)
	documents := strings.Split(string(text), "\n---\n")
	at := slices.IndexFunc(documents, func(d string) bool { return strings.Contains(d, "kind: Deployment") })
	if at < 0 {
		t.Fatal("there is no Deployment")
	}
	var deployment struct {
		Spec struct {
			Template struct {
				Spec struct {
					Containers []struct {
						Args []string `yaml:"args"`
					} `yaml:"containers"`
				} `yaml:"spec"`
			} `yaml:"template"`
		} `yaml:"spec"`
	}
	must(t, yaml.Unmarshal([]byte(documents[at]), &deployment))
	args := deployment.Spec.Template.Spec.Containers[0].Args
	cmd, rest, err := newRoot("v0.0.0", Env{}).Find(args)
	must(t, err)
	if cmd.Name() != "extproc" {
		t.Fatalf("%v runs %s", args, cmd.Name())
	}
	must(t, cmd.ParseFlags(rest))
}
