package cli

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/envoytest"
	"github.com/remora-proxy/remora/internal/programtest"
)

// TestTheCommandsOfThePageEnvoy has bash run what each console block of docs/envoy.md says, as it stands there, in a folder that has what
// the page's reader has: bin/remora, Envoy and the examples. Only the ports are others, since the machine's own may be in use. The last
// command asks; asked twice, it must find the session that it began.
func TestTheCommandsOfThePageEnvoy(t *testing.T) {
	text, err := os.ReadFile("../../docs/envoy.md")
	must(t, err)
	blocks := consoleBlock.FindAllSubmatch(text, -1)
	if len(blocks) != 2 {
		t.Fatalf("%d blocks of commands, want that of an Envoy and that of an InferencePool", len(blocks))
	}
	for i, user := range []string{"user", "ann"} {
		t.Run(user, func(t *testing.T) {
			t.Parallel()
			replies := newReader(t).run(t, commands(string(blocks[i][1])))
			first, second := replies[0], replies[1]
			if first.User != user || first.Session != "new" || second.User != user || second.Session != "existing" || second.PodID != first.PodID {
				t.Errorf("got %+v, then %+v", first, second)
			}
		})
	}
}

// commands are the lines of a block, each with the lines that it goes on in.
func commands(block string) []string {
	var out []string
	for line := range strings.Lines(block) {
		if command, is := strings.CutPrefix(line, "$ "); is {
			out = append(out, command)
		} else {
			out[len(out)-1] += line
		}
	}
	return out
}

// reader is a reader of the page, with a folder and ports.
type reader struct {
	folder string
	ports  *strings.Replacer // of the page's ports
}

func newReader(t *testing.T) *reader {
	t.Helper()
	remora := programtest.Remora(t)
	ports := map[string]string{}
	for _, p := range []string{"8000", "8080", "9002", "9901", "19000"} {
		ports[p] = freePort(t)
	}
	r := &reader{folder: t.TempDir(), ports: strings.NewReplacer("8000", ports["8000"], "8080", ports["8080"], "port_value: 9002", "port_value: "+ports["9002"])}
	must(t, fs.WalkDir(os.DirFS("../../examples"), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(filepath.Join("../../examples", path))
		must(t, err)
		r.write(t, filepath.Join("examples", path), r.ports.Replace(string(text)))
		return nil
	}))
	r.write(t, "bin/remora", fmt.Sprintf(`#!/bin/bash
case "$1" in
extproc) exec %[1]s "$@" --listen 127.0.0.1:%[2]s --admin 127.0.0.1:%[3]s ;;
generate) %[1]s "$@" --port 80=%[4]s --processor 127.0.0.1:%[2]s --envoy-admin 127.0.0.1:%[5]s | sed "s/message_timeout: 1s/message_timeout: 60s/; s/connect_timeout: 0.25s/connect_timeout: 60s/" ;;
*) exec %[1]s "$@" ;;
esac
`, remora, ports["9002"], ports["9901"], ports["8080"], ports["19000"]))
	r.write(t, ".cache/envoy-1.40.0/envoy/_bin/envoy", fmt.Sprintf("#!/bin/bash\nexec %s --disable-hot-restart \"$@\"\n", envoytest.Binary(t)))
	return r
}

func (r *reader) write(t *testing.T, path, text string) {
	t.Helper()
	path = filepath.Join(r.folder, path)
	must(t, os.MkdirAll(filepath.Dir(path), 0o700))
	must(t, os.WriteFile(path, []byte(text), 0o700)) //nolint:gosec // some are programs
}

// run has bash run the commands but for the last, which is curl, does what that one says, twice, and gives the replies.
func (r *reader) run(t *testing.T, commands []string) []reply {
	t.Helper()
	last := len(commands) - 1
	r.write(t, "commands", r.ports.Replace(strings.Join(commands[:last], "\n")))
	log, err := os.Create(filepath.Join(r.folder, "log"))
	must(t, err)
	cmd := exec.Command("bash", "commands")
	cmd.Dir, cmd.Stdout, cmd.Stderr = r.folder, log, log // a file: what runs in the background has it too
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	must(t, cmd.Start())
	t.Cleanup(func() {
		must(t, syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)) // all that runs in the background
		if text, _ := os.ReadFile(log.Name()); t.Failed() {      // without it, less is said
			t.Logf("the commands said:\n%s", text)
		}
	})
	must(t, cmd.Wait())
	return []reply{curl(t, r.ports.Replace(commands[last])), curl(t, r.ports.Replace(commands[last]))}
}

// curl sends what a command line of curl says, again and again until Envoy is there and has its services: who types is slower than that.
func curl(t *testing.T, line string) (r reply) {
	t.Helper()
	deadline := time.After(time.Minute)
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		resp, err := http.DefaultClient.Do(curlRequest(t, line))
		if err == nil {
			r = reply{status: resp.StatusCode}
			err = json.NewDecoder(resp.Body).Decode(&r)
			resp.Body.Close()
			if r.status != http.StatusServiceUnavailable {
				must(t, err)
				return r
			}
		}
		select {
		case <-again.C:
		case <-deadline:
			t.Fatalf("%s: %+v, %v", line, r, err)
		}
	}
}

// curlRequest is the request of a command line of curl, whose quotes are single ones.
func curlRequest(t *testing.T, line string) *http.Request {
	t.Helper()
	var words []string
	for i, part := range strings.Split(strings.ReplaceAll(line, "\\\n", " "), "'") {
		if i%2 == 1 {
			words = append(words, part)
		} else {
			words = append(words, strings.Fields(part)...)
		}
	}
	if len(words) < 3 || words[0] != "curl" || words[1] != "-s" {
		t.Fatalf("%q is not curl -s", words)
	}
	var body string
	header := http.Header{}
	for i := 3; i+1 < len(words); i += 2 {
		switch name, value, _ := strings.Cut(words[i+1], ": "); words[i] {
		case "-H":
			header.Set(name, value)
		case "-d":
			body = words[i+1]
		default:
			t.Fatalf("%s of %q is not known here", words[i], words)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+words[2], strings.NewReader(body))
	must(t, err)
	req.Header = header
	return req
}

// freePort is a port that nobody listens on, at any address. It is none of those that the system gives to who asks for any.
func freePort(t *testing.T) string {
	t.Helper()
	for range 1000 {
		port := fmt.Sprint(10_000 + rand.IntN(20_000))
		if l, err := net.Listen("tcp4", "0.0.0.0:"+port); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("found no free port")
	return ""
}
