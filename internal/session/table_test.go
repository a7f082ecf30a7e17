package session

import (
	"math"
	"testing"
	"time"
)

const testNow = Instant(1_800_000_000_000)

func always(d time.Duration) func(EndpointID) time.Duration {
	return func(EndpointID) time.Duration { return d }
}

func TestAtTheLimit(t *testing.T) {
	fill := func(t *testing.T) *Table {
		t.Helper()
		table := NewTable(Options{MaxSessions: 100})
		for k := range Key(100) {
			if _, outcome := table.Bind(k, 1, testNow, time.Minute); outcome != Bound {
				t.Fatalf("session %d: outcome %d", k, outcome)
			}
			table.Release(k, testNow)
		}
		return table
	}
	t.Run("a new session is refused, counted, and leaves nothing behind", func(t *testing.T) {
		table := fill(t)
		for i := range 3 {
			if ep, outcome := table.Bind(1000, 2, testNow, time.Minute); ep != 0 || outcome != Full {
				t.Fatalf("got %d, %d; want 0, Full", ep, outcome)
			}
			if table.Refused() != int64(i+1) || table.Len() != 100 || table.Live(1) != 100 || table.Live(2) != 0 {
				t.Fatalf("refused %d, %d sessions, %d and %d live", table.Refused(), table.Len(), table.Live(1), table.Live(2))
			}
		}
	})
	t.Run("the sessions that are there go on", func(t *testing.T) {
		table := fill(t)
		for k := range Key(100) {
			if ep, outcome := table.Bind(k, 2, testNow+59_999, time.Minute); ep != 1 || outcome != Existing {
				t.Fatalf("session %d: got %d, %d; want 1, Existing", k, ep, outcome)
			}
		}
	})
	t.Run("an expired session's own key takes its place", func(t *testing.T) {
		table := fill(t)
		if ep, outcome := table.Bind(7, 2, testNow+60_000, time.Minute); ep != 2 || outcome != Bound {
			t.Fatalf("got %d, %d; want 2, Bound", ep, outcome)
		}
		if table.Len() != 100 || table.Live(1) != 99 || table.Live(2) != 1 {
			t.Fatalf("%d sessions, %d and %d live", table.Len(), table.Live(1), table.Live(2))
		}
	})
	t.Run("expired sessions make room before the sweep meets them, as the last sweep's idle times say", func(t *testing.T) {
		table := fill(t)
		table.Sweep(0, 1, testNow, always(time.Minute))
		if _, outcome := table.Bind(1000, 2, testNow+59_999, time.Minute); outcome != Full {
			t.Fatalf("none has expired: got %d; want Full", outcome)
		}
		if _, outcome := table.Bind(1000, 2, testNow+60_000, time.Minute); outcome != Bound {
			t.Fatalf("all have expired: got %d; want Bound", outcome)
		}
		if live := table.Live(1); table.Len() > 100 || table.Len() != live+1 || live == 100 {
			t.Fatalf("%d sessions, of them %d old", table.Len(), live)
		}
		table.shards[0].wellFormed(t)
	})
	t.Run("forgotten and swept sessions make room", func(t *testing.T) {
		table := fill(t)
		table.Forget(3)
		if _, outcome := table.Bind(1000, 2, testNow, time.Minute); outcome != Bound {
			t.Fatalf("after Forget: got %d; want Bound", outcome)
		}
		table.Sweep(0, 1, testNow+60_000, always(time.Minute))
		if _, outcome := table.Bind(1001, 2, testNow+60_000, time.Minute); outcome != Bound {
			t.Fatalf("after Sweep: got %d; want Bound", outcome)
		}
	})
}

func TestRangeHoldsNoLockWhileItsFunctionRuns(t *testing.T) {
	table := NewTable(Options{})
	for k := range Key(1000) {
		table.Bind(k, 1, testNow, time.Minute)
	}
	table.Range(func(e Entry) bool { return table.Forget(e.Key) })
	if table.Len() != 0 {
		t.Errorf("%d sessions are left", table.Len())
	}
}

func TestAnEndpointIDThatIsNoneIsRefusedAtOnce(t *testing.T) {
	table := NewTable(Options{})
	table.Bind(1, 1, testNow, time.Minute)
	for _, ep := range []EndpointID{0, MaxEndpoints} {
		for name, call := range map[string]func(){
			"Bind": func() { table.Bind(2, ep, testNow, time.Minute) },
			"Move": func() { table.Move(1, 1, ep, testNow, time.Minute) },
		} {
			func() {
				defer func() {
					if recover() == nil {
						t.Errorf("%s with endpoint %d did not panic", name, ep)
					}
				}()
				call()
			}()
		}
	}
	if table.Live(MaxEndpoints) != 0 || table.Live(1<<31) != 0 {
		t.Error("an endpoint beyond the range has sessions")
	}
}

func TestShardsFitTheLimit(t *testing.T) {
	for limit, want := range map[int]int{1: 1, 16_383: 1, 16_384: 2, 100_000: 8, 1_000_000: 64, 10_000_000: 1024, 0: 1024, math.MaxInt: maxShards} {
		if got := len(NewTable(Options{MaxSessions: limit}).shards); got != want {
			t.Errorf("limit %d: %d shards; want %d", limit, got, want)
		}
	}
}

func TestAnEntryIsLiveByTheRuleOfTheStore(t *testing.T) {
	seen := Entry{LastSeen: testNow}
	if !seen.Live(testNow+59_999, time.Minute) || seen.Live(testNow+60_000, time.Minute) {
		t.Error("not held: want it live until its idle time has passed")
	}
	if held := (Entry{LastSeen: testNow, Holds: 1}); !held.Live(testNow+1<<40, 0) {
		t.Error("held: want it live")
	}
	if seen.Live(testNow+Instant(MaxIdle.Milliseconds()), 2*MaxIdle) {
		t.Error("idle for MaxIdle: want it expired whatever its idle time")
	}
}

func TestAForgottenSessionIsGone(t *testing.T) {
	const key, at = Key(7), EndpointID(3)
	table := NewTable(Options{})
	table.Bind(key, at, testNow, time.Minute)
	for range 2000 { // more holds than fit into the slot
		table.Acquire(key, testNow, time.Minute)
	}
	if !table.Forget(key) || table.Forget(key) {
		t.Error("want true, then false")
	}
	table.Release(key, testNow)
	if table.Len() != 0 || table.Live(at) != 0 {
		t.Errorf("%d sessions are left, %d of its endpoint", table.Len(), table.Live(at))
	}
	table.Bind(key, 4, testNow, time.Minute)
	for want := range 1024 { // it begins with no hold of the former one
		if e, live := table.Peek(key, testNow, time.Minute); !live || e.Holds != want+1 {
			t.Fatalf("it has begun anew, and has %d holds; want %d", e.Holds, want+1)
		}
		table.Acquire(key, testNow, time.Minute)
	}
}

func TestASessionIsDroppedOnlyAsItWasSeen(t *testing.T) {
	const key, at = Key(7), EndpointID(3)
	now, idle := Instant(1_800_000_000_000), time.Minute
	for name, then := range map[string]func(t *Table){
		"not used since":        nil,
		"used since":            func(t *Table) { t.Acquire(key, now+5, idle); t.Release(key, now+5) },
		"held":                  func(t *Table) { t.Acquire(key, now, idle) },
		"at another endpoint":   func(t *Table) { t.Move(key, at, 4, now, idle) },
		"that has ended before": func(t *Table) { t.Forget(key) },
	} {
		table := NewTable(Options{})
		table.Bind(key, at, now, idle)
		table.Release(key, now)
		seen, _ := table.Peek(key, now, idle)
		if then != nil {
			then(table)
		}
		before := table.Len()
		if dropped := table.Drop(seen); dropped != (then == nil) || dropped != (table.Len() < before) {
			t.Errorf("%s: dropped %v, %d sessions are left of %d", name, dropped, table.Len(), before)
		}
	}
}

func TestASessionIsLearntUnlessThereIsALiveOne(t *testing.T) {
	const key, at = Key(7), EndpointID(3)
	now, idle := Instant(1_800_000_000_000), time.Minute
	table := NewTable(Options{MaxSessions: 1})
	want := func(step string, endpoint EndpointID, seen Instant, holds, live int) {
		t.Helper()
		e, _ := table.Peek(key, now, idle)
		if e.Endpoint != endpoint || e.LastSeen != seen || e.Holds != holds || table.Live(at) != live {
			t.Errorf("%s: %+v, %d at %d; want it at %d, seen at %d, with %d holds, and %d", step, e, table.Live(at), at, endpoint, seen, holds, live)
		}
	}
	table.Learn(key, at, now-5, now, idle)
	want("it is there, as it was seen elsewhere", at, now-5, 0, 1)
	table.Learn(key, 4, now-1, now, idle)
	want("the one that is there stays", at, now-5, 0, 1)
	table.Learn(8, 4, now, now, idle)
	if n := table.Len(); n != 1 {
		t.Errorf("%d sessions are stored, want 1, the limit", n)
	}
	table.Acquire(key, now, idle)
	table.Learn(key, at, now-5, now, idle)
	want("nor is one that is used here seen earlier than it was", at, now, 1, 1)
	table.Release(key, now)
	now = now.Add(idle)
	table.Learn(key, 4, now+9, now, idle)
	want("one that has ended makes room for it; nothing was seen after now", 4, now, 0, 0)
}
