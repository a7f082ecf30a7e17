package cli

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	configuration "github.com/remora-proxy/remora/internal/config"
	"github.com/remora-proxy/remora/internal/envoytest"
	"github.com/remora-proxy/remora/internal/istiotest"
	"github.com/remora-proxy/remora/internal/programtest"
)

// load is clients that send requests one after the other, each on a connection of its own that stays open, until it is stopped.
type load struct {
	t       *testing.T
	url     string
	ok      atomic.Int64
	stop    chan struct{}
	clients sync.WaitGroup
	more    chan struct{} // a token when requests have been answered since the last one was taken

	mu     sync.Mutex
	failed []string
}

func startLoad(t *testing.T, url string, clients int) *load {
	l := &load{t: t, url: url, stop: make(chan struct{}), more: make(chan struct{}, 1)}
	for n := range clients {
		l.clients.Go(func() { l.client(n) })
	}
	t.Cleanup(sync.OnceFunc(func() { l.end() }))
	return l
}

func (l *load) client(n int) {
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	for i := 0; ; i++ {
		select {
		case <-l.stop:
			return
		default:
		}
		body := fmt.Sprintf(`{"username":"user-%d-%d","target":"backend-1"}`, n, i%50)
		resp, err := client.Post(l.url+"/hit_backend", "application/json", strings.NewReader(body))
		switch {
		case err != nil:
			l.fail(err.Error())
			continue
		case resp.StatusCode != http.StatusOK:
			l.fail(resp.Status)
		default:
			l.ok.Add(1)
		}
		resp.Body.Close()
		select {
		case l.more <- struct{}{}:
		default:
		}
	}
}

func (l *load) fail(how string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failed = append(l.failed, how)
}

// until lets the clients go on until a condition holds, which is asked for now and then. The test's own deadline bounds it.
func (l *load) until(cond func() bool) {
	for !cond() {
		<-l.more
	}
}

// further lets n more requests succeed.
func (l *load) further(n int64) {
	from := l.ok.Load()
	l.until(func() bool { return l.ok.Load() >= from+n })
}

// end stops the clients and gives how many requests succeeded, and how the others failed.
func (l *load) end() (ok int64, failed []string) {
	select {
	case <-l.stop:
	default:
		close(l.stop)
	}
	l.clients.Wait()
	return l.ok.Load(), l.failed
}

// decided is how many requests a processor has decided.
func (g *served) decided() (n int) {
	g.t.Helper()
	_, metrics := g.adminGet("/metrics")
	_, rest, ok := strings.Cut(metrics, "\nremora_extproc_decided_total ")
	if _, err := fmt.Sscan(rest, &n); !ok || err != nil {
		g.t.Fatalf("no number of decisions in\n%s", metrics)
	}
	return n
}

// slowed makes Envoy's time limits for a processor of which there are several a multiple of what is printed, in the same order: on a
// machine under load the one that is well may be as slow as one that hangs is.
var slowed = strings.NewReplacer(
	"interval: 0.2s", "interval: 1s", "timeout: 0.3s", "timeout: 3s", // pings
	"{timeout: 0.5s, interval: 1s,", "{timeout: 4s, interval: 1s,", // health checks
	"message_timeout: 1s", "message_timeout: 60s",
)

// generated is what the program writes for a proxy, slowed.
func generated(t *testing.T, args ...string) string {
	t.Helper()
	path := programtest.Remora(t)
	text, err := exec.Command(path, append([]string{"generate"}, args...)...).Output()
	must(t, err)
	return slowed.Replace(string(text))
}

// Two processors, of which one dies or hangs under load: what fails is at most the requests whose headers that one had seen and whose
// body was on its way to it, one for each client. Envoy finds out by itself that it is back. On a machine that is too busy, Envoy may give
// up on a connection to a processor that is well: it counts those, and each costs as many requests at most.
func TestOneOfTwoProcessorsFails(t *testing.T) {
	const clients = 8
	envoy := func(t *testing.T, config string, processors ...string) (addr, admin string) {
		e := envoytest.Start(t, generated(t, "envoy", "-f", config, "--port", "80=0", "--envoy-admin", "127.0.0.1:0",
			"--processor", processors[0], "--processor", processors[1]))
		return e.Addr, e.Admin
	}
	istio := func(t *testing.T, config string, processors ...string) (addr, admin string) {
		set, _, list := (&configuration.Loader{Paths: []string{config}}).Load()
		must(t, list.Err())
		text := generated(t, "istio", "-f", config, "--replicas", "2")
		g := istiotest.Start(t, &istiotest.Mesh{Set: set, Generated: text, Processors: processors})
		return g.Addr, g.Admin
	}
	for _, test := range []struct {
		name   string
		signal syscall.Signal
		gate   func(t *testing.T, config string, processors ...string) (addr, admin string)
		ip     string // of the one that fails: nobody else listens there, so that it can come back
	}{
		{"it is killed", syscall.SIGKILL, envoy, "127.0.11.1"},
		{"it hangs", syscall.SIGSTOP, envoy, "127.0.11.2"},
		{"it is killed, under Istio", syscall.SIGKILL, istio, "127.0.11.3"},
		{"it hangs, under Istio", syscall.SIGSTOP, istio, "127.0.11.4"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			backends := startBackends(t, "backend-1", 2)
			config := configure(t, backends)
			key := filepath.Join(t.TempDir(), "key") // with the same one, both place a user on the same replica
			must(t, os.WriteFile(key, []byte("000102030405060708090a0b0c0d0e0f"), 0o600))
			first, at := processor(t, "-f", config, "--hash-key-file", key, "--listen", test.ip+":0")
			second, other := processor(t, "-f", config, "--hash-key-file", key, "--listen", "127.0.0.1:0")
			gate, admin := test.gate(t, config, at, other)
			l := startLoad(t, "http://"+gate, clients)
			l.until(func() bool { return first.decided() > 100 && second.decided() > 100 })

			first.Signal(test.signal)
			l.further(800)
			before := 0
			if test.signal == syscall.SIGKILL {
				first.ExitCode()
				first, _ = processor(t, "-f", config, "--hash-key-file", key, "--listen", at)
			} else {
				first.Signal(syscall.SIGCONT)
				before = first.decided()
			}
			l.until(func() bool { return first.decided() >= before+100 })
			ok, failed := l.end()
			losses := lostConnections(t, admin)
			if test.signal == syscall.SIGKILL {
				losses++
			}
			t.Logf("%d requests succeeded, %d failed, %d connections were lost: %v", ok, len(failed), losses, failed)
			if len(failed) > clients*losses {
				t.Errorf("%d requests failed, want at most %d", len(failed), clients*losses)
			}
		})
	}
}

// lostConnections is how many connections to processors Envoy has given up, by its admin API.
func lostConnections(t *testing.T, admin string) (n int) {
	t.Helper()
	resp, err := http.Get("http://" + admin + "/stats?filter=remora.*http2.keepalive_timeout$")
	must(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(t, err)
	_, count, _ := strings.Cut(string(text), ": ")
	if _, err := fmt.Sscan(count, &n); err != nil {
		t.Fatalf("Envoy says %q: %v", text, err)
	}
	return n
}
