//go:build linux

package asenvoy

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"time"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
)

// Config is one run.
type Config struct {
	To                 []netip.AddrPort // processors, IPv4; requests go to them in turn
	Connections        int              // to each processor
	InFlight           int              // requests, when Rate is 0: each that ends is followed by the next
	Rate               float64          // requests per second, with Poisson arrivals
	Hold               time.Duration    // from the last answer to the request's end: what the replica takes
	Warmup             time.Duration
	Duration           time.Duration
	Seed               uint64
	CPU                int // the core to run on; negative: any
	AfterWarmup, AtEnd func()
}

// Result is what was measured.
type Result struct {
	Requests  int             // that ended in the time that counts
	Latencies []time.Duration // sorted: from when a request was due to its last answer
	Seconds   float64
}

// Percentile is the p-th percentile of the latencies, p from 0 to 100.
func (r Result) Percentile(p float64) time.Duration {
	if len(r.Latencies) == 0 {
		return 0
	}
	return r.Latencies[min(len(r.Latencies)-1, int(p/100*float64(len(r.Latencies))))]
}

// Run sends the load and waits for the answers.
func Run(c Config) (Result, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if c.CPU >= 0 {
		var before, set unix.CPUSet
		set.Set(c.CPU)
		if err := errors.Join(unix.SchedGetaffinity(0, &before), unix.SchedSetaffinity(0, &set)); err != nil {
			return Result{}, err
		}
		defer unix.SchedSetaffinity(0, &before) //nolint:errcheck // it was so before
	}
	g := &generator{Config: c, requests: requests(), random: rand.New(rand.NewPCG(c.Seed, 1)), room: make([]byte, 1<<18)}
	poll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return Result{}, err
	}
	defer unix.Close(poll) //nolint:errcheck // nothing is left to be lost
	g.poll = poll
	for _, to := range c.To {
		for range c.Connections {
			conn, err := dial(to)
			if err != nil {
				return Result{}, fmt.Errorf("connecting to %s: %w", to, err)
			}
			defer unix.Close(conn.fd) //nolint:errcheck // nothing is left to be lost
			if err := unix.EpollCtl(poll, unix.EPOLL_CTL_ADD, conn.fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(len(g.conns))}); err != nil {
				return Result{}, err
			}
			g.conns = append(g.conns, conn)
		}
	}
	return g.run()
}

type ending struct {
	s  *stream
	at time.Duration
}

type generator struct {
	Config
	requests  []request
	random    *rand.Rand
	poll      int
	conns     []*conn
	room      []byte
	started   int
	inFlight  int
	next      time.Duration
	ending    []ending // in the order of their times
	latencies []time.Duration
	counted   int
	now       time.Duration
}

func (g *generator) run() (Result, error) {
	start := time.Now()
	end := g.Warmup + g.Duration
	warm := false
	var events [64]unix.EpollEvent
	for {
		g.now = time.Since(start)
		if !warm && g.now >= g.Warmup {
			warm = true
			g.AfterWarmup()
		}
		over := g.now >= end
		g.endDue()
		if !over {
			g.begin()
		}
		for _, c := range g.conns {
			if err := c.flush(); err != nil {
				return Result{}, err
			}
		}
		if over && g.inFlight == 0 {
			g.AtEnd()
			slices.Sort(g.latencies)
			return Result{Requests: g.counted, Latencies: g.latencies, Seconds: (time.Since(start) - g.Warmup).Seconds()}, nil
		}
		if g.now > end+10*time.Second {
			return Result{}, fmt.Errorf("%d requests had no answer 10s after the end", g.inFlight)
		}
		n, err := g.wait(events[:], over)
		if err != nil {
			return Result{}, err
		}
		g.now = time.Since(start)
		for _, e := range events[:n] {
			if err := g.conns[e.Fd].receive(g.room, g.answered); err != nil {
				return Result{}, err
			}
		}
	}
}

// wait waits for answers, or until something is due.
func (g *generator) wait(events []unix.EpollEvent, over bool) (int, error) {
	d := 100 * time.Millisecond
	if g.Rate > 0 && !over {
		d = min(d, g.next-g.now)
	}
	if len(g.ending) > 0 {
		d = min(d, g.ending[0].at-g.now)
	}
	ts := unix.NsecToTimespec(int64(max(0, d)))
	n, err := epollPwait2(g.poll, events, &ts)
	if errors.Is(err, unix.EINTR) {
		return 0, nil
	}
	return n, err
}

// begin starts what is due.
func (g *generator) begin() {
	if g.Rate == 0 {
		for g.inFlight < g.InFlight {
			g.open(g.now)
		}
		return
	}
	for g.next <= g.now {
		g.open(g.next)
		g.next += time.Duration(g.random.ExpFloat64() / g.Rate * float64(time.Second))
	}
}

func (g *generator) open(due time.Duration) {
	i := g.started % len(g.requests)
	g.conns[g.started%len(g.conns)].open(&g.requests[i], i, due)
	g.started++
	g.inFlight++
}

// endDue ends the requests whose response is over.
func (g *generator) endDue() {
	n := 0
	for _, e := range g.ending {
		if e.at > g.now {
			break
		}
		e.s.c.end(e.s)
		g.inFlight--
		n++
	}
	g.ending = g.ending[:copy(g.ending, g.ending[n:])]
}

// answered takes an answer.
func (g *generator) answered(s *stream, answer []byte) error {
	s.answers++
	if s.answers == 1 {
		s.c.say(s, s.r.body)
		return nil
	}
	if s.due >= g.Warmup {
		g.counted++
		g.latencies = append(g.latencies, g.now-s.due)
	}
	g.ending = append(g.ending, ending{s, g.now + g.Hold})
	if s.index%50 == 0 {
		return g.check(s, answer)
	}
	return nil
}

// check looks whether an answer is a decision.
func (g *generator) check(s *stream, answer []byte) error {
	var m extprocv3.ProcessingResponse
	if err := proto.Unmarshal(answer, &m); err != nil {
		return fmt.Errorf("an answer cannot be read: %w", err)
	}
	for _, h := range m.GetRequestBody().GetResponse().GetHeaderMutation().GetSetHeaders() {
		if h.GetHeader().GetKey() == "x-remora-endpoint" {
			return nil
		}
	}
	return fmt.Errorf("an answer has no endpoint: %v", &m)
}
