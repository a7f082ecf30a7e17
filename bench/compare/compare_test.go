//go:build linux

package main

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
	if err != nil || group != 40 || used.user != 2500*time.Millisecond || used.system != 750*time.Millisecond {
		t.Errorf("group %d, %v (%v)", group, used, err)
	}
	if _, _, err := parseStat("42 (a) S 1"); err == nil {
		t.Error("no error on a line that is cut off")
	}
}

func TestTheNumberOfRequestsIsReadFromWrk(t *testing.T) {
	const good = "  Latency     1.50ms\n  72019 requests in 5.10s, 15.66MB read\nRequests/sec:  14121.37\n"
	requests, seconds, err := parseWrk(good)
	if err != nil || requests != 72019 || seconds != 5.1 {
		t.Errorf("%d in %v (%v)", requests, seconds, err)
	}
	for _, bad := range []string{
		"unable to connect",
		good + "  Non-2xx or 3xx responses: 3\n",
		good + "  Socket errors: connect 0, read 0, write 0, timeout 3\n",
		strings.Replace(good, "72019", "0", 1),
	} {
		if _, _, err := parseWrk(bad); err == nil {
			t.Errorf("no error on %q", bad)
		}
	}
}

func TestMediansAndSpread(t *testing.T) {
	same := func(d time.Duration) time.Duration { return d }
	ms := time.Millisecond
	if got := medianTime([]time.Duration{9 * ms, 1 * ms, 2 * ms}, same); got != 2*ms {
		t.Errorf("median of three is %v", got)
	}
	if got := medianTime([]time.Duration{9 * ms, 1 * ms, 2 * ms, 4 * ms}, same); got != 3*ms {
		t.Errorf("median of four is %v", got)
	}
	if got := spread([]time.Duration{29500, 31200, 240000}, same); got != "31.2 (29.5-240)" {
		t.Errorf("spread is %s", got)
	}
}

func TestTheRatioIsTakenWithinARound(t *testing.T) {
	run := func(us int) saturatedRun { return saturatedRun{user: time.Duration(us) * time.Microsecond} }
	b := &bench{results: map[string]*result{
		"haproxy": {saturated: []saturatedRun{run(20), run(40), run(30)}},
		"remora":  {saturated: []saturatedRun{run(16), run(36), run(24)}},
	}}
	if got := b.ratio(b.results["remora"]); got != "0.80" {
		t.Errorf("ratio is %s", got)
	}
	delete(b.results, "haproxy")
	if got := b.ratio(b.results["remora"]); got != "-" {
		t.Errorf("without HAProxy the ratio is %s", got)
	}
}

func TestVersionsAreReadFromWhatProgramsSay(t *testing.T) {
	for line, want := range map[string]string{
		"HAProxy version 2.6.12-1+deb12u4 2026/10/17 - https://haproxy.org/":                      "2.6.12-1+deb12u4",
		"nginx version: nginx/1.22.1":                                                             "1.22.1",
		"envoy  version: 9e5580933739775e8bce696a57a2e1bc99368f23/1.40.0/Clean/RELEASE/BoringSSL": "1.40.0",
		"remora 5479f60-dirty": "5479f60-dirty",
	} {
		if got := shortVersion(line); got != want {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}

func TestAFreePortIsFreeOnAllAddresses(t *testing.T) {
	addrs := []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")}
	port, err := freePort(addrs...)
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
	p, err := start(peers.Command{Program: "sh", Args: []string{"-c", "exec 3>" + fd + "; echo up >&3; sleep 1000 & wait"}}, "child", t.TempDir(), -1)
	if err != nil {
		t.Fatal(err)
	}
	up := make([]byte, 3)
	if _, err := io.ReadFull(r, up); err != nil {
		t.Fatal(err)
	}
	w.Close()
	p.stop()
	if rest, err := io.ReadAll(r); err != nil || len(rest) > 0 { // ends when nobody holds the pipe any more
		t.Errorf("read %q (%v)", rest, err)
	}
}

func TestAChildThatDoesNotStartIsAnErrorWithWhatItPrinted(t *testing.T) {
	p, err := start(peers.Command{Program: "sh", Args: []string{"-c", "echo no such option; exit 3"}}, "child", t.TempDir(), -1)
	if err != nil {
		t.Fatal(err)
	}
	defer p.stop()
	port, err := freePort(netip.MustParseAddr("127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	err = p.awaitListening(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port))
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "no such option") {
		t.Errorf("error is %v", err)
	}
}
