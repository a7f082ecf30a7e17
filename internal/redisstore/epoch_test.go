package redisstore_test

import (
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/remora-proxy/remora/internal/redisstore"
	"github.com/remora-proxy/remora/internal/redistest"
	"github.com/remora-proxy/remora/internal/session"
	"github.com/remora-proxy/remora/internal/session/shared"
)

// epochs calls check with whether the epoch is another one than at its last call.
func epochs(t *testing.T, s *redisstore.Store) (check func(what string, want bool)) {
	t.Helper()
	last, err := s.Epoch(now())
	if err != nil {
		t.Fatal(err)
	}
	return func(what string, want bool) {
		t.Helper()
		epoch, err := s.Epoch(now())
		if err != nil || (epoch != last) != want {
			t.Errorf("%s: the epoch is %x, was %x; %v", what, epoch, last, err)
		}
		last = epoch
	}
}

func TestAStoreThatIsEmptiedByHandIsOfAnotherEpoch(t *testing.T) {
	onBoth(t, func(t *testing.T, p redistest.Program) {
		server := redistest.Start(t, redistest.Options{Program: p})
		s := open(t, redisstore.Options{URL: server.URL() + "/3"})
		another := epochs(t, s)
		another("nothing happened", false)
		server.Do("FLUSHALL")
		another("FLUSHALL", true)
		another("nothing happened after that", false)
		server.Full(true)
		server.Do("FLUSHALL")
		another("FLUSHALL of a full server", true)
		another("nothing happened, in a full server", false)
		server.Full(false)
		server.Do("EVAL", "redis.call('SELECT', '3') return redis.call('FLUSHDB')", "0")
		another("FLUSHDB", true)
		server.Do("FLUSHDB")
		another("FLUSHDB of another database", false)
	})
}

func TestAClusterOfWhichOneServerIsEmptiedIsOfAnotherEpoch(t *testing.T) {
	onBoth(t, func(t *testing.T, p redistest.Program) {
		c := redistest.StartCluster(t, p, 3)
		s := open(t, redisstore.Options{URL: c.URL()})
		another := epochs(t, s)
		another("nothing happened", false)
		for _, server := range c.Servers {
			server.Do("FLUSHALL")
			another("FLUSHALL", true)
		}
		another("nothing happened after that", false)
	})
}

// rights are those that docs/sharing.md has for a user of the store, as the arguments of ACL, with those for a cluster.
func rights(t *testing.T) []string {
	t.Helper()
	page, err := os.ReadFile("../../docs/sharing.md")
	if err != nil {
		t.Fatal(err)
	}
	user := regexp.MustCompile(`(?m)^ACL SETUSER remora on >PASSWORD .*$`).FindString(string(page))
	more := regexp.MustCompile("a cluster `([^`]+)`").FindStringSubmatch(string(page))
	if user == "" || more == nil {
		t.Fatal("docs/sharing.md does not say which rights a user needs, or which in a cluster")
	}
	return append(strings.Fields(user), strings.Fields(more[1])...)
}

// A slot goes from one server to another with all that is in it. Between its beginning and its end each server has some of it.
func TestAClusterWhoseSlotsMoveStaysOfTheSameEpoch(t *testing.T) {
	onBoth(t, func(t *testing.T, p redistest.Program) {
		c := redistest.StartCluster(t, p, 3)
		for _, server := range c.Servers {
			server.Do(rights(t)...)
		}
		s := open(t, redisstore.Options{URL: strings.Replace(c.URL(), "://", "://remora:PASSWORD@", 1)})
		another := epochs(t, s)
		const group session.Key = 7 * 64 << 52 // the buckets of {7}
		owners := func(when string) {
			for bucket := range session.Key(8) {
				if got := claims(t, s, group+bucket<<52, shared.Identity(1+bucket)); got != shared.Identity(1+bucket) {
					t.Errorf("%s: the session of bucket %d is on %d", when, bucket, got)
				}
			}
		}
		owners("before")
		move := c.BeginMove("remora:1:epoch:{7}")
		owners("before its keys move")
		for range 3 {
			if keys := move.Keys(3); len(keys) != 3 {
				t.Fatalf("%q move", keys)
			}
			another("a slot moves", false)
			owners("while it moves")
			// A script for several buckets finds some of them at each server, and fails; but not those for other slots.
			bs, err := s.Renew(now(), []shared.Claim{claimOf(group, 1, now()), claimOf(group+1<<52, 2, now()), claimOf(user, 11, now())})
			if len(bs) != 3 || bs[2].Owner != 11 || (err != nil) != (bs[0].Owner == 0) {
				t.Errorf("renewals while a slot moves: %+v, %v", bs, err)
			}
		}
		claims(t, s, group+20<<52, 11)
		if len(move.Keys(1)) != 0 {
			t.Error("a bucket is begun at the former server")
		}
		move.End()
		another("a slot has moved", false)
		owners("after it has moved")
		for _, server := range c.Servers {
			if denied := server.Do("ACL", "LOG"); denied != "" {
				t.Errorf("it was denied:\n%s", denied)
			}
		}
	})
}

func TestAReplicaOfAClusterThatDiesIsNotMissed(t *testing.T) {
	onBoth(t, func(t *testing.T, p redistest.Program) {
		c := redistest.StartCluster(t, p, 3)
		replica := c.Replica(c.Servers[0])
		s := open(t, redisstore.Options{URL: c.URL()})
		another := epochs(t, s)
		for range 2 {
			for i := range 64 { // a client that chose any server would meet it
				if err := s.Announce(shared.News{Kind: shared.Moved, Key: user}); err != nil {
					t.Fatal(i, err)
				}
			}
			another("nothing happened to what is stored", false)
			replica.Kill()
		}
		heard := make(chan shared.News, 1000)
		later := open(t, redisstore.Options{URL: c.URL(), Deliver: func(n shared.News) { heard <- n }})
		claims(t, later, user, 11)
		c.Servers[0].Eventually("news are heard", func() error {
			if err := s.Announce(shared.News{Kind: shared.Moved, Key: user}); err != nil {
				t.Fatal(err)
			}
			select {
			case <-heard:
				return nil
			default:
				return errors.New("not yet")
			}
		})
	})
}
