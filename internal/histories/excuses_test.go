package histories

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// admission is a time in which a gateway, by its own metrics, was alone: the store did not answer, or a call of it failed, or it had not been told all.
type admission struct {
	gateway  int
	from, to time.Duration
}

func (a admission) String() string {
	return fmt.Sprintf("gateway %d between %.3f s and %.3f s", a.gateway, a.from.Seconds(), a.to.Seconds())
}

// stall is a time in which the machine stalled.
type stall struct{ from, to time.Duration }

func (s stall) String() string {
	return fmt.Sprintf("from %.3f s to %.3f s", s.from.Seconds(), s.to.Seconds())
}

// complaint is what a gateway's log says is wrong with the store.
type complaint struct {
	gateway int
	at      time.Duration
	text    string // the message, and the error
}

// explainable is what a gateway may say of a store that does not answer, whose connections break, or that was started again. What the store itself
// says to a call that it has answered, and an answer that cannot be read, are nothing that a fault explains.
var explainable = regexp.MustCompile(`: EOF$|: connection reset by peer$|: broken pipe$|: connection refused$|: i/o timeout$|: use of closed network connection$` +
	`|: context deadline exceeded$|: the store is not reached: [^ ]+(: still connecting)?$|^the store may have lost sessions`)

// complaintOf is what a line of a gateway's log says is wrong with the store. The line says when, by the wall clock; so does `began`.
func complaintOf(gateway int, began time.Time, line string) (c complaint, ok bool) {
	var said struct {
		Time                     time.Time
		Level, Msg, Store, Error string
	}
	if json.Unmarshal([]byte(line), &said) != nil || said.Store == "" || said.Level != "WARN" && said.Level != "ERROR" {
		return c, false
	}
	return complaint{gateway: gateway, at: said.Time.Sub(began), text: strings.TrimSuffix(said.Msg+": "+said.Error, ": ")}, true
}

// unexplained are the times in which gateways were alone, and nothing had been done to them, or to Redis.
func (h *history) unexplained() (out []admission) {
	for _, a := range h.admissions {
		if !slices.ContainsFunc(h.outages, func(o *outage) bool { return o.gateway == a.gateway && a.to >= o.from && a.from < o.told }) {
			out = append(out, a)
		}
	}
	return out
}

// aloneAfter is for how long a gateway may be alone when the machine has stalled: it tries the store again after 4 s at the latest.
const aloneAfter = 4*time.Second + storeTimeout

// disturbed reports whether gateways were alone, each time while the machine stalled or soon after, and nothing was wrong that a stall does not
// explain. Such a run says nothing.
func (h *history) disturbed() bool {
	alone := h.unexplained()
	for _, a := range alone {
		if !slices.ContainsFunc(h.stalls, func(s stall) bool { return s.from <= a.to && a.from <= s.to+aloneAfter }) {
			return false
		}
	}
	fails := func(c *call) bool { return c.replica == "" && !h.mayFail(c) }
	wrong := func(c complaint) bool { return !explainable.MatchString(c.text) }
	return len(alone) > 0 && !slices.ContainsFunc(h.calls, fails) && !slices.ContainsFunc(h.complaints, wrong)
}

// objections are what nothing excuses, whatever order the calls are in.
func (h *history) objections() (out []string) {
	object := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, a := range h.unexplained() {
		object("alone, and nothing had been done to it: %s", a)
	}
	for g, last := range h.shared {
		if last < h.ended {
			object("gateway %d was last seen to share its sessions at %.3f s", g, last.Seconds())
		}
	}
	for _, c := range h.complaints {
		if !explainable.MatchString(c.text) || !slices.ContainsFunc(h.outages, func(o *outage) bool { return o.gateway == c.gateway && c.at >= o.from && c.at < o.until }) {
			object("gateway %d said at %.3f s what nothing that was done to it explains: %s", c.gateway, c.at.Seconds(), c.text)
		}
	}
	for _, c := range h.calls {
		if c.replica == "" && !h.mayFail(c) {
			object("a call failed, and neither its gateway nor a replica had been killed: user %s, %s", c.user, c)
		}
	}
	for _, c := range h.unsent {
		if at, killed := h.killed(c); !killed || at > c.end {
			object("a gateway took no call, and had not been killed: user %s, %s", c.user, c)
		}
	}
	return out
}

// killed is when the process of its gateway that a call was for was killed.
func (h *history) killed(c *call) (at time.Duration, killed bool) {
	if kills := h.kills[c.gateway]; c.life < len(kills) {
		return kills[c.life], true
	}
	return 0, false
}

// mayFail reports whether a call may have failed: its gateway was killed then, or a replica. That the store is away is no reason.
func (h *history) mayFail(c *call) bool {
	then := func(at time.Duration) bool { return c.start-lateSlack <= at && at <= c.end }
	if at, killed := h.killed(c); killed && then(at) {
		return true
	}
	for _, at := range h.deaths {
		if then(at) {
			return true
		}
	}
	return false
}

func TestWhatGatewaysSayOfThemselvesExcusesNothing(t *testing.T) {
	const refused, alone = "answered: ", "alone, and nothing had been done to it: gateway 1"
	for _, test := range []struct {
		says    string
		history string
		want    []string // how the objections begin, each once at least; those to the order of the calls begin with `refused`
	}{
		{"a gateway that says nothing has nothing to be excused", ``, nil},
		{"a gateway was alone in an outage, and shares again", `
			outage 1 1.0 2.0 3.0
			alone 1 0.9 1.8
			alone 1 1.8 1.95
			shares 1 3.1`, nil},
		{"a gateway was alone, and nothing was done to it", `
			alone 1 0.9 1.8`, []string{"alone, and nothing had been done to it: gateway 1 between 0.900 s and 1.800 s"}},
		{"it was done to another one", `
			outage 0 1.0 2.0 3.0
			alone 1 0.9 1.8`, []string{alone}},
		{"it was alone before", `
			outage 1 1.0 2.0 3.0
			alone 1 0.7 0.9`, []string{alone}},
		{"it was alone after it had told all", `
			outage 1 1.0 2.0 3.0
			alone 1 2.1 2.2`, []string{alone}},
		{"a gateway never found back", `
			outage 1 1.0 2.0 3.0
			shares 1 0.9
			ended 5.0`, []string{"gateway 1 was last seen to share its sessions at 0.900 s"}},
		{"a gateway does not say whether it shares anything", `
			shares 2 0
			ended 5.0`, []string{"gateway 2 was last seen to share its sessions at 0.000 s"}},
		{"a gateway decided alone all the time, and says so", `
			alone 1 0.0 5.0
			shares 1 0
			0 1.0 1.1 room-a new
			1 1.2 1.3 room-b new
			0 1.4 1.5 room-a existing
			1 1.6 1.7 room-b existing
			ended 5.0`, []string{refused, alone, "gateway 1 was last seen to share"}},
		{"that it chose the same replica changes nothing", `
			alone 1 0.0 5.0
			shares 1 0
			0 1.0 1.1 room-a new
			1 1.2 1.3 room-a new
			ended 5.0`, []string{refused, alone, "gateway 1 was last seen to share"}},
		{"that the machine stalled neither", `
			stalled 1.0 3.0
			alone 1 0.9 3.1
			0 1.0 1.1 room-a new
			1 1.2 1.3 room-b new`, []string{refused, alone}},
		{"a gateway that decided alone from when it was back", `
			outage 1 1.0 2.0 3.0
			alone 1 0.9 2.1
			alone 1 2.1 3.3
			shares 1 1.1
			0 2.9 3.0 room-a new
			1 3.1 3.2 room-b new
			ended 3.3`, []string{refused, "alone, and nothing had been done to it: gateway 1 between 2.100 s and 3.300 s", "gateway 1 was last seen to share"}},
		{"what a fault explains, in an outage", `
			outage 1 1.0 2.0 3.0
			said 1 1.1 the store does not answer: read tcp 127.0.0.1:2: read: connection reset by peer
			said 1 1.3 the store does not answer: dial tcp 127.0.0.1:2: connect: connection refused
			said 1 1.5 the store does not answer: it did not answer within 1s: context deadline exceeded
			said 1 1.5 the store does not answer: the store is not reached: redis://127.0.0.1:2
			said 1 1.5 the store does not answer: the store is not reached: redis://127.0.0.1:2: i/o timeout
			said 1 1.5 the store may have lost sessions
			said 1 1.8 the store cannot be used: EOF`, nil},
		{"and outside of it", `
			outage 1 1.0 2.0 3.0
			said 1 3.1 the store cannot be used: EOF`, []string{"gateway 1 said at 3.100 s"}},
		{"what no fault explains, in an outage", `
			outage 1 1.0 2.0 3.0
			said 1 1.1 the store does not answer: ERR user_script:1: Script attempted to access nonexistent global variable 'x'
			said 1 1.2 the store does not answer: unexpected answer: EOF or so
			said 1 1.4 the store does not answer: the store is not reached: redis://127.0.0.1:2: WRONGPASS invalid username-password pair
			said 1 1.3 the store refuses to renew some sessions: WRONGTYPE Operation against a key`, []string{"gateway 1 said at 1.100 s", "gateway 1 said at 1.200 s", "gateway 1 said at 1.300 s", "gateway 1 said at 1.400 s"}},
		{"calls fail when their gateway is killed", `
			0 0.9 1.05 failed
			killed 0 1.0`, nil},
		{"those of the process that is started then do not", `
			killed 0 1.0
			0 1.1 1.2 failed`, []string{"a call failed"}},
		{"a call fails on a connection to a replica that dies", `
			0 0.9 1.05 failed
			killed room-a 1.0`, nil},
		{"a call fails, and nothing was killed", `
			0 0.9 1.05 failed`, []string{"a call failed"}},
		{"that the store is away does not excuse it", `
			outage 0 0.5 2.0 3.0
			0 0.9 1.05 failed`, []string{"a call failed"}},
		{"nor that a replica died later", `
			0 0.9 1.05 failed
			killed room-a 1.1`, []string{"a call failed"}},
		{"a gateway takes no call after it was killed", `
			killed 1 1.0
			unsent 1 0 1.1`, nil},
		{"or without that", `
			unsent 1 0 1.1`, []string{"a gateway took no call"}},
		{"or again when it was started anew", `
			killed 1 1.0
			unsent 1 1 2.0`, []string{"a gateway took no call"}},
	} {
		t.Run(test.says, func(t *testing.T) {
			h := parse(t, test.history)
			v := h.check()
			got := v.objections
			for range v.refused {
				got = append(got, refused)
			}
			for _, want := range test.want {
				if !slices.ContainsFunc(got, func(o string) bool { return strings.HasPrefix(o, want) }) {
					t.Errorf("nobody objects that %q", want)
				}
			}
			for _, o := range got {
				if !slices.ContainsFunc(test.want, func(want string) bool { return strings.HasPrefix(o, want) }) {
					t.Errorf("it is objected that %s", o)
				}
			}
		})
	}
}

func TestAScenarioIsPlayedAgainOnlyWhereAStallExplainsAllThatIsWrong(t *testing.T) {
	for _, test := range []struct {
		says, history string
		again         bool
	}{
		{"a gateway was alone while the machine stalled, or soon after", `
			stalled 1.0 1.3
			alone 1 0.9 1.1
			alone 0 4.0 4.5
			said 1 1.2 the store does not answer: i/o timeout`, true},
		{"the machine has not stalled", `
			alone 1 0.9 1.1`, false},
		{"nobody was alone", `
			stalled 1.0 1.3`, false},
		{"another time it had not stalled", `
			stalled 1.0 1.3
			alone 1 0.9 1.1
			alone 1 8.0 9.0`, false},
		{"a gateway was alone before it stalled", `
			stalled 1.0 1.3
			alone 1 0.5 0.9`, false},
		{"there was another error than of a store that is slow", `
			stalled 1.0 1.3
			alone 1 0.9 1.1
			said 1 1.2 the store refuses to renew some sessions: WRONGTYPE Operation against a key`, false},
		{"a call failed", `
			stalled 1.0 1.3
			alone 1 0.9 1.1
			0 1.0 1.1 failed`, false},
	} {
		t.Run(test.says, func(t *testing.T) {
			if again := parse(t, test.history).disturbed(); again != test.again {
				t.Errorf("it is played again: %v", again)
			}
		})
	}
}

func TestLogsAreReadForComplaintsOfTheStore(t *testing.T) {
	began := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, test := range []struct{ says, line, want string }{
		{"an error", `{"time":"2026-01-01T00:00:01.5Z","level":"ERROR","msg":"it does not answer","store":"redis://s","error":"s: EOF"}`, "1.5s it does not answer: s: EOF"},
		{"a warning that names none", `{"time":"2026-01-01T01:00:02+01:00","level":"WARN","msg":"it was emptied","store":"redis://s"}`, "2s it was emptied"},
		{"nothing is wrong", `{"time":"2026-01-01T00:00:01Z","level":"INFO","msg":"it answers again","store":"redis://s"}`, ""},
		{"something else is", `{"time":"2026-01-01T00:00:01Z","level":"ERROR","msg":"the replica is away","error":"EOF"}`, ""},
		{"it is no line of the log", `panic: 0`, ""},
	} {
		t.Run(test.says, func(t *testing.T) {
			got := ""
			if c, ok := complaintOf(2, began, test.line); ok {
				got = fmt.Sprint(c.at, " ", c.text)
			}
			if got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}
