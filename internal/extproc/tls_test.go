package extproc_test

import (
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/remora-proxy/remora/internal/certificate/certtest"
	"github.com/remora-proxy/remora/internal/extproc"
)

// logLines takes lines of a log.
type logLines chan string

func (l logLines) Write(line []byte) (int, error) {
	l <- string(line)
	return len(line), nil
}

// TestHandshakesThatFailAreTold connects without TLS: once without a word, as whoever looks for open ports does, and then with HTTP/2.
func TestHandshakesThatFailAreTold(t *testing.T) {
	pair := certtest.NewAuthority(t, "ours").Issue(t, time.Now().Add(time.Hour))
	cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	log := make(logLines, 100)
	p, err := extproc.New(extproc.Config{
		Engine: newEngine(t), Log: slog.New(slog.NewTextHandler(log, nil)),
		TLS: &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2"}, MinVersion: tls.VersionTLS12},
	})
	if err != nil {
		t.Fatal(err)
	}
	addr := run(t, p)
	for _, words := range []string{"", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"} {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(conn, words)
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, conn) // until the server has had enough
		conn.Close()
	}
	if got := <-log; !strings.Contains(got, "it speaks without TLS") {
		t.Errorf("the log says %s", got)
	}
	for deadline := time.Now().Add(patience); metric(t, p, "remora_extproc_refused_connections_total") != 2; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("%v are counted, want 2", metric(t, p, "remora_extproc_refused_connections_total"))
		}
	}
	if len(log) > 0 {
		t.Errorf("the log goes on: %s", <-log)
	}
}

// metric is the value of a counter without labels.
func metric(t *testing.T, c prometheus.Collector, name string) float64 {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetCounter().GetValue()
		}
	}
	t.Fatalf("there is no metric %s", name)
	return 0
}
