package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

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

// silence is for how long a server that speaks another protocol may say nothing.
const silence = 2 * time.Second

// isRefused checks that a store cannot be used, and that the error says why and what to do.
func isRefused(t *testing.T, url string, says ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s := begin(t, redisstore.Options{URL: url, Patience: silence})
	defer s.Close()
	err := s.Ready(ctx)
	if err == nil {
		_, err = s.HashKey(ctx, [16]byte{7}, false, true)
	}
	if !errors.Is(err, redisstore.ErrRefused) {
		t.Errorf("%s is not refused: %v", url, err)
		return
	}
	for _, want := range says {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s: the error is %q, want %q in it", url, err, want)
		}
	}
}

func TestADatabaseThatTheServerDoesNotHaveIsARefusal(t *testing.T) {
	onBoth(t, func(t *testing.T, p redistest.Program) {
		server := redistest.Start(t, redistest.Options{Program: p})
		isRefused(t, server.URL()+"/99", server.URL()+"/99: ", "the server has no database 99; write another one behind the last / of the URL")
		isRefused(t, "unix://"+server.Socket+"?db=99", "the server has no database 99; write another one in ?db=")
	})
}

func TestAServerOfAClusterThatIsAskedAsOneIsARefusal(t *testing.T) {
	t.Parallel()
	c := redistest.StartCluster(t, redistest.Redis, 2)
	var moved *redistest.Server
	for _, server := range c.Servers {
		if _, err := server.Try("GET", "remora:1:rights"); err != nil {
			moved = server
		}
	}
	isRefused(t, moved.URL(), "MOVED", "the server is one of a cluster; write redis-cluster://"+moved.Addr)
	isRefused(t, moved.URL()+"/2", "the server is one of a cluster, which has no databases; write redis-cluster://"+moved.Addr)
}

func TestSentinelsThatAreAskedForWhatTheyAreNotAreARefusal(t *testing.T) {
	onBoth(t, func(t *testing.T, p redistest.Program) {
		master := redistest.Start(t, redistest.Options{Program: p})
		sentinel := master.Sentinel("sessions", master.Replica())
		at := "redis-sentinel://" + sentinel.Addr
		isRefused(t, at+"/session", `the sentinels know no master "session"; write the name that their configuration has`, at+"/NAME")
		isRefused(t, at+"/sessions/99", "the server has no database 99")
		isRefused(t, "redis://"+sentinel.Addr, "perhaps it is a sentinel; then write "+at+"/NAME")
		isRefused(t, "redis-sentinel://"+master.Addr+"/sessions", "the server is no sentinel", "redis://"+master.Addr)
	})
}

func TestAServerThatSpeaksTLSAndIsAskedWithoutIsARefusal(t *testing.T) {
	t.Parallel()
	files, _ := pems(t)
	withTLS := redistest.Start(t, redistest.Options{TLS: files})
	for asked, right := range map[string]string{
		"redis://%s": "rediss://", "valkey://%s": "valkeys://", "redis-cluster://%s": "rediss-cluster://", "redis-sentinel://%s/main": "rediss-sentinel://",
	} {
		isRefused(t, fmt.Sprintf(asked, withTLS.Addr), "the server at "+withTLS.Addr+" speaks TLS; begin the URL with "+right)
	}
}

func TestAServerThatIsAskedWithTLSAndHasNoneIsARefusal(t *testing.T) {
	onBoth(t, func(t *testing.T, p redistest.Program) {
		without := redistest.Start(t, redistest.Options{Program: p, Password: "secret"})
		for asked, right := range map[string]string{
			"rediss://%s": "redis://", "valkeys://%s": "valkey://", "rediss-cluster://%s": "redis-cluster://", "rediss-sentinel://%s/main": "redis-sentinel://",
		} {
			isRefused(t, fmt.Sprintf(asked, without.Addr), "the server at "+without.Addr+" answers without TLS, and not with it; begin the URL with "+right)
		}
	})
}

// Neither a server that stands still nor one that closes each connection has said that it speaks another protocol.
func TestAServerThatDoesNotAnswerEitherWayIsNoRefusal(t *testing.T) {
	t.Parallel()
	silent := redistest.Start(t, redistest.Options{})
	silent.Stop()
	defer silent.Continue()
	closing, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer closing.Close()
	go func() {
		for {
			conn, err := closing.Accept()
			if err != nil {
				return
			}
			_ = conn.Close() // it is what the test is about
		}
	}()
	for _, addr := range []string{silent.Addr, closing.Addr().String()} {
		for _, scheme := range []string{"redis://", "rediss://"} {
			var log lockedBuffer
			begin(t, redisstore.Options{URL: scheme + addr, Patience: silence, Log: slog.New(slog.NewTextHandler(&log, nil))})
			silent.Eventually("the log says that it cannot be used", func() error {
				if !strings.Contains(log.String(), "the store cannot be used; trying again") {
					return errNotYet
				}
				return nil
			})
			if strings.Contains(log.String(), "as it is configured") {
				t.Errorf("%s%s is refused: %s", scheme, addr, log.String())
			}
		}
	}
}

func TestAServerThatIsNoRedisIsARefusal(t *testing.T) {
	t.Parallel()
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	isRefused(t, "redis://"+other.Listener.Addr().String(), "another protocol", "see whether host and port are right")
}

func TestARightThatIsTakenAwayFromAGatewayThatRunsIsNamedOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, p redistest.Program) {
		server := redistest.Start(t, redistest.Options{Program: p})
		server.Do("ACL", "SETUSER", "remora", "on", ">secret", "~remora:1:*", "&remora:1:news", "+@all")
		s, log := agreedAt(t, "redis://remora:secret@"+server.Addr)
		for i, right := range []string{"hset", "evalsha", "subscribe"} {
			server.Do("ACL", "SETUSER", "remora", "-"+right)
			if right == "subscribe" {
				server.Do("CLIENT", "KILL", "USER", "remora")
			}
			for range 3 { // the gateway goes on alone, and does not begin anew with each attempt
				server.Eventually("it says what is missing", func() error {
					if _, _, err := s.Claim(now(), claimOf(user, 11, now())); err == nil || !strings.Contains(err.Error(), "give it +"+right+", by ACL SETUSER") {
						return fmt.Errorf("%s: %w", right, errors.Join(errNotYet, err))
					}
					return nil
				})
			}
			server.Do("ACL", "SETUSER", "remora", "+"+right)
			works(server, s)
			said(server, log, "the store is reached", i+2)
			if n := strings.Count(log.String(), "give it +"+right); n != 1 {
				t.Errorf("%s is said %d times: %s", right, n, log.String())
			}
		}
	})
}

func TestTheSameProblemOnAnotherConnectionIsNoOtherProblem(t *testing.T) {
	there := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 6379}
	said := map[string]bool{}
	for port := range 2 {
		here := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 50_000 + port}
		said[redisstore.Words(fmt.Errorf("reached no more: %w", &net.OpError{Op: "read", Net: "tcp", Source: here, Addr: there, Err: syscall.ECONNRESET}))] = true
	}
	if !said["reached no more: read tcp 127.0.0.1:6379: connection reset by peer"] || len(said) != 1 {
		t.Errorf("it says %q", slices.Collect(maps.Keys(said)))
	}
}

// Whichever of the rights of docs/sharing.md is missing, the gateway says which one when it starts. What any connection begins with has no right
// of its own.
func TestEachRightThatIsMissingIsNamedAtTheStart(t *testing.T) {
	var commands []string
	for _, right := range rights(t) {
		if name, ok := strings.CutPrefix(right, "+"); ok && !slices.Contains([]string{"hello", "auth", "ping"}, name) && !strings.Contains(name, "cluster") && name != "asking" {
			commands = append(commands, name)
		}
	}
	onBoth(t, func(t *testing.T, p redistest.Program) {
		server := redistest.Start(t, redistest.Options{Program: p})
		url := "redis://remora:secret@" + server.Addr
		allow := func(more ...string) {
			server.Do(append([]string{"ACL", "SETUSER", "remora", "reset", "on", ">secret", "~remora:1:*", "&remora:1:news", "+@all"}, more...)...)
		}
		for _, command := range commands {
			allow("-" + command)
			isRefused(t, url, "; give it +"+command+", by ACL SETUSER")
		}
		allow("-publish", "-hset", "-del")
		isRefused(t, url, "the user lacks rights; give it +publish +del, by ACL SETUSER")
		allow("resetchannels")
		isRefused(t, url, "the user lacks rights; give it &remora:1:news, by ACL SETUSER")
		allow("resetkeys", "~other:*")
		isRefused(t, url, "the user needs the rights of docs/sharing.md, with the patterns ~remora:1:* and &remora:1:news")
		allow()
		s := open(t, redisstore.Options{URL: url})
		claims(t, s, user, 11)
		if there := server.Do("KEYS", "*rights*"); there != "" {
			t.Errorf("there is %q", there)
		}
	})
}
