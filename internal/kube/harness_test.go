package kube_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/admin"
	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/samplebackend"
)

// patience is how long a line of a log may take, on a machine under load.
const patience = 2 * time.Minute

// programDir is the folder of program; empty: there is none.
var programDir string

// program builds remora, once for all tests.
var program = sync.OnceValues(func() (string, error) {
	var err error
	if programDir, err = os.MkdirTemp("", "remora"); err != nil {
		return "", err
	}
	path := filepath.Join(programDir, "remora")
	out, err := exec.Command("go", "build", "-o", path, "../../cmd/remora").CombinedOutput()
	if err != nil {
		err = errors.Join(err, errors.New(string(out)))
	}
	return path, err
})

// process is a running remora.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	stdin io.Closer
	ended chan struct{}

	mu    sync.Mutex
	more  *sync.Cond
	lines []string // of its standard error, or of its standard output
	eof   bool
	seen  int  // lines that line has looked at
	late  bool // a line has not come in time
}

// start runs remora until the test has ended.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	path, err := program()
	must(t, err)
	p := &process{t: t, cmd: exec.Command(path, args...), ended: make(chan struct{})}
	p.more = sync.NewCond(&p.mu)
	p.stdin, err = p.cmd.StdinPipe()
	must(t, err)
	reader, writer, err := os.Pipe()
	must(t, err)
	p.cmd.Stdout, p.cmd.Stderr = writer, writer
	must(t, p.cmd.Start())
	must(t, writer.Close())
	go p.follow(reader)
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // fails when it has ended
		<-p.ended
		if t.Failed() {
			t.Logf("remora %s:\n%s", strings.Join(args, " "), strings.Join(p.lines, "\n"))
		}
	})
	return p
}

func (p *process) follow(r *os.File) {
	defer close(p.ended)
	defer r.Close()
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		p.mu.Lock()
		p.lines = append(p.lines, lines.Text())
		p.mu.Unlock()
		p.more.Broadcast()
	}
	_ = p.cmd.Wait() // its exit status is asked for where it matters
	p.mu.Lock()
	p.eof = true
	p.mu.Unlock()
	p.more.Broadcast()
}

// line waits for the next line that has all the words, and gives it.
func (p *process) line(words ...string) string {
	p.t.Helper()
	late := time.AfterFunc(patience, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.late = true
		p.more.Broadcast()
	})
	defer late.Stop()
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		for p.seen < len(p.lines) {
			line := p.lines[p.seen]
			p.seen++
			all := true
			for _, w := range words {
				all = all && strings.Contains(line, w)
			}
			if all {
				return line
			}
		}
		if p.eof || p.late {
			p.t.Fatalf("there is no line with %q; the process has ended: %v", words, p.eof)
		}
		p.more.Wait()
	}
}

// logged waits for the next line of the log with a message, and gives one of its members.
func (p *process) logged(message, member string) string {
	p.t.Helper()
	var line map[string]any
	must(p.t, json.Unmarshal([]byte(p.line(`"msg":"`+message+`"`)), &line))
	value, _ := line[member].(string)
	return value
}

// ends waits for the end of the process, and checks its exit status.
func (p *process) ends(status int) {
	p.t.Helper()
	if <-p.ended; p.cmd.ProcessState.ExitCode() != status {
		p.t.Errorf("remora ended with %d, want %d", p.cmd.ProcessState.ExitCode(), status)
	}
}

// output is all that the process has printed at its end.
func (p *process) output() string {
	<-p.ended
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines, "\n")
}

// stop ends the process as Kubernetes does, and gives its exit status.
func (p *process) stop() int {
	p.t.Helper()
	must(p.t, p.cmd.Process.Signal(syscall.SIGTERM))
	<-p.ended
	return p.cmd.ProcessState.ExitCode()
}

// gateway is a running `remora serve --kubernetes`.
type gateway struct {
	*process
	url   string // of port 80 of the Gateway
	admin string // the admin API
}

// serve starts a gateway and waits until it is ready.
func serve(t *testing.T, kubeconfig string, args ...string) *gateway {
	t.Helper()
	g := watch(t, kubeconfig, args...)
	g.url = "http://" + g.logged("listening", "address")
	g.line(`"msg":"ready"`)
	return g
}

// watch starts a gateway that may not become ready.
func watch(t *testing.T, kubeconfig string, args ...string) *gateway {
	t.Helper()
	g := &gateway{process: start(t, append([]string{
		"serve", "--kubernetes", "--kubeconfig", kubeconfig, "--port", "80=0", "--admin", "127.0.0.1:0", "--log-format", "json", "--log-level", "debug",
	}, args...)...)}
	g.admin = "http://" + g.logged("admin API", "address")
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
func replica(t *testing.T, service, name, ip string) *process {
	t.Helper()
	p := start(t, "backend", "--service", service, "--name", name, "--listen", ip+":8080", "--exit-on-eof")
	p.line("listens on")
	return p
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
