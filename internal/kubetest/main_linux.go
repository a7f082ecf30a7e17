package kubetest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// inside is the environment variable that tells a test binary that it is in its namespace.
const inside = "REMORA_KUBETEST_NAMESPACE"

// Main runs the tests of a package in a network namespace of their own, and gives their exit status. It is called by
// TestMain: the test binary starts itself once more. Without root it takes a user namespace as well.
func Main(m *testing.M) int {
	if os.Getenv(inside) != "" {
		if err := openNamespace(); err != nil {
			fmt.Fprintln(os.Stderr, "kubetest: the network namespace cannot be set up:", err)
			return 1
		}
		return m.Run()
	}
	runtime.LockOSThread() // Pdeathsig is about the thread that starts the child
	self, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, "kubetest:", err)
		return 1
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if uid, gid := os.Getuid(), os.Getgid(); uid != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: gid, Size: 1}}
	}
	err = cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return exit.ExitCode()
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "kubetest: no network namespace can be made: %v; allow unprivileged user namespaces (sysctl kernel.unprivileged_userns_clone=1), or run the tests as root\n", err)
		return 1
	}
	return 0
}

// openNamespace brings the loopback interface up and gives it an address of 10.0.0.0/8, whose class makes all of that network
// local: what listens on any of its addresses can be reached there.
func openNamespace() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	up, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	up.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, up); err != nil {
		return fmt.Errorf("bring the loopback interface up: %w", err)
	}
	address, err := unix.NewIfreq("lo:1")
	if err != nil {
		return err
	}
	if err := address.SetInet4Addr(net.IPv4(10, 0, 0, 1).To4()); err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFADDR, address); err != nil {
		return fmt.Errorf("give the loopback interface the address 10.0.0.1: %w", err)
	}
	return nil
}

// isolated says why a control plane cannot run here, or nothing.
func isolated() string {
	if os.Getenv(inside) == "" {
		return "the tests of the package are not in a network namespace of their own: call kubetest.Main in TestMain"
	}
	return ""
}
