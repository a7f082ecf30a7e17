package generate_test

import (
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/app"
	"github.com/remora-proxy/remora/internal/envoytest"
	"github.com/remora-proxy/remora/internal/generate"
)

const useCase = "../../examples/hit-backend"

// defaults are the options of `remora generate envoy` without a flag.
func envoyDefaults() generate.EnvoyOptions {
	return generate.EnvoyOptions{
		Listen: func(gateway uint16) netip.AddrPort {
			return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), app.Ports{}.Listen(gateway))
		},
		Admin:      netip.MustParseAddrPort("127.0.0.1:19000"),
		Processors: []string{"127.0.0.1:9002"}, ResponseTimeout: time.Minute,
	}
}

// printed is what the command prints for files.
func printed(t *testing.T, path string, o generate.EnvoyOptions) string {
	t.Helper()
	loaded := app.Load([]string{path}, nil)
	if loaded.Diagnostics.HasErrors() {
		t.Fatal(loaded.Diagnostics.Err())
	}
	c, names := loaded.Named()
	o.Names = names
	text, err := generate.Envoy(c, o)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestEnvoy compares the output with golden files, and has the real Envoy accept it.
func TestEnvoy(t *testing.T) {
	for _, tt := range []struct {
		name, input, golden string
		change              func(*generate.EnvoyOptions)
	}{
		{"the example that the manual shows is the output for the use case", useCase, "../../examples/envoy/envoy.yaml", func(*generate.EnvoyOptions) {}},
		{"every kind of service", "testdata/everything.yaml", "testdata/envoy/everything.yaml", func(*generate.EnvoyOptions) {}},
		{"a processor at a Unix socket", useCase, "testdata/envoy/socket.yaml", func(o *generate.EnvoyOptions) { o.Processors = []string{"unix:/run/remora/extproc.sock"} }},
		{"services by xDS, two processors with TLS, everywhere", "testdata/everything.yaml", "testdata/envoy/xds.yaml", func(o *generate.EnvoyOptions) {
			o.XDS, o.AccessLog, o.ResponseTimeout = true, true, 0
			o.Processors = []string{"remora-0.example.com:9002", "[fd00::9]:9002"}
			o.TLS = &generate.ProcessorTLS{CA: "testdata/ca.pem", Name: "remora.example.com"}
			o.Admin = netip.AddrPort{}
			o.Listen = func(gateway uint16) netip.AddrPort { return netip.AddrPortFrom(netip.IPv6Unspecified(), gateway) }
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := envoyDefaults()
			tt.change(&o)
			got := printed(t, tt.input, o)
			if again := printed(t, tt.input, o); got != again {
				t.Error("a second run gives another output")
			}
			envoytest.Validate(t, got)
			if *generate.Update {
				if err := os.WriteFile(tt.golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(tt.golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("differs from %s; run with -update and look at the difference. Got:\n%s", tt.golden, got)
			}
		})
	}
}

// TestNoTabAndNoTrailingSpace keeps what is printed tidy.
func TestNoTabAndNoTrailingSpace(t *testing.T) {
	for _, line := range strings.Split(printed(t, "testdata/everything.yaml", envoyDefaults()), "\n") {
		if strings.Contains(line, "\t") || strings.TrimRight(line, " ") != line {
			t.Errorf("%q", line)
		}
	}
}

func TestWhatEnvoyCannotBeGivenIsAnError(t *testing.T) {
	loaded := app.Load([]string{useCase}, nil)
	for _, at := range []string{"", "127.0.0.1", ":9002", "127.0.0.1:0", "127.0.0.1:x"} {
		c, _ := loaded.Named()
		o := envoyDefaults()
		o.Processors = []string{at}
		if _, err := generate.Envoy(c, o); err == nil || !strings.Contains(err.Error(), "HOST:PORT") {
			t.Errorf("processor %q: %v", at, err)
		}
	}
	both := envoyDefaults()
	both.Processors = []string{"unix:/run/remora.sock", "remora.example.com:9002"}
	c, _ := loaded.Named()
	if _, err := generate.Envoy(c, both); err == nil || !strings.Contains(err.Error(), "IP address in place of the name") {
		t.Errorf("a name and a socket: %v", err)
	}
	c.Listeners = nil
	if _, err := generate.Envoy(c, envoyDefaults()); err == nil || !strings.Contains(err.Error(), "add a Gateway") {
		t.Errorf("no Gateway: %v", err)
	}
}
