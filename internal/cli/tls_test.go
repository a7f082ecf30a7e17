package cli

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/certificate/certtest"
	"github.com/remora-proxy/remora/internal/envoytest"
)

// mounted is a folder whose files are replaced as kubelet does for a mounted Secret: they are links into the folder that the link
// ..data points to, and that link is turned to another folder in one step.
type mounted struct {
	t     *testing.T
	dir   string
	turns int
}

func mount(t *testing.T, files map[string][]byte) *mounted {
	t.Helper()
	m := &mounted{t: t, dir: t.TempDir()}
	m.turn(files)
	for name := range files {
		must(t, os.Symlink(filepath.Join("..data", name), m.path(name)))
	}
	return m
}

func (m *mounted) path(name string) string { return filepath.Join(m.dir, name) }

func (m *mounted) turn(files map[string][]byte) {
	m.t.Helper()
	m.turns++
	version := fmt.Sprintf("..version-%d", m.turns)
	must(m.t, os.Mkdir(m.path(version), 0o700))
	for name, text := range files {
		must(m.t, os.WriteFile(filepath.Join(m.path(version), name), text, 0o600))
	}
	must(m.t, os.Symlink(version, m.path("..data_tmp")))
	must(m.t, os.Rename(m.path("..data_tmp"), m.path("..data")))
}

// secret is the files of a certificate, as a Secret of cert-manager has them.
func secret(pair certtest.Pair, clients *certtest.Authority) map[string][]byte {
	return map[string][]byte{"tls.crt": pair.Cert, "tls.key": pair.Key, "ca.crt": clients.Cert}
}

// startSecured runs an Envoy that asks the processor by TLS, and opens a new connection to it for every few requests. It returns its URL.
func startSecured(t *testing.T, processor string, backends replicas, flags ...string) string {
	t.Helper()
	const http2 = "        explicit_http_config: {http2_protocol_options: {connection_keepalive"
	config := envoyFor(t, processor, backends, append(flags, "--processor-name", "localhost")...)
	if strings.Count(config, http2) != 1 {
		t.Fatalf("the configuration does not have %q once", http2)
	}
	config = strings.Replace(config, http2, "        common_http_protocol_options: {max_requests_per_connection: 5}\n"+http2, 1)
	return "http://" + envoytest.Start(t, config).Addr
}

// TestEnvoyConnectsByMutualTLS is the life of a processor whose certificate is renewed while requests come.
func TestEnvoyConnectsByMutualTLS(t *testing.T) {
	t.Parallel()
	servers, envoys, others := certtest.NewAuthority(t, "servers"), certtest.NewAuthority(t, "envoys"), certtest.NewAuthority(t, "others")
	until := time.Now().Add(time.Hour)
	tls := mount(t, secret(servers.Issue(t, until), envoys))
	ca := mount(t, secret(certtest.Pair{}, servers)).path("ca.crt")
	backends := startBackends(t, "backend-1", 2)
	g, address := processor(t, "-f", configure(t, backends), "--listen", "127.0.0.1:0",
		"--tls-cert", tls.path("tls.crt"), "--tls-key", tls.path("tls.key"), "--tls-client-ca", tls.path("ca.crt"))
	envoyOf := func(authority *certtest.Authority) string {
		own := mount(t, secret(authority.Issue(t, until), servers))
		return startSecured(t, address, backends, "--processor-ca", ca, "--processor-cert", own.path("tls.crt"), "--processor-key", own.path("tls.key"))
	}
	g.url = envoyOf(envoys)
	if r := g.hit(annAt1); r.status != http.StatusOK || r.Session != "new" {
		t.Errorf("an Envoy with a certificate gets %+v", r)
	}
	resp, err := http.Post(startSecured(t, address, backends, "--processor-ca", ca)+"/hit_backend", "application/json", strings.NewReader(annAt1))
	must(t, err)
	resp.Body.Close()
	if resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("an Envoy without a certificate gets %d", resp.StatusCode)
	}
	g.Line("the TLS handshake failed")

	stop := g.traffic(4)
	g.count("remora_extproc_certificate_reloads_total", `{result="applied"}`, "0")
	tls.turn(secret(servers.Issue(t, until.Add(time.Hour)), envoys))
	g.Line("certificate changed")
	g.count("remora_extproc_certificate_expiry_timestamp_seconds", "", fmt.Sprintf("%g", float64(until.Add(time.Hour).Unix())))
	g.hits()
	stop()
	g.count("remora_extproc_certificate_reloads_total", `{result="applied"}`, "1")

	broken := secret(servers.Issue(t, until), envoys)
	broken["tls.key"] = servers.Issue(t, until).Key
	tls.turn(broken)
	g.Line("the TLS files have changed and cannot be used", "is not that of the certificate")
	g.count("remora_extproc_certificate_reloads_total", `{result="refused"}`, "1")
	g.hits()

	tls.turn(secret(servers.Issue(t, until), others)) // other Envoys are believed now
	g.Line("certificate changed")
	g.url = envoyOf(others)
	if r := g.hit(annAt1); r.status != http.StatusOK || r.Session != "existing" {
		t.Errorf("an Envoy that is believed now gets %+v", r)
	}
	g.Stop()
}

// traffic sends requests, by several clients at a time, until the returned function is called. Each must be answered well.
func (g *served) traffic(clients int) (stop func()) {
	var running sync.WaitGroup
	done := make(chan struct{})
	for i := range clients {
		running.Go(func() {
			for {
				r, err := tryHit(g.url, fmt.Sprintf(`{"username":"user-%d","target":"backend-1"}`, i))
				if err != nil || r.status != http.StatusOK {
					g.t.Errorf("a request under traffic got %+v, %v", r, err)
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	return func() {
		close(done)
		running.Wait()
	}
}

// hits sends requests one after the other, more than one connection of Envoy to the processor takes.
func (g *served) hits() {
	g.t.Helper()
	for range 40 {
		if r := g.hit(annAt1); r.status != http.StatusOK {
			g.t.Errorf("got %+v", r)
		}
	}
}

// count checks the value of a metric. Without one it has none, as a counter that has not counted.
func (g *served) count(name, labels, want string) {
	g.t.Helper()
	_, metrics := g.adminGet("/metrics")
	got := "0"
	for line := range strings.Lines(metrics) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), name+labels+" "); ok {
			got = value
		}
	}
	if got != want {
		g.t.Errorf("%s%s is %s, want %s", name, labels, got, want)
	}
}
