package redistest_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/remora-proxy/remora/internal/redistest"
)

func TestAServerIsKilledAndRestartedEmpty(t *testing.T) {
	s := redistest.Start(t, redistest.Options{Password: "secret"})
	s.Do("SET", "a", "b")
	if got := s.Do("GET", "a"); got != "b" {
		t.Errorf("got %q", got)
	}
	s.Restart()
	if got := s.Do("GET", "a"); got != "" {
		t.Errorf("after the restart: %q", got)
	}
	s.Full(true)
	if _, err := s.Try("SET", "a", "b"); err == nil || !strings.HasPrefix(err.Error(), "OOM") {
		t.Errorf("a full server: %v", err)
	}
}

func TestAReplicaThatIsPromotedHasWhatItHadSeen(t *testing.T) {
	s := redistest.Start(t, redistest.Options{Password: "secret"})
	s.Do("SET", "a", "b")
	replica := s.Replica()
	s.Kill()
	replica.Promote()
	replica.Do("SET", "c", "d")
	if got := replica.Do("MGET", "a", "c"); got != "b\nd" {
		t.Errorf("got %q", got)
	}
}

func TestAReplicaThatLagsHasWhatItHadSeen(t *testing.T) {
	s := redistest.Start(t, redistest.Options{Password: "secret"})
	s.Do("SET", "a", "b")
	replica := s.Replica()
	s.Lag(replica)
	s.Do("SET", "a", "c")
	s.Kill()
	replica.Promote()
	if got := replica.Do("GET", "a"); got != "b" {
		t.Errorf("got %q", got)
	}
}

func TestAClusterSharesTheSlots(t *testing.T) {
	c := redistest.StartCluster(t, redistest.Redis, 3)
	var served int
	for _, s := range c.Servers {
		if _, err := s.Try("SET", "a", "b"); err == nil {
			served++
		} else if !strings.HasPrefix(err.Error(), "MOVED") {
			t.Error(err)
		}
	}
	if served != 1 {
		t.Errorf("%d servers have the slot of a key", served)
	}
}

func TestASentinelFailsOver(t *testing.T) {
	master := redistest.Start(t, redistest.Options{})
	master.Do("SET", "a", "b")
	replica := master.Replica()
	sentinel := master.Sentinel("sessions", replica)
	sentinel.Failover()
	replica.Eventually("the replica is the master", func() error {
		if role := replica.Info("replication", "role"); role != "master" {
			return errors.New(role)
		}
		return nil
	})
	if got := replica.Do("GET", "a"); got != "b" {
		t.Errorf("got %q", got)
	}
}
