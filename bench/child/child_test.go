//go:build linux

package child

import (
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/remora-proxy/remora/bench/peers"
)

func TestProcessTimesAreReadFromStat(t *testing.T) {
	// From proc(5): pid (comm) state ppid pgrp session tty_nr tpgid flags minflt cminflt majflt cmajflt utime stime …
	group, used, err := parseStat("42 (a) (b 7) S 1 40 40 0 -1 4194304 120 0 0 0 250 75 0 0 20 0 1 0 100\n")
	if err != nil || group != 40 || used.User != 2500*time.Millisecond || used.System != 750*time.Millisecond {
		t.Errorf("group %d, %v (%v)", group, used, err)
	}
	if _, _, err := parseStat("42 (a) S 1"); err == nil {
		t.Error("no error on a line that is cut off")
	}
}

func TestAFreePortIsFreeOnAllAddresses(t *testing.T) {
	addrs := []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")}
	port, err := FreePort(addrs...)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range addrs {
		l, err := net.Listen("tcp", netip.AddrPortFrom(a, port).String())
		if err != nil {
			t.Error(err)
			continue
		}
		l.Close()
	}
}

func TestStopEndsAChildWithAllItsProcesses(t *testing.T) {
	// Both the shell and what it starts hold the pipe: it is closed when both are gone.
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	fd := "/proc/" + strconv.Itoa(os.Getpid()) + "/fd/" + strconv.Itoa(int(w.Fd()))
	p, err := Start(peers.Command{Program: "sh", Args: []string{"-c", "exec 3>" + fd + "; echo up >&3; sleep 1000 & wait"}}, "child", t.TempDir(), -1)
	if err != nil {
		t.Fatal(err)
	}
	up := make([]byte, 3)
	if _, err := io.ReadFull(r, up); err != nil {
		t.Fatal(err)
	}
	w.Close()
	p.Stop()
	if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 { // ends when nobody holds the pipe any more
		t.Errorf("read %q (%v)", rest, err)
	}
}

func TestAChildThatDoesNotStartIsAnErrorWithWhatItPrinted(t *testing.T) {
	p, err := Start(peers.Command{Program: "sh", Args: []string{"-c", "echo no such option; exit 3"}}, "child", t.TempDir(), -1)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Stop()
	port, err := FreePort(netip.MustParseAddr("127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	err = p.AwaitListening(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port))
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "no such option") {
		t.Errorf("error is %v", err)
	}
}
