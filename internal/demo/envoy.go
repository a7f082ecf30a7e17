package demo

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

// envoy is an Envoy that asks Remora's external processor, as two processes.
type envoy struct {
	supervisor       *supervisor
	binary           string // Envoy
	dir              string // for its configuration
	config           string // folder
	sessions         string // file
	addr, admin      netip.AddrPort
	envoyAdmin       netip.AddrPort
	asked            netip.AddrPort // where the processor listens for Envoy
	processor, proxy *process
}

func (e *envoy) URL() string { return "http://" + e.addr.String() }

func (e *envoy) AdminURL() string { return "http://" + e.admin.String() }

// Start starts the processor, and an Envoy with the configuration that Remora prints for it, and waits until both are ready.
func (e *envoy) Start(ctx context.Context) (err error) {
	e.processor, err = e.supervisor.start("processor", "extproc", "-f", e.config, "--listen", e.asked.String(),
		"--admin", e.admin.String(), "--session-file", e.sessions,
		"--endpoint-delay", "0s", // Envoy says when it knows an endpoint: it gets them from the processor
		"--shutdown-timeout", (stopLimit / 2).String(), "--log-format", "text")
	if err != nil {
		return err
	}
	if err := untilServing(ctx, e.processor, e.AdminURL()); err != nil {
		return fmt.Errorf("the processor on %s: %w", e.asked, err)
	}
	printed, err := exec.CommandContext(ctx, e.supervisor.program, "generate", "envoy", "-f", e.config, "--xds",
		"--bind", e.addr.Addr().String(), "--port", strconv.Itoa(gatewayPort)+"="+strconv.Itoa(int(e.addr.Port())),
		"--processor", e.asked.String(), "--envoy-admin", e.envoyAdmin.String()).Output()
	if err != nil {
		return fmt.Errorf("print Envoy's configuration: %w", err)
	}
	if err := os.WriteFile(e.file(), printed, 0o600); err != nil {
		return err
	}
	if e.proxy, err = e.supervisor.startProgram("envoy", e.binary, "-c", e.file(), "--disable-hot-restart", "--log-level", "warning"); err != nil {
		return err
	}
	if err := untilReady(ctx, e.proxy, e.ready); err != nil {
		return fmt.Errorf("the Envoy on %s: %w", e.addr, err)
	}
	return nil
}

// file is Envoy's configuration.
func (e *envoy) file() string { return filepath.Join(e.dir, "envoy.yaml") }

// ready asks Envoy itself.
func (e *envoy) ready(ctx context.Context) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+e.envoyAdmin.String()+"/ready", http.NoBody)
	if err != nil {
		return false
	}
	resp, err := direct.Do(req)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// Stop ends Envoy first: it asks the processor until then.
func (e *envoy) Stop() {
	for _, p := range []*process{e.proxy, e.processor} {
		if p != nil {
			p.Stop()
		}
	}
}

func (e *envoy) processes() []*process { return []*process{e.proxy, e.processor} }

func (e *envoy) introduce(s *screen) {
	s.print(plain, 3, "%-17s %-15s pid %d", "envoy", e.addr, e.proxy.PID())
	s.print(plain, 3, "%-17s %-15s pid %d, admin API on %s", "remora extproc", e.asked, e.processor.PID(), e.admin)
}

func (e *envoy) title() string {
	return "Three services with two replicas each, and before them an Envoy that asks Remora; each is a process of its own."
}

func (e *envoy) claims() []claim {
	return []claim{
		{e.addr, "Envoy", "--port PORT"},
		{e.envoyAdmin, "Envoy's admin API", "--envoy-admin-port PORT"},
		{e.asked, "the processor", "--processor-port PORT"},
		{e.admin, "the processor's admin API", "--admin-port PORT"},
	}
}
