package redisstore_test

import (
	"math/rand/v2"
	"strconv"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/redisstore"
	"github.com/remora-proxy/remora/internal/redistest"
	"github.com/remora-proxy/remora/internal/session"
	"github.com/remora-proxy/remora/internal/session/shared"
)

// Whatever is said of its sessions, by whomever, and whatever was lost meanwhile: a bucket is there when the last of them ends, and not for ever.
func TestABucketOutlastsItsSessionsAndNotByMuch(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, seed))
	server := redistest.Start(t, redistest.Options{})
	var gateways [2]*redisstore.Store
	for i := range gateways {
		gateways[i] = open(t, redisstore.Options{URL: server.URL(), ID: uint32(i + 1), Deliver: func(shared.News) {}})
	}
	grace := session.Instant(shared.Grace(shared.DefaultInterval).Milliseconds())
	const soonest, spans = 20 * 60_000, 4 // none ends while the test runs
	last := session.Instant(0)            // when the last session of the bucket ends
	for step := range 2000 {
		if random.IntN(200) == 0 {
			server.Do("FLUSHALL")
			last = 0
		}
		s, k := gateways[random.IntN(2)], session.Key(random.IntN(5))
		c := claimOf(k, shared.Identity(1+random.IntN(2)), now())
		c.Until = now() + soonest + session.Instant(step*100+random.IntN(spans*30_000))
		var err error
		switch random.IntN(4) {
		case 0:
			_, _, err = s.Claim(now(), c)
		case 1:
			var b shared.Binding
			if b, _, err = s.Move(now(), c, 1); b.Until < c.Until {
				c.Until = 0 // it was another's
			}
		default:
			_, err = s.Renew(now(), []shared.Claim{c})
		}
		if err != nil {
			t.Fatal(err)
		}
		last = max(last, c.Until)
		text := server.Do("PEXPIRETIME", "remora:1:s:{0}0")
		goes, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			t.Fatalf("PEXPIRETIME: %q, %v", text, err)
		}
		if at := session.Instant(goes); last > 0 && (at < last+grace || at > last.Add(2*time.Minute)) {
			t.Fatalf("step %d: the bucket goes at %d, its last session ends at %d", step, at, last)
		}
	}
}
