package redisstore_test

import (
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"testing"

	"github.com/remora-proxy/remora/internal/redisstore"
	"github.com/remora-proxy/remora/internal/redistest"
	"github.com/remora-proxy/remora/internal/session"
	"github.com/remora-proxy/remora/internal/session/shared"
)

// agreedAt opens a store that has agreed on a hash key, so that it makes sure of that key from then on, and whose log is read.
func agreedAt(t *testing.T, url string) (*redisstore.Store, *lockedBuffer) {
	t.Helper()
	log := new(lockedBuffer)
	s := open(t, redisstore.Options{URL: url, Log: slog.New(slog.NewTextHandler(log, nil))})
	if _, err := s.HashKey(t.Context(), [16]byte{7}, false, true); err != nil {
		t.Fatal(err)
	}
	return s, log
}

// said waits until the log says something so many times.
func said(server *redistest.Server, log *lockedBuffer, text string, times int) {
	server.Eventually("the log says: "+text, func() error {
		if n := strings.Count(log.String(), text); n != times {
			return fmt.Errorf("%d times; %s", n, log.String())
		}
		return nil
	})
}

// callers are the connections that gateways have, by their numbers.
func callers(server *redistest.Server) (ids []string) {
	for line := range strings.Lines(server.Do("CLIENT", "LIST")) {
		if strings.Contains(line, " name=remora ") {
			id, _, _ := strings.Cut(line, " ")
			ids = append(ids, id)
		}
	}
	return ids
}

func TestAServerThatTakesNoWritesForAWhileKeepsItsConnections(t *testing.T) {
	onBoth(t, func(t *testing.T, p redistest.Program) {
		server := redistest.Start(t, redistest.Options{Program: p})
		s, log := agreedAt(t, server.URL())
		if _, err := s.Epoch(now()); err != nil {
			t.Fatal(err)
		}
		before := callers(server)
		server.Do("CONFIG", "SET", "min-replicas-to-write", "1")
		if _, err := s.Epoch(now()); err == nil || !strings.Contains(err.Error(), "NOREPLICAS") {
			t.Errorf("an epoch of a server that takes no writes: %v", err)
		}
		said(server, log, "the store cannot be used; trying again", 1)
		server.Do("CONFIG", "SET", "min-replicas-to-write", "0")
		claims(t, s, user, 11)
		said(server, log, "the store is reached", 2)
		said(server, log, "the store cannot be used; trying again", 1)
		if after := callers(server); fmt.Sprint(after) != fmt.Sprint(before) || len(before) == 0 {
			t.Errorf("the connections are %q, were %q", after, before)
		}
	})
}

func TestAReplicaIsConnectedToLessAndLessOftenAndNotSaidToBeReached(t *testing.T) {
	onBoth(t, func(t *testing.T, p redistest.Program) {
		server := redistest.Start(t, redistest.Options{Program: p})
		own := 0 // connections of this test
		connections := func() int {
			own++
			n, err := strconv.Atoi(server.Info("stats", "total_connections_received"))
			if err != nil {
				t.Fatal(err)
			}
			return n - own
		}
		s, log := agreedAt(t, server.URL())
		own++
		server.Do("REPLICAOF", "127.0.0.1", "1") // of nobody
		before := connections()
		server.Eventually("it is connected to several times", func() error {
			if n := connections() - before; n < 4 {
				return fmt.Errorf("%d times", n)
			}
			return nil
		})
		if text := log.String(); strings.Count(text, "cannot be used") != 1 || strings.Count(text, "is reached") != 1 {
			t.Errorf("the log has:\n%s", text)
		}
		server.Promote()
		works(server, s)
		said(server, log, "the store is reached", 2)
	})
}

func TestOfRenewalsThoseThatCannotBeStoredFailAlone(t *testing.T) {
	onBoth(t, func(t *testing.T, p redistest.Program) {
		server := redistest.Start(t, redistest.Options{Program: p})
		s := open(t, redisstore.Options{URL: server.URL()})
		const perGroup, spoilt = 16, 5
		var cs []shared.Claim
		for i := range session.Key(64 * perGroup) { // 16 in each slot's buckets
			cs = append(cs, claimOf(i<<54|i, shared.Identity(1+i), now()))
		}
		server.Do("SET", fmt.Sprintf("remora:1:s:{%d}0", spoilt), "a string")
		bs, err := s.Renew(now(), cs)
		if err == nil || !strings.Contains(err.Error(), "WRONGTYPE") || len(bs) != len(cs) {
			t.Fatalf("%d bindings of %d, and the error %v", len(bs), len(cs), err)
		}
		for i, b := range bs {
			want := cs[i].Owner
			if i/perGroup == spoilt {
				want = 0
			}
			if b.Owner != want {
				t.Errorf("claim %d: the owner is %d, want %d", i, b.Owner, want)
			}
		}
		found, err := s.Find(now(), []session.Key{cs[0].Key, cs[len(cs)-1].Key})
		if err != nil || found[0].Owner == 0 || found[1].Owner == 0 {
			t.Errorf("of the others the store has %+v, %v", found, err)
		}
		server.Stop()
		hasty := begin(t, redisstore.Options{URL: server.URL(), Timeout: redisstore.DefaultTimeout})
		if bs, err := hasty.Renew(now(), cs); err == nil || bs != nil {
			t.Errorf("where none is renewed: %d bindings, %v", len(bs), err)
		}
		server.Continue()
	})
}
