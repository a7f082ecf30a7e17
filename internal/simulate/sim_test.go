package simulate

import (
	"github.com/remora-proxy/remora/internal/route"
	"github.com/remora-proxy/remora/internal/session/shared"
)

// eventKind is what happens at an event.
type eventKind uint8

const (
	evUser    eventKind = iota // user a calls
	evConnect                  // request a gets to its replica, or does not
	evDone                     // request a ends
	evResume                   // coroutine a has waited enough
	evLate                     // a call arrives at the store whose caller gave it up
	evFlush                    // of process a
	evSweep                    // of process a
	evConfig                   // process a hears of version b of the configuration
	evNews                     // process a hears of news b
	evWorld                    // something becomes of the replicas
	evUnlist                   // the configuration loses replica a; b: the address has another one at once
	evList                     // the configuration has replica a again
	evEnd                      // replica a ends, drained
	evRevive                   // the process of replica a is started again
	evFault                    // something fails
	evStart                    // gateway a is started again
)

// jobKind is what a coroutine does.
type jobKind uint8

const (
	jobDecide  jobKind = iota // request n
	jobMove                   // request n
	jobFlush                  // of the gateway
	jobOperate                // an operator moves the session of user n
)

// sim is one schedule, and memory that the next one uses again.
type sim struct {
	seed    uint64
	chance  chance
	profile *profile
	now     millis
	step    int64
	until   millis // when no faults and no changes come any more
	strict  bool   // nothing fails
	healed  bool   // nothing fails any more
	quiet   bool   // users call no more
	over    bool   // gateways do nothing by themselves any more
	queue   queue
	co      coroutines
	trace   trace
	rules   rules
	count   counts

	world     world
	depot     depot
	lost      millis // when the store last lost something
	pool      [maxProcesses]*gateway
	processes uint32
	gateways  []*gateway // the present process of each
	users     []user

	requests     []*request
	freeRequests []int32
	open         int // requests that have no end yet
	late         []*op
	freeOps      []*op
	news         []shared.News
}

func newSim() *sim {
	s := &sim{}
	s.co.run = s.work
	return s
}

// work is what coroutines do.
func (s *sim) work(j job) {
	switch j.kind {
	case jobDecide, jobMove:
		s.await(j.n, j.kind)
	case jobFlush:
		j.gateway.flush()
	case jobOperate:
		s.operate(j.gateway, j.n)
	}
}

// wait lets the schedule go on for a while. Only a coroutine may wait.
func (s *sim) wait(d millis) {
	if d == 0 {
		return
	}
	c := s.co.current
	if c == nil {
		panic("simulate: a call waits that was to wait for nothing")
	}
	s.queue.push(s.now+d, evResume, c.id, 0)
	s.co.current = nil
	c.yield(struct{}{})
}

// run is one schedule. It returns the rule that was broken, or nil.
func (s *sim) run(seed uint64) *breach {
	s.reset(seed)
	for s.ok() && s.now < s.until {
		s.next()
	}
	if s.ok() {
		s.settle()
	}
	s.count.schedules++
	s.count.steps += s.step
	return s.rules.broken
}

// reset begins a schedule: gateways that all have the first configuration, and an empty store.
func (s *sim) reset(seed uint64) {
	s.seed, s.now, s.step, s.quiet, s.over, s.open, s.processes, s.lost = seed, 1000, 1, false, false, 0, 0, never
	s.chance = chance{seed}
	s.profile = &profiles[s.chance.below(len(profiles))]
	s.healed = false
	s.strict = s.profile.faultEvery == 0 && s.profile.losesCall == 0
	s.queue.reset()
	s.trace.n = 0
	s.late, s.news = s.late[:0], s.news[:0]
	s.world.reset()
	s.depot.reset(s)
	s.rules.reset(s)
	for slot := range 2 + s.chance.below(maxSlots-2) {
		s.world.begin(slot)
	}
	s.world.publish()
	s.gateways = s.gateways[:0]
	for n := range 1 + s.chance.below(maxGateways) {
		s.gateways = append(s.gateways, nil)
		s.boot(int32(n))
		s.gateways[n].apply(0)
	}
	s.users = s.users[:0]
	for u := range 5 + s.chance.below(maxUsers-4)*s.chance.below(maxUsers)/maxUsers {
		s.users = append(s.users, user{
			home: int32(s.chance.below(len(s.gateways))), roams: s.chance.oneIn(3),
			headers: [1]route.Header{{Name: "x-user", Value: userNames[u]}},
		})
		s.queue.push(s.now+s.chance.between(0, 2000), evUser, int32(u), 0)
	}
	s.until = s.now + s.chance.between(3000, 10000)
	s.queue.push(s.now+s.chance.between(100, 2000), evWorld, 0, 0)
	s.queue.push(s.now+s.chance.between(100, 3000), evFault, 0, 0)
}

// boot starts the process of a gateway.
func (s *sim) boot(n int32) {
	g := s.pool[s.processes]
	if g == nil {
		g = new(gateway)
		s.pool[s.processes] = g
	}
	g.start(s, n)
	s.gateways[n] = g
	s.queue.push(s.now+s.chance.between(1, interval), evFlush, int32(g.id), 0)
	s.queue.push(s.now+s.chance.between(1, sweepEvery), evSweep, int32(g.id), 0)
}

// process is the process with a number.
func (s *sim) process(id int32) *gateway { return s.pool[id-1] }

// next lets the next event happen.
func (s *sim) next() {
	e := s.queue.pop()
	s.now = e.at
	s.step++
	switch e.kind {
	case evUser:
		s.call(e.a)
	case evConnect:
		s.connect(e.a)
	case evDone:
		s.release(e.a)
	case evResume:
		s.co.proceed(s.co.all[e.a])
	case evLate:
		s.count.late++
		o := s.late[e.a]
		s.depot.arrive(o)
	case evFlush:
		if !s.over {
			s.flush(s.process(e.a))
		}
	case evSweep:
		if !s.over {
			s.sweep(s.process(e.a))
		}
	case evConfig:
		s.process(e.a).apply(e.b)
	case evNews:
		s.hear(s.process(e.a), e.b)
	case evFault:
		s.fault()
	case evStart:
		s.restart(e.a)
	default:
		s.change(e)
	}
}

// flush begins a call of Flush, unless the last one is still on its way.
func (s *sim) flush(g *gateway) {
	if g.dead {
		return
	}
	s.queue.push(s.now+interval, evFlush, int32(g.id), 0)
	if !g.flushing {
		g.flushing = true
		s.co.start(job{kind: jobFlush, gateway: g})
	}
}

// sweep is the gateway's walk through its table, and the rules that can be looked at in passing.
func (s *sim) sweep(g *gateway) {
	if g.dead {
		return
	}
	s.queue.push(s.now+sweepEvery, evSweep, int32(g.id), 0)
	g.engine.SweepAll(g.clock())
	s.rules.look(g)
}

// tell sends news to a gateway.
func (s *sim) tell(g *gateway, n shared.News) {
	s.count.news++
	if g.cutUntil > s.now || s.depot.hushedUntil > s.now || s.chance.oneIn(s.profile.losesNews) {
		s.count.newsLost++
		g.missed = s.now
		return
	}
	s.news = append(s.news, n)
	at := s.now + s.profile.delay(s)
	if s.profile.shuffles {
		at = s.now + s.chance.between(0, 400)
		g.missed = s.now
		if s.chance.oneIn(10) {
			s.queue.push(at+s.chance.between(0, 400), evNews, int32(g.id), int32(len(s.news)-1))
		}
	} else {
		at = max(at, g.lastNews)
		g.lastNews = at
	}
	s.queue.push(at, evNews, int32(g.id), int32(len(s.news)-1))
}

func (s *sim) hear(g *gateway, n int32) {
	if g.dead {
		return
	}
	news := s.news[n]
	if news.Kind == shared.Drain {
		if r, ok := byEndpoint[news.Endpoint]; ok {
			g.drain(r, news.On)
		}
		return
	}
	g.store.Hear(news, g.clock())
}
