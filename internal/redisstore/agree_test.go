package redisstore_test

import (
	"errors"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/certificate/certtest"
	"github.com/remora-proxy/remora/internal/redisstore"
	"github.com/remora-proxy/remora/internal/redistest"
	"github.com/remora-proxy/remora/internal/session/shared"
)

func TestHashKey(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	k1, k2 := [16]byte{1}, [16]byte{2}
	type gateway struct {
		own  *[16]byte
		want string // the error
	}
	for name, gateways := range map[string][]gateway{
		"the gateways make one":                          {{nil, ""}, {nil, ""}, {nil, ""}},
		"all are given the same":                         {{&k1, ""}, {&k1, ""}},
		"one is given another":                           {{&k1, ""}, {&k2, "another one than this one was given"}, {&k1, ""}},
		"one is given none":                              {{&k1, ""}, {nil, "was not; give it the same"}},
		"one is given one after the others have made it": {{nil, ""}, {&k1, "another one than this one was given"}},
	} {
		t.Run(name, func(t *testing.T) {
			server.Do("FLUSHALL")
			var keys [][16]byte
			for i, g := range gateways {
				s, own := open(t, redisstore.Options{URL: server.URL()}), [16]byte{0xff, byte(i)}
				if g.own != nil {
					own = *g.own
				} else if _, err := s.HashKey(t.Context(), own, false, false); (i == 0) != errors.Is(err, redisstore.ErrNoKey) {
					t.Errorf("gateway %d, which leaves it to the others: %v", i, err)
				}
				key, err := s.HashKey(t.Context(), own, g.own != nil, true)
				if g.want != "" {
					if !errors.Is(err, redisstore.ErrOtherKey) || !strings.Contains(err.Error(), g.want) {
						t.Errorf("got %v, want an error that says %q", err, g.want)
					}
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				keys = append(keys, key)
			}
			for _, key := range keys {
				if key != keys[0] || key == ([16]byte{}) || gateways[0].own != nil && key != *gateways[0].own {
					t.Errorf("the keys are %x", keys)
				}
			}
			stored := server.Do("GET", "remora:1:hashkey")
			if given := gateways[0].own != nil; given == strings.Contains(stored, string(keys[0][:])) {
				t.Errorf("the key is stored: %v", !given)
			}
		})
	}
}

func TestAnotherHashKeyAfterARestartIsAConflict(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	s := open(t, redisstore.Options{URL: server.URL()})
	if _, err := s.HashKey(t.Context(), [16]byte{7}, false, true); err != nil {
		t.Fatal(err)
	}
	if err := s.Conflict(); err != nil {
		t.Fatal(err)
	}
	server.Do("SET", "remora:1:hashkey", "k0123456789abcdef")
	server.Eventually("the gateway notices", func() error {
		if s.Conflict() == nil {
			return errNotYet
		}
		return nil
	})
	server.Do("DEL", "remora:1:hashkey")
	server.Eventually("the gateway notices that it is over", s.Conflict)
}

type notYet struct{}

func (notYet) Error() string { return "not yet" }

var errNotYet = notYet{}

func TestDrainedEndpointsAreKept(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	a, b := open(t, redisstore.Options{URL: server.URL()}), open(t, redisstore.Options{URL: server.URL()})
	say := func(on bool, endpoint ...string) {
		t.Helper()
		if err := a.Announce(shared.News{Kind: shared.Drain, Endpoint: [2]string(endpoint), On: on}); err != nil {
			t.Fatal(err)
		}
	}
	say(true, "127.0.0.1:9001", "one")
	say(true, "127.0.0.1:9001", "two")
	say(true, "[::1]:9001", "")
	say(true, "[::1]:9001", "")
	say(false, "127.0.0.1:9001", "two")
	say(false, "127.0.0.1:9002", "never drained")
	want := [][2]string{{"127.0.0.1:9001", "one"}, {"[::1]:9001", ""}}
	if got, err := b.Drained(); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}
	if err := a.Announce(shared.News{Kind: shared.Drain, Endpoint: [2]string{strings.Repeat("x", 2000), ""}, On: true}); err == nil {
		t.Error("an endpoint of 2,000 bytes is stored")
	}
}

func TestOfTheDrainedEndpointsTheOldestGoesFirst(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	s := open(t, redisstore.Options{URL: server.URL()})
	args := []string{"HSET", "remora:1:drained"}
	for i := range 4096 {
		args = append(args, string([]byte{0, 2, byte(i >> 8), byte(i), 0, 0}), "1000")
	}
	args[len(args)/2|1] = "999"
	oldest := args[len(args)/2&^1]
	server.Do(args...)
	if err := s.Announce(shared.News{Kind: shared.Drain, Endpoint: [2]string{"newest", ""}, On: true}); err != nil {
		t.Fatal(err)
	}
	got, err := s.Drained()
	if err != nil || len(got) != 4096 {
		t.Fatalf("there are %d, %v", len(got), err)
	}
	var newest bool
	for _, endpoint := range got {
		newest = newest || endpoint[0] == "newest"
		if endpoint[0] == oldest[2:4] {
			t.Errorf("the oldest is still there")
		}
	}
	if !newest {
		t.Errorf("the newest is not there")
	}
}

// pems writes an authority and a certificate of it to files.
func pems(t *testing.T) (*redistest.TLS, string) {
	authority := certtest.NewAuthority(t, "servers")
	pair := authority.Issue(t, time.Now().Add(time.Hour))
	dir := t.TempDir()
	file := func(name string, text []byte) string {
		path := filepath.Join(dir, name)
		writeFile(t, path, text)
		return path
	}
	other := certtest.NewAuthority(t, "others")
	return &redistest.TLS{CA: file("ca", authority.Cert), Cert: file("cert", pair.Cert), Key: file("key", pair.Key)}, file("other", other.Cert)
}

func TestTLSAndPassword(t *testing.T) {
	t.Parallel()
	files, otherCA := pems(t)
	server := redistest.Start(t, redistest.Options{TLS: files, Password: "a/b@c:%"})
	s := open(t, redisstore.Options{URL: server.URL()})
	claims(t, s, user, 11)

	for name, c := range map[string]struct{ from, to, want string }{
		"another authority":      {"ca=" + escape(files.CA), "ca=" + escape(otherCA), "certificate"},
		"another server's name":  {"ca=", "server-name=example.com&ca=", "example.com"},
		"no certificate for us":  {"&cert=" + escape(files.Cert) + "&key=" + escape(files.Key), "", "certificate"},
		"the password is wrong":  {"a%2Fb", "b%2Fa", "WRONGPASS"},
		"there is no TLS at all": {"rediss", "redis", ""},
	} {
		t.Run(name, func(t *testing.T) {
			url := strings.Replace(server.URL(), c.from, c.to, 1)
			if c.want == "" {
				url, _, _ = strings.Cut(url, "?")
			}
			if url == server.URL() {
				t.Fatalf("%q is not in %q", c.from, url)
			}
			refused(t, server, url, c.want)
		})
	}
}

func TestUnixSocket(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	s := open(t, redisstore.Options{URL: "unix://" + server.Socket + "?db=3"})
	claims(t, s, user, 11)
	if got := server.Info("keyspace", "db3"); !strings.Contains(got, "keys=1,") {
		t.Errorf("database 3 has %q", got)
	}
}
