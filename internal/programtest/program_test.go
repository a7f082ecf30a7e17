package programtest

import (
	"bytes"
	"fmt"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

func shell(script string) *exec.Cmd { return exec.Command("/bin/sh", "-c", script) }

func TestLinesAreReadOneAfterTheOther(t *testing.T) {
	t.Parallel()
	p := Run(t, shell(`echo one two; echo '{"msg":"listening","address":"127.0.0.1:1","port":2}' >&2; echo two one; read nothing; printf 'the end'; exit 3`))
	if line := p.Line("two", "one"); line != "one two" {
		t.Errorf("the first is %q", line)
	}
	if address := p.Logged("listening", "address"); address != "127.0.0.1:1" {
		t.Errorf("the address is %q", address)
	}
	p.Rewind()
	if port := p.Logged("listening", "port"); port != "" { // it is no text
		t.Errorf("the port is %q", port)
	}
	if line := p.Line("one"); line != "two one" {
		t.Errorf("the next is %q", line)
	}
	select {
	case <-p.Ended():
		t.Error("its standard input has ended")
	default:
	}
	p.Signal(syscall.SIGKILL)
	p.Ends(128 + 9)
}

func TestTheLastLineNeedsNoLineBreak(t *testing.T) {
	t.Parallel()
	p := Run(t, shell(`printf 'one\ntwo'; exit 3`))
	p.Ends(3)
	p.Skip()
	if line := p.Line(); line != "two" {
		t.Errorf("it is %q", line)
	}
}

func TestStandardOutputMayGoElsewhere(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	cmd := shell("echo out; echo err >&2; cat")
	cmd.Stdout, cmd.Stdin = &out, strings.NewReader("in")
	p := Run(t, cmd)
	p.Ends(0)
	if out.String() != "out\nin" || p.Log() != "err\n" {
		t.Errorf("standard output is %q, standard error %q", out.String(), p.Log())
	}
}

func TestStopIsSIGTERM(t *testing.T) {
	t.Parallel()
	p := Run(t, shell(`trap 'echo told; exit 0' TERM; echo ready; while :; do read nothing; done`))
	p.Line("ready")
	p.Stop()
	p.Line("told")
}

// recorder is a test whose end by FailNow is told.
type recorder struct {
	testing.TB
	text string
}

func (r *recorder) Helper() {}

func (r *recorder) Errorf(format string, args ...any) { r.text = fmt.Sprintf(format, args...) }

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

func TestWhatDoesNotComeFailsTheTest(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		wait func(*Program)
		says string
	}{
		{"a line", func(p *Program) { p.Line("two", "three") }, `has ended without a line with ["two" "three"]`},
		{"an exit status", func(p *Program) { p.Ends(0) }, "has ended with 3, want 0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := Run(t, shell("echo one two; exit 3"))
			r := &recorder{TB: t}
			p.t = r
			done := make(chan struct{})
			go func() {
				defer close(done)
				c.wait(p)
			}()
			<-done
			if !strings.Contains(r.text, c.says) {
				t.Errorf("it says %q, want %q", r.text, c.says)
			}
		})
	}
}

func TestALineIsFoundBehindWhatWasDropped(t *testing.T) {
	t.Parallel()
	p := &Program{Process: &Process{more: make(chan struct{}), ended: make(chan struct{})}, t: t}
	fmt.Fprintln(p, "first")
	p.Line("first")
	for range 6_000 {
		fmt.Fprintln(p, "some line", strings.Repeat(".", 1000))
	}
	fmt.Fprintln(p, "last")
	if p.dropped == 0 {
		t.Fatal("nothing was dropped")
	}
	p.Line("last")
	p.Rewind()
	p.Line("some line")
}
