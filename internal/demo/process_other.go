//go:build !linux

package demo

import "syscall"

// attributes puts a process out of reach of the terminal's Ctrl-C, which is for this process to act on.
func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
