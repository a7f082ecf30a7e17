package simulate

import (
	"fmt"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/route"
	"github.com/remora-proxy/remora/internal/session"
)

// What a schedule is made of, at most.
const (
	maxGateways = 4
	maxSlots    = 6 // addresses that replicas are at
	maxLives    = 40
	maxReplicas = maxSlots * maxLives
	maxUsers    = 30
	maxVersions = 200
)

// The configuration of the one service: short times, so that a schedule of some seconds has everything in it.
const (
	idle          = 4 * millisPerSecond
	drainDeadline = 3 * millisPerSecond

	millisPerSecond = 1000
)

// replica is a process in one incarnation. It is there before the configuration has it, and may be dead long before that hears of it.
type replica struct {
	alive    bool
	listed   bool
	draining bool
}

// version is the endpoints of the configuration at one time. 0 in states: it has not.
type version struct {
	states   [maxSlots]affinity.EndpointState
	replicas [maxSlots]int32 // 0: none
	snapshot *affinity.Snapshot
}

// world is the replicas and what the configuration says of them.
type world struct {
	replicas [maxReplicas]replica
	lives    [maxSlots]int32 // incarnations that an address has had
	current  [maxSlots]int32 // the replica at an address, dead or alive; 0: none was ever there
	versions []version
}

// A replica's number tells its address and its incarnation.
func replicaOf(slot int, life int32) int32 { return int32(slot)*maxLives + life }
func slotOf(r int32) int                   { return int(r / maxLives) }

var (
	addresses    [maxSlots]string
	incarnations [maxLives]string
	byEndpoint   = map[[2]string]int32{}
	identities   [maxReplicas]uint64 // what gateways call them
	byIdentity   = map[uint64]int32{}
)

func (w *world) nameOf(r int32) string {
	if r <= 0 {
		return "nobody"
	}
	return fmt.Sprintf("r%d/%s", slotOf(r)+1, incarnations[r%maxLives])
}

func (w *world) reset() {
	w.replicas = [maxReplicas]replica{}
	w.lives, w.current = [maxSlots]int32{}, [maxSlots]int32{}
	w.versions = w.versions[:0]
}

// begin starts a new incarnation at an address. It reports false when the address has had all that a schedule may have.
func (w *world) begin(slot int) bool {
	if w.lives[slot]+1 >= maxLives {
		return false
	}
	if old := w.current[slot]; old != 0 {
		w.replicas[old] = replica{}
	}
	w.lives[slot]++
	r := replicaOf(slot, w.lives[slot])
	w.current[slot] = r
	w.replicas[r] = replica{alive: true, listed: true}
	return true
}

// at is the replica that listens at an address; 0: nobody does.
func (w *world) at(slot int) int32 {
	if r := w.current[slot]; r != 0 && w.replicas[r].alive {
		return r
	}
	return 0
}

// listed is how many replicas the configuration has that take new sessions.
func (w *world) ready() int {
	n := 0
	for _, r := range w.current {
		if r != 0 && w.replicas[r].listed && !w.replicas[r].draining {
			n++
		}
	}
	return n
}

const serviceName = "backend"

// publish makes what the replicas are now a version of the configuration. It reports false when there were too many.
func (w *world) publish() bool {
	if len(w.versions) == maxVersions {
		return false
	}
	var v version
	sc := affinity.ServiceConfig{
		Name: serviceName, Host: serviceName, Port: 80, Key: affinity.Key{Kind: affinity.HeaderKey, Name: "x-user"},
		IdleTimeout: duration(idle), LoadBound: 1.25, DrainDeadline: duration(drainDeadline),
	}
	for slot, r := range w.current {
		if r == 0 || !w.replicas[r].listed {
			continue
		}
		v.replicas[slot] = r
		if w.replicas[r].draining {
			v.states[slot] = affinity.Draining
		}
		sc.Endpoints = append(sc.Endpoints, affinity.EndpointConfig{
			Addr: addresses[slot], Incarnation: incarnations[r%maxLives], State: v.states[slot],
		})
	}
	s, err := affinity.Compile(affinity.Config{Routes: routes, Services: []affinity.ServiceConfig{sc}})
	if err != nil {
		panic(err)
	}
	v.snapshot = s
	w.versions = append(w.versions, v)
	return true
}

var routes = route.Config{Listeners: []route.Listener{{Port: 80, Hosts: []route.VirtualHost{{
	Domains: []string{"*"}, Rules: []route.Rule{{Destinations: []route.Destination{{Service: 0, Weight: 1}}}},
}}}}}

// userNames are the users' names, and userKeys what their sessions are called.
var (
	userNames [maxUsers]string
	userKeys  [maxUsers]session.Key
	byKey     = map[session.Key]int32{}
)
