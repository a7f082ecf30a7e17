package demo

import (
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/remora-proxy/remora/examples"
)

// TestTheConfigurationIsTheExamples changes a copy of the example as the tour does, and looks at the lines that differ.
func TestTheConfigurationIsTheExamples(t *testing.T) {
	dir := filepath.Join(t.TempDir(), configFolder)
	c, err := newConfiguration(examples.HitBackend(), dir, 8080)
	must(t, err)
	expectChanges(t, dir, "")

	must(t, c.put(endpoint{service: "backend-1", name: "backend-1-third", uid: "u3", addr: netip.MustParseAddrPort("127.0.1.3:8080")}))
	expectChanges(t, dir, `endpoints.yaml
		+- addresses: ["127.0.1.3"]
		+  conditions: {ready: true}
		+  targetRef:
		+    kind: Pod
		+    name: backend-1-third
		+    uid: u3`)
	next, err := c.next("backend-1", 2)
	must(t, err)
	if got := fmt.Sprint(next); got != "[127.0.1.4:8080 127.0.1.5:8080]" {
		t.Errorf("the next replicas would be at %s", got)
	}
	must(t, c.remove(endpoint{service: "backend-1", addr: netip.MustParseAddrPort("127.0.1.3:8080")}))
	expectChanges(t, dir, "")

	c, err = newConfiguration(examples.HitBackend(), filepath.Join(t.TempDir(), configFolder), 9000)
	must(t, err)
	must(t, c.put(endpoint{service: "backend-2", name: "backend-2-again", uid: "u4", addr: netip.MustParseAddrPort("127.0.2.2:9000")}))
	expectChanges(t, c.dir, `endpoints.yaml
		-- port: 8080
		+- port: 9000
		-- port: 8080
		+- port: 9000
		-    name: backend-2-m2h8s
		-    uid: 37a8c8a6-79b6-54b0-bbbc-e76f1956ec86
		+    name: backend-2-again
		+    uid: u4
		-- port: 8080
		+- port: 9000`)

	c, err = newConfiguration(examples.HitBackend(), filepath.Join(t.TempDir(), configFolder), 8080)
	must(t, err)
	must(t, c.setIdle(2*time.Second))
	expectChanges(t, c.dir, `affinitypolicy.yaml
		+  idleTimeout: 2s`)
	must(t, c.setIdle(0))
	expectChanges(t, c.dir, "")
}

// expectChanges compares a folder with the example: a line of want is a file's name, or "+" or "-" and a line.
func expectChanges(t *testing.T, dir, want string) {
	t.Helper()
	var got []string
	names, err := fs.Glob(examples.HitBackend(), "*")
	must(t, err)
	if len(names) < 5 {
		t.Fatalf("the example has only %v", names)
	}
	for _, name := range names {
		before, err := fs.ReadFile(examples.HitBackend(), name)
		must(t, err)
		after, err := os.ReadFile(filepath.Join(dir, name))
		must(t, err)
		if changes := difference(string(before), string(after)); len(changes) > 0 {
			got = append(append(got, name), changes...)
		}
	}
	if want := strings.ReplaceAll(want, "\t", ""); strings.Join(got, "\n") != want {
		t.Errorf("changed:\n%s\nwant:\n%s", strings.Join(got, "\n"), want)
	}
}

// difference is the lines that a has and b has not, and the other way round, by the longest common subsequence.
func difference(before, after string) []string {
	a, b := strings.Split(before, "\n"), strings.Split(after, "\n")
	common := make([][]int, len(a)+1)
	for i := range common {
		common[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			common[i][j] = max(common[i+1][j], common[i][j+1])
			if a[i] == b[j] {
				common[i][j] = 1 + common[i+1][j+1]
			}
		}
	}
	var lines []string
	for i, j := 0, 0; i < len(a) || j < len(b); {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			i, j = i+1, j+1
		case i < len(a) && (j == len(b) || common[i+1][j] >= common[i][j+1]):
			lines = append(lines, "-"+a[i])
			i++
		default:
			lines = append(lines, "+"+b[j])
			j++
		}
	}
	return lines
}

func TestWhatIsInTheWayIsToldAtOnce(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer busy.Close()
	used := netip.MustParseAddrPort(busy.Addr().String())
	free := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), FreePort(t))
	foreign := netip.MustParseAddrPort("192.0.2.1:80") // TEST-NET-1 (RFC 5737): no machine has it

	must(t, checkPorts([]claim{{free, "the gateway", "--port PORT"}}))

	err = checkPorts([]claim{
		{free, "the gateway", "--port PORT"},
		{free, "the admin API", "--admin-port PORT"},
		{used, "replica a", "--backend-port PORT"},
		{used, "replica b", "--backend-port PORT"},
		{foreign, "replica c", "--backend-port PORT"},
	})
	want := free.String() + ` is for both the gateway and the admin API
` + used.String() + ` is in use by another process, and replica a wants it
` + used.String() + ` is for both replica a and replica b
192.0.2.1, which replica c wants, is not an address of this machine (on macOS: sudo ifconfig lo0 alias 192.0.2.1 up)
Stop what is there, or choose other ports: --admin-port PORT --backend-port PORT (with make: ARGS='…')`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestLinesAreBrokenAtSpaces(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"what fits stays", "a bc", "a bc"},
		{"what does not fit goes on", "abc defg hi", "abc|defg|hi"},
		{"characters count, not bytes", "äöü äöü", "äöü|äöü"},
		{"a word that is too long stays whole", "abcdefghij kl", "abcdefghij|kl"},
		{"line ends stay", "a\nb", "a|b"},
		{"as does an empty line", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := strings.Join(wrap(c.text, 5), "|"); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestColoursAreForTerminalsOnly(t *testing.T) {
	for colour, want := range map[bool]string{true: "  \x1b[32mok\x1b[0m\n", false: "  ok\n"} {
		var out strings.Builder
		(&screen{w: &out, colour: colour}).print(green, 2, "ok")
		if out.String() != want {
			t.Errorf("colour %t: %q", colour, out.String())
		}
	}
}

func TestTheCPUTimeOfAProcess(t *testing.T) {
	before, err := cpuTime(os.Getpid())
	must(t, err)
	for now := before; now < before+20*time.Millisecond; { // it must grow, however slowly
		now, err = cpuTime(os.Getpid())
		must(t, err)
	}
	if _, err := cpuTime(0); err == nil {
		t.Error("there is a process 0")
	}
}

func TestTheTimesOfPs(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"  0:00.05\n":   50 * time.Millisecond,
		"12:34.50":      12*time.Minute + 34500*time.Millisecond,
		"01:02:03":      time.Hour + 2*time.Minute + 3*time.Second,
		"2-01:02:03":    49*time.Hour + 2*time.Minute + 3*time.Second,
		"":              -1,
		"5":             -1,
		"a:00":          -1,
		"x-01:02:03":    -1,
		"1:02:03:04:05": -1,
		"0:-1":          -1,
	} {
		if got, err := parseClock(text); err == nil && got != want || err != nil && want >= 0 {
			t.Errorf("%q: %s, %v; want %s", text, got, err, want)
		}
	}
}
