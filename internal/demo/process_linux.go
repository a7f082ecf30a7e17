package demo

import "syscall"

// attributes puts a process out of reach of the terminal's Ctrl-C, which is for this process to act on, and has the kernel
// kill it should this process die.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
