package redisstore_test

import (
	"errors"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/remora-proxy/remora/internal/redisstore"
	"github.com/remora-proxy/remora/internal/redistest"
)

func escape(text string) string { return url.QueryEscape(text) }

func writeFile(t testing.TB, path string, text []byte) {
	t.Helper()
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// refused checks that a store is not reached, and that the log says why.
func refused(t *testing.T, server *redistest.Server, url, want string) {
	t.Helper()
	var log lockedBuffer
	begin(t, redisstore.Options{URL: url, Log: slog.New(slog.NewTextHandler(&log, nil))})
	server.Eventually("the log says why", func() error {
		if text := log.String(); !strings.Contains(text, "cannot be used") || !strings.Contains(text, want) {
			return errors.New(text)
		}
		return nil
	})
}

func TestURLs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	empty, missing := filepath.Join(dir, "empty"), filepath.Join(dir, "missing")
	writeFile(t, empty, nil)
	for _, c := range []struct{ url, want string }{ // want: the name, or what the error says after "error: "
		{"redis://127.0.0.1", "redis://127.0.0.1"},
		{"redis://:secret@127.0.0.1:7000/2", "redis://127.0.0.1:7000/2"},
		{"redis://me:se%2Fcret@localhost:7000", "redis://localhost:7000"},
		{"valkey://[::1]:7000", "valkey://[::1]:7000"},
		{"rediss://example.com?server-name=redis", "rediss://example.com"},
		{"valkeys://example.com", "valkeys://example.com"},
		{"redis-sentinel://a,b:7,[::1]/main/2", "redis-sentinel://a,b:7,[::1]/main/2"},
		{"redis-cluster://a:1,b:2", "redis-cluster://a:1,b:2"},
		{"rediss-cluster://:secret@a:1,b:2", "rediss-cluster://a:1,b:2"},
		{"unix:///run/redis.sock?db=1", "unix:///run/redis.sock"},

		{"", "error: has no scheme; expected one of: redis://"},
		{":secret@host://x", "error: expected one of: redis://"},
		{"localhost:6379", `error: "localhost:6379" has no scheme; write redis://localhost:6379, or, where the server speaks TLS, rediss://localhost:6379`},
		{"redis.example/2?password-file=x", `error: has no scheme; write redis://redis.example/2?password-file=x`},
		{"[::1]:6379", "error: write redis://[::1]:6379,"},
		{"a:1,b:2", "error: has no scheme; write redis-cluster://a:1,b:2,"},
		{"a:1?ca=x", `error: "a:1?ca=x" has no scheme; write rediss://a:1?ca=x`},
		{"a,b:2/main", "error: has no scheme; write redis-sentinel://a,b:2/main,"},
		{"/run/redis.sock?db=2", `error: has no scheme; write unix:///run/redis.sock?db=2`},
		{"me:secret@a:6379", "error: has no scheme; write redis://USER:PASSWORD@a:6379,"},
		{"secret@a@b/2", "error: has no scheme; write redis://USER:PASSWORD@b/2,"},
		{"redis:/a:6379", "error: has no scheme; expected one of: redis://"},
		{"redis:a:6379", "error: has no scheme; expected one of: redis://"},
		{"host:6379?secret", "error: has no scheme; expected one of: redis://"},
		{"http://:secret@127.0.0.1", `error: begins with "http://"`},
		{"redis://:sec/ret@127.0.0.1", "error: a / in its user or password; write it as %2F"},
		{"redis://:sec?ret@127.0.0.1", "error: an @ behind a ?; write a ? in a user or password as %3F"},
		{"redis://:sec%ret@127.0.0.1", "error: write it as %25"},
		{"redis://", `error: "" is not host:port`},
		{"redis://:6379", `error: ":6379" is not host:port`},
		{"redis://:secret@host:x", `error: redis://host:x: the port "x" of "host:x" is not a number from 1 to 65535`},
		{"redis://host:0", "error: 1 to 65535"},
		{"redis://host:65536", "error: 1 to 65535"},
		{"redis://::1", "error: an IPv6 address stands in brackets"},
		{"redis://a:1,b:2", "error: redis-sentinel:// or redis-cluster://"},
		{"redis://a b", "error: is not host:port"},
		{"redis://a/x", `error: the database "x" is not a number`},
		{"redis://a/-1", "error: is not a number"},
		{"redis://a/1/2", "error: is not a number"},
		{"redis-cluster://a/1", "error: a cluster has no databases"},
		{"redis-sentinel://a", "error: the name by which the sentinels know the master is missing"},
		{"redis-sentinel://a/main/x", "error: is not a number"},
		{"unix://run/redis.sock", "error: three slashes"},
		{"unix://", "error: three slashes"},
		{"redis://a?password=secret", `error: it has the parameter "password"; there are: ca, cert`},
		{"redis://a?ca=%zzsecret", "error: what follows the ? cannot be read"},
		{"rediss://a?ca=", "error: the parameter ca has 1 values; expected one, and not an empty one"},
		{"rediss://a?ca=x&ca=y", "error: the parameter ca has 2 values"},
		{"redis://a?ca=x", "error: the parameter ca is for TLS; begin the URL with rediss"},
		{"redis://a?db=1", "error: write the database after the last /"},
		{"redis://a?sentinel-user=x", "error: is for redis-sentinel:// only"},
		{"redis-sentinel://a/b?sentinel-user=x", "error: sentinel-user needs sentinel-password-file"},
		{"rediss://a?cert=x", "error: cert and key belong together"},
		{"redis://:secret@a?password-file=x", "error: both a password and password-file"},
		{"redis://a?password-file=" + missing, "error: password-file: open " + missing},
		{"redis://a?password-file=" + empty, "error: has 0 bytes"},
		{"rediss://a?ca=" + missing, "error: the store's ca: open"},
		{"rediss://a?ca=" + empty, "error: there is no certificate in"},
		{"rediss://a?key=" + empty + "&cert=" + empty, "error: the store's cert and key"},
		{"redis-sentinel://a/b?sentinel-password-file=" + empty, "error: the store's sentinel-password-file"},
	} {
		s, err := redisstore.Open(redisstore.Options{URL: c.url, Log: slog.New(slog.DiscardHandler)})
		want, isError := strings.CutPrefix(c.want, "error: ")
		switch {
		case err == nil && isError:
			t.Errorf("%s: no error, want one that says %q", c.url, want)
		case err != nil && (!isError || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: got the error %q, want %q", c.url, err, c.want)
		case err == nil && s.Name() != want:
			t.Errorf("%s: the name is %q, want %q", c.url, s.Name(), want)
		case err != nil && (strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "sec%ret") || strings.Contains(err.Error(), "sec/ret")):
			t.Errorf("%s: the password is in the error %q", c.url, err)
		}
		if s != nil {
			s.Close()
		}
	}
}

func TestAHostWithoutAPortHasTheUsualOne(t *testing.T) {
	t.Parallel()
	for url, want := range map[string][]string{
		"redis://a": {"a:6379"},
		"redis-cluster://a:7000,b,c:7001,[::1],d": {"a:7000", "b:6379", "c:7001", "[::1]:6379", "d:6379"},
		"redis-sentinel://a:7000,b,c:7001,d/main": {"a:7000", "b:26379", "c:7001", "d:26379"},
		"rediss-cluster://[::1]:7000,[::2],[::3]": {"[::1]:7000", "[::2]:6379", "[::3]:6379"},
	} {
		if got, err := redisstore.HostsOf(url); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: the hosts are %q, %v; want %q", url, got, err, want)
		}
	}
}
