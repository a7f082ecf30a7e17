//go:build linux

package main

import (
	"strings"
	"testing"
	"time"
)

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
