package cli

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	configuration "github.com/remora-proxy/remora/internal/config"
	"github.com/remora-proxy/remora/internal/envoytest"
	"github.com/remora-proxy/remora/internal/istiotest"
	"github.com/remora-proxy/remora/internal/programtest"
)

// patient is what the program writes for a proxy, with long limits for the processor's answers.
func patient(t *testing.T, args ...string) string {
	t.Helper()
	path := programtest.Remora(t)
	text, err := exec.Command(path, append([]string{"generate"}, args...)...).Output()
	must(t, err)
	return envoytest.Patient(string(text))
}

// gate runs an Envoy that asks a processor.
func gate(t *testing.T, config, processor string, flags ...string) *envoytest.Envoy {
	t.Helper()
	return envoytest.Start(t, patient(t, append([]string{"envoy", "-f", config, "--port", "80=0", "--envoy-admin", "127.0.0.1:0", "--processor", processor}, flags...)...))
}

// backend is a replica of the sample service that can be sent signals.
func backend(t *testing.T, service string) (p *programtest.Program, r replicas) {
	t.Helper()
	p = start(t, "backend", "--service", service, "--listen", "127.0.0.1:0", "--exit-on-eof")
	_, address, _ := strings.Cut(p.Line("listens on"), " listens on ")
	return p, replicas{service, []string{address}}
}

// quietReplica takes uploads, sends events, and echoes what comes by WebSocket, each with a pause that the test makes.
func quietReplica(t *testing.T, service string) (r replicas, arrived, release chan struct{}) {
	t.Helper()
	arrived, release = make(chan struct{}), make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/upload", func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.ReadFull(r.Body, make([]byte, 5)); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		arrived <- struct{}{}
		n, err := io.Copy(io.Discard, r.Body)
		fmt.Fprintln(w, n, err)
	})
	mux.HandleFunc("/events", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.(http.Flusher).Flush()
		select {
		case <-release:
			fmt.Fprintln(w, "data: late")
		case <-r.Context().Done():
		}
	})
	mux.HandleFunc("/socket", func(w http.ResponseWriter, _ *http.Request) {
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
		line, _ := buffered.ReadString('\n') // an empty one where the client has gone
		_, _ = io.WriteString(conn, line)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return replicas{service, []string{server.Listener.Addr().String()}}, arrived, release
}

// TestAReplicaThatHangs stops a replica with SIGSTOP: its kernel goes on to take connections and requests. While the client waits for the
// 504, an upload, an event stream and a WebSocket to another replica rest, so that they rest for longer than a response may take to begin.
func TestAReplicaThatHangs(t *testing.T) {
	t.Parallel()
	hanging, backend1 := backend(t, "backend-1")
	backend2, arrived, release := quietReplica(t, "backend-2")
	config := configure(t, backend1, backend2)
	_, at := processor(t, "-f", config, "--listen", "127.0.0.1:0")
	addr := gate(t, config, at, "--response-timeout", "10s").Addr
	ask := func(method, path string, body io.Reader) (*http.Response, error) {
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+addr+path, body)
		must(t, err)
		req.Header.Set("target", "backend-2")
		req.Header.Set("x-user", "ann")
		return http.DefaultClient.Do(req)
	}

	piped, upload := io.Pipe()
	uploaded := make(chan string)
	go func() {
		resp, err := ask(http.MethodPost, "/upload", piped)
		if err != nil {
			uploaded <- err.Error()
			return
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body) // less than all is not what is wanted
		uploaded <- resp.Status + " " + string(text)
	}()
	_, err := io.WriteString(upload, "first")
	must(t, err)
	<-arrived
	events, err := ask(http.MethodGet, "/events", nil)
	must(t, err)
	defer events.Body.Close()
	socket, err := net.Dial("tcp", addr)
	must(t, err)
	defer socket.Close()
	_, err = io.WriteString(socket, "GET /socket HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\ntarget: backend-2\r\nx-user: ann\r\n\r\n")
	must(t, err)
	fromSocket := bufio.NewReader(socket)
	if resp, err := http.ReadResponse(fromSocket, nil); err != nil || resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("the WebSocket: %+v, %v", resp, err)
	}

	hanging.Signal(syscall.SIGSTOP)
	resp, err := http.Post("http://"+addr+"/hit_backend", "application/json", strings.NewReader(annAt1))
	must(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(t, err)
	if resp.StatusCode != http.StatusGatewayTimeout || resp.Header.Get("Content-Type") != "application/problem+json" || !strings.Contains(string(text), `"code":"response_timeout"`) {
		t.Errorf("of a replica that hangs: %s, %s", resp.Status, text)
	}
	hanging.Signal(syscall.SIGCONT)

	must(t, upload.Close())
	if got := <-uploaded; got != "200 OK 0 <nil>\n" {
		t.Errorf("the upload: %s", got)
	}
	release <- struct{}{}
	if text, err := io.ReadAll(events.Body); err != nil || string(text) != "data: late\n" {
		t.Errorf("the events: %q, %v", text, err)
	}
	_, err = io.WriteString(socket, "late\n")
	must(t, err)
	if line, err := fromSocket.ReadString('\n'); err != nil || line != "late\n" {
		t.Errorf("the WebSocket: %q, %v", line, err)
	}
}

// TestTheAccessLogOfEnvoyHasEachDecisionAndNoUsersName asks an Envoy of one's own, and one as it is under Istio.
func TestTheAccessLogOfEnvoyHasEachDecisionAndNoUsersName(t *testing.T) {
	for name, start := range map[string]func(t *testing.T, config, processor string) *envoytest.Envoy{
		"an Envoy of one's own": func(t *testing.T, config, processor string) *envoytest.Envoy {
			return gate(t, config, processor, "--access-log", "json")
		},
		"under Istio": func(t *testing.T, config, processor string) *envoytest.Envoy {
			set, _, list := (&configuration.Loader{Paths: []string{config}}).Load()
			must(t, list.Err())
			return istiotest.Start(t, &istiotest.Mesh{Set: set, Generated: patient(t, "istio", "-f", config, "--access-log", "json"), Processors: []string{processor}}).Envoy
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			one, first := backend(t, "backend-1")
			other, second := backend(t, "backend-1")
			config := configure(t, replicas{"backend-1", append(first.addresses, second.addresses...)})
			p, at := processor(t, "-f", config, "--listen", "127.0.0.1:0")
			e := start(t, config, at)
			ask := func(body string) {
				t.Helper()
				resp, err := http.Post("http://"+e.Addr+"/hit_backend?name=private-name", "application/json", strings.NewReader(body))
				must(t, err)
				resp.Body.Close()
			}
			const user = `{"username":"private-name","target":"backend-1"}`
			ask(user)
			ask(user)
			ask(`{"username":"private-name","target":"backend-9"}`)
			lines := accessLog(t, e, 3)
			at1, at2 := lines[0], lines[1]
			picked, _ := at1["picked"].(string)
			if at1["service"] != "backend-1.default.svc.cluster.local:8080" || at1["session"] != "new" || at1["endpoint"] != picked || picked == "" || at1["status"] != 200.0 ||
				at1["path"] != "/hit_backend" || at1["method"] != "POST" || at1["requestId"] == nil || at1["attempts"] != 1.0 {
				t.Errorf("a new session: %v", at1)
			}
			if at2["session"] != "existing" || at2["endpoint"] != picked {
				t.Errorf("a known one: %v", at2)
			}
			if l := lines[2]; l["status"] != 404.0 || l["details"] != "remora_no_route" || l["session"] != nil || l["endpoint"] != nil {
				t.Errorf("no route: %v", l)
			}
			dead, left := one, second.addresses[0]
			if picked != first.addresses[0] {
				dead, left = other, first.addresses[0]
			}
			dead.Kill()
			ask(user)
			if l := accessLog(t, e, 4)[3]; l["session"] != "existing" || l["picked"] != picked || l["endpoint"] != left || l["attempts"] != 2.0 {
				t.Errorf("a replica that died: %v", l)
			}
			p.Stop() // then its log is whole
			if all := strings.Join(append(e.Printed(t, 4), p.Log()), "\n"); strings.Contains(all, "private-name") {
				t.Errorf("a log has the user's name:\n%s", all)
			}
		})
	}
}

// accessLog waits for n lines of Envoy's access log.
func accessLog(t *testing.T, e *envoytest.Envoy, n int) []map[string]any {
	t.Helper()
	var out []map[string]any
	for _, line := range e.Printed(t, n) {
		var object map[string]any
		must(t, json.Unmarshal([]byte(line), &object))
		out = append(out, object)
	}
	return out
}
