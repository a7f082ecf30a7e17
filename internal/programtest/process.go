package programtest

import (
	"bytes"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	maxLog    = 4 << 20 // bounds what is kept of a program's output: its end, in bytes
	lastLines = 200     // of Tail
)

// Process is a running program.
type Process struct {
	cmd   *exec.Cmd
	ended chan struct{}

	mu      sync.Mutex
	log     bytes.Buffer
	dropped int           // bytes of output before those of log
	more    chan struct{} // closed, and made anew, when log grows
}

// Start runs a command, in a session of its own, until it ends, is killed, or this process ends, also when that is killed. What it
// says on standard error is kept, and what it says on standard output where the command has no other place for that.
func Start(cmd *exec.Cmd) (*Process, error) {
	p := &Process{cmd: cmd, ended: make(chan struct{}), more: make(chan struct{})}
	cmd.SysProcAttr = dieWithParent()
	cmd.Stderr = p
	if cmd.Stdout == nil {
		cmd.Stdout = p
	}
	if cmd.WaitDelay == 0 {
		cmd.WaitDelay = time.Second // for a child of the program that holds its output and is not ended with it
	}
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

// Ended is closed when the program has ended, and all that it has said has been read.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// PID is the program's process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// ExitCode waits for the end of the program and gives its exit status as shells have it: 128 and the signal's number when a signal
// ended it.
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
	if over := p.log.Len() - maxLog; over > 0 {
		p.dropped += len(p.log.Next(over + maxLog/2))
	}
	close(p.more)
	p.more = make(chan struct{})
	return p.log.Write(text)
}

// Log is what the program has said so far, without its beginning when that was more than 4 MiB.
func (p *Process) Log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// Tail is the last lines of Log.
func (p *Process) Tail() string {
	all := strings.Split(p.Log(), "\n")
	return strings.Join(all[max(0, len(all)-lastLines):], "\n")
}
