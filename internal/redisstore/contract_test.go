package redisstore_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/redisstore"
	"github.com/remora-proxy/remora/internal/redistest"
	"github.com/remora-proxy/remora/internal/session/shared"
	"github.com/remora-proxy/remora/internal/session/shared/remotetest"
)

// TestMain has more tests run at once than there are cores: they wait for servers, most of the time.
func TestMain(m *testing.M) {
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	m.Run()
}

// patience is how long a call may take, on a machine under load.
const patience = time.Minute

// prefixes numbers the tests that use one server: each has an empty store.
var prefixes atomic.Int32

// open opens a store that is closed when the test has ended, and waits until it is reached.
func open(t testing.TB, o redisstore.Options) *redisstore.Store {
	t.Helper()
	s := begin(t, o)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := s.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	return s
}

// begin is open that waits for nothing.
func begin(t testing.TB, o redisstore.Options) *redisstore.Store {
	t.Helper()
	if o.Timeout == 0 {
		o.Timeout = patience
	}
	if o.Patience == 0 {
		o.Patience = 10 * time.Second // a server that shares two cores with many others may stand still for a second
	}
	if o.Deliver == nil {
		o.Deliver = func(shared.News) {}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s, err := redisstore.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// emptyScript removes all keys that match a pattern.
const emptyScript = "for _, key in ipairs(redis.call('KEYS', ARGV[1])) do redis.call('DEL', key) end"

// contract runs the contract at the URL of some servers.
func contract(t *testing.T, url string, full func(bool), servers ...*redistest.Server) {
	remotetest.Run(t, func(t *testing.T, ids []uint32, deliver func(int, shared.News)) remotetest.Store {
		t.Cleanup(func() { full(false) })
		prefix := fmt.Sprint("test", prefixes.Add(1))
		store := remotetest.Store{Full: full, Empty: func() {
			for _, s := range servers {
				s.Do("EVAL", emptyScript, "0", prefix+":*")
			}
		}}
		for i, id := range ids {
			store.Remotes = append(store.Remotes, open(t, redisstore.Options{
				URL: url, Prefix: prefix, ID: id, Grace: remotetest.Grace.Time().Sub(time.UnixMilli(0)),
				Deliver: func(n shared.News) { deliver(i, n) },
			}))
		}
		return store
	})
}

// onBoth runs a test on Redis and on Valkey.
func onBoth(t *testing.T, test func(t *testing.T, p redistest.Program)) {
	t.Parallel()
	for _, p := range []redistest.Program{redistest.Redis, redistest.Valkey} {
		t.Run(string(p), func(t *testing.T) {
			t.Parallel()
			test(t, p)
		})
	}
}

func TestContractOnOneServer(t *testing.T) {
	onBoth(t, func(t *testing.T, p redistest.Program) {
		s := redistest.Start(t, redistest.Options{Program: p})
		contract(t, s.URL(), s.Full, s)
	})
}

// Not on Valkey: the servers of its cluster lose a few of a thousand messages among them (a plain subscriber at one hears fewer than at another).
// News may be lost; but a test could not tell that from a fault.
func TestContractOnACluster(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, redistest.Redis, 3)
	contract(t, c.URL(), c.Full, c.Servers...)
}

func TestPartsMayBeMoreThanThereAreBuckets(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	s := open(t, redisstore.Options{URL: server.URL()})
	const sessions, parts = 300, 5000
	fill(t, s, sessions)
	counted := 0
	for part := range parts {
		owners, err := s.Count(now(), part, parts)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range owners {
			counted += n
		}
	}
	if counted != sessions {
		t.Errorf("%d sessions are counted, want %d", counted, sessions)
	}
}
