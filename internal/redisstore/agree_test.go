package redisstore_test

import (
	"encoding/binary"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/certificate/certtest"
	"github.com/remora-proxy/remora/internal/redisstore"
	"github.com/remora-proxy/remora/internal/redistest"
	"github.com/remora-proxy/remora/internal/session"
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

func TestOfTwoHashKeysTheOneThatWasAgreedOnFirstWins(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	s := open(t, redisstore.Options{URL: server.URL()})
	if _, err := s.HashKey(t.Context(), [16]byte{7}, false, true); err != nil {
		t.Fatal(err)
	}
	agreed := server.Do("GET", "remora:1:hashkey")
	store := func(key string, since session.Instant) {
		server.Do("SET", "remora:1:hashkey", "k"+key+string(binary.BigEndian.AppendUint64(nil, uint64(since))[2:]))
	}

	store("of a later start", now().Add(time.Hour))
	server.Eventually("it gives way to the gateway's", func() error {
		if server.Do("GET", "remora:1:hashkey") != agreed {
			return errNotYet
		}
		return nil
	})
	if err := s.Conflict(); err != nil {
		t.Error(err)
	}

	older := [16]byte([]byte("of earlier times"))
	store(string(older[:]), now().Add(-time.Hour))
	server.Eventually("the gateway notices that its own gives way", func() error {
		if s.Conflict() == nil {
			return errNotYet
		}
		return nil
	})
	if key, err := s.HashKey(t.Context(), [16]byte{7}, false, false); err != nil || key != older {
		t.Errorf("it takes the key %q, %v", key, err)
	}
	if err := s.Conflict(); err != nil {
		t.Error(err)
	}

	server.Do("SET", "remora:1:hashkey", "f0123456789abcdef")
	server.Eventually("one that was given does not give way", func() error {
		if s.Conflict() == nil {
			return errNotYet
		}
		return nil
	})
	server.Do("DEL", "remora:1:hashkey")
	server.Eventually("and the gateway notices that it is over", s.Conflict)
}

// A gateway that starts at a store that has just come back empty may be there before the others.
func TestAHashKeyThatIsToldToAnEmptyStoreFirstGivesWay(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	elder, key := open(t, redisstore.Options{URL: server.URL()}), [16]byte{7}
	if _, err := elder.HashKey(t.Context(), key, false, true); err != nil {
		t.Fatal(err)
	}
	if _, err := elder.Epoch(now()); err != nil {
		t.Fatal(err)
	}
	server.Do("FLUSHALL")
	younger := open(t, redisstore.Options{URL: server.URL()})
	own, err := younger.HashKey(t.Context(), [16]byte{8}, false, true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := elder.Epoch(now()); err != nil {
		t.Fatal(err)
	}
	if stored := server.Do("GET", "remora:1:hashkey"); stored[1:17] != string(key[:]) {
		t.Errorf("an epoch later %q is stored", stored)
	}
	if own == key {
		return // the elder's beat was there before
	}
	server.Eventually("the younger one notices", func() error {
		if younger.Conflict() == nil {
			return errNotYet
		}
		return nil
	})
	if took, err := younger.HashKey(t.Context(), own, false, false); err != nil || took != key {
		t.Errorf("it takes the key %v, %v", took, err)
	}
	if err := elder.Conflict(); err != nil {
		t.Error(err)
	}
}

type notYet struct{}

func (notYet) Error() string { return "not yet" }

var errNotYet = notYet{}

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
		"another authority":     {"ca=" + escape(files.CA), "ca=" + escape(otherCA), "certificate"},
		"another server's name": {"ca=", "server-name=example.com&ca=", "example.com"},
		"no certificate for us": {"&cert=" + escape(files.Cert) + "&key=" + escape(files.Key), "", "certificate"},
		"the password is wrong": {"a%2Fb", "b%2Fa", "WRONGPASS"},
		"there is TLS":          {"rediss", "redis", "the server at " + server.Addr + " speaks TLS; begin the URL with rediss://"},
	} {
		t.Run(name, func(t *testing.T) {
			url := strings.Replace(server.URL(), c.from, c.to, 1)
			if c.to == "redis" {
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
	onBoth(t, func(t *testing.T, p redistest.Program) {
		server := redistest.Start(t, redistest.Options{Program: p})
		s := open(t, redisstore.Options{URL: "unix://" + server.Socket + "?db=3"})
		claims(t, s, user, 11)
		if got := server.Info("keyspace", "db3"); !strings.Contains(got, "keys=1,") {
			t.Errorf("database 3 has %q", got)
		}
	})
}
