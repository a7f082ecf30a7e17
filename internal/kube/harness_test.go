package kube_test

import (
	"encoding/json"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/admin"
	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/programtest"
	"github.com/remora-proxy/remora/internal/samplebackend"
)

// patience is how long anything may take, on a machine under load.
const patience = 2 * time.Minute

// start runs remora until the test has ended.
func start(t *testing.T, args ...string) *programtest.Program {
	t.Helper()
	return programtest.Run(t, exec.Command(programtest.Remora(t), args...))
}

// gateway is a running `remora serve --kubernetes`.
type gateway struct {
	*programtest.Program
	t     *testing.T
	url   string // of port 80 of the Gateway
	admin string // the admin API
}

// serve starts a gateway and waits until it is ready.
func serve(t *testing.T, kubeconfig string, args ...string) *gateway {
	t.Helper()
	g := watch(t, kubeconfig, args...)
	g.url = "http://" + g.Logged("listening", "address")
	g.Line(`"msg":"ready"`)
	return g
}

// watch starts a gateway that may not become ready.
func watch(t *testing.T, kubeconfig string, args ...string) *gateway {
	t.Helper()
	g := &gateway{t: t, Program: start(t, append([]string{
		"serve", "--kubernetes", "--kubeconfig", kubeconfig, "--port", "80=0", "--admin", "127.0.0.1:0", "--log-format", "json", "--log-level", "debug",
	}, args...)...)}
	g.admin = "http://" + g.Logged("admin API", "address")
	return g
}

// status is what the gateway tells of itself.
func (g *gateway) status() admin.Status {
	g.t.Helper()
	var st admin.Status
	must(g.t, json.Unmarshal(g.ask(admin.PathStatus), &st))
	return st
}

// endpoints are the replicas that the gateway knows, those that are gone left out.
func (g *gateway) endpoints() []affinity.EndpointView {
	g.t.Helper()
	var all admin.Endpoints
	must(g.t, json.Unmarshal(g.ask(admin.PathEndpoints), &all))
	return all.Endpoints
}

// metrics are the gateway's metrics, with a line break before the first.
func (g *gateway) metrics() string {
	g.t.Helper()
	return "\n" + string(g.ask("/metrics"))
}

// ask asks the admin API.
func (g *gateway) ask(path string) []byte {
	g.t.Helper()
	resp, err := http.Get(g.admin + path)
	must(g.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	must(g.t, err)
	return body
}

// reply is what a user got.
type reply struct {
	samplebackend.Reply
	status int
}

// hit makes the use case's request.
func (g *gateway) hit(user, target string) reply {
	g.t.Helper()
	resp, err := http.Post(g.url+"/hit_backend", "application/json", strings.NewReader(`{"username":"`+user+`","target":"`+target+`"}`))
	must(g.t, err)
	defer resp.Body.Close()
	r := reply{status: resp.StatusCode}
	body, err := io.ReadAll(resp.Body)
	must(g.t, err)
	if r.status == http.StatusOK {
		must(g.t, json.Unmarshal(body, &r.Reply))
	}
	return r
}

// replica starts a replica of the sample service on an address of its own.
func replica(t *testing.T, service, name, ip string) *programtest.Program {
	t.Helper()
	p := start(t, "backend", "--service", service, "--name", name, "--listen", ip+":8080", "--exit-on-eof")
	p.Line("listens on")
	return p
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
