package affinity_test

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/session"
)

func TestGatewaysWithOneHashKeyChooseAlikeAlsoWhenOneTookItLater(t *testing.T) {
	now := session.InstantOf(time.Unix(1000, 0))
	common := [16]byte{1}
	byHash := func(c *affinity.Config) { c.Services[0].LoadBound = 100 }
	e, later := with(t, affinity.Options{HashKey: common}, byHash), with(t, affinity.Options{HashKey: [16]byte{2}}, byHash)
	ask(later, "ann", now)
	if err := later.Rekey(common, now); err != nil {
		t.Fatal(err)
	}
	if later.HashKey() != common {
		t.Errorf("the key is %v", later.HashKey())
	}
	for _, user := range []string{"ann", "bob", "eve", "joe", "kim", "lea"} {
		one, other := ask(e, user, now), ask(later, user, now)
		if one.Endpoint.Addr != other.Endpoint.Addr || other.Session != affinity.SessionNew {
			t.Errorf("%s is at %s, and at %s (%s) of the gateway that took the key later", user, one.Endpoint.Addr, other.Endpoint.Addr, other.Session)
		}
	}
}

func TestAKeyCanBeTakenWhileRequestsAreDecided(t *testing.T) {
	now := session.InstantOf(time.Unix(1000, 0))
	e, _ := start(t, affinity.Options{}, nil, now)
	var deciding sync.WaitGroup
	for range 4 {
		deciding.Go(func() {
			for range 500 {
				e.Release(ask(e, "ann", now), now)
			}
		})
	}
	for i := range 50 {
		if err := e.Rekey([16]byte{byte(i)}, now); err != nil {
			t.Error(err)
		}
	}
	deciding.Wait()
}

func TestDrainMarksAreTakenOverAsAWhole(t *testing.T) {
	now := session.InstantOf(time.Unix(1000, 0))
	e, _ := start(t, affinity.Options{}, nil, now)
	states := func() (draining []string) {
		for _, ep := range e.Endpoints(now) {
			if ep.State == affinity.Draining.String() {
				draining = append(draining, ep.Addr)
			}
		}
		return draining
	}
	all := e.Endpoints(now)
	e.Drain(all[0].Addr, true, now)
	marks := [][2]string{{"192.0.2.1:80", "not seen yet"}, {all[1].Addr, all[1].Incarnation}}
	slices.SortFunc(marks, func(a, b [2]string) int { return slices.Compare(a[:], b[:]) })
	e.SetDrained(marks, now)
	if got, want := states(), []string{all[1].Addr}; !slices.Equal(got, want) {
		t.Errorf("draining are %v, want %v", got, want)
	}
	if got := e.Drained(); !slices.Equal(got, marks) {
		t.Errorf("the marks are %v, want %v", got, marks)
	}
	if got := e.DrainedHere(); !slices.Equal(got, [][2]string{{all[1].Addr, all[1].Incarnation}}) {
		t.Errorf("the marks of endpoints of the configuration are %v", got)
	}
	since := e.Endpoints(now)[1].DrainingSince
	e.SetDrained(marks, now.Add(time.Minute))
	if again := e.Endpoints(now.Add(time.Minute))[1].DrainingSince; !again.Equal(since) {
		t.Errorf("it was draining since %v, and said once more since %v", since, again)
	}
	if err := e.Apply(&affinity.Snapshot{}, now); err != nil {
		t.Fatal(err)
	}
	if got := e.DrainedHere(); len(got) != 0 {
		t.Errorf("the marks of endpoints of an empty configuration are %v", got)
	}
	e.SetDrained(nil, now)
	if got := states(); len(got) != 0 {
		t.Errorf("without a mark, draining are %v", got)
	}
}
