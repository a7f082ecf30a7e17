package histories

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/programtest"
)

var (
	users    = flag.Int("users", 200, "users who call")
	duration = flag.Duration("duration", 2500*time.Millisecond, "for which they call in each scenario, besides the time that gateways need to agree again")
	fault    = flag.Duration("fault", idleTime/2, "how long a fault lasts; over 3s sessions end at gateways that stand still")
	seed     = flag.Uint64("seed", 0, "of what is random; 0: another one each time")
	only     = flag.String("only", "", "run the scenarios whose name has this in it; empty: all")
	keep     = flag.String("keep", "", "folder for the pictures of what is refused; empty: a new one")
)

func TestMain(m *testing.M) {
	flag.Parse()
	if *seed == 0 {
		*seed = rand.Uint64()>>1 + 1
	}
	os.Exit(programtest.Main(m.Run))
}

// settleTime is how long after all gateways have told the store everything they agree, also where one missed the news of that, for it did not hear them
// yet: a session that it still has after idleTime was used there since, and the next renewal has corrected what it knew.
const settleTime = idleTime + 3*interval

// agreeLimit bounds how long gateways may take to say that, from when the fault is taken back: they try again every 4 s at the latest, and wait a
// second for an answer; the rest is for a machine that is busy.
const agreeLimit = time.Minute

// maxTries is how often a scenario is played at most: again where the machine stalled, and a gateway was alone for which nothing else accounts. No
// gateway is excused by that: the last try counts, whatever the machine did.
const maxTries = 10

// run is one run of a scenario.
type run struct {
	*cluster
	crowd *crowd
	rand  *rand.Rand
	ctx   context.Context
}

// wait lets the users go on for a while.
func (r *run) wait(d time.Duration) { r.crowd.pause(d) }

// faultTime lets a fault last.
func (r *run) faultTime() { r.wait(*fault) }

// scenarios are what happens to the parts meanwhile.
var scenarios = []struct {
	name string
	with setting
	does func(r *run)
}{
	{"calm", setting{}, func(*run) {}},
	{"a gateway's way to Redis is slow", setting{}, func(r *run) {
		r.gateways[r.rand.IntN(gateways)].proxy.setDelay(20 * time.Millisecond)
		r.wait(*fault)
	}},
	{"a gateway is killed and started again", setting{}, func(r *run) {
		i := r.rand.IntN(gateways)
		r.killGateway(i)
		r.wait(*fault / 2)
		r.startGateway(i)
	}},
	{"a gateway stands still", setting{}, func(r *run) { r.standStill(r.rand.IntN(gateways), r.faultTime) }},
	{"a gateway is cut off from Redis", setting{}, func(r *run) { r.cutOff(r.rand.IntN(gateways), r.faultTime) }},
	{"a gateway's way to Redis hangs", setting{}, func(r *run) { r.holdUp(r.rand.IntN(gateways), r.faultTime) }},
	{"Redis stands still", setting{}, func(r *run) { r.redisStandsStill(r.faultTime) }},
	{"Redis is killed and started empty", setting{}, func(r *run) { r.redisIsKilled(r.faultTime) }},
	{"a replica is killed", setting{}, func(r *run) { r.killReplica(r.rand.IntN(len(r.replicas))) }},
	{"Redis fails over to a replica that lags", setting{sentinel: true}, func(r *run) { r.redisFailsOver() }},
	{"several, at random", setting{hashKey: true}, func(r *run) { r.several() }},
}

// outage does something to gateways and takes it back, and waits until they agree again.
func (r *run) outage(of []int, begin, meanwhile, end func()) {
	r.t.Helper()
	var os []*outage
	for _, i := range of {
		os = append(os, &outage{gateway: i, from: r.now(), back: r.now() + time.Hour, told: r.now() + time.Hour, until: r.now() + time.Hour})
	}
	r.record(func(h *history) { h.outages = append(h.outages, os...) })
	begin()
	meanwhile()
	back := r.now()
	end()
	told := r.whole(of)
	r.wait(told + settleTime - r.now())
	r.record(func(*history) {
		for _, o := range os {
			o.back, o.told, o.until = back, told, r.now()
		}
	})
}

// whole waits until gateways say that the store answers, and has been told everything, and go on to say so for as long as a call may take, with none
// failing meanwhile: those that the fault met have ended then. It gives when the last of them began to say so: that it is alone has no excuse since.
func (r *run) whole(of []int) (told time.Duration) {
	r.t.Helper()
	client := &http.Client{}
	defer client.CloseIdleConnections()
	since := map[int]said{}
	for deadline := time.Now().Add(agreeLimit); ; r.wait(20 * time.Millisecond) {
		agree := true
		for _, i := range of {
			now, err := r.asks(r.ctx, client, i)
			first, ok := since[i]
			switch {
			case err != nil || !now.whole():
				delete(since, i)
				agree = false
			case !ok || now.failures != first.failures || now.life != first.life:
				since[i], told = now, now.at
				agree = false
			default:
				agree = agree && now.asked-first.at >= storeTimeout
			}
			if !agree && time.Now().After(deadline) {
				r.t.Fatalf("gateway %d has not found back to the store within %s: %+v, %v", i, agreeLimit, now, err)
			}
		}
		if agree {
			return told
		}
	}
}

func (r *run) standStill(i int, meanwhile func()) {
	g := r.gateways[i]
	r.outage([]int{i}, func() { g.Signal(syscall.SIGSTOP) }, meanwhile, func() { g.Signal(syscall.SIGCONT) })
}

func (r *run) cutOff(i int, meanwhile func()) {
	p := r.gateways[i].proxy
	r.outage([]int{i}, func() { p.setCut(true) }, meanwhile, func() { p.setCut(false) })
}

func (r *run) holdUp(i int, meanwhile func()) {
	p := r.gateways[i].proxy
	r.outage([]int{i}, func() { p.setHeld(true) }, meanwhile, func() { p.setHeld(false) })
}

var all = []int{0, 1, 2}

func (r *run) redisStandsStill(meanwhile func()) {
	r.outage(all, r.redis.Stop, meanwhile, r.redis.Continue)
}

func (r *run) redisIsKilled(meanwhile func()) {
	r.outage(all, r.redis.Kill, meanwhile, r.redis.Restart)
}

// redisFailsOver kills Redis when its replica has missed what users did for a while, and has the replica take its place.
func (r *run) redisFailsOver() {
	missed := r.now()
	r.redis.Lag(r.follower)
	r.wait(*fault / 2)
	r.killReplica(r.rand.IntN(len(r.replicas)))
	r.wait(*fault / 2)
	r.outage(all, func() {
		r.record(func(h *history) {
			for _, o := range h.outages {
				o.missed = missed
			}
		})
		r.redis.Kill()
	}, func() {}, r.sentinel.Failover)
}

// several lets one thing fail after the other, and now and then two at a time. No replica but one is killed: the users need some.
func (r *run) several() {
	faults := []struct {
		name string
		does func(i int, meanwhile func())
	}{
		{"a gateway stands still", r.standStill},
		{"a gateway is cut off", r.cutOff},
		{"a gateway's way hangs", r.holdUp},
		{"Redis stands still", func(_ int, meanwhile func()) { r.redisStandsStill(meanwhile) }},
		{"Redis is killed", func(_ int, meanwhile func()) { r.redisIsKilled(meanwhile) }},
		{"nothing", func(_ int, meanwhile func()) { meanwhile() }},
	}
	killed := false
	for began := r.now(); r.now() < began+max(*duration, 2**fault); {
		i, d, f := r.rand.IntN(gateways), *fault/2+time.Duration(r.rand.Int64N(int64(*fault/2))), faults[r.rand.IntN(len(faults))]
		also := r.rand.IntN(3)
		f.does(i, func() {
			r.wait(d / 2)
			switch other := (i + 1) % gateways; {
			case also == 0:
				r.t.Logf("%.3f s: %s (%d); gateway %d is killed", r.now().Seconds(), f.name, i, other)
				r.killGateway(other)
				r.wait(d / 2)
				r.startGateway(other)
			case also == 1 && !killed:
				killed = true
				r.t.Logf("%.3f s: %s (%d); a replica is killed", r.now().Seconds(), f.name, i)
				r.killReplica(r.rand.IntN(len(r.replicas)))
				r.wait(d / 2)
			default:
				r.t.Logf("%.3f s: %s (%d)", r.now().Seconds(), f.name, i)
				r.wait(d / 2)
			}
		})
		r.wait(d / 4)
	}
}

// play runs a scenario, and gives its history.
func play(t *testing.T, with setting, does func(*run)) *history {
	t.Helper()
	c := startCluster(t, with)
	r := &run{cluster: c, rand: rand.New(rand.NewPCG(*seed, 1)), ctx: t.Context()}
	// The last users arrive when the faults are about to end, so that in each some are first seen.
	r.crowd = startCrowd(c, *users, *duration*3/4, *seed)
	t.Cleanup(r.crowd.end)
	r.wait(*duration / 3)
	does(r)
	r.wait(*duration * 2 / 3)
	r.crowd.end()
	for i := range c.gateways {
		c.complaints(i)
	}
	return &c.h
}

// Two scenarios run at a time, or as many as -parallel says: mostly their users wait. The histories are checked when all have ended, for that takes
// the machine's cores.
func TestHistories(t *testing.T) {
	t.Logf("seed %d: again with -args -seed %[1]d", *seed)
	histories := make([]*history, len(scenarios))
	t.Run("run", func(t *testing.T) {
		for i, s := range scenarios {
			if strings.Contains(s.name, *only) {
				t.Run(s.name, func(t *testing.T) {
					t.Parallel()
					for try := 1; try <= maxTries; try++ {
						histories[i] = nil
						t.Run(fmt.Sprint(try), func(t *testing.T) { histories[i] = play(t, s.with, s.does) })
						h := histories[i]
						if h == nil || !h.disturbed() {
							break
						}
						t.Logf("try %d of %d: the machine stalled, %s; gateways were alone, %s", try, maxTries, h.stalls, h.unexplained())
					}
				})
			}
		}
	})
	table := fmt.Sprintf("%-40s %6s %7s %7s %7s %8s %8s %7s %7s\n",
		"scenario", "users", "calls", "unsent", "failed", "checked", "diverged", "parted", "agreed")
	for i, h := range histories {
		if h == nil {
			continue
		}
		t.Run("check "+scenarios[i].name, func(t *testing.T) {
			v := h.check()
			for why, n := range h.failures() {
				t.Logf("%d calls failed: %s", n, why)
			}
			table += fmt.Sprintf("%-40s %6d %7d %7d %7d %8d %8d %7d %7s %s\n",
				scenarios[i].name, v.users, len(h.calls), len(h.unsent), v.failed, v.checked, v.diverged, v.parted, h.agreedAfter(), v.says())
			v.report(t, scenarios[i].name)
		})
	}
	t.Logf("\n%s", table)
}

// agreedAfter is how long it took at most from when a fault was taken back until the gateways agreed; empty: there was none.
func (h *history) agreedAfter() string {
	var longest time.Duration
	for _, o := range h.outages {
		longest = max(longest, o.until-o.back)
	}
	if longest == 0 {
		return ""
	}
	return fmt.Sprintf("%.1fs", longest.Seconds())
}

// says is the verdict in a word or two.
func (v *verdict) says() string {
	if len(v.refused)+len(v.objections) > 0 {
		return fmt.Sprintf("REFUSED: %d users, %d objections", len(v.refused), len(v.objections))
	}
	return "linearizable"
}

// report fails the test for what was refused.
func (v *verdict) report(t *testing.T, name string) {
	t.Helper()
	for _, o := range v.objections[:min(len(v.objections), 10)] {
		t.Errorf("with seed %d: %s (one of %d objections)", *seed, o, len(v.objections))
	}
	if len(v.refused) == 0 {
		return
	}
	folder, err := v.keep(*keep, name)
	if err != nil {
		t.Error(err)
	}
	t.Errorf("with seed %d the calls of %d users are in no order that the rules allow; pictures of the first are in %s", *seed, len(v.refused), folder)
	for _, r := range v.refused[:min(len(v.refused), 3)] {
		t.Error(r.why)
	}
}

// Gateways that share nothing are refused, and not only because each tells a user that the session is new.
func TestGatewaysThatDoNotShareAreRefused(t *testing.T) {
	t.Parallel()
	h := play(t, setting{apart: true}, func(*run) {})
	if v := h.check(); len(v.refused) == 0 {
		t.Errorf("with seed %d: no call of %d is refused", *seed, v.checked)
	}
	for _, c := range h.calls {
		c.session = ""
	}
	if v := h.check(); len(v.refused) == 0 {
		t.Errorf("with seed %d: no call of %d is refused by its replica alone", *seed, v.checked)
	} else {
		t.Logf("%d of %d users", len(v.refused), v.users)
	}
}

// A gateway that is alone all the time, though nothing is said to have been done to it, is refused: for what its users are told, and for what it says
// of itself.
func TestAGatewayThatIsAloneInTheCalmIsRefused(t *testing.T) {
	t.Parallel()
	h := play(t, setting{}, func(r *run) { r.gateways[0].proxy.setCut(true) })
	v := h.check()
	if len(v.refused) == 0 {
		t.Errorf("with seed %d: no call of %d is refused", *seed, v.checked)
	}
	for _, want := range []string{"alone, and nothing had been done to it: gateway 0", "gateway 0 was last seen to share", "gateway 0 said"} {
		if !slices.ContainsFunc(v.objections, func(o string) bool { return strings.HasPrefix(o, want) }) {
			t.Errorf("with seed %d: nobody objects that %q", *seed, want)
		}
	}
	t.Logf("%d of %d users; %d objections", len(v.refused), v.users, len(v.objections))
}
