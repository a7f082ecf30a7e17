package redisstore_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/redisstore"
	"github.com/remora-proxy/remora/internal/redistest"
	"github.com/remora-proxy/remora/internal/session"
	"github.com/remora-proxy/remora/internal/session/shared"
)

// fill puts n sessions with random keys into a store, in batches, and returns the keys.
func fill(t testing.TB, s *redisstore.Store, n int) []session.Key {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	keys := make([]session.Key, 0, n)
	for len(keys) < n {
		batch := make([]shared.Claim, min(5000, n-len(keys)))
		for i := range batch {
			batch[i] = claimOf(session.Key(random.Uint64()), shared.Identity(1+random.IntN(5)), now())
			batch[i].Until = batch[i].Until.Add(time.Hour)
			keys = append(keys, batch[i].Key)
		}
		if _, err := s.Renew(now(), batch); err != nil {
			t.Fatal(err)
		}
	}
	return keys
}

// perSession is how many bytes each of n sessions takes in a new server.
func perSession(t testing.TB, n int) float64 {
	server := redistest.Start(t, redistest.Options{})
	s := open(t, redisstore.Options{URL: server.URL()})
	if _, err := s.Renew(now(), []shared.Claim{claimOf(1, 1, now())}); err != nil { // the script is there now
		t.Fatal(err)
	}
	server.Do("FLUSHALL", "SYNC")
	before := server.Memory()
	fill(t, s, n)
	return float64(server.Memory()-before) / float64(n)
}

func TestASessionTakesLessThanAHundredBytes(t *testing.T) {
	t.Parallel()
	got := perSession(t, 20_000)
	t.Logf("%.1f bytes a session", got)
	if got > 100 {
		t.Errorf("a session takes %.1f bytes of the store's memory", got)
	}
}

func BenchmarkMemory(b *testing.B) {
	for _, n := range []int{10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for range b.N {
				b.ReportMetric(perSession(b, n), "B/session")
			}
		})
	}
}

// cpu is how much CPU a process has used.
func cpu(b *testing.B, pid int) time.Duration {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')'):]))
	var ticks int
	for _, field := range fields[12:14] { // user, system: hundredths of a second
		n, err := strconv.Atoi(field)
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// measure runs f b.N times, each for `sessions` sessions, and reports what the server needs for one.
func measure(b *testing.B, server *redistest.Server, sessions int, f func(i int) error) {
	before := cpu(b, server.PID())
	b.ResetTimer()
	for i := range b.N {
		if err := f(i); err != nil {
			b.Fatal(err)
		}
	}
	b.StopTimer()
	all := float64(b.N * sessions)
	b.ReportMetric(float64((cpu(b, server.PID())-before).Nanoseconds())/all, "server-ns/session")
	b.ReportMetric(all/b.Elapsed().Seconds(), "sessions/s")
}

// What the store does for first sights, one after the other and from many goroutines, for renewals in batches, and for counting all
// sessions, of which there are 100,000.
func BenchmarkStore(b *testing.B) {
	const sessions = 100_000
	server := redistest.Start(b, redistest.Options{})
	s := open(b, redisstore.Options{URL: server.URL()})
	keys := fill(b, s, sessions)
	b.Run("claim", func(b *testing.B) {
		measure(b, server, 1, func(int) error {
			_, _, err := s.Claim(now(), claimOf(session.Key(rand.Uint64()), 1, now()))
			return err
		})
	})
	b.Run("claim-64-at-once", func(b *testing.B) {
		measure(b, server, 64, func(int) error {
			errs := make(chan error, 64)
			for range 64 {
				go func() {
					_, _, err := s.Claim(now(), claimOf(session.Key(rand.Uint64()), 1, now()))
					errs <- err
				}()
			}
			var err error
			for range 64 {
				if e := <-errs; e != nil {
					err = e
				}
			}
			return err
		})
	})
	b.Run("renew-512", func(b *testing.B) {
		measure(b, server, 512, func(i int) error {
			cs := make([]shared.Claim, 512)
			for j := range cs {
				cs[j] = claimOf(keys[(i*512+j)%len(keys)], 1, now())
			}
			_, err := s.Renew(now(), cs)
			return err
		})
	})
	b.Run("renew-512-of-8-buckets", func(b *testing.B) {
		measure(b, server, 512, func(i int) error {
			cs := make([]shared.Claim, 512)
			for j := range cs {
				cs[j] = claimOf(keys[(i*512+j)%len(keys)]&^(0xff8<<52), 1, now())
			}
			_, err := s.Renew(now(), cs)
			return err
		})
	})
	b.Run("count-all", func(b *testing.B) {
		server.Do("FLUSHALL", "SYNC")
		fill(b, s, sessions)
		measure(b, server, sessions, func(int) error {
			_, err := s.Count(now(), 0, 1)
			return err
		})
	})
	b.Run("epoch", func(b *testing.B) {
		measure(b, server, 1, func(int) error {
			_, err := s.Epoch(now())
			return err
		})
	})
}
