// Package programtest runs programs for tests: it builds remora, keeps the end of what a program says, waits for lines of it, and sees to
// it that none outlives the test that started it, also when the test is killed. It knows nothing of what the programs do.
package programtest

import (
	"bytes"
	"encoding/json"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience is how long a line of a program's output may take, on a machine under load.
const patience = 2 * time.Minute

// Program is a process that a test runs, and whose output it reads line by line.
type Program struct {
	*Process
	t    testing.TB
	seen int // bytes of output that Line has looked at
}

// Run runs a command as Start does, until the test has ended. Its standard input is open as long as it runs, and says nothing, where
// the command has no other. When the test fails, the last lines of the program's output are logged.
func Run(t testing.TB, cmd *exec.Cmd) *Program {
	t.Helper()
	if cmd.Stdin == nil {
		if _, err := cmd.StdinPipe(); err != nil { // cmd closes it when the program has ended
			t.Fatal(err)
		}
	}
	cmd.WaitDelay = patience // its last lines may take their time
	process, err := Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	p := &Program{Process: process, t: t}
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("%s:\n%s", cmd, p.Tail())
		}
	})
	return p
}

// Line waits for the next line that has all the words, and gives it.
func (p *Program) Line(words ...string) string {
	p.t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		var ended bool
		select {
		case <-p.Ended():
			ended = true
		default:
		}
		line, found, more := p.next(words, ended)
		switch {
		case found:
			return line
		case ended:
			p.t.Fatalf("the program has ended without a line with %q", words)
		}
		select {
		case <-more:
		case <-p.Ended():
		case <-late.C:
			p.t.Fatalf("there is no line with %q", words)
		}
	}
}

// next looks for a line with all the words among those that have not been looked at. The last line of a program that has ended needs no
// line break. more is closed when there may be another line.
func (p *Program) next(words []string, ended bool) (line string, found bool, more <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = max(p.seen, p.dropped)
	for {
		rest := p.log.Bytes()[p.seen-p.dropped:]
		text, _, whole := bytes.Cut(rest, []byte("\n"))
		if !whole && (!ended || len(rest) == 0) {
			return "", false, p.more
		}
		p.seen = min(p.seen+len(text)+1, p.dropped+p.log.Len())
		if hasAll(string(text), words) {
			return string(text), true, nil
		}
	}
}

func hasAll(line string, words []string) bool {
	for _, w := range words {
		if !strings.Contains(line, w) {
			return false
		}
	}
	return true
}

// Logged waits for the next line of a JSON log with a message, and gives one of its members.
func (p *Program) Logged(message, member string) string {
	p.t.Helper()
	line := p.Line(`"msg":"` + message + `"`)
	var members map[string]any
	if err := json.Unmarshal([]byte(line), &members); err != nil {
		p.t.Fatalf("%v: %s", err, line)
	}
	value, _ := members[member].(string)
	return value
}

// Skip has Line leave out the lines so far.
func (p *Program) Skip() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = p.dropped + bytes.LastIndexByte(p.log.Bytes(), '\n') + 1
}

// Rewind has Line look at all lines again.
func (p *Program) Rewind() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seen = 0
}

// Signal sends a signal to the program, which has to run.
func (p *Program) Signal(s syscall.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// Ends waits for the end of the program, and checks its exit status, which is as ExitCode has it.
func (p *Program) Ends(status int) {
	p.t.Helper()
	if got := p.ExitCode(); got != status {
		p.t.Errorf("%s has ended with %d, want %d", p.cmd, got, status)
	}
}

// Stop ends the program as Kubernetes does, by SIGTERM, and checks that it has ended in order: with 0.
func (p *Program) Stop() {
	p.t.Helper()
	p.Signal(syscall.SIGTERM)
	p.Ends(0)
}
