package simulate

// profile is what may happen in a schedule, and how often.
type profile struct {
	name string

	blur        millis // by how much gateways are mistaken about the store's clock, at most
	slowest     millis // a message on its way
	configLag   millis // until a gateway has heard of a configuration, at most
	losesCall   int    // one in so many calls to the store is lost; 0: none
	losesAnswer int
	losesNews   int
	shuffles    bool // news come late, in any order, and twice

	changeEvery millis // something becomes of the replicas, on average
	changes     [len(worldNames)]int
	faultEvery  millis // 0: nothing fails
	faults      [len(faultNames)]int
}

// maxBlur bounds profile.blur.
const maxBlur = 10

// What becomes of the replicas.
const (
	chAdd = iota
	chRemove
	chKill
	chReplace
	chBlip
	chCrash
	chRollout
	chDrain
	chUndrain
	chMove
)

var worldNames = [...]string{
	"replica added", "drained and removed", "killed", "killed, another at its address", "not ready for a moment", "process started again",
	"rollout", "drained by hand", "drain taken back", "session moved by hand",
}

var allChanges = [len(worldNames)]int{chAdd: 4, chRemove: 4, chKill: 3, chReplace: 3, chBlip: 3, chCrash: 2, chRollout: 2, chDrain: 2, chUndrain: 1, chMove: 3}

// What fails.
const (
	faCut = iota
	faStop
	faSlow
	faFull
	faEmpty
	faFailover
	faHush
	faCrash
	faRestart
	faBlur
)

var faultNames = [...]string{
	"gateway cut off", "store stopped", "store slow", "store full", "store restarted empty", "store failed over", "news lost",
	"gateway crashed", "gateway restarted", "clock corrected",
}

var profiles = [...]profile{
	{
		name: "calm", blur: 3, slowest: 8, configLag: 600, changeEvery: 1500, changes: allChanges,
	},
	{
		name: "quiet", blur: maxBlur, slowest: 30, configLag: 100, changeEvery: 8000, changes: allChanges,
	},
	{
		name: "losses", blur: maxBlur, slowest: 40, configLag: 1500, changeEvery: 2000, changes: allChanges,
		losesCall: 50, losesAnswer: 50, losesNews: 4, shuffles: true,
		faultEvery: 2000, faults: [len(faultNames)]int{faHush: 2, faBlur: 1, faSlow: 1},
	},
	{
		name: "partitions", blur: 3, slowest: 15, configLag: 600, changeEvery: 2500, changes: allChanges, losesNews: 20,
		faultEvery: 2000, faults: [len(faultNames)]int{faCut: 5, faHush: 1, faBlur: 1},
	},
	{
		name: "store", blur: 3, slowest: 15, configLag: 600, changeEvery: 2500, changes: allChanges,
		faultEvery: 2000, faults: [len(faultNames)]int{faStop: 3, faSlow: 3, faFull: 2, faEmpty: 2, faFailover: 2, faHush: 1},
	},
	{
		name: "gateways", blur: 3, slowest: 15, configLag: 600, changeEvery: 2500, changes: allChanges,
		faultEvery: 1500, faults: [len(faultNames)]int{faCrash: 3, faRestart: 3, faBlur: 1},
	},
	{
		name: "storm", blur: maxBlur, slowest: 60, configLag: 2500, changeEvery: 900, changes: allChanges,
		losesCall: 25, losesAnswer: 25, losesNews: 3, shuffles: true,
		faultEvery: 700, faults: [len(faultNames)]int{4, 3, 3, 2, 2, 2, 2, 3, 2, 1},
	},
}

// delay is how long a message is on its way.
func (p *profile) delay(s *sim) millis {
	if s.chance.oneIn(20) {
		return s.chance.between(0, p.slowest)
	}
	return s.chance.between(0, 2)
}

// think is how long a user waits before the next call: often shortly, sometimes about as long as a session lives.
func (p *profile) think(s *sim) millis {
	switch s.chance.below(12) {
	case 0:
		return s.chance.between(idle-600, idle+900)
	case 1:
		return s.chance.between(idle/2, 2*idle)
	case 2, 3, 4:
		return s.chance.between(1, 400)
	}
	return s.chance.between(200, 2500)
}

// pick chooses by weights.
func (c *chance) pick(weights []int) int {
	total := 0
	for _, w := range weights {
		total += w
	}
	n := c.below(total)
	for i, w := range weights {
		if n -= w; n < 0 {
			return i
		}
	}
	return 0
}
