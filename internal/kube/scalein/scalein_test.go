package scalein

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/kube"
)

// world is a cluster with its pods, its Lease and what gateways count, in which writes take no time.
type world struct {
	mu        sync.Mutex
	pods      map[types.UID]*kube.Pod
	endpoints []affinity.EndpointStats
	requests  map[string]int // in flight, by incarnation
	own       map[string]int // the sessions that a gateway has, at each pod, where it is not what the endpoints say
	held      int            // holds written, or taken back
	lease     *coordinationv1.Lease
	version   int
	refuse    error           // of every write to a pod
	lost      map[string]int  // writes to pods that a gateway makes in vain before one succeeds
	behind    map[string]bool // gateways that are not told of holds
	stored    map[string]bool // incarnations at which other gateways have sessions of which this one has not heard
	cut       map[string]bool
	written   []string // pod=cost by manager, or "released pod"
	at        []time.Time
}

func newWorld() *world {
	return &world{pods: map[types.UID]*kube.Pod{}, requests: map[string]int{}, cut: map[string]bool{}, lost: map[string]int{}, behind: map[string]bool{}}
}

// add adds a ready pod of a ReplicaSet, with an endpoint of a service with sessions.
func (w *world) add(name, replicaSet string, sessions int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.pods[types.UID(name)] = &kube.Pod{Namespace: "shop", Name: name, UID: types.UID(name), ReplicaSet: types.UID(replicaSet)}
	w.endpoints = append(w.endpoints, affinity.EndpointStats{Service: "cart:80", Incarnation: name, Keyed: true, Live: sessions})
}

// change changes a pod and its endpoints.
func (w *world) change(name string, change func(*kube.Pod, *affinity.EndpointStats)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	next := *w.pods[types.UID(name)]
	for i := range w.endpoints {
		if w.endpoints[i].Incarnation == name {
			change(&next, &w.endpoints[i])
		}
	}
	w.pods[types.UID(name)] = &next
}

func (w *world) sessions(name string, n int) {
	w.change(name, func(_ *kube.Pod, e *affinity.EndpointStats) { e.Live = n })
}

// terminate has a pod that asks to be released terminate.
func (w *world) terminate(name string) {
	w.change(name, func(p *kube.Pod, e *affinity.EndpointStats) {
		p.Terminating, p.Grace, p.Release, e.State = time.Now(), 630, true, affinity.Draining
	})
}

// wrote takes what was written since the last time.
func (w *world) wrote() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := strings.Join(w.written, ", ")
	w.written = nil
	return all
}

func (w *world) write(what string) error {
	if w.refuse != nil {
		return w.refuse
	}
	w.written, w.at = append(w.written, what), append(w.at, time.Now())
	return nil
}

// gateway is what one gateway sees of the world.
type gateway struct {
	*world
	name string
}

func (g gateway) Pod(uid types.UID) *kube.Pod {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.pods[uid]
}

func (g gateway) Releasable() (all []*kube.Pod) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range g.pods {
		if p.Release && !p.Terminating.IsZero() {
			seen := *p
			if g.behind[g.name] {
				seen.Version, seen.Holds = "", nil
			}
			all = append(all, &seen)
		}
	}
	return all
}

func (g gateway) SetDeletionCost(_ context.Context, p *kube.Pod, cost int32, manager string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	next := *g.pods[p.UID]
	next.Cost, next.CostBy = strconv.Itoa(int(cost)), manager
	err := g.write(fmt.Sprintf("%s=%d", p.Name, cost))
	if err == nil {
		g.pods[p.UID] = &next
	}
	return err
}

func (g gateway) Release(_ context.Context, p *kube.Pod) (released bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	next := *g.pods[p.UID]
	if next.Version != p.Version {
		return false, nil
	}
	next.Grace = 1
	g.pods[p.UID] = &next
	return true, g.write("released " + p.Name)
}

func (g gateway) Hold(_ context.Context, p *kube.Pod, gateway string, until time.Time, _ string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	next := *g.pods[p.UID]
	next.Holds = maps.Clone(next.Holds)
	if until.IsZero() {
		delete(next.Holds, gateway)
	} else if next.Holds == nil {
		next.Holds = map[string]time.Time{gateway: until}
	} else {
		next.Holds[gateway] = until
	}
	g.held++
	if g.lost[g.name] > 0 {
		g.lost[g.name]--
		return errors.New("the API server is overloaded")
	}
	if g.refuse == nil {
		next.Version = strconv.Itoa(g.held)
		g.pods[p.UID] = &next
	}
	return g.refuse
}

func (g gateway) busy(incarnation string) (sessions, requests int, known bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, e := range g.endpoints {
		if e.Incarnation == incarnation {
			sessions, known = sessions+e.Live, true
		}
	}
	if n, own := g.own[g.name]; own {
		sessions = n
	}
	return sessions, g.requests[incarnation], known
}

// empty reports whether nobody has a session there by a count of the gateways' store.
func (w *world) empty(incarnation string, _ time.Duration) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.stored[incarnation]
}

func (g gateway) GetLease(context.Context, string) (*coordinationv1.Lease, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.cut[g.name] {
		return nil, errors.New("no route to host")
	}
	return g.lease, nil
}

func (g gateway) PutLease(_ context.Context, l *coordinationv1.Lease) (*coordinationv1.Lease, bool, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.cut[g.name]:
		return nil, false, errors.New("no route to host")
	case g.lease != nil && g.lease.ResourceVersion != l.ResourceVersion, g.lease == nil && l.ResourceVersion != "":
		return nil, true, nil
	}
	g.version++
	g.lease = l.DeepCopy()
	g.lease.ResourceVersion = strconv.Itoa(g.version)
	return g.lease, false, nil
}

// start runs a gateway's Scaler. stop ends it.
func (w *world) start(name string, log *bytes.Buffer) (s *Scaler, stop func()) {
	g := gateway{w, name}
	logger := slog.New(slog.DiscardHandler)
	if log != nil {
		logger = slog.New(slog.NewTextHandler(log, nil))
	}
	s = New(Config{
		Pods: g, Leases: g, Namespace: "remora-system", Lease: "remora-scale-in", Identity: name, Busy: g.busy, Log: logger,
		Empty: w.empty,
		Endpoints: func() []affinity.EndpointStats {
			w.mu.Lock()
			defer w.mu.Unlock()
			return append([]affinity.EndpointStats(nil), w.endpoints...)
		},
	})
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { s.Run(ctx) })
	return s, func() {
		cancel()
		running.Wait()
	}
}

// pass lets time pass.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func expect(t *testing.T, w *world, want string) {
	t.Helper()
	if got := w.wrote(); got != want {
		t.Errorf("written is %q, want %q", got, want)
	}
}

func TestCostsFollowSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.add("a", "one", 0)
		w.add("b", "one", 7)
		w.add("other", "two", 3)
		var log bytes.Buffer
		s, stop := w.start("g", &log)
		defer stop()
		pass(3 * time.Second)
		expect(t, w, "b=7")

		t.Log("counts that change without changing the order are not written")
		w.sessions("b", 300)
		w.sessions("other", 40)
		pass(time.Minute)
		expect(t, w, "")

		t.Log("the order turns: one write is enough")
		w.sessions("a", 800)
		pass(time.Minute)
		expect(t, w, "a=800")

		t.Log("a pod is written once in ten seconds at most")
		pass(time.Minute)
		for i := range 20 {
			w.sessions("a", 1000*(i%2))
			pass(time.Second)
		}
		if n := strings.Count(w.wrote(), "a="); n < 1 || n > 3 {
			t.Errorf("a was written %d times in 20 s", n)
		}

		t.Log("what somebody else has set stays, and is said")
		w.sessions("a", 1000)
		pass(time.Minute)
		w.wrote()
		w.change("b", func(p *kube.Pod, _ *affinity.EndpointStats) { p.Cost, p.CostBy = "-5", "kubectl-annotate" })
		w.sessions("b", 9000)
		pass(time.Minute)
		expect(t, w, "")
		if n := strings.Count(log.String(), "somebody else has set"); n != 1 || s.Status().Foreign != 1 {
			t.Errorf("it is said %d times, and the status counts %d", n, s.Status().Foreign)
		}

		t.Log("a pod that terminates, one without a ReplicaSet, and one behind no service with sessions")
		w.terminate("a")
		w.add("statefulset-0", "", 50)
		w.add("statefulset-1", "", 60)
		w.add("keyless-0", "three", 50)
		w.add("keyless-1", "three", 0)
		w.change("keyless-0", func(_ *kube.Pod, e *affinity.EndpointStats) { e.Keyed = false })
		pass(time.Minute)
		expect(t, w, "")
	})
}

func TestWritesAreRare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		const pods = 100
		w.add("empty", "one", 0)
		for i := range pods {
			w.add(fmt.Sprintf("pod-%d", i), "one", i+1)
		}
		_, stop := w.start("g", nil)
		defer stop()
		pass(time.Minute)
		perSecond := map[int64]int{}
		for _, at := range w.at {
			perSecond[at.Unix()]++
		}
		for second, n := range perSecond {
			if n > writesPer {
				t.Errorf("%d writes in second %d", n, second)
			}
		}
		if n := len(w.at); n < pods*3/4 || n > pods {
			t.Errorf("%d writes for %d pods", n, pods)
		}
	})
}

func TestAFailureIsSaidOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.add("a", "one", 0)
		w.add("b", "one", 7)
		w.refuse = errors.New("not allowed")
		var log bytes.Buffer
		s, stop := w.start("g", &log)
		defer stop()
		pass(time.Minute)
		if n := strings.Count(log.String(), "not allowed"); n != 1 {
			t.Errorf("said %d times:\n%s", n, log.String())
		}
		if st := s.Status(); st.Error == nil || st.CostErrors < 5 || st.CostErrors > 7 {
			t.Errorf("in a minute: %d tries, error %v", st.CostErrors, st.Error)
		}
		w.mu.Lock()
		w.refuse = nil
		w.mu.Unlock()
		pass(12 * time.Second)
		expect(t, w, "b=7")
		if st := s.Status(); st.Error != nil || !strings.Contains(log.String(), "pods can be written again") {
			t.Errorf("the error stays: %v", st.Error)
		}
	})
}

func TestRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		for _, name := range []string{"a", "b", "c", "d"} {
			w.add(name, "", 1)
		}
		s, stop := w.start("g", nil)
		defer stop()
		pass(5 * time.Second)
		w.terminate("a")
		w.terminate("b")
		w.terminate("c")
		w.change("c", func(p *kube.Pod, _ *affinity.EndpointStats) { p.Release = false })
		w.sessions("c", 0)
		w.sessions("d", 0) // has no session, and does not terminate
		pass(time.Minute)
		expect(t, w, "")

		t.Log("its last session has ended, and its last request has not")
		w.mu.Lock()
		w.requests["a"] = 1
		w.mu.Unlock()
		w.sessions("a", 0)
		pass(time.Minute)
		expect(t, w, "")

		t.Log("now it has: five seconds later it is released, once")
		w.mu.Lock()
		w.requests["a"] = 0
		w.mu.Unlock()
		pass(4 * time.Second)
		expect(t, w, "")
		pass(3 * time.Second)
		expect(t, w, "released a")
		pass(time.Minute)
		expect(t, w, "")

		t.Log("as long as an endpoint of it may get sessions, it is not released")
		w.sessions("b", 0)
		w.change("b", func(_ *kube.Pod, e *affinity.EndpointStats) { e.State = affinity.Ready })
		pass(time.Minute)
		expect(t, w, "")
		w.change("b", func(_ *kube.Pod, e *affinity.EndpointStats) { e.State = affinity.Draining })
		pass(10 * time.Second)
		expect(t, w, "released b")
		if st := s.Status(); st.Releases != 2 {
			t.Errorf("%d releases", st.Releases)
		}
	})
}

func TestAPodStaysUntilAllSessionsHaveBeenCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.add("a", "", 0)
		w.stored = map[string]bool{"a": true}
		_, stop := w.start("g", nil)
		defer stop()
		w.terminate("a")
		pass(time.Minute)
		expect(t, w, "")
		w.mu.Lock()
		w.stored = nil
		w.mu.Unlock()
		pass(2 * time.Second)
		expect(t, w, "released a")
	})
}

func TestAPodThatAnotherGatewayNeedsStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		w.add("a", "", 0)
		_, stopFirst := w.start("first", nil)
		defer stopFirst()
		pass(5 * time.Second)
		_, stopSecond := w.start("second", nil)
		w.own = map[string]int{"first": 0, "second": 3}
		w.terminate("a")
		pass(10 * time.Minute)
		expect(t, w, "")
		w.mu.Lock()
		if w.held < 15 || w.held > 25 {
			t.Errorf("%d writes in ten minutes", w.held)
		}
		w.own["second"] = 0
		w.mu.Unlock()
		pass(8 * time.Second)
		expect(t, w, "released a")

		t.Log("a gateway that has died holds up no pod for longer than a minute")
		w.add("b", "", 0)
		w.mu.Lock()
		w.own["second"] = 1
		w.mu.Unlock()
		w.terminate("b")
		pass(20 * time.Second)
		stopSecond()
		pass(20 * time.Second)
		expect(t, w, "")
		pass(time.Minute)
		expect(t, w, "released b")
	})
}

func TestAPodIsNotReleasedBecauseAWriteFailed(t *testing.T) {
	for name, trouble := range map[string]func(*world){
		"the gateway that needs it is refused a few times":      func(w *world) { w.lost["second"] = 3 },
		"the gateway that releases does not know of that write": func(w *world) { w.behind["first"] = true },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld()
				w.add("a", "", 0)
				s, stopFirst := w.start("first", nil)
				defer stopFirst()
				pass(5 * time.Second)
				_, stopSecond := w.start("second", nil)
				defer stopSecond()
				w.mu.Lock()
				w.own = map[string]int{"first": 0, "second": 3}
				trouble(w)
				w.mu.Unlock()
				w.terminate("a")
				pass(10 * time.Minute)
				expect(t, w, "")
				if st := s.Status(); st.Releases != 0 {
					t.Errorf("%d releases are counted", st.Releases)
				}
				w.mu.Lock()
				w.own["second"], w.behind = 0, map[string]bool{}
				w.mu.Unlock()
				pass(8 * time.Second)
				expect(t, w, "released a")
			})
		})
	}
}

func TestOneGatewayWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		first, stopFirst := w.start("first", nil)
		pass(time.Second)
		second, stopSecond := w.start("second", nil)
		pass(time.Minute)
		both := func(when string, wantFirst, wantSecond bool) {
			t.Helper()
			if a, b := first.Status().Leading, second.Status().Leading; a != wantFirst || b != wantSecond {
				t.Errorf("%s: the first leads: %v, the second: %v", when, a, b)
			}
		}
		both("at the start", true, false)
		if h := second.Status().Holder; h != "first" {
			t.Errorf("the second knows %q as the holder", h)
		}

		t.Log("the first cannot reach the API server: it stops, and only then another begins")
		w.mu.Lock()
		w.cut["first"] = true
		w.mu.Unlock()
		for range 20 * 10 {
			pass(100 * time.Millisecond)
			if first.Status().Leading && second.Status().Leading {
				t.Fatal("two lead at once")
			}
		}
		both("20 s after it was cut off", false, true)
		if err := first.Status().Error; err == nil {
			t.Error("the first has no error")
		}

		t.Log("it comes back, and the Lease stays where it is")
		w.mu.Lock()
		w.cut["first"] = false
		w.mu.Unlock()
		pass(time.Minute)
		both("after it has come back", false, true)
		if err := first.Status().Error; err != nil {
			t.Errorf("the first still has the error %v", err)
		}

		t.Log("the second stops: the first has it at its next look")
		stopSecond()
		pass(3 * time.Second)
		both("after the second has stopped", true, false)
		if n := *w.lease.Spec.LeaseTransitions; n != 2 {
			t.Errorf("the Lease counts %d transitions", n)
		}
		stopFirst()
		if h := *w.lease.Spec.HolderIdentity; h != "" {
			t.Errorf("when all have stopped, %q holds the Lease", h)
		}
	})
}
