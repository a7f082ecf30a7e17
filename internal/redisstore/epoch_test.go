package redisstore_test

import (
	"errors"
	"testing"

	"github.com/remora-proxy/remora/internal/redisstore"
	"github.com/remora-proxy/remora/internal/redistest"
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

// A slot goes from one server to another with all that is in it.
func TestAClusterWhoseSlotsMoveStaysOfTheSameEpoch(t *testing.T) {
	onBoth(t, func(t *testing.T, p redistest.Program) {
		c := redistest.StartCluster(t, p, 3)
		s := open(t, redisstore.Options{URL: c.URL()})
		another := epochs(t, s)
		c.MoveSlot("remora:1:epoch:{7}")
		another("a slot has moved", false)
		claims(t, s, user, 11)
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
				if err := s.Announce(shared.News{Kind: shared.Ended, Key: user}); err != nil {
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
			if err := s.Announce(shared.News{Kind: shared.Ended, Key: user}); err != nil {
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
