package redisstore_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/redisstore"
	"github.com/remora-proxy/remora/internal/redistest"
	"github.com/remora-proxy/remora/internal/session"
	"github.com/remora-proxy/remora/internal/session/shared"
)

const user session.Key = 0x1234567890abcdef

func now() session.Instant { return session.InstantOf(time.Now()) }

// claimOf is the claim of a user who was seen then.
func claimOf(k session.Key, owner shared.Identity, seen session.Instant) shared.Claim {
	return shared.Claim{Key: k, Owner: owner, Claimed: seen, Until: seen.Add(time.Minute)}
}

// claims makes a claim and returns the owner.
func claims(t testing.TB, s *redisstore.Store, k session.Key, owner shared.Identity) shared.Identity {
	t.Helper()
	b, _, err := s.Claim(now(), claimOf(k, owner, now()))
	if err != nil {
		t.Fatal(err)
	}
	return b.Owner
}

// works waits until claims are answered.
func works(server *redistest.Server, s *redisstore.Store) {
	server.Eventually("claims are answered", func() error {
		_, _, err := s.Claim(now(), claimOf(1, 1, now()))
		return err
	})
}

func TestAStoreThatStandsStillHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	hasty := open(t, redisstore.Options{URL: server.URL(), Timeout: redisstore.DefaultTimeout})
	patient := open(t, redisstore.Options{URL: server.URL()})
	works(server, hasty)
	server.Stop()
	if _, _, err := hasty.Claim(now(), claimOf(user, 1, now())); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a claim: %v", err)
	}
	var calls sync.WaitGroup
	var busy atomic.Int32
	for i := range 2000 { // more than may wait, and more than the connection takes
		for _, s := range []*redisstore.Store{hasty, patient} {
			calls.Go(func() {
				_, _, err := s.Claim(now(), claimOf(session.Key(i), 1, now()))
				if err == nil {
					t.Error("a server that stands still has answered")
				}
				if errors.Is(err, redisstore.ErrBusy) {
					busy.Add(1)
				}
			})
		}
	}
	calls.Wait()
	if n := busy.Load(); n == 0 || n > 2*(2000-redisstore.MaxWaiting) {
		t.Errorf("of twice 2,000 calls %d may not wait; expected some, and %d of each to wait", n, redisstore.MaxWaiting)
	}
	server.Continue()
	works(server, hasty)
	works(server, patient)
}

func TestCloseWaitsForNoServer(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	s := open(t, redisstore.Options{URL: server.URL()})
	server.Stop()
	s.Close()
	if _, _, err := s.Claim(now(), claimOf(1, 1, now())); err == nil {
		t.Error("a claim was answered")
	}
	if err := s.Ready(t.Context()); err != nil {
		t.Error(err) // it has been
	}
	never := begin(t, redisstore.Options{URL: "redis://127.0.0.1:1"})
	never.Close()
	if err := never.Ready(t.Context()); err == nil {
		t.Error("a store is ready that is not there")
	}
}

func TestAStoreThatWasStartedAgainEmptyIsUsedAgain(t *testing.T) {
	onBoth(t, func(t *testing.T, p redistest.Program) {
		server := redistest.Start(t, redistest.Options{Program: p})
		heard := make(chan shared.News, 100)
		s := open(t, redisstore.Options{URL: server.URL(), Deliver: func(n shared.News) { heard <- n }})
		key, err := s.HashKey(t.Context(), [16]byte{7}, false, true)
		if err != nil {
			t.Fatal(err)
		}
		epoch, err := s.Epoch(now())
		if err != nil {
			t.Fatal(err)
		}
		claims(t, s, user, 11)
		server.Restart()
		works(server, s)
		if got := claims(t, s, user, 12); got != 12 {
			t.Errorf("the owner is %d", got)
		}
		if again, err := s.Epoch(now()); err != nil || again == epoch {
			t.Errorf("the epoch is %d as before, %v", again, err)
		}
		server.Eventually("the hash key is there again", func() error {
			if there := server.Do("GET", "remora:1:hashkey"); !strings.HasPrefix(there, "k"+string(key[:])) {
				return fmt.Errorf("got %q", there)
			}
			return nil
		})
		server.Eventually("news are heard again", func() error {
			if err := s.Announce(shared.News{Kind: shared.Moved, Key: user}); err != nil {
				return err
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

func TestAServerWithoutTheScriptsGetsThem(t *testing.T) {
	onBoth(t, func(t *testing.T, p redistest.Program) {
		server := redistest.Start(t, redistest.Options{Program: p})
		s := open(t, redisstore.Options{URL: server.URL()})
		claims(t, s, user, 11)
		server.Do("SCRIPT", "FLUSH")
		var cs []shared.Claim
		for i := range session.Key(300) {
			cs = append(cs, claimOf(i<<50, 12, now()))
		}
		bs, err := s.Renew(now(), cs)
		if err != nil {
			t.Fatal(err)
		}
		for i, b := range bs {
			if b.Owner != 12 {
				t.Fatalf("binding %d is %+v", i, b)
			}
		}
	})
}

// Somebody else may write into our hashes.
func TestAValueThatIsNoBindingIsNone(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	s := open(t, redisstore.Options{URL: server.URL()})
	claims(t, s, user, 11)
	bucket := server.Do("KEYS", "*:s:*")
	for _, how := range []func() error{
		func() error { _, err := s.Renew(now(), []shared.Claim{claimOf(user, 11, now())}); return err },
		func() error { _, _, err := s.Claim(now(), claimOf(user, 11, now())); return err },
		func() error { _, err := s.Count(now(), 0, 1); return err },
	} {
		for _, field := range strings.Split(server.Do("HKEYS", bucket), "\n") {
			server.Do("HSET", bucket, field, "garbage")
		}
		if err := how(); err != nil {
			t.Error(err)
		}
	}
}

func TestAValueThatIsNoBindingStopsNoOtherInItsBatch(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	s, other := open(t, redisstore.Options{URL: server.URL()}), open(t, redisstore.Options{URL: server.URL()})
	var cs []shared.Claim
	for i := range session.Key(512) {
		cs = append(cs, claimOf(i%8<<52|i, shared.Identity(1+i), now())) // 64 in each of eight buckets
	}
	if _, err := s.Renew(now(), cs); err != nil {
		t.Fatal(err)
	}
	for i, garbage := range []string{"", "garbage", strings.Repeat("x", 23), strings.Repeat("x", 25), strings.Repeat("x", 1000)} {
		field := strings.Repeat("\x00", 6) + string([]byte{0, byte(8 * i)}) // of the first bucket
		bucket := "remora:1:s:{0}0"
		if server.Do("HEXISTS", bucket, field) != "1" {
			t.Fatalf("there is no %q in %s", field, bucket)
		}
		server.Do("HSET", bucket, field, garbage)
	}
	for i := range cs {
		cs[i].Until = cs[i].Until.Add(time.Second)
	}
	for _, gateway := range []*redisstore.Store{other, s} {
		bs, err := gateway.Renew(now(), cs)
		if err != nil {
			t.Fatal(err)
		}
		for i, b := range bs {
			if b.Owner != cs[i].Owner || b.Until != cs[i].Until {
				t.Errorf("session %d is %+v, want %+v", i, b, cs[i])
			}
		}
	}
}

func TestWhatWasHeldUpBringsNothingBack(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	a, b := open(t, redisstore.Options{URL: server.URL()}), open(t, redisstore.Options{URL: server.URL()})
	before := now().Add(-time.Hour)
	claims(t, b, user, 12)
	got, err := a.Renew(before, []shared.Claim{claimOf(user, 11, before)})
	if err != nil || got[0].Owner != 12 {
		t.Errorf("a renewal that was held up: %+v, %v", got, err)
	}
	if got, _, err := a.Move(before, claimOf(user, 11, before), 12); err != nil || got.Owner != 12 {
		t.Errorf("a move that was held up: %+v, %v", got, err)
	}
}

func TestGatewaysClocksNeedNotAgree(t *testing.T) {
	t.Parallel()
	const ahead = 5 * time.Minute
	server := redistest.Start(t, redistest.Options{})
	a := open(t, redisstore.Options{URL: server.URL(), ID: 1})
	b := open(t, redisstore.Options{URL: server.URL(), ID: 2, Now: func() time.Time { return time.Now().Add(ahead) }})
	c := claimOf(user, 11, now())
	if _, _, err := a.Claim(now(), c); err != nil {
		t.Fatal(err)
	}
	got, err := b.Find(now().Add(ahead), []session.Key{user})
	if err != nil {
		t.Fatal(err)
	}
	// The clock was read within a second, or it would have been an error.
	if off := (got[0].Until - c.Until.Add(ahead)).Time().Sub(time.UnixMilli(0)); off.Abs() > time.Second || got[0].Owner != 11 {
		t.Errorf("got %+v; the time is off by %v", got[0], off)
	}
}

func TestASentinelSaysWhichServerIsTheMaster(t *testing.T) {
	onBoth(t, func(t *testing.T, p redistest.Program) {
		master := redistest.Start(t, redistest.Options{Program: p, Password: "secret"})
		replica := master.Replica()
		sentinel := master.Sentinel("sessions", replica)
		s := open(t, redisstore.Options{URL: sentinel.URL()})
		claims(t, s, user, 11)
		epoch, err := s.Epoch(now())
		if err != nil {
			t.Fatal(err)
		}
		replica.Eventually("the replica has the session", func() error {
			if replica.Do("KEYS", "*:s:*") == "" {
				return errors.New(replica.Do("KEYS", "*"))
			}
			return nil
		})
		sentinel.Failover()
		master.Kill()
		works(replica, s)
		if got := claims(t, s, user, 12); got != 11 {
			t.Errorf("the owner is %d", got)
		}
		if again, err := s.Epoch(now()); err != nil || again == epoch {
			t.Errorf("the epoch is %d as before, %v", again, err)
		}
	})
}

func TestAReplicaIsNotWrittenTo(t *testing.T) {
	onBoth(t, func(t *testing.T, p redistest.Program) {
		master := redistest.Start(t, redistest.Options{Program: p})
		s := open(t, redisstore.Options{URL: master.URL()})
		if _, err := s.HashKey(t.Context(), [16]byte{7}, false, true); err != nil {
			t.Fatal(err)
		}
		other := redistest.Start(t, redistest.Options{Program: p})
		host, port, _ := strings.Cut(other.Addr, ":")
		master.Do("REPLICAOF", host, port)
		if _, _, err := s.Claim(now(), claimOf(user, 11, now())); err == nil || !strings.Contains(err.Error(), "READONLY") {
			t.Errorf("a claim at a replica: %v", err)
		}
		master.Promote()
		works(master, s)
	})
}

func TestAPasswordIsInNoMessage(t *testing.T) {
	onBoth(t, func(t *testing.T, p redistest.Program) {
		server := redistest.Start(t, redistest.Options{Program: p, Password: "secret"})
		var log lockedBuffer
		url := strings.Replace(server.URL(), "secret", "wrongSecret", 1)
		s := begin(t, redisstore.Options{URL: url, Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
		server.Eventually("the log says what is wrong", func() error {
			if !strings.Contains(log.String(), "WRONGPASS") {
				return errors.New(log.String())
			}
			return nil
		})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err := s.Ready(ctx)
		if err == nil || !errors.Is(err, redisstore.ErrRefused) || !strings.Contains(err.Error(), "WRONGPASS") {
			t.Errorf("got %v", err)
		}
		if _, _, err := s.Claim(now(), claimOf(user, 11, now())); !errors.Is(err, redisstore.ErrUnreachable) || !strings.Contains(err.Error(), "WRONGPASS") {
			t.Errorf("a claim: %v", err)
		}
		if text := fmt.Sprint(err, log.String(), s.Name()); strings.Contains(text, "wrongSecret") {
			t.Errorf("the password is in %q", text)
		}
	})
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func TestAServerThatThrowsSessionsAwayIsWarnedOf(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{Args: []string{"--maxmemory", "100mb", "--maxmemory-policy", "volatile-lru"}})
	var log lockedBuffer
	open(t, redisstore.Options{URL: server.URL(), Log: slog.New(slog.NewTextHandler(&log, nil))})
	server.Eventually("the log says so", func() error {
		if text := log.String(); !strings.Contains(text, "noeviction") || !strings.Contains(text, "volatile-lru") {
			return errors.New(text)
		}
		return nil
	})
}

func TestAPasswordIsReadAgainFromItsFile(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, redistest.Options{})
	path := filepath.Join(t.TempDir(), "password")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("first")
	server.Do("CONFIG", "SET", "requirepass", "first")
	s := open(t, redisstore.Options{URL: server.URL() + "?password-file=" + path})
	write("second")
	server.DoAs("first", "CONFIG", "SET", "requirepass", "second")
	server.DoAs("second", "CLIENT", "KILL", "TYPE", "normal")
	server.DoAs("second", "CLIENT", "KILL", "TYPE", "pubsub")
	works(server, s)
}
