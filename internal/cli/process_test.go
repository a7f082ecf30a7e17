package cli

import (
	"bufio"
	"bytes"
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

	"github.com/remora-proxy/remora/internal/admin"
)

// The tests in end_to_end_test.go run the program itself, as its users do. Nothing waits for time to pass: they wait for lines
// of a process's log, for answers, and for processes to end.

// binaryDir is where the program was built, if it was.
var binaryDir string

// binary builds the program, once for all tests.
var binary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "remora")
	if err != nil {
		return "", err
	}
	binaryDir = dir
	path := filepath.Join(dir, "remora")
	out, err := exec.Command("go", "build", "-o", path, "../../cmd/remora").CombinedOutput()
	if err != nil {
		err = errors.Join(err, errors.New(string(out)))
	}
	return path, err
})

func removeBinary() { os.RemoveAll(binaryDir) }

// process is a running remora whose standard error is read line by line.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdout bytes.Buffer // to be read when the process has ended

	mu    sync.Mutex
	more  *sync.Cond
	lines []string
	eof   bool
	seen  int // lines that wait has looked at
	err   error
	ended chan struct{}
}

// start runs remora with its standard input open until the test has ended.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	path, err := binary()
	must(t, err)
	reader, writer, err := os.Pipe()
	must(t, err)
	t.Cleanup(func() { writer.Close() })
	return startWithStdin(t, reader, path, args...)
}

// startWithStdin runs a program with an end of a pipe as its standard input.
func startWithStdin(t *testing.T, stdin *os.File, path string, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: exec.Command(path, args...), ended: make(chan struct{})}
	p.more = sync.NewCond(&p.mu)
	p.cmd.Stdin = stdin
	p.cmd.Stdout = &p.stdout
	stderr, err := p.cmd.StderrPipe()
	must(t, err)
	must(t, p.cmd.Start())
	must(t, stdin.Close())
	go func() {
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			p.mu.Lock()
			p.lines = append(p.lines, lines.Text())
			p.mu.Unlock()
			p.more.Broadcast()
		}
		p.err = p.cmd.Wait()
		p.mu.Lock()
		p.eof = true
		p.mu.Unlock()
		p.more.Broadcast()
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // fails when it has ended
		<-p.ended
		if t.Failed() {
			t.Logf("remora %s:\n%s", strings.Join(args, " "), strings.Join(p.lines, "\n"))
		}
	})
	return p
}

// line waits for the next line that has all the words, and gives it.
func (p *process) line(words ...string) string {
	p.t.Helper()
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
		if p.eof {
			p.t.Fatalf("the process ended without a line with %q", words)
		}
		p.more.Wait()
	}
}

// skip leaves out the lines so far.
func (p *process) skip() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = len(p.lines)
}

// logged waits for the next line of the JSON log with a message, and gives one of its members.
func (p *process) logged(message, member string) string {
	p.t.Helper()
	var line map[string]any
	must(p.t, json.Unmarshal([]byte(p.line(`"msg":"`+message+`"`)), &line))
	value, _ := line[member].(string)
	return value
}

func (p *process) signal(sig syscall.Signal) {
	p.t.Helper()
	must(p.t, p.cmd.Process.Signal(sig))
}

// exit waits for the end of the process and gives its exit status; -1 when it was killed.
func (p *process) exit() int {
	<-p.ended
	return p.cmd.ProcessState.ExitCode()
}

// served is a running gateway.
type served struct {
	*process
	api   *admin.Client
	admin string // base URL of the admin API
	url   string // base URL of the first port
}

// serve runs a gateway on free ports and waits until it is ready.
func serve(t *testing.T, args ...string) *served {
	t.Helper()
	return serveLogged(t, "", args...)
}

// serveLogged is serve that waits for a message in the log first.
func serveLogged(t *testing.T, message string, args ...string) *served {
	t.Helper()
	g := &served{process: start(t, append([]string{
		"serve", "--port", "80=0", "--admin", "127.0.0.1:0", "--log-format", "json", "--log-level", "debug", "--exit-on-eof",
	}, args...)...)}
	if message != "" {
		g.line(message)
	}
	address := g.logged("admin API", "address")
	g.admin = "http://" + address
	g.url = "http://" + g.logged("listening", "address")
	g.line(`"msg":"ready"`)
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
