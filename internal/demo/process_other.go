//go:build !linux

package demo

import (
	"fmt"
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

// attributes puts a process out of reach of the terminal's Ctrl-C, which is for this process to act on.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// cpuTime is the CPU time that a process has used, as ps says it.
func cpuTime(pid int) (time.Duration, error) {
	out, err := exec.Command("ps", "-o", "time=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return 0, fmt.Errorf("ps: process %d: %w", pid, err)
	}
	return parseClock(string(out))
}
