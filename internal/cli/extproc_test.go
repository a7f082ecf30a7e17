package cli

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/remora-proxy/remora/internal/envoytest"
)

// The tests in this file run the processor as its users do, behind a real Envoy.

// envoyFor is the configuration that the program prints for an Envoy that asks the processor at an address (ip:port or unix:/path).
func envoyFor(t *testing.T, processor string, backends replicas, flags ...string) string {
	t.Helper()
	return patient(t, append([]string{"envoy", "-f", configure(t, backends), "--port", "80=0", "--envoy-admin", "127.0.0.1:0", "--processor", processor}, flags...)...)
}

// startEnvoy runs such an Envoy, and returns its URL.
func startEnvoy(t *testing.T, processor string, backends replicas) string {
	t.Helper()
	return "http://" + envoytest.Start(t, envoyFor(t, processor, backends)).Addr
}

// processor runs a processor and waits until it is ready. Its url is not set: that is an Envoy's.
func processor(t *testing.T, args ...string) (p *served, address string) {
	t.Helper()
	p = &served{t: t, Program: start(t, append([]string{"extproc", "--admin", "127.0.0.1:0", "--log-format", "json", "--log-level", "debug", "--exit-on-eof"}, args...)...)}
	address = p.Logged("listening for Envoy", "address")
	p.admin = "http://" + p.Logged("admin API", "address")
	p.Line(`"msg":"ready"`)
	return p, address
}

// socket is the address of a Unix socket that is not there yet.
func socket(t *testing.T) string { return "unix:" + filepath.Join(t.TempDir(), "extproc.sock") }

func TestBothRulesHoldThroughEnvoy(t *testing.T) {
	t.Parallel()
	backends := startBackends(t, "backend-1", 2)
	g, address := processor(t, "-f", configure(t, backends), "--listen", "127.0.0.1:0")
	g.url = startEnvoy(t, address, backends)

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
	_, body := g.adminGet("/metrics")
	if !strings.Contains(body, "remora_extproc_decided_total 6") {
		t.Errorf("the metrics are\n%s", body)
	}
	g.documented(body)
	g.Stop()
}

// documented checks that the manual has all metrics of an answer.
func (g *served) documented(metrics string) {
	g.t.Helper()
	manual, err := os.ReadFile("../../docs/operating.md")
	must(g.t, err)
	for line := range strings.Lines(metrics) {
		rest, ok := strings.CutPrefix(line, "# HELP remora_")
		if name, _, _ := strings.Cut(rest, " "); ok && !strings.Contains(string(manual), "| `remora_"+name+"` |") {
			g.t.Errorf("docs/operating.md does not have remora_%s", name)
		}
	}
}

func TestASessionThatBeganAtOneFrontDoorIsFoundAtTheOther(t *testing.T) {
	t.Parallel()
	backends := startBackends(t, "backend-1", 2)
	unix := socket(t)
	gateway := serveLogged(t, "listening for Envoy", "-f", configure(t, backends), "--extproc", unix, "--extproc", "127.0.0.1:0")
	envoy := *gateway
	envoy.url = startEnvoy(t, unix, backends)
	for i, doors := range [][2]*served{{gateway, &envoy}, {&envoy, gateway}} {
		user := fmt.Sprintf(`{"username":"user-%d","target":"backend-1"}`, i)
		first := doors[0].hit(user)
		if first.Session != "new" {
			t.Errorf("the first request: %+v", first)
		}
		for range 3 {
			for _, door := range doors {
				if r := door.hit(user); r.PodID != first.PodID || r.Session != "existing" {
					t.Errorf("the session was found as %+v, was at %s", r, first.PodID)
				}
			}
		}
	}
	st, err := gateway.api.Status(t.Context())
	must(t, err)
	doors := map[string]int{}
	for _, l := range st.Listeners {
		doors[l.Door]++
	}
	if doors["gateway"] != 1 || doors["extproc"] != 2 || st.Listeners[1].Address != unix {
		t.Errorf("the listeners are %+v", st.Listeners)
	}
	_, metrics := gateway.adminGet("/metrics")
	for _, want := range []string{"remora_extproc_decided_total 7", "remora_gateway_client_connections ", `remora_decisions_total{service="backend-1.default.svc.cluster.local:8080",session="existing"} 12`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics do not have %s", want)
		}
	}
	gateway.documented(metrics)
	gateway.Stop()
	if _, err := os.Lstat(strings.TrimPrefix(unix, "unix:")); !os.IsNotExist(err) {
		t.Errorf("the socket is still there: %v", err)
	}
}

func TestARestartOfEnvoyOrOfTheProcessorLosesNoSession(t *testing.T) {
	t.Parallel()
	backends := startBackends(t, "backend-1", 2)
	unix := socket(t)
	args := []string{"-f", configure(t, backends), "--listen", unix, "--session-file", filepath.Join(t.TempDir(), "sessions"), "--session-save-interval", "1s"}
	g, _ := processor(t, args...)
	var where [20]string
	everybody := func(want string) {
		t.Helper()
		for i := range where {
			r := g.hit(fmt.Sprintf(`{"username":"user-%d","target":"backend-1"}`, i))
			if r.status != http.StatusOK || r.Session != want || where[i] != "" && r.PodID != where[i] {
				t.Errorf("user-%d got %+v, was at %q; want %s", i, r, where[i], want)
			}
			where[i] = r.PodID
		}
	}
	t.Run("before", func(t *testing.T) {
		g.url = startEnvoy(t, unix, backends) // until the end of this part
		everybody("new")
		everybody("existing")
	})
	g.url = startEnvoy(t, unix, backends)
	everybody("existing")

	g.Skip()
	g.Line("sessions saved") // this save may have begun before the last request, the next one has not
	g.Line("sessions saved")
	g.Kill()
	if _, err := os.Lstat(strings.TrimPrefix(unix, "unix:")); err != nil {
		t.Errorf("a killed process removed its socket: %v", err)
	}
	url := g.url
	g, _ = processor(t, args...)
	g.url = url
	everybody("existing")

	g.Stop()
	g, _ = processor(t, args...)
	g.url = url
	everybody("existing")
}

func TestWhatIsInFlightAtEnvoyFinishesOrIsCutOff(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		cut    bool
		status int
	}{
		{"finishes", false, 0},
		{"is cut off by another signal", true, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			backend, arrived, release := slowReplica(t)
			g, address := processor(t, "-f", configure(t, backend), "--listen", "127.0.0.1:0", "--shutdown-timeout", "1h")
			url := startEnvoy(t, address, backend)
			answered := make(chan reply, 1)
			go func() {
				r, _ := tryHit(url, annAt1) // its end is not a reply of the sample service
				answered <- r
			}()
			<-arrived
			g.Signal(syscall.SIGTERM)
			g.Line("stopping")
			if test.cut {
				g.Signal(syscall.SIGINT)
			} else {
				close(release)
				if r := <-answered; r.status != http.StatusOK {
					t.Errorf("the request in flight got %+v", r)
				}
			}
			g.Ends(test.status)
			if test.cut {
				close(release)
				<-answered
			}
		})
	}
}

func TestAnAddressForEnvoyThatCannotBeOpenedEndsTheProgram(t *testing.T) {
	t.Parallel()
	folder := configure(t, replicas{"backend-1", []string{"127.0.1.1:8080"}})
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { taken.Close() })
	dir := t.TempDir()
	inUse, err := net.Listen("unix", filepath.Join(dir, "used.sock"))
	must(t, err)
	t.Cleanup(func() { inUse.Close() })
	must(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	other := filepath.Join(dir, "other.sock")
	for _, c := range []struct{ name, address, says string }{
		{"a port in use", taken.Addr().String(), "is in use; end the process that listens there"},
		{"a socket in use", "unix:" + filepath.Join(dir, "used.sock"), "is in use; end the process that listens there"},
		{"a file that is no socket", "unix:" + filepath.Join(dir, "file"), "is not a socket; remove it"},
		{"a folder that is not there", "unix:" + filepath.Join(dir, "none", "s"), "its folder must exist"},
		{"an address of another machine", "192.0.2.1:9002", "is not an address of this machine"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := start(t, "extproc", "-f", folder, "--listen", "unix:"+other, "--listen", c.address, "--admin", "off")
			p.Line(c.says)
			p.Ends(1)
			if _, err := os.Lstat(other); !os.IsNotExist(err) {
				t.Errorf("the other address was left behind: %v", err)
			}
		})
	}
}

func TestAReplicaThatAppearsIsWarming(t *testing.T) {
	t.Parallel()
	backends := startBackends(t, "backend-1", 2)
	folder := configure(t, replicas{"backend-1", backends.addresses[:1]})
	g := serve(t, "-f", folder, "--endpoint-delay", "1m")
	first := g.hit(annAt1)
	g.Skip()
	must(t, os.Rename(filepath.Join(configure(t, backends), "endpoints.yaml"), filepath.Join(folder, "endpoints.yaml")))
	g.Line("configuration applied")
	states := map[string]string{}
	eps, err := g.api.Endpoints(t.Context(), "")
	must(t, err)
	for _, ep := range eps.Endpoints {
		states[ep.Addr] = ep.State
	}
	if states[backends.addresses[0]] != "ready" || states[backends.addresses[1]] != "warming" {
		t.Errorf("the states are %v", states)
	}
	for i := range 20 {
		if r := g.hit(fmt.Sprintf(`{"username":"user-%d","target":"backend-1"}`, i)); r.PodID != first.PodID {
			t.Errorf("user-%d is at the replica that is warming: %+v", i, r)
		}
	}
}

func TestUnderIstioAReplicaThatDrainsIsUsedOnlyWithALabel(t *testing.T) {
	t.Parallel()
	backends := replicas{"backend-1", []string{"127.0.1.1:8080", "127.0.1.2:8080"}}
	folder := configure(t, backends)
	edit(t, folder, "endpoints.yaml", "conditions: {ready: true}", "conditions: {ready: false, serving: true, terminating: true}")
	g, _ := processor(t, "-f", folder, "--listen", "127.0.0.1:0", "--draining", "labelled")
	drains := func() bool {
		t.Helper()
		_, body := g.adminGet("/api/v1/endpoints")
		return strings.Contains(body, "127.0.1.1:8080") && strings.Contains(body, "draining")
	}
	if drains() {
		t.Error("without the label, the replica that drains is there")
	}
	edit(t, folder, "services.yaml", "  name: backend-1\n", "  name: backend-1\n  labels: {istio.io/persistent-session: remora}\n")
	g.Line("configuration applied")
	if !drains() {
		t.Error("with the label, the replica that drains is not there")
	}
}
