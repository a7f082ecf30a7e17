package app

import (
	"context"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// stuck is a DNS whose answers for one name come when released is closed, and not before: not even when they are no longer
// wanted. It makes a load take as long as a test wants.
type stuck struct {
	asked    chan string
	released chan struct{}
}

func newStuck() *stuck { return &stuck{asked: make(chan string, 100), released: make(chan struct{})} }

func (s *stuck) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	s.asked <- host
	if strings.HasPrefix(host, "stuck.") {
		<-s.released
	}
	return []netip.Addr{netip.MustParseAddr("127.0.1.1")}, nil
}

// signalled is a program whose signals come from the test.
type signalled struct {
	path         string
	dns          *stuck
	log          lines
	stop, reload chan os.Signal
	ended        chan error
}

func runSignalled(t *testing.T, config string) *signalled {
	t.Helper()
	s := &signalled{
		path: filepath.Join(t.TempDir(), "config.yaml"), dns: newStuck(), log: make(lines, 1000),
		stop: make(chan os.Signal, 4), reload: make(chan os.Signal, 4), ended: make(chan error, 1),
	}
	must(t, os.WriteFile(s.path, []byte(config), 0o600))
	p, err := newProgram(Options{
		Files: []string{s.path}, Bind: netip.MustParseAddr("127.0.0.1"), Ports: Ports{80: 0},
		Log: slog.New(slog.NewTextHandler(s.log, nil)), ShutdownTimeout: time.Minute, Stop: s.stop, Reload: s.reload,
	})
	must(t, err)
	p.source.resolver.Lookup, p.source.resolver.Interval, p.source.resolver.Timeout = s.dns, time.Hour, time.Hour
	go func() { s.ended <- p.run(t.Context()) }()
	return s
}

// waitAsked waits until DNS is asked for a host.
func (s *signalled) waitAsked(host string) {
	for got := range s.dns.asked {
		if got == host {
			return
		}
	}
}

func TestAStopDuringTheFirstLoadIsObeyedAtOnce(t *testing.T) {
	s := runSignalled(t, strings.ReplaceAll(byDNS, "replicas.example", "stuck.example"))
	s.waitAsked("stuck.example")
	s.stop <- syscall.SIGINT
	must(t, <-s.ended) // though the load still waits
	close(s.dns.released)
}

func TestAStopDuringAReloadIsObeyedAtOnce(t *testing.T) {
	s := runSignalled(t, byDNS)
	s.log.wait(t, "msg=ready")
	must(t, os.WriteFile(s.path, []byte(strings.ReplaceAll(byDNS, "replicas.example", "stuck.example")), 0o600))
	s.reload <- syscall.SIGHUP
	s.waitAsked("stuck.example")
	for range cap(s.reload) {
		s.reload <- syscall.SIGHUP
	}
	s.stop <- syscall.SIGTERM
	s.log.wait(t, "msg=stopping")
	must(t, <-s.ended)
	close(s.dns.released)
}

func TestReloadsAskedForDuringALoadAreOne(t *testing.T) {
	s := runSignalled(t, byDNS)
	s.log.wait(t, "msg=ready")
	must(t, os.WriteFile(s.path, []byte(strings.ReplaceAll(byDNS, "replicas.example", "stuck.example")), 0o600))
	s.reload <- syscall.SIGHUP
	s.waitAsked("stuck.example")
	for range cap(s.reload) {
		s.reload <- syscall.SIGHUP
	}
	close(s.dns.released)
	for range 2 { // the one that was waited for, and one for all that came meanwhile
		s.log.wait(t, "configuration applied")
	}
	if left := len(s.reload); left != 0 {
		t.Errorf("%d signals are left for loads of their own", left)
	}
	s.stop <- syscall.SIGTERM
	must(t, <-s.ended)
}

func TestTheSameStopTwiceAtOnceIsOneStop(t *testing.T) {
	s := runSignalled(t, byDNS)
	s.log.wait(t, "msg=ready")
	for range 2 {
		s.stop <- syscall.SIGTERM
	}
	must(t, <-s.ended)
	for len(s.log) > 0 {
		if line := <-s.log; strings.Contains(line, "stopping at once") {
			t.Errorf("the log says: %s", line)
		}
	}
}
