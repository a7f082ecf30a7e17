package app

import (
	"math"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestASocketThatCannotBeAskedIsNotTaken has one whose queue is full: whoever has it is alive, and may only be slow.
func TestASocketThatCannotBeAskedIsNotTaken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	must(t, err)
	syscall.CloseOnExec(fd)
	defer syscall.Close(fd)
	must(t, syscall.Bind(fd, &syscall.SockaddrUnix{Name: path}))
	must(t, syscall.Listen(fd, 0))
	full := false
	for range 16 {
		c, err := net.Dial("unix", path)
		if full = err != nil; full {
			break
		}
		defer c.Close()
	}
	if !full {
		t.Fatal("the queue does not fill")
	}
	if _, err := listenUnix(path, defaultSocketMode); err == nil || !strings.Contains(err.Error(), "whether it is in use is not to be found out") {
		t.Errorf("the error is %v", err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the socket is gone: %v", err)
	}
}

func TestWhatRequestsHoldFollowsTheMemoryLimit(t *testing.T) {
	for limit, want := range map[int64]int64{
		math.MaxInt64: 1 << 30, // none
		16 << 30:      1 << 30,
		1 << 30:       256 << 20,
		920 << 20:     230 << 20,
	} {
		if got := heldWithin(limit); got != want {
			t.Errorf("of %d bytes, requests may hold %d, want %d", limit, got, want)
		}
	}
}
