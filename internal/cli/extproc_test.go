package cli

import (
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/remora-proxy/remora/internal/envoytest"
)

// TestBothRulesHoldThroughEnvoy runs the processor as its users do, behind a real Envoy with the example's configuration.
func TestBothRulesHoldThroughEnvoy(t *testing.T) {
	t.Parallel()
	backends := startBackends(t, "backend-1", 2)
	p := start(t, "extproc", "-f", configure(t, backends), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--log-format", "json")
	g := &served{process: p, admin: "http://" + p.logged("admin API", "address")}
	_, processor, err := net.SplitHostPort(p.logged("listening for Envoy", "address"))
	must(t, err)
	p.line(`"msg":"ready"`)

	example, err := os.ReadFile("../../examples/envoy/envoy.yaml")
	must(t, err)
	changes := []string{"{address: 127.0.0.1, port_value: 8080}", "{address: 127.0.0.1, port_value: 0}", "port_value: 9002", "port_value: " + processor}
	for i, address := range backends.addresses {
		host, port, err := net.SplitHostPort(address)
		must(t, err)
		changes = append(changes, "{address: 127.0.1."+string(rune('1'+i))+", port_value: 8080}", "{address: "+host+", port_value: "+port+"}")
	}
	g.url = "http://" + envoytest.Start(t, strings.NewReplacer(changes...).Replace(string(example))).Addr

	first := g.hit(annAt1, "target", "backend-2", "x-user", "kaleeswaran")
	if first.status != http.StatusOK || first.Target != "backend-1" || first.User != "ann" || first.Session != "new" {
		t.Errorf("the body over the headers: %+v", first)
	}
	for range 5 {
		if r := g.hit(annAt1); r.PodID != first.PodID || r.Session != "existing" {
			t.Errorf("a known user: %+v, was at %s", r, first.PodID)
		}
	}
	if r := g.hit(`{"target":1}`); r.status != http.StatusBadRequest {
		t.Errorf("a bad body: %+v", r)
	}
	manual, err := os.ReadFile("../../docs/operating.md")
	must(t, err)
	_, body := g.adminGet("/metrics")
	if !strings.Contains(body, "remora_extproc_decided_total 6") {
		t.Errorf("the metrics are\n%s", body)
	}
	for line := range strings.Lines(body) {
		rest, ok := strings.CutPrefix(line, "# HELP remora_")
		if name, _, _ := strings.Cut(rest, " "); ok && !strings.Contains(string(manual), "| `remora_"+name+"` |") {
			t.Errorf("docs/operating.md does not have remora_%s", name)
		}
	}
	p.signal(syscall.SIGTERM)
	if status := p.exit(); status != 0 {
		t.Errorf("the exit status is %d", status)
	}
}
