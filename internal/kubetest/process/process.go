// Package process runs the programs of tests: it keeps the end of what each says, and sees to it that none outlives the test
// that started it, also when the test is killed. It knows neither what the programs are nor what a test is.
package process

import (
	"bytes"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// maxLog bounds what is kept of a program's output: its end, in bytes.
const maxLog = 1 << 20

// Process is a running program.
type Process struct {
	cmd   *exec.Cmd
	ended chan struct{}

	mu  sync.Mutex
	log bytes.Buffer
}

// Start runs a command, in a session of its own, until it ends, is killed, or this process ends. The command's output, and the
// attributes that have to do with that, are set here.
func Start(cmd *exec.Cmd) (*Process, error) {
	p := &Process{cmd: cmd, ended: make(chan struct{})}
	cmd.SysProcAttr = dieWithParent()
	cmd.Stdout, cmd.Stderr = p, p
	cmd.WaitDelay = time.Second // for a child of the program that holds its output and is not ended with it
	started := make(chan error)
	go func() {
		defer close(p.ended)
		runtime.LockOSThread() // the program dies with the thread that started it, which therefore waits for it
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it has ended is in its ProcessState
		}
	}()
	return p, <-started
}

// Ended is closed when the program has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// PID is the program's process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// ExitCode is the program's exit status once it has ended, as shells have it: 128 and the signal's number when a signal ended it.
func (p *Process) ExitCode() int {
	<-p.ended
	if status, is := p.cmd.ProcessState.Sys().(syscall.WaitStatus); is && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return p.cmd.ProcessState.ExitCode()
}

// Signal sends a signal to the program. One that has ended is sent none.
func (p *Process) Signal(s syscall.Signal) {
	_ = p.cmd.Process.Signal(s) // fails when it has ended
}

// Kill ends the program, and what it has started, and waits for its end.
func (p *Process) Kill() {
	select {
	case <-p.ended: // its number may be another's by now
	default:
		_ = syscall.Kill(-p.PID(), syscall.SIGKILL) // fails when it is just ending
	}
	<-p.ended
}

// Write implements io.Writer: it keeps the end of the output.
func (p *Process) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.log.Len() > maxLog {
		p.log.Next(p.log.Len() - maxLog/2)
	}
	return p.log.Write(text)
}

// Tail is the last lines of the output.
func (p *Process) Tail() string {
	const lines = 60
	p.mu.Lock()
	defer p.mu.Unlock()
	all := strings.Split(p.log.String(), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
