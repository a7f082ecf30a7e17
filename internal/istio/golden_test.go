package istio_test

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/remora-proxy/remora/internal/configtest"
	"github.com/remora-proxy/remora/internal/istio"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestGolden compiles each testdata/golden/NAME.yaml and compares what comes out with NAME.txt. A file NAME begins with a
// comment that says what it shows. Where there is a NAME-proxied.txt, that is what comes out where a proxy reads the same objects.
func TestGolden(t *testing.T) {
	inputs, err := filepath.Glob("testdata/golden/*.yaml")
	if err != nil || len(inputs) == 0 {
		t.Fatal("no input", err)
	}
	home, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, input := range inputs {
		name := strings.TrimSuffix(filepath.Base(input), ".yaml")
		t.Run(name, func(t *testing.T) {
			golden := filepath.Join(home, strings.TrimSuffix(input, ".yaml"))
			compare(t, filepath.Join(home, input), golden+".txt", false)
			if _, err := os.Stat(golden + "-proxied.txt"); err == nil {
				compare(t, filepath.Join(home, input), golden+"-proxied.txt", true)
			}
		})
	}
}

// compare compiles an input and compares what comes out with a golden file.
func compare(t *testing.T, input, golden string, proxied bool) {
	t.Helper()
	text, err := os.ReadFile(input)
	if err != nil {
		t.Fatal(err)
	}
	set := loadFiles(t, map[string]string{filepath.Base(input): string(text)})
	c, diags := istio.Compile(set, istio.Options{Proxied: proxied, Addresses: func(name string) []netip.Addr {
		if name != "db.example.com" {
			return nil
		}
		return []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}
	}})
	configtest.Golden(t, c, diags, golden, *update)
}
