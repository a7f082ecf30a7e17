package demo

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"time"
)

// attributes puts a process out of reach of the terminal's Ctrl-C, which is for this process to act on, and has the kernel
// kill it should this process die.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// tick is the unit of the times in /proc/PID/stat: 1/USER_HZ, which is 100 on every architecture that Go runs on.
const tick = 10 * time.Millisecond

// cpuTime is the CPU time that a process has used, of all its threads: utime and stime of /proc/PID/stat, its 14th and 15th
// field (proc_pid_stat(5)).
func cpuTime(pid int) (time.Duration, error) {
	path := fmt.Sprintf("/proc/%d/stat", pid)
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	fields := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:]) // from the third on: the second, a name, may have spaces
	if len(fields) < 13 {
		return 0, fmt.Errorf("%s is too short: %q", path, text)
	}
	var ticks int64
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(string(field), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", path, err)
		}
		ticks += n
	}
	return time.Duration(ticks) * tick, nil
}
