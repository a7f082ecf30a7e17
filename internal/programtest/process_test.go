package programtest

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// parent is the environment variable that makes the test binary a program that starts another and waits.
const parent = "REMORA_PROGRAMTEST_PARENT"

func TestMain(m *testing.M) {
	if os.Getenv(parent) == "" {
		os.Exit(m.Run())
	}
	// The child holds the pipe that is file descriptor 3: whoever reads it sees its end.
	child := exec.Command("/bin/sh", "-c", "exec sleep 600")
	child.ExtraFiles = []*os.File{os.NewFile(3, "pipe")}
	p, err := Start(child)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("started")
	<-p.Ended()
}

func TestAProgramThatIsToldToEnd(t *testing.T) {
	for _, c := range []struct {
		name, script string
		end          func(*Process)
		code         int
		says         string
	}{
		{"by itself, with a status", "echo out; echo err >&2; exit 3", func(*Process) {}, 3, "out\nerr\n"},
		{"by a signal", "exec sleep 600", func(p *Process) { p.Signal(syscall.SIGTERM) }, 128 + 15, ""},
		{"with all that it has started", "sleep 600 & sleep 600", (*Process).Kill, 128 + 9, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := Start(exec.Command("/bin/sh", "-c", c.script))
			if err != nil {
				t.Fatal(err)
			}
			c.end(p)
			if code := p.ExitCode(); code != c.code {
				t.Errorf("it ended with %d, want %d", code, c.code)
			}
			if p.Tail() != c.says {
				t.Errorf("it said %q, want %q", p.Tail(), c.says)
			}
			p.Kill()
			p.Signal(syscall.SIGTERM)
		})
	}
}

func TestAProgramThatIsNotThere(t *testing.T) {
	if _, err := Start(exec.Command("/no/such/program")); err == nil {
		t.Error("it started")
	}
}

func TestOnlyTheEndOfTheOutputIsKept(t *testing.T) {
	p := &Process{more: make(chan struct{})}
	for i := range 6_000 {
		fmt.Fprintf(p, "line %d%s\n", i, strings.Repeat(".", 1000))
	}
	if p.log.Len() > maxLog+1100 {
		t.Errorf("%d bytes are kept", p.log.Len())
	}
	if !strings.Contains(p.Tail(), "\nline 5998.") || !strings.Contains(p.Tail(), "\nline 5999.") || strings.Count(p.Tail(), "\n") > lastLines {
		t.Errorf("the end is %q", p.Tail())
	}
}

func TestAProgramDiesWithTheTestThatIsKilled(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	pipe, held, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), parent+"=1")
	cmd.ExtraFiles = []*os.File{held}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	held.Close()
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "started\n" {
		t.Fatalf("the parent says %q: %v", line, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, pipe); err != nil { // ends when nobody holds the pipe any more
		t.Error(err)
	}
	_ = cmd.Wait() // it was killed
}
