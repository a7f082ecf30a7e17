package demo

import (
	"bytes"
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/remora-proxy/remora/examples"
)

// TestTheTourFindsWhatIsBroken walks a front door through the tour that breaks one rule, up to the step that is about it.
func TestTheTourFindsWhatIsBroken(t *testing.T) {
	last := steps[len(steps)-1].title
	for _, c := range []struct {
		name  string
		fault fault
		step  string // the first one with a check that fails, and the last one taken
		rule  string // of that check; empty: all hold
		why   string
	}{
		{"nothing is broken", none, last, "", ""},
		{"a machine that is busy for a while is no broken rule", answersLateOnce, last, "", ""},

		{"the body is not read", ignoresBody, "By body", "the body's field target named the service", "503 no_endpoint"},
		{"the replica is not told of the session", tellsNothing, "By body", "the first request of a user begins a session", "was told none, not new"},
		{"the header wins over the body", prefersHeader, "Body over header", "the body's target won over the header's", "backend-2 answered, not backend-1"},
		{"each request is placed anew", forgetsSessions, "A user stays on one replica", "each user found the same replica every time", "was on backend-1-"},
		{"one replica gets everybody", placesAllOnOne, "A user stays on one replica", "both replicas got users", "has none"},
		{"a replica loses its memory", replicaForgets, "A user stays on one replica", "each user found the same replica every time", "counts 1 visits where 2 were sent"},
		{"the admin API counts wrongly", miscounts, "A user stays on one replica", "as many live sessions", "has 4 users and 0 sessions"},
		{"a hash decides, not a table", hashesOnly, "Scale-out moves nobody", "nobody moved", "was on"},
		{"the changed configuration is refused", refusesReload, "Scale-out moves nobody", "the tour can go on", "endpoints.yaml:7: made up"},
		{"a draining replica gets new users", newcomersToDraining, "A draining replica", "new users go elsewhere", "was sent to"},
		{"a draining replica loses its users", drainingMovesUsers, "A draining replica", "its users stay on it", "was on"},
		{"a death moves users of other replicas", deathMovesAll, "A replica is killed", "nobody else moves", "was on"},
		{"a move is not told", movesInSilence, "A replica is killed", "its users move to other replicas, which are told so", "was told existing, not moved"},
		{"users move twice", movesTwice, "A replica is killed", "nobody moves a second time", "was"},
		{"users move back", movesBack, "A replica is killed", "nobody moves back", "was on"},
		{"a restart forgets the sessions", restartForgets, "Remora restarts", "every user of every service", "was"},
		{"sessions never end", neverExpires, "A session ends", "bob begins anew", "was told existing, not new"},
		{"sessions end in use", expiresInUse, "A session ends", "ann's session lives on", "was"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			upTo := slices.IndexFunc(steps, func(s step) bool { return strings.HasPrefix(s.title, c.step) }) + 1
			tour, out, err := walk(t, c.fault, time.Second, 1, steps[:upTo])
			if c.rule == "" {
				if err != nil || tour.failed > 0 || tour.checks < 2*len(steps) {
					t.Errorf("%d of %d checks failed, error %v\n%s", tour.failed, tour.checks, err, out)
				}
				return
			}
			before, after, ok := strings.Cut(out, steps[upTo-1].title)
			if !ok || strings.Contains(before, "✗") {
				t.Errorf("an earlier step than %q failed:\n%s", c.step, out)
			}
			expectFailure(t, after, c.rule, c.why)
		})
	}
}

// expectFailure looks for a check that failed, and why, in what a tour has printed.
func expectFailure(t *testing.T, out, rule, why string) {
	t.Helper()
	_, failed, ok := strings.Cut(strings.Join(strings.Fields(out), " "), "✗ "+rule) // lines may be broken anywhere
	if !ok || !strings.Contains(failed, why) {
		t.Errorf("want a failed check of %q because %q:\n%s", rule, why, out)
	}
}

// TestTheTourFindsWhatIsBrokenInScaleIn walks through the step about autoscaling alone. Its idle time is long enough for users to
// call within it on a busy machine, and its window is longer, as in the demo.
func TestTheTourFindsWhatIsBrokenInScaleIn(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault fault
		rule  string
		why   string
	}{
		{"it moves users", scaleInMovesUsers, "no session was broken", "was on backend-3-"},
		{"it sends new users to where it is", scaleInGetsNewcomers, "new users go elsewhere", "was sent to backend-3-"},
		{"it takes the fullest", countsTheWrongWayRound, "5 replicas became 2: those with the fewest live sessions drain", "only"},
		{"it does not wait for the last session", hidesLiveSessions, "no session was broken", "was on backend-3-"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			tour, out, err := walk(t, c.fault, 3*time.Second, 4, steps[len(steps)-1:])
			if err != nil || tour.failed == 0 {
				t.Errorf("%d checks failed, error %v", tour.failed, err)
			}
			expectFailure(t, out, c.rule, c.why)
		})
	}
}

// walk takes a front door and replicas without processes through steps, with an idle time and a stabilization window in seconds.
func walk(t *testing.T, fault fault, idle time.Duration, window int32, steps []step) (made *tour, out string, walked error) {
	t.Helper()
	config, err := newConfiguration(examples.HitBackend(), filepath.Join(t.TempDir(), configFolder), FreePort(t))
	must(t, err)
	f := &fleet{config: config, start: startInProcess(fault)}
	t.Cleanup(f.stop)
	must(t, f.startAll(context.Background()))
	var printed bytes.Buffer
	made, err = newTour(newFake(t, fault, config.dir), f, &screen{w: &printed}, idle, pace{sync: 100 * time.Millisecond, window: window})
	must(t, err)
	walked = made.run(context.Background(), steps)
	return made, printed.String(), walked
}

// TestADrainingReplicaEndsAtItsDeadline has a replica drain whose user does not leave.
func TestADrainingReplicaEndsAtItsDeadline(t *testing.T) {
	t.Parallel()
	tour, _, err := walk(t, none, time.Minute, 0, nil)
	must(t, err)
	s, err := newScaler(tour, backend3)
	must(t, err)
	c := &crowd{t: tour, service: backend3}
	must(t, c.join(t.Context(), 0, time.Hour))
	defer c.dismiss(everyone)
	drains := s.serving()[slices.IndexFunc(s.serving(), func(r *replica) bool { return c.count(calmAt(r)) == 1 })]
	for _, c := range []struct {
		deadline time.Duration
		ended    string
	}{{time.Hour, ""}, {0, drains.name}} {
		s.draining[drains] = time.Now().Add(c.deadline)
		if now, err := s.look(t.Context()); err != nil || names(now.ended) != c.ended {
			t.Errorf("with a deadline in %s, these ended: %q, want %q; error %v", c.deadline, names(now.ended), c.ended, err)
		}
	}
}

// FreePort is a port that is free on all loopback addresses, another one each time. It is below those that systems give to
// connections and to listeners without a wish, so that it stays free.
func FreePort(t *testing.T) uint16 {
	t.Helper()
	for range 1000 {
		port := uint16(10_000 + lastPort.Add(1)%20_000)
		l, err := net.Listen("tcp", netip.AddrPortFrom(netip.IPv4Unspecified(), port).String())
		if err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("found no free port")
	return 0
}

// lastPort begins by chance, so that two runs of these tests at the same time do not meet.
var lastPort = func() *atomic.Uint32 {
	var n atomic.Uint32
	n.Store(rand.Uint32N(20_000))
	return &n
}()

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
