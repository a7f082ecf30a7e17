package kubetest

import (
	"bytes"
	"context"
	"crypto/tls"
	"net/http"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience is how long a part may take to be ready, on a machine under load.
const patience = 2 * time.Minute

// maxLog bounds what is kept of a part's log: its end, in bytes.
const maxLog = 1 << 20

// process is one part of the control plane.
type process struct {
	name  string
	cmd   *exec.Cmd
	ended chan struct{}

	mu  sync.Mutex
	log bytes.Buffer
}

// startProcess runs a part until the test has ended.
func startProcess(t testing.TB, path string, args ...string) *process {
	t.Helper()
	p := &process{name: args[0], cmd: exec.Command(path, args...), ended: make(chan struct{})}
	p.cmd.SysProcAttr = dieWithTest()
	p.cmd.Stdout, p.cmd.Stderr = p, p
	started := make(chan error)
	go func() {
		defer close(p.ended)
		runtime.LockOSThread() // the process dies with the thread that started it, which therefore waits for it
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // it is killed
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%s:\n%s", p.name, p.tail())
		}
	})
	return p
}

// kill ends the process and waits for its end.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // fails when it has ended
	<-p.ended
}

// Write implements io.Writer: it keeps the end of the log.
func (p *process) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.log.Len() > maxLog {
		p.log.Next(p.log.Len() - maxLog/2)
	}
	return p.log.Write(text)
}

// tail is the last lines of the log.
func (p *process) tail() string {
	const lines = 60
	p.mu.Lock()
	defer p.mu.Unlock()
	all := strings.Split(p.log.String(), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// await waits until a health check of the process passes. There is nothing to wait for but its answers.
func (p *process) await(t testing.TB, client *http.Client, url string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for !healthy(ctx, client, url) {
		select {
		case <-ticker.C:
		case <-p.ended:
			t.Fatalf("%s has ended:\n%s", p.name, p.tail())
		case <-ctx.Done():
			t.Fatalf("%s is not ready:\n%s", p.name, p.tail())
		}
	}
}

// newClient makes a client that takes any certificate: the parts make theirs for themselves, and nobody else is in the network
// namespace.
func newClient(t testing.TB) *http.Client {
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func healthy(ctx context.Context, client *http.Client, url string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return false
	}
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := client.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}
