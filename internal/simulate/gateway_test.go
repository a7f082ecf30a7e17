package simulate

import (
	"bytes"
	"time"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/session"
	"github.com/remora-proxy/remora/internal/session/shared"
)

// How a gateway is run: what internal/app does with it.
const (
	interval   = 400  // ms between two calls of Flush
	sweepEvery = 1000 // ms between two walks through the whole table
	maxWaiting = 4    // requests that wait for the store at one gateway; more are decided alone
)

func duration(ms millis) time.Duration { return time.Duration(ms) * time.Millisecond }

// gateway is one process: the production core, and what the simulator remembers of it.
type gateway struct {
	sim    *sim
	number int32 // which of the gateways; another process takes it over after a crash
	dead   bool
	engine *affinity.Engine
	store  *shared.Store
	table  *session.Table
	remote shared.Remote // of the model
	skew   millis        // its clock, compared with the true one
	blur   millis        // by how much it is mistaken about the store's clock
	id     uint32        // of the process
	ran    int32         // version of the configuration that it has

	waiting    int    // requests in coroutines
	flushing   bool   // a call of Flush is on its way
	trouble    millis // when a call last failed, or not all was told again since, or the store lost something
	born, died millis
	cutUntil   millis // no message gets through
	lastNews   millis // when the last news come to it: they keep their order
	missed     millis // when news were lost, or came in another order

	knows    [maxReplicas]knowledge
	sessions [maxUsers]memory
	inFlight [maxReplicas]int32
	saved    bytes.Buffer // its sessions, where it was restarted
}

// knowledge is what a gateway has been told of a replica, as the rules say it, and not as the engine keeps it.
type knowledge struct {
	listed, draining, marked bool
	since                    millis // on the gateway's clock: when it began to drain; 0: it does not
	changed                  int64  // step in which any of this changed
	changedAt                millis // when that was
	gone                     int64  // step in which it was last taken away; 0: never
	met                      millis // when the store first told of it, before it was known; 0: it has not
}

// memory is what a gateway has done with a user.
type memory struct {
	owner                int32  // of the last decision
	step                 int64  // in which that was
	decided              millis // when
	waitedFrom, waitedTo millis // the last decision that waited for the store
	seen                 millis // true time of the last decision or release
	holds                int32
	pending              int32  // requests that wait
	untold               bool   // there was such a decision
	elsewhere            bool   // since then the store has told it an owner that it does not know
	unsent               bool   // the owner has not heard of the last decision
	wrong                millis // since when it decides for another owner than the store has; 0: it does not
}

func (g *gateway) clock() session.Instant { return session.Instant(g.sim.now + g.skew) }

// start makes the process. Its engine has no configuration yet.
func (g *gateway) start(s *sim, number int32) {
	s.processes++
	*g = gateway{sim: s, number: number, id: s.processes, born: s.now, ran: -1, saved: g.saved, trouble: never, missed: never}
	for u := range g.sessions {
		g.sessions[u].seen = never
	}
	if g.skew = 1_000_000_000 + s.chance.between(-5000, 5000); s.gateways[number] != nil {
		g.skew = s.gateways[number].skew // the same machine
	}
	g.blur = s.chance.between(-s.profile.blur, s.profile.blur)
	g.remote = s.depot.connect(g)
	g.table = session.NewTable(session.Options{MaxSessions: 1 << 10})
	g.store = shared.New(shared.Options{
		Table: g.table, Remote: &link{g}, Gateway: g.id, Interval: duration(interval), Parts: 4,
		Pause: func(d time.Duration) { s.wait(millis(d / time.Millisecond)) },
	})
	g.engine = affinity.New(affinity.Options{HashKey: hashKey, HashKeyFixed: true, Nonce: s.seed + uint64(g.id), Store: g.store})
	g.store.Resolve(g.engine)
}

var hashKey = [16]byte{1, 2, 3}

// apply takes over a version of the configuration.
func (g *gateway) apply(n int32) {
	if n <= g.ran || g.dead {
		return
	}
	s := g.sim
	v := &s.world.versions[n]
	if err := g.engine.Apply(v.snapshot, g.clock()); err != nil {
		panic(err)
	}
	if g.ran >= 0 {
		for slot, r := range s.world.versions[g.ran].replicas {
			if k := &g.knows[r]; r != 0 && r != v.replicas[slot] {
				k.listed, k.draining, k.since = false, false, 0
				k.changed, k.changedAt, k.gone = s.step, s.now, s.step
			}
		}
	}
	for slot, r := range v.replicas {
		if r == 0 {
			continue
		}
		k := &g.knows[r]
		draining := v.states[slot] == affinity.Draining
		if !k.listed || k.draining != draining {
			k.changed, k.changedAt = s.step, s.now
		}
		k.listed, k.draining = true, draining
		k.clock(g)
	}
	g.ran = n
	s.trace.add(s.now, "g%d has configuration %d", int64(g.number), int64(n))
}

// clock starts or ends the time that the drain deadline is counted from.
func (k *knowledge) clock(g *gateway) {
	switch {
	case !k.listed || !k.draining && !k.marked:
		k.since = 0
	case k.since == 0:
		k.since = millis(g.clock())
	}
}

// serves says whether a replica serves the sessions that it has, as far as the gateway knows.
func (g *gateway) serves(r int32) bool { return g.servesAt(r, g.clock()) }

func (g *gateway) servesAt(r int32, now session.Instant) bool {
	k := &g.knows[r]
	return k.listed && (k.since == 0 || millis(now) < k.since+drainDeadline)
}

// takes says whether a replica may get a new session.
func (g *gateway) takes(r int32) bool {
	k := &g.knows[r]
	return k.listed && !k.draining && !k.marked
}

// drain is an operator's mark, or its end.
func (g *gateway) drain(r int32, on bool) {
	s := g.sim
	g.engine.Drain(addresses[slotOf(r)], on, g.clock())
	for life := range int32(maxLives) { // the engine takes an address for all that the configuration has at it
		if k := &g.knows[replicaOf(slotOf(r), life)]; k.listed && k.marked != on {
			k.marked, k.changed, k.changedAt = on, s.step, s.now
			k.clock(g)
		}
	}
}

// well says whether the store had every chance to know what the gateway knows: no call has failed for a while, and all has been told
// again where one had.
func (g *gateway) well() bool { return !g.dead && g.sim.now >= g.trouble+recovery }

// flush sends renewals and counts, in a coroutine.
func (g *gateway) flush() {
	g.store.Flush(g.clock())
	if !g.dead {
		g.store.Count(g.clock())
	}
	if st := g.store.Status(); st.Down || st.Telling {
		g.trouble = g.sim.now
	}
	g.flushing = false
}

// recovery is how long after the last failure of a call what was decided meanwhile may be on its way to the store.
const recovery = 2*interval + sweepEvery + 4*timeout

// never is a time before all others.
const never = -1 << 40
