package cli

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/remora-proxy/remora/internal/programtest"
	"github.com/remora-proxy/remora/internal/redistest"
)

// shell is a bash that is typed into, in a folder that has what a page's reader has: bin/remora and the examples. Only the ports are others, since
// the machine's own may be in use, and the store is waited for longer.
type shell struct {
	t     *testing.T
	stdin io.Writer
	out   *bufio.Reader
	ports *strings.Replacer // of the page's ports
}

// end is what the shell prints when a command has ended.
const end = "\x04 exit status "

func newShell(t *testing.T, ports ...string) *shell {
	t.Helper()
	remora := programtest.Remora(t)
	var pairs []string
	for _, p := range ports {
		pairs = append(pairs, p, freePort(t))
	}
	s := &shell{t: t, ports: strings.NewReplacer(pairs...)}
	folder := t.TempDir()
	write := func(path, text string) {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(folder, path)), 0o700))
		must(t, os.WriteFile(filepath.Join(folder, path), []byte(text), 0o700)) //nolint:gosec // one is a program
	}
	must(t, fs.WalkDir(os.DirFS("../../examples/hit-backend"), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(filepath.Join("../../examples/hit-backend", path))
		must(t, err)
		write(filepath.Join("examples/hit-backend", path), s.ports.Replace(string(text)))
		return nil
	}))
	write("bin/remora", fmt.Sprintf("#!/bin/bash\n[ \"$1\" != serve ] || set -- \"$@\" --store-timeout 1s\nexec %s \"$@\"\n", remora))
	cmd := exec.Command("bash")
	cmd.Dir = folder
	log, err := os.Create(filepath.Join(folder, "log"))
	must(t, err)
	cmd.Stderr = log // a file: what runs in the background has it too
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	s.stdin, err = cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	s.out = bufio.NewReader(out)
	must(t, cmd.Start())
	t.Cleanup(func() {
		must(t, syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)) // all that runs in the background
		_ = cmd.Wait()                                           // it is killed
		if text, _ := os.ReadFile(log.Name()); t.Failed() {      // without it, less is said
			t.Logf("the commands said:\n%s", text)
		}
	})
	return s
}

// run types a command, and gives what it prints on standard output when it has succeeded.
func (s *shell) run(command string) string {
	s.t.Helper()
	_, err := fmt.Fprintf(s.stdin, "%s\necho \"%s$?\"\n", strings.TrimRight(s.ports.Replace(command), "\n"), end)
	must(s.t, err)
	var said strings.Builder
	for {
		line, err := s.out.ReadString('\n')
		must(s.t, err)
		before, status, ended := strings.Cut(line, end)
		said.WriteString(before)
		if ended {
			if status != "0\n" {
				s.t.Fatalf("%s\nends with %sand says\n%s", command, status, said.String())
			}
			return said.String()
		}
	}
}

// TestTheCommandsOfThePageSharing has bash run what the console blocks of docs/sharing.md say, as it stands there, and looks whether what comes
// of it is what the page says.
func TestTheCommandsOfThePageSharing(t *testing.T) {
	t.Parallel()
	redistest.Redis.Binary(t)
	text, err := os.ReadFile("../../docs/sharing.md")
	must(t, err)
	s := newShell(t, "6379", "8080", "8081", "9901", "9902")
	var replies []reply
	var said []string
	for _, block := range consoleBlock.FindAllSubmatch(text, -1) {
		for _, command := range commands(string(block[1])) {
			if strings.HasPrefix(command, "curl ") {
				replies = append(replies, curl(t, s.ports.Replace(command)))
			} else if out := s.run(command); out != "" {
				said = append(said, out)
			}
		}
	}
	if len(replies) != 5 || len(said) != 2 {
		t.Fatalf("%d replies, want 5: %+v\nand this was said:\n%s", len(replies), replies, strings.Join(said, "\n"))
	}
	for i, want := range []reply{
		{User: "user", Session: "new", Visits: 1},
		{User: "user", Session: "existing", Visits: 2},
		{User: "user", Session: "existing", Visits: 3}, // the store stands still
		{User: "ann", Session: "new", Visits: 1},
		{User: "user", Session: "existing", Visits: 4}, // a gateway was killed
	} {
		got := replies[i]
		if got.User != want.User || got.Session != want.Session || got.Visits != want.Visits || want.User == "user" && got.PodID != replies[0].PodID {
			t.Errorf("reply %d is %+v, want %+v", i, got, want)
		}
	}
	if !strings.Contains(said[0], "backend-1.default.svc.cluster.local") {
		t.Errorf("sessions get says\n%s", said[0])
	}
	if !strings.Contains(said[1], "2 of 2 gateways") {
		t.Errorf("status says\n%s", said[1])
	}
}
