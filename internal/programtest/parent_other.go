//go:build !linux

package programtest

import "syscall"

// dieWithParent is what there is of it without Linux: the program outlives a test that is killed.
func dieWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }
