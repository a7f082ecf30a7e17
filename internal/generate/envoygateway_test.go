package generate

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"
)

// TestEnvoyGateway does for testdata/envoy-gateway what TestIstio does; lines "options: NAME=VALUE …" set EnvoyGatewayOptions.
func TestEnvoyGateway(t *testing.T) {
	archives, err := filepath.Glob("testdata/envoy-gateway/*.txtar")
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
			_, only := options(t, &txtar.Archive{Comment: withoutOptions(archive.Comment)})
			o := envoyGatewayOptions(t, archive)
			set, c, text := compile(t, archive)
			want := ""
			if c != nil {
				found := CheckEnvoyGateway(set, c, o)
				for _, d := range found {
					text += d.String() + "\n"
				}
				if !found.HasErrors() {
					want = documents(EnvoyGateway(set, c, o), only)
				}
			}
			compare(t, archive, "findings", text)
			compare(t, archive, "want", want)
			if *update {
				if err := os.WriteFile(name, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// withoutOptions leaves the lines out that set options.
func withoutOptions(comment []byte) []byte {
	var kept strings.Builder
	for line := range strings.Lines(string(comment)) {
		if !strings.HasPrefix(line, "options:") {
			kept.WriteString(line)
		}
	}
	return []byte(kept.String())
}

func envoyGatewayOptions(t *testing.T, archive *txtar.Archive) EnvoyGatewayOptions {
	t.Helper()
	o := EnvoyGatewayOptions{GatewayNamespace: "default", Namespace: "remora-system", Image: "remora:latest", Replicas: 1, MessageTimeout: time.Second}
	for line := range strings.Lines(string(archive.Comment)) {
		list, is := strings.CutPrefix(strings.TrimSpace(line), "options:")
		if !is {
			continue
		}
		for _, field := range strings.Fields(list) {
			name, value, _ := strings.Cut(field, "=")
			switch name {
			case "gateway":
				o.Gateway = value
			case "gateway-namespace":
				o.GatewayNamespace = value
			case "namespace":
				o.Namespace = value
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
			default:
				t.Fatalf("there is no option %q", name)
			}
		}
	}
	return o
}
