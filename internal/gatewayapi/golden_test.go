package gatewayapi_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/config"
	"github.com/remora-proxy/remora/internal/configtest"
	"github.com/remora-proxy/remora/internal/diag"
	"github.com/remora-proxy/remora/internal/gatewayapi"
	"github.com/remora-proxy/remora/internal/istio"
	"github.com/remora-proxy/remora/internal/resource"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestGolden compiles each testdata/golden/NAME.yaml and compares what comes out with NAME.txt. A file NAME begins with a
// comment that says what it shows. Where there is a NAME-proxied.txt, that is what comes out where a proxy reads the same objects.
func TestGolden(t *testing.T) {
	t.Chdir("testdata/golden")
	inputs, err := filepath.Glob("*.yaml")
	if err != nil || len(inputs) == 0 {
		t.Fatal("no input", err)
	}
	for _, input := range inputs {
		name := strings.TrimSuffix(input, ".yaml")
		t.Run(name, func(t *testing.T) {
			compare(t, input, name+".txt", false)
			if _, err := os.Stat(name + "-proxied.txt"); err == nil {
				compare(t, input, name+"-proxied.txt", true)
			}
		})
	}
}

// load reads the objects of a file.
func load(t *testing.T, file string) *resource.Set {
	t.Helper()
	set, _, found := (&config.Loader{Paths: []string{file}}).Load()
	if found.HasErrors() {
		t.Fatal(found)
	}
	return set
}

// compile compiles a set with Istio's part of it.
func compile(set *resource.Set, proxied bool) (affinity.Config, diag.List) {
	c := istio.Begin(set, istio.Options{Proxied: proxied})
	gatewayapi.Compile(set, gatewayapi.Options{Proxied: proxied}, c)
	return c.Finish()
}

// compare compiles an input and compares what comes out with a golden file.
func compare(t *testing.T, input, golden string, proxied bool) {
	t.Helper()
	c, found := compile(load(t, input), proxied)
	configtest.Golden(t, c, found, golden, *update)
}
