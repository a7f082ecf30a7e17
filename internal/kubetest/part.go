package kubetest

import (
	"context"
	"crypto/tls"
	"net/http"
	"os/exec"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/programtest"
)

// patience is how long a part may take to be ready, on a machine under load.
const patience = 2 * time.Minute

// part is one part of the control plane.
type part struct {
	*programtest.Program
	name string
}

// startPart runs a part until the test has ended.
func startPart(t testing.TB, path string, args ...string) *part {
	t.Helper()
	return &part{programtest.Run(t, exec.Command(path, args...)), args[0]}
}

// await waits until a health check of the part passes. There is nothing to wait for but its answers.
func (p *part) await(t testing.TB, client *http.Client, url string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for !healthy(ctx, client, url) {
		select {
		case <-ticker.C:
		case <-p.Ended():
			t.Fatalf("%s has ended:\n%s", p.name, p.Tail())
		case <-ctx.Done():
			t.Fatalf("%s is not ready:\n%s", p.name, p.Tail())
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
