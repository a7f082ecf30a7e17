package cli

import (
	"bytes"
	"strings"
	"testing"
)

func TestAnAddressThatNoProcessorCanHaveIsAWrongCommandLine(t *testing.T) {
	for _, at := range [][]string{{"localhost"}, {"127.0.0.1:0"}, {"unix:relative"}, {"remora:9002", "unix:/run/remora.sock"}} {
		args := []string{"generate", "envoy", "-f", "../../examples/hit-backend"}
		for _, p := range at {
			args = append(args, "--processor", p)
		}
		var stdout, stderr bytes.Buffer
		status := Main("v0.0.0", args, Env{Stdout: &stdout, Stderr: &stderr})
		if said := stderr.String(); status != exitUsage || stdout.Len() > 0 || !strings.Contains(said, "--processor: ") || !strings.Contains(said, "See 'remora generate envoy --help'.") {
			t.Errorf("%v: status %d, said %s", at, status, said)
		}
	}
}

// TestTwoPortsAtOneAddressAreRefused has a Gateway whose ports 80 and 8080 would both be listened for on 8080, which Envoy refuses.
func TestTwoPortsAtOneAddressAreRefused(t *testing.T) {
	const gateway = `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw}
spec:
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}
  - {port: {number: 8080, name: other, protocol: HTTP}, hosts: ["*"]}
`
	run := func(args ...string) (status int, out, said string) {
		var stdout, stderr bytes.Buffer
		status = Main("v0.0.0", append([]string{"generate", "envoy", "-f", "-"}, args...), Env{Stdin: strings.NewReader(gateway), Stdout: &stdout, Stderr: &stderr})
		return status, stdout.String(), stderr.String()
	}
	status, out, said := run()
	if status == exitOK || out != "" || !strings.Contains(said, "ports 80 and 8080 would both be listened for on 8080") || !strings.Contains(said, "--port 8080=PORT") {
		t.Errorf("status %d, said %s", status, said)
	}
	if status, out, said = run("--port", "8080=8090"); status != exitOK || !strings.Contains(out, "port_value: 8090") || strings.Contains(said, "--port") {
		t.Errorf("with another port: status %d, said %s", status, said)
	}
	if _, _, said = run("--port", "8080=8090", "--port", "81=9080"); !strings.Contains(said, "--port 81=9080 has no effect: no Gateway has port 81") {
		t.Errorf("with a port that no Gateway has, it says %s", said)
	}
}
