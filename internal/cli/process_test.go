package cli

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/remora-proxy/remora/internal/admin"
	"github.com/remora-proxy/remora/internal/programtest"
)

// The tests in end_to_end_test.go run the program itself, as its users do. Nothing waits for time to pass: they wait for lines
// of a process's log, for answers, and for processes to end.

// start runs remora, and follows what it says on standard error.
func start(t *testing.T, args ...string) *programtest.Program {
	t.Helper()
	return startTo(t, io.Discard, args...)
}

// startTo is start with a place for what remora says on standard output.
func startTo(t *testing.T, stdout io.Writer, args ...string) *programtest.Program {
	t.Helper()
	cmd := exec.Command(programtest.Remora(t), args...)
	cmd.Stdout = stdout
	return programtest.Run(t, cmd)
}

// served is a running gateway.
type served struct {
	*programtest.Program
	t      *testing.T
	stdout *bytes.Buffer // to be read when it has ended
	api    *admin.Client
	admin  string // base URL of the admin API
	url    string // base URL of the first port
}

// serve runs a gateway on free ports and waits until it is ready.
func serve(t *testing.T, args ...string) *served {
	t.Helper()
	return serveLogged(t, "", args...)
}

// serveLogged is serve that waits for a message in the log first.
func serveLogged(t *testing.T, message string, args ...string) *served {
	t.Helper()
	g := &served{t: t, stdout: &bytes.Buffer{}}
	g.Program = startTo(t, g.stdout, append([]string{
		"serve", "--port", "80=0", "--admin", "127.0.0.1:0", "--log-format", "json", "--log-level", "debug", "--exit-on-eof",
	}, args...)...)
	if message != "" {
		g.Line(message)
	}
	address := g.Logged("admin API", "address")
	g.admin = "http://" + address
	g.url = "http://" + g.Logged("listening", "address")
	g.Line(`"msg":"ready"`)
	var err error
	g.api, err = admin.NewClient(address)
	must(t, err)
	return g
}

// adminGet gets a path of the admin API.
func (g *served) adminGet(path string) (int, string) {
	g.t.Helper()
	resp, err := http.Get(g.admin + path)
	must(g.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	must(g.t, err)
	return resp.StatusCode, string(body)
}

// reply is what the sample service answers.
type reply struct {
	status  int
	Target  string `json:"target"`
	PodID   string `json:"podId"`
	User    string `json:"username"`
	Session string `json:"session"`
	Visits  int    `json:"visits"`
}

// hit sends a request to the gateway, on a connection of its own.
func (g *served) hit(body string, headers ...string) reply {
	g.t.Helper()
	r, err := tryHit(g.url, body, headers...)
	must(g.t, err)
	return r
}

func tryHit(url, body string, headers ...string) (r reply, err error) {
	req, err := http.NewRequest(http.MethodPost, url+"/hit_backend", strings.NewReader(body))
	if err != nil {
		return r, err
	}
	req.Close = true
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return r, err
	}
	defer resp.Body.Close()
	r.status = resp.StatusCode
	return r, json.NewDecoder(resp.Body).Decode(&r)
}
