package simulate

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/route"
	"github.com/remora-proxy/remora/internal/session"
)

var (
	schedules = flag.Int("schedules", usualSchedules, "how many schedules to run")
	firstSeed = flag.Uint64("seed", 1, "seed of the first; each has the next number. 0: by chance")
)

// The names of replicas and sessions are the same in all schedules: what gateways call them is learned once.
func init() {
	for slot := range addresses {
		addresses[slot] = fmt.Sprintf("10.0.0.%d:80", slot+1)
		for life := range int32(maxLives) {
			incarnations[life] = fmt.Sprint("i", life)
			byEndpoint[[2]string{addresses[slot], incarnations[life]}] = replicaOf(slot, life)
		}
	}
	sc := affinity.ServiceConfig{Name: serviceName, Key: affinity.Key{Kind: affinity.HeaderKey, Name: "x-user"}}
	for slot := range addresses {
		for _, incarnation := range incarnations {
			sc.Endpoints = append(sc.Endpoints, affinity.EndpointConfig{Addr: addresses[slot], Incarnation: incarnation})
		}
	}
	e := affinity.New(affinity.Options{HashKey: hashKey, HashKeyFixed: true, Store: session.NewTable(session.Options{})})
	snapshot, err := affinity.Compile(affinity.Config{Routes: routes, Services: []affinity.ServiceConfig{sc}})
	if err == nil {
		err = e.Apply(snapshot, 0)
	}
	if err != nil {
		panic(err)
	}
	for id := session.EndpointID(1); e.Identity(id) != 0; id++ {
		r := int32(id - 1)
		identities[r], byIdentity[e.Identity(id)] = e.Identity(id), r
	}
	for u := range userNames {
		userNames[u] = fmt.Sprint("user-", u)
		req := affinity.Request{Request: route.Request{
			Port: 80, Scheme: "http", Method: "GET", Authority: "any", Path: "/", Headers: []route.Header{{Name: "x-user", Value: userNames[u]}},
		}}
		var dec affinity.Decision
		e.Decide(&req, &dec, 0)
		userKeys[u] = dec.Pick().Key
		byKey[userKeys[u]] = int32(u)
	}
}

// failure is a schedule in which a rule was broken.
type failure struct {
	seed   uint64
	after  int64 // schedules
	broken *breach
	trace  string
}

func TestSchedules(t *testing.T) {
	base := *firstSeed
	if base == 0 {
		base = rand.Uint64() >> 1
	}
	var (
		next   atomic.Int64
		failed atomic.Pointer[failure]
		mu     sync.Mutex
		total  counts
		wg     sync.WaitGroup
	)
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // schedules leave much garbage and keep little
	began := time.Now()
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			s := newSim()
			for failed.Load() == nil {
				n := next.Add(1)
				if n > int64(*schedules) {
					break
				}
				seed := base + uint64(n) - 1
				if broken := s.run(seed); broken != nil {
					failed.CompareAndSwap(nil, &failure{seed, n, broken, s.trace.text(&s.world, traceLines)})
				}
			}
			mu.Lock()
			defer mu.Unlock()
			total.add(&s.count)
		})
	}
	wg.Wait()
	if f := failed.Load(); f != nil {
		t.Fatalf("seed %d, schedule %d: %s: %s\n\n%s\nreplay it with: make test-faults SEED=%d SCHEDULES=1",
			f.seed, f.after, f.broken.rule, f.broken.text, f.trace, f.seed)
	}
	t.Logf("seeds %d to %d\n%s", base, base+uint64(*schedules)-1, total.text(time.Since(began)))
}

// What happens follows from the seed alone, also in memory that another schedule has used.
func TestASeedReplays(t *testing.T) {
	s := newSim()
	var first [20]string
	for round := range 2 {
		for i := range first {
			s.run(uint64(i + 1))
			got := s.trace.text(&s.world, traceLines)
			if round == 1 && got != first[i] {
				t.Errorf("seed %d has another end the second time:\n%s\nit was:\n%s", i+1, got, first[i])
			}
			first[i] = got
		}
	}
}
