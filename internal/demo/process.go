package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

const (
	// startLimit is how long a process may take until it is ready.
	startLimit = time.Minute
	// stopLimit is how long a process may take to end in order; then it is killed.
	stopLimit = 20 * time.Second
	// pollEvery is the pause between two looks at something that tells nobody when it happens.
	pollEvery = 10 * time.Millisecond
)

// running is a part that has been started: a process, or what a test puts in its place.
type running interface {
	PID() int
	Stop()                       // in order: what is in flight finishes; returns when it has ended
	Kill()                       // as SIGKILL does it; returns when it has ended
	Done() <-chan struct{}       // closed when it has ended
	Failure() string             // once it has ended: how, and the last that it wrote
	CPU() (time.Duration, error) // time that it has used, of all cores together
}

// supervisor starts processes of one program and lets none of them outlive this process, however that ends: each reads from
// a pipe whose other end is only here, and ends with it (--exit-on-eof). Where the system has a signal for the death of a
// parent, that is a second net.
type supervisor struct {
	program  string
	logs     string   // folder: what each process writes
	lifeline *os.File // written by nobody; the processes end when it is closed
	stdin    *os.File // the processes' end of it
	starts   chan func()
}

func newSupervisor(program, logs string) (*supervisor, error) {
	stdin, lifeline, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	s := &supervisor{program: program, logs: logs, lifeline: lifeline, stdin: stdin, starts: make(chan func())}
	go s.startAll()
	return s, nil
}

// startAll starts all processes from one thread: Linux sends the death signal when the thread that started the process ends,
// which may be before the whole parent does.
func (s *supervisor) startAll() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for start := range s.starts {
		start()
	}
}

// close lets go of what the processes share. Those that still run end.
func (s *supervisor) close() {
	close(s.starts)
	s.lifeline.Close()
	s.stdin.Close()
}

// start starts the program with other arguments. What it writes goes to name.log.
func (s *supervisor) start(name string, args ...string) (*process, error) {
	return s.startProgram(name, s.program, append(args, "--exit-on-eof")...)
}

// startProgram starts any program. One that does not heed the pipe has the second net only.
func (s *supervisor) startProgram(name, program string, args ...string) (*process, error) {
	log, err := os.OpenFile(filepath.Join(s.logs, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(program, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.stdin, log, log
	cmd.SysProcAttr = attributes()
	started := make(chan error)
	s.starts <- func() { started <- cmd.Start() }
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &process{name: name, cmd: cmd, log: log.Name(), done: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // ProcessState has it
		close(p.done)
	}()
	return p, nil
}

// process is one process that was started.
type process struct {
	name string
	log  string
	cmd  *exec.Cmd
	done chan struct{}
}

func (p *process) PID() int { return p.cmd.Process.Pid }

func (p *process) Done() <-chan struct{} { return p.done }

// Stop sends SIGTERM, and SIGKILL when that was not enough.
func (p *process) Stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-p.done:
	case <-time.After(stopLimit):
		p.Kill()
	}
}

// Kill sends SIGKILL.
func (p *process) Kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.done
}

// Failure says how the process ended and what it wrote last.
func (p *process) Failure() string {
	text := fmt.Sprintf("%s has ended: %s", p.name, p.cmd.ProcessState)
	written, err := os.ReadFile(p.log)
	if lines := bytes.Split(bytes.TrimSpace(written), []byte("\n")); err == nil && len(lines[0]) > 0 {
		last := lines[max(0, len(lines)-5):]
		text += "; the last that it wrote:\n  " + strings.TrimSpace(string(bytes.Join(last, []byte("\n  "))))
	}
	return text
}

func (p *process) CPU() (time.Duration, error) { return cpuTime(p.PID()) }

// untilReady waits until a part that was started can be used.
func untilReady(ctx context.Context, p running, ready func(context.Context) bool) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-p.Done():
			cancel(errors.New(p.Failure()))
		case <-ctx.Done():
		}
	}()
	return poll(ctx, startLimit, func(ctx context.Context) (bool, error) { return ready(ctx), nil })
}

// poll asks again and again, until the answer is yes.
func poll(ctx context.Context, limit time.Duration, ask func(context.Context) (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("it did not happen within %s", limit))
	defer cancel()
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for {
		yes, err := ask(ctx)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case yes || err != nil:
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
