package app

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestASocketHasItsModeWhateverTheUmask(t *testing.T) {
	for _, c := range []struct {
		name, query string
		umask       int
		want        fs.FileMode
	}{
		{"its user and group by default", "", 0o022, 0o660},
		{"also where new files are everybody's", "", 0o000, 0o660},
		{"also where new files are nobody else's", "", 0o077, 0o660},
		{"its user alone", "?mode=0600", 0o000, 0o600},
		{"everybody", "?mode=0777", 0o077, 0o777},
		{"a number without the 0", "?mode=660", 0o022, 0o660},
	} {
		t.Run(c.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "s")
			a, err := ParseAddress("unix:" + path + c.query)
			must(t, err)
			defer syscall.Umask(syscall.Umask(c.umask))
			l, err := a.listen()
			must(t, err)
			info, err := os.Lstat(path)
			must(t, err)
			if info.Mode() != fs.ModeSocket|c.want {
				t.Errorf("the mode is %v, want %v", info.Mode(), c.want)
			}
			if spell(l.Addr()) != "unix:"+path || a.String() != "unix:"+path {
				t.Errorf("the address is %s, %s", spell(l.Addr()), a)
			}
			must(t, l.Close())
			if _, err := os.Lstat(path); !os.IsNotExist(err) {
				t.Errorf("the socket is still there: %v", err)
			}
		})
	}
}

func TestModesThatAreNoneAreRefused(t *testing.T) {
	for _, query := range []string{"?", "?mode", "?mode=", "?mode=0o660", "?mode=0680", "?mode=-1", "?mode=0060", "?mode=0400", "?mode=1660", "?mode=0660&mode=0660", "?group=envoy", "?mode=99999999999"} {
		if a, err := ParseAddress("unix:/run/s" + query); err == nil || !strings.Contains(err.Error(), "give one like mode=0600") {
			t.Errorf("%s gives %v, %v", query, a, err)
		}
	}
	if _, err := ParseAddress("127.0.0.1:9002?mode=0660"); err == nil || !strings.Contains(err.Error(), "neither ip:port nor unix:/path") {
		t.Errorf("a port with a mode: %v", err)
	}
}
