// Package envoytest runs a real Envoy for tests: the binary that `make envoy` fetches, with a static configuration. It knows
// nothing of what the configuration says, but for the time limits in it (Patient). A test that needs it fails where the binary is missing.
package envoytest

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Version is the Envoy that is tested with. tools/envoy fetches the same.
const Version = "1.40.0"

// patience is how long an Envoy may take to start, on a machine under load.
const patience = 60 * time.Second

// maxLine bounds a line of Envoy's log, in bytes: one that is longer would end the reading of all, and Envoy would hang in writing more.
const maxLine = 16 << 20

// Envoy is a running Envoy.
type Envoy struct {
	Addr  string // ip:port of its only listener
	Admin string // ip:port of its admin API

	process *os.Process
	mu      sync.Mutex
	log     []string
	printed []string      // on standard output
	more    chan struct{} // closed, and made anew, when printed grows
}

// Binary is the path of Envoy.
func Binary(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			break
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("no go.mod above the test's folder")
		}
	}
	path := filepath.Join(dir, ".cache", "envoy-"+Version, "envoy", "_bin", "envoy")
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("Envoy is not there (%v); fetch it with: make envoy", err)
	}
	return path
}

// Validate lets Envoy check a configuration.
func Validate(t testing.TB, config string) {
	t.Helper()
	if out, err := exec.Command(Binary(t), "--mode", "validate", "-c", write(t, config)).CombinedOutput(); err != nil {
		t.Fatalf("Envoy refuses the configuration: %v\n%s", err, out)
	}
}

// Patient gives the processor of a configuration that Remora prints as much time for an answer, and for a handshake, as a test has: what
// a deployment should wait for is less than what may pass on a machine under load.
func Patient(config string) string {
	return strings.NewReplacer(
		"message_timeout: 1s", "message_timeout: 60s",
		"connect_timeout: 0.25s", "connect_timeout: 60s",
		"connection_keepalive: {interval: 10s, timeout: 5s}", "connection_keepalive: {interval: 10s, timeout: 60s}",
		"connection_keepalive: {interval: 0.2s, timeout: 0.3s}", "connection_keepalive: {interval: 10s, timeout: 60s}",
		"{timeout: 0.5s, interval: 1s,", "{timeout: 60s, interval: 1s,",
	).Replace(config)
}

// Start runs an Envoy with a configuration (YAML) that has one listener, until the test has ended. It gets an admin API where the
// configuration has none.
func Start(t testing.TB, config string) *Envoy {
	t.Helper()
	admin := filepath.Join(t.TempDir(), "admin")
	e := &Envoy{more: make(chan struct{})}
	if !strings.Contains("\n"+config, "\nadmin:") {
		config += "\nadmin: {address: {socket_address: {address: 127.0.0.1, port_value: 0}}}\n"
	}
	cmd := exec.Command(Binary(t), "-c", write(t, config),
		"--admin-address-path", admin, "--concurrency", "2", "--disable-hot-restart",
		"--file-flush-interval-msec", "100") // of the access log: 10 s by default
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // signals to the test's terminal are not for it
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	e.process = cmd.Process
	started, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		var output sync.WaitGroup
		output.Go(func() { e.keep(bufio.NewScanner(stdout)) })
		e.follow(bufio.NewScanner(stderr), started)
		output.Wait()
		_ = cmd.Wait() // it is killed
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // fails when it has ended
		<-ended
		if t.Failed() {
			t.Logf("Envoy:\n%s", e.text())
		}
	})
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	select {
	case <-started:
	case <-ended:
		t.Fatalf("Envoy has ended:\n%s", e.text())
	case <-timeout.C:
		t.Fatal("Envoy does not start")
	}
	text, err := os.ReadFile(admin)
	if err != nil {
		t.Fatal(err)
	}
	e.Admin = strings.TrimSpace(string(text))
	e.Addr = e.listener(t)
	return e
}

// Kill ends Envoy at once, with SIGKILL.
func (e *Envoy) Kill(t testing.TB) {
	t.Helper()
	if err := e.process.Kill(); err != nil {
		t.Fatal(err)
	}
}

// Printed waits until Envoy has written n lines on its standard output, where its access log may go, and gives them all.
func (e *Envoy) Printed(t testing.TB, n int) []string {
	t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		e.mu.Lock()
		lines, more := slices.Clone(e.printed), e.more
		e.mu.Unlock()
		if len(lines) >= n {
			return lines
		}
		select {
		case <-more:
		case <-timeout.C:
			t.Fatalf("Envoy has written %d lines, want %d: %q", len(lines), n, lines)
		}
	}
}

// keep keeps what Envoy prints.
func (e *Envoy) keep(lines *bufio.Scanner) {
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		e.mu.Lock()
		e.printed = append(e.printed, lines.Text())
		close(e.more)
		e.more = make(chan struct{})
		e.mu.Unlock()
	}
}

// follow keeps the log and tells when Envoy has started: its event loop, and its workers, which wait for what they depend on (the
// first health checks, xDS).
func (e *Envoy) follow(lines *bufio.Scanner, started chan<- struct{}) {
	lines.Buffer(nil, maxLine)
	waiting := []string{"starting main dispatch loop", "starting workers"}
	for lines.Scan() {
		e.mu.Lock()
		e.log = append(e.log, lines.Text())
		e.mu.Unlock()
		before := len(waiting)
		waiting = slices.DeleteFunc(waiting, func(words string) bool { return strings.Contains(lines.Text(), words) })
		if before > 0 && len(waiting) == 0 {
			close(started)
		}
	}
}

func (e *Envoy) text() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return strings.Join(e.log, "\n")
}

// listener asks where the listener is.
func (e *Envoy) listener(t testing.TB) string {
	t.Helper()
	resp, err := http.Get("http://" + e.Admin + "/listeners?format=json")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var list struct {
		Statuses []struct {
			Local struct {
				Socket struct {
					Address string `json:"address"`
					Port    int    `json:"port_value"`
				} `json:"socket_address"`
			} `json:"local_address"`
		} `json:"listener_statuses"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&list); err != nil || len(list.Statuses) != 1 {
		t.Fatalf("Envoy has %d listeners, want one: %v", len(list.Statuses), err)
	}
	at := list.Statuses[0].Local.Socket
	return fmt.Sprintf("%s:%d", at.Address, at.Port)
}

func write(t testing.TB, config string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "envoy.yaml")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
