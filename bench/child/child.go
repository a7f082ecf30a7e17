//go:build linux

// Package child starts the programs that are measured, ends them with all their processes, and reads what they use from /proc. It does not
// know what they are.
package child

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/remora-proxy/remora/bench/peers"
)

// Child is a program that was started, with the processes that it made itself. They are one process group.
type Child struct {
	name string
	pid  int
	done chan struct{} // closed when it has ended
	err  error         // how it ended; to be read after done
	log  string
}

// Start starts a program on a core (negative: any). It ends with the thread that called start, however that ends: the kernel
// sends it SIGTERM.
func Start(c peers.Command, name, dir string, core int) (*Child, error) {
	program, args := c.Program, c.Args
	if core >= 0 {
		program, args = "taskset", append([]string{"-c", strconv.Itoa(core), c.Program}, c.Args...)
	}
	log := filepath.Join(dir, name+".out")
	out, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	cmd.Stdout, cmd.Stderr = out, out
	cmd.Env = append(os.Environ(), c.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", name, err)
	}
	p := &Child{name: name, pid: cmd.Process.Pid, done: make(chan struct{}), log: log}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// Stop ends the child and everything in its process group.
func (p *Child) Stop() {
	syscall.Kill(-p.pid, syscall.SIGTERM) //nolint:errcheck // it may have ended by itself
	select {
	case <-p.done:
	case <-time.After(5 * time.Second):
	}
	syscall.Kill(-p.pid, syscall.SIGKILL) //nolint:errcheck // it should have ended
}

// Signal sends a signal to the child and everything in its process group.
func (p *Child) Signal(s syscall.Signal) {
	syscall.Kill(-p.pid, s) //nolint:errcheck // it may have ended by itself
}

// AwaitListening waits until the child takes connections at addr.
func (p *Child) AwaitListening(addr netip.AddrPort) error {
	return p.await("did not listen on "+addr.String(), func() bool {
		c, err := net.DialTimeout("tcp", addr.String(), time.Second)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
}

// AwaitOK waits until a GET of the URL, at the child, is answered with 200.
func (p *Child) AwaitOK(url string) error {
	client := &http.Client{Timeout: time.Second}
	defer client.CloseIdleConnections()
	return p.await("did not answer "+url, func() bool {
		resp, err := client.Get(url)
		if err == nil {
			resp.Body.Close()
		}
		return err == nil && resp.StatusCode == http.StatusOK
	})
}

// await waits until isThere, for 15 s at most. lacks says what it does not do then.
func (p *Child) await(lacks string, isThere func() bool) error {
	for deadline := time.Now().Add(15 * time.Second); time.Now().Before(deadline); {
		if isThere() {
			return nil
		}
		select {
		case <-p.done:
			return p.failed(fmt.Sprintf("ended at once (%v)", p.err))
		case <-time.After(20 * time.Millisecond):
		}
	}
	return p.failed(lacks + " within 15s")
}

// failed is an error with the end of what the child printed.
func (p *Child) failed(what string) error {
	text, err := os.ReadFile(p.log)
	if err != nil {
		text = []byte(err.Error())
	}
	text = bytes.TrimSpace(text)
	return fmt.Errorf("%s %s; it printed: %s", p.name, what, text[max(0, len(text)-2000):])
}

// ticksPerSecond is the unit of the times in /proc/PID/stat: USER_HZ, which is 100 on every architecture that Go runs on.
const ticksPerSecond = 100

// CPUTime is the CPU time that processes used.
type CPUTime struct{ User, System time.Duration }

// Minus is the time since b.
func (a CPUTime) Minus(b CPUTime) CPUTime { return CPUTime{a.User - b.User, a.System - b.System} }

// CPU is the time that all processes of the child have used.
func (p *Child) CPU() (CPUTime, error) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return CPUTime{}, err
	}
	var sum CPUTime
	for _, stat := range stats {
		text, err := os.ReadFile(stat)
		if err != nil {
			continue // a process that ended meanwhile
		}
		group, used, err := parseStat(string(text))
		if err != nil {
			return CPUTime{}, fmt.Errorf("%s: %w", stat, err)
		}
		if group == p.pid {
			sum.User += used.User
			sum.System += used.System
		}
	}
	if sum == (CPUTime{}) {
		return CPUTime{}, p.failed("is not there any more")
	}
	return sum, nil
}

// Sum is user and system time.
func (a CPUTime) Sum() time.Duration { return a.User + a.System }

// Ran is the CPU time of the child's first process in nanoseconds, where CPU counts ticks. It is without the threads that have ended: programs
// that keep theirs, as Go's and Redis do.
func (p *Child) Ran() (time.Duration, error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/[0-9]*/schedstat", p.pid))
	if err != nil {
		return 0, err
	}
	var sum time.Duration
	for _, thread := range threads {
		text, err := os.ReadFile(thread)
		if err != nil {
			continue // it has ended meanwhile
		}
		var ran time.Duration // nanoseconds; time spent waiting and the number of slices follow (proc-schedstat, "Per-process")
		if _, err := fmt.Sscan(string(text), &ran); err != nil {
			return 0, fmt.Errorf("%s: %w", thread, err)
		}
		sum += ran
	}
	if sum == 0 {
		return 0, p.failed("is not there any more")
	}
	return sum, nil
}

// Memory is the resident memory of the child's first process, in bytes.
func (p *Child) Memory() (int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.pid))
	if err != nil {
		return 0, err
	}
	var size, resident int
	if _, err := fmt.Sscan(string(text), &size, &resident); err != nil {
		return 0, fmt.Errorf("/proc/%d/statm: %w", p.pid, err)
	}
	return resident * os.Getpagesize(), nil
}

// parseStat reads process group, utime and stime from the text of /proc/PID/stat (proc(5), fields 5, 14 and 15).
func parseStat(text string) (group int, used CPUTime, err error) {
	// The second field is the program's name in parentheses, and may hold anything.
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) < 13 {
		return 0, CPUTime{}, fmt.Errorf("cannot be read: %q", text)
	}
	group, err1 := strconv.Atoi(fields[2])
	user, err2 := strconv.ParseInt(fields[11], 10, 64)
	system, err3 := strconv.ParseInt(fields[12], 10, 64)
	const tick = time.Second / ticksPerSecond
	return group, CPUTime{time.Duration(user) * tick, time.Duration(system) * tick}, errors.Join(err1, err2, err3)
}

// FreePort finds a port that is free on all the addresses.
func FreePort(addrs ...netip.Addr) (uint16, error) {
	var err error
	for range 100 {
		var port uint16
		if port, err = tryPort(addrs); err == nil {
			return port, nil
		}
	}
	return 0, fmt.Errorf("no port is free on all of %v: %w", addrs, err)
}

// tryPort lets the system choose a port for the first address and tries it on the others.
func tryPort(addrs []netip.Addr) (uint16, error) {
	var port uint16
	for _, a := range addrs {
		l, err := net.Listen("tcp", netip.AddrPortFrom(a, port).String())
		if err != nil {
			return 0, err
		}
		defer l.Close()
		port = uint16(l.Addr().(*net.TCPAddr).Port)
	}
	return port, nil
}
