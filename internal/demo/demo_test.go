package demo_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/remora-proxy/remora/internal/cli"
	"github.com/remora-proxy/remora/internal/demo"
	"github.com/remora-proxy/remora/internal/envoytest"
)

// asProgram in the environment makes this test's own executable be the remora program: the demo starts it again for each of
// its parts.
const asProgram = "REMORA_DEMO_TEST_AS_PROGRAM"

// broken is a value of it: a replica then gives the name of another service.
const broken = "broken"

func TestMain(m *testing.M) {
	if how := os.Getenv(asProgram); how != "" {
		args, env := os.Args[1:], cli.Process()
		if how == broken && args[0] == "backend" {
			args[slices.Index(args, "--service")+1] = "backend-9"
		}
		var printed bytes.Buffer
		if args[0] == "generate" {
			env.Stdout = &printed
		}
		status := cli.Main("v0.0.0-test", args, env)
		if _, err := io.WriteString(os.Stdout, envoytest.Patient(printed.String())); err != nil {
			os.Exit(1)
		}
		os.Exit(status)
	}
	os.Exit(m.Run())
}

// run is a demo that runs as a process. Each process that it starts inherits the writing end of a pipe: when everything has
// ended, and not before, ended gives EOF.
type run struct {
	cmd    *exec.Cmd
	out    *bufio.Reader
	errors bytes.Buffer
	text   strings.Builder // what was read of out
	ended  *os.File
	temp   string
	front  string // addresses
	admin  string
}

func start(t *testing.T, args []string, environment ...string) *run {
	t.Helper()
	port, adminPort, backendPort := demo.FreePort(t), demo.FreePort(t), demo.FreePort(t)
	r := &run{
		temp:  t.TempDir(),
		front: fmt.Sprintf("127.0.0.1:%d", port), admin: fmt.Sprintf("127.0.0.1:%d", adminPort),
	}
	r.cmd = program(t, append([]string{
		"demo", "--port", fmt.Sprint(port), "--admin-port", fmt.Sprint(adminPort), "--backend-port", fmt.Sprint(backendPort),
	}, args...)...)
	r.cmd.Env = append(append(r.cmd.Env, "TMPDIR="+r.temp), environment...)
	stdout, err := r.cmd.StdoutPipe()
	must(t, err)
	r.out, r.cmd.Stderr = bufio.NewReader(stdout), &r.errors
	ended, inherited, err := os.Pipe()
	must(t, err)
	r.ended, r.cmd.ExtraFiles = ended, []*os.File{inherited}
	must(t, r.cmd.Start())
	inherited.Close()
	t.Cleanup(func() {
		_ = r.cmd.Process.Kill()
		ended.Close()
	})
	return r
}

// program is the remora program, to be run.
func program(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	must(t, err)
	cmd := exec.Command(self, args...)
	// The race detector would have each process wait for a second before it ends.
	cmd.Env = append(os.Environ(), asProgram+"=1", "GORACE="+os.Getenv("GORACE")+" atexit_sleep_ms=0")
	return cmd
}

// until reads what the demo prints up to a line that has the text.
func (r *run) until(t *testing.T, text string) string {
	t.Helper()
	for {
		line, err := r.out.ReadString('\n')
		r.text.WriteString(line)
		if strings.Contains(line, text) {
			return line
		}
		if err != nil {
			t.Fatalf("the demo ended before it printed %q:\n%s%s", text, &r.text, &r.errors)
		}
	}
}

// wait reads the rest and gives the exit status.
func (r *run) wait(t *testing.T) int {
	t.Helper()
	rest, err := io.ReadAll(r.out)
	must(t, err)
	r.text.Write(rest)
	if err := r.cmd.Wait(); err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatal(err)
	}
	return r.cmd.ProcessState.ExitCode()
}

// nothingLeft waits until no process is left and checks that none listens.
func (r *run) nothingLeft(t *testing.T) {
	t.Helper()
	must(t, r.ended.SetReadDeadline(time.Now().Add(time.Minute)))
	if _, err := io.ReadAll(r.ended); err != nil {
		t.Errorf("processes are left a minute after the demo ended: %v\n%s", err, &r.text)
	}
	for _, addr := range append(listed.FindAllString(r.text.String(), -1), r.front, r.admin) {
		if err := untilRefused(addr, time.Now().Add(time.Minute)); err != nil {
			t.Errorf("something still listens on %s: %v", addr, err)
		}
	}
}

// untilRefused waits until nobody listens on addr. A process that was killed closes its descriptors one after the other, so that the
// end of the pipe may be seen before its sockets are closed. A connection that it still took ends with them: that is waited for.
func untilRefused(addr string, deadline time.Time) error {
	for {
		c, err := net.DialTimeout("tcp", addr, time.Until(deadline))
		if err != nil {
			if errors.Is(err, syscall.ECONNREFUSED) {
				return nil
			}
			if errors.Is(err, syscall.ECONNRESET) {
				continue // closed between the two steps of connecting
			}
			return err
		}
		err = c.SetReadDeadline(deadline)
		if err == nil {
			_, err = c.Read(make([]byte, 1))
		}
		c.Close()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
	}
}

var listed = regexp.MustCompile(`127\.0\.[123]\.[1-5]:\d+`)

// withEnvoy are the arguments of a demo with an Envoy in the gateway's place.
func withEnvoy(t *testing.T, args ...string) []string {
	t.Helper()
	return append([]string{
		"--envoy", envoytest.Binary(t), "--envoy-admin-port", fmt.Sprint(demo.FreePort(t)), "--processor-port", fmt.Sprint(demo.FreePort(t)),
	}, args...)
}

func TestOnceEndsWithTheTour(t *testing.T) {
	t.Parallel()
	var withGateway, withEnvoyInstead string
	t.Run("with", func(t *testing.T) {
		t.Run("the gateway", func(t *testing.T) {
			t.Parallel()
			withGateway = checkOnce(t, []string{"--once"})
		})
		t.Run("Envoy", func(t *testing.T) {
			t.Parallel()
			withEnvoyInstead = checkOnce(t, withEnvoy(t, "--once"))
		})
	})
	check := regexp.MustCompile(`(?m)^ *✓.*$`)
	if gateway, envoy := check.FindAllString(withGateway, -1), check.FindAllString(withEnvoyInstead, -1); !slices.Equal(gateway, envoy) {
		t.Errorf("with the gateway these checks held:\n%s\nand with Envoy these:\n%s", strings.Join(gateway, "\n"), strings.Join(envoy, "\n"))
	}
}

// checkOnce runs a tour that has to hold, and returns what it printed.
func checkOnce(t *testing.T, args []string) (out string) {
	t.Helper()
	r := start(t, args)
	if status := r.wait(t); status != 0 {
		t.Errorf("exit status %d, want 0\n%s", status, &r.errors)
	}
	r.nothingLeft(t)
	out = r.text.String()
	if strings.Contains(out, "✗") || !strings.Contains(out, "checks held") || strings.Contains(out, "\x1b") || r.errors.Len() > 0 {
		t.Errorf("want a tour without a failed check, in plain text, and nothing on standard error:\n%s%s", out, &r.errors)
	}
	for line := range strings.Lines(strings.ReplaceAll(out, r.temp, "")) {
		if n := utf8.RuneCountInString(line); n > 100 {
			t.Errorf("a line has %d characters, more than 100: %s", n, line)
		}
	}
	left, err := os.ReadDir(r.temp)
	must(t, err)
	if len(left) > 0 {
		t.Errorf("%s is left", filepath.Join(r.temp, left[0].Name()))
	}
	return out
}

func TestABrokenRuleMakesTheStatus1(t *testing.T) {
	t.Parallel()
	t.Log("the replicas of this run give the name of another service than they were started for")
	r := start(t, []string{"--once"}, asProgram+"="+broken)
	if status := r.wait(t); status != 1 {
		t.Errorf("exit status %d, want 1", status)
	}
	r.nothingLeft(t)
	if !strings.Contains(r.text.String(), "✗ the body's field target named the service") || !strings.Contains(r.errors.String(), demo.ErrNotHeld.Error()) {
		t.Errorf("want a check that failed, and an error that says so:\n%s%s", &r.text, &r.errors)
	}
}

func TestAllEndsWithTheDemo(t *testing.T) {
	for _, c := range []struct {
		name   string
		args   []string
		when   string // the demo prints this
		signal syscall.Signal
		status int    // -1: by the signal
		says   string // on standard error
	}{
		{"Ctrl-C in the tour", nil, "1. By body", os.Interrupt.(syscall.Signal), 0, ""},
		{"SIGTERM before a tour that was to give a verdict has ended", []string{"--once"}, "2. By header", syscall.SIGTERM, 1, "interrupted"},
		{"SIGKILL while the parts are started", nil, "Three services", syscall.SIGKILL, -1, ""},
		{"SIGKILL in the tour", nil, "5. Scale-out", syscall.SIGKILL, -1, ""},
		{"Ctrl-C in the tour with Envoy", withEnvoy(t), "1. By body", os.Interrupt.(syscall.Signal), 0, ""},
		{"SIGKILL in the tour with Envoy", withEnvoy(t), "5. Scale-out", syscall.SIGKILL, -1, ""},
		{"the terminal is closed", nil, "1. By body", syscall.SIGHUP, 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := start(t, c.args)
			r.until(t, c.when)
			must(t, r.cmd.Process.Signal(c.signal))
			if status := r.wait(t); status != c.status || !strings.Contains(r.errors.String(), c.says) {
				t.Errorf("exit status %d, want %d; standard error: %s", status, c.status, &r.errors)
			}
			r.nothingLeft(t)
		})
	}
}

// TestItStaysUp runs what the demo says one can try, as it stands there.
func TestItStaysUp(t *testing.T) {
	t.Parallel()
	r := start(t, nil)
	r.until(t, "stays up until Ctrl-C")
	r.text.Reset()
	r.until(t, "kill -9 ")
	commands := 0
	for line := range strings.Lines(strings.ReplaceAll(r.text.String(), "\\\n", "")) {
		line = strings.TrimSpace(line)
		args := shellWords(line)
		switch {
		case len(args) == 0 || args[0] == "kill":
			continue
		case args[0] == "curl":
			checkReply(t, line, args)
		default:
			if out, err := program(t, args[1:]...).CombinedOutput(); err != nil {
				t.Errorf("%s: %v\n%s", line, err, out)
			}
		}
		commands++
	}
	if commands != 7 {
		t.Errorf("found %d commands to try, want 7:\n%s", commands, &r.text)
	}
	must(t, r.cmd.Process.Signal(syscall.SIGTERM))
	if status := r.wait(t); status != 0 {
		t.Errorf("exit status %d, want 0\n%s", status, &r.errors)
	}
	r.nothingLeft(t)
}

// shellWords splits a line as a shell does; of quotes it knows single ones.
func shellWords(line string) []string {
	var words []string
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			words = append(words, part)
		} else {
			words = append(words, strings.Fields(part)...)
		}
	}
	return words
}

// checkReply sends what a command line of curl says.
func checkReply(t *testing.T, line string, args []string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "", http.NoBody)
	must(t, err)
	for i := 1; i < len(args); i++ {
		switch args[i] {
		case "-s":
		case "-X":
			i++
			req.Method = args[i]
		case "-H":
			i++
			name, value, _ := strings.Cut(args[i], ": ")
			req.Header.Set(name, value)
		case "-d":
			i++
			req.Body = io.NopCloser(strings.NewReader(args[i]))
			req.ContentLength = int64(len(args[i]))
		default:
			req.URL, err = url.Parse("http://" + args[i])
			must(t, err)
		}
	}
	resp, err := http.DefaultClient.Do(req)
	must(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	must(t, err)
	if resp.StatusCode != http.StatusOK || !bytes.Contains(body, []byte("podId")) {
		t.Errorf("%s: %s %s", line, resp.Status, body)
	}
}

func TestABusyPortIsAClearError(t *testing.T) {
	port := demo.FreePort(t)
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	must(t, err)
	defer l.Close()
	out, err := program(t, "demo", "--port", fmt.Sprint(port), "--admin-port", fmt.Sprint(demo.FreePort(t)), "--backend-port", fmt.Sprint(port)).CombinedOutput()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("want exit status 1, got %v", err)
	}
	want := fmt.Sprintf("remora: 127.0.0.1:%d is in use by another process, and the gateway wants it\n"+
		"Stop what is there, or choose other ports: --port PORT (with make: ARGS='…')\n", port)
	if string(out) != want {
		t.Errorf("got\n%swant\n%s", out, want)
	}

	args := []string{"demo", "--envoy", envoytest.Binary(t), "--processor-port", fmt.Sprint(port)}
	for _, flag := range []string{"--port", "--admin-port", "--backend-port", "--envoy-admin-port"} {
		args = append(args, flag, fmt.Sprint(demo.FreePort(t)))
	}
	out, err = program(t, args...).CombinedOutput()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(out), "the processor wants it\n") || !strings.Contains(string(out), "--processor-port PORT") {
		t.Errorf("with Envoy: %v, %s", err, out)
	}
}

func TestAnEnvoyThatCannotBeStartedIsAClearError(t *testing.T) {
	for _, c := range []struct{ path, says string }{
		{"/nowhere/envoy", "start envoy: fork/exec /nowhere/envoy: no such file or directory"},
		{"false", "envoy has ended: exit status 1"},
	} {
		r := start(t, append(withEnvoy(t), "--envoy", c.path))
		if status := r.wait(t); status != 1 || !strings.Contains(r.errors.String(), c.says) {
			t.Errorf("%s: exit status %d, %s", c.path, status, &r.errors)
		}
		r.nothingLeft(t)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
