package affinity_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/route"
	"github.com/remora-proxy/remora/internal/session"
)

// start makes an engine with the use case's configuration, restored from a snapshot when there is one.
func start(t *testing.T, o affinity.Options, snapshot []byte, now session.Instant) (*affinity.Engine, error) {
	t.Helper()
	o.Store = newStore()
	e := affinity.New(o)
	var failed error
	if snapshot != nil {
		_, failed = e.Restore(bytes.NewReader(snapshot), now)
	}
	s, err := affinity.Compile(useCase(3, 4))
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Apply(s, now); err != nil {
		t.Fatal(err)
	}
	return e, failed
}

// ask decides a request of a user to backend-1, and says that it was sent.
func ask(e *affinity.Engine, user string, now session.Instant) *affinity.Decision {
	dec := new(affinity.Decision)
	e.Decide(&affinity.Request{Request: route.Request{Port: 80, Authority: "any", Path: "/", Headers: []route.Header{
		{Name: "target", Value: "backend-1"}, {Name: "x-user", Value: user},
	}}}, dec, now)
	dec.Sent = true
	return dec
}

func save(t *testing.T, e *affinity.Engine, now session.Instant) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := e.Save(&b, now); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestARestartKeepsLiveSessionsAndDrainMarks(t *testing.T) {
	now := session.InstantOf(time.Unix(1000, 0))
	e, _ := start(t, affinity.Options{HashKey: [16]byte{1}}, nil, now)
	idle, held := ask(e, "idle", now), ask(e, "held", now)
	e.Release(idle, now)
	where := idle.Endpoint.Addr
	e.Drain(where, true, now)
	snapshot := save(t, e, now.Add(50*time.Second))

	// Another key at the start: the snapshot's is taken over, or no user would be found again.
	later := now.Add(59 * time.Second)
	e, err := start(t, affinity.Options{HashKey: [16]byte{2}}, snapshot, later)
	if err != nil {
		t.Fatal(err)
	}
	if dec := ask(e, "idle", later); dec.Session != affinity.SessionExisting || dec.Endpoint.Addr != where {
		t.Errorf("the idle user is %v at %s, want existing at %s", dec.Session, dec.Endpoint.Addr, where)
	}
	for range 50 {
		if dec := ask(e, "new", later); dec.Endpoint.Addr == where {
			t.Fatalf("a new session at %s, which an operator has drained", where)
		}
	}
	// A request in flight ends with the process: its user was last seen at the save.
	almost := now.Add(50*time.Second + 59*time.Second)
	if dec := ask(e, "held", almost); dec.Session != affinity.SessionExisting || dec.Endpoint.Addr != held.Endpoint.Addr {
		t.Errorf("the user whose request was in flight is %v", dec.Session)
	}
	if dec := ask(e, "nobody", almost); dec.Session != affinity.SessionNew {
		t.Errorf("a stranger is %v", dec.Session)
	}
}

func TestASessionWhoseReplicaIsGoneAfterTheRestartMoves(t *testing.T) {
	now := session.InstantOf(time.Unix(1000, 0))
	o := affinity.Options{HashKey: [16]byte{1}, Store: newStore()}
	e := affinity.New(o)
	c := useCase(3, 4)
	for i := range c.Services[0].Endpoints {
		c.Services[0].Endpoints[i].Incarnation = "before"
	}
	s, err := affinity.Compile(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Apply(s, now); err != nil {
		t.Fatal(err)
	}
	e.Release(ask(e, "ann", now), now)
	e, err = start(t, affinity.Options{}, save(t, e, now), now)
	if err != nil {
		t.Fatal(err)
	}
	e.SweepAll(now) // keeps what is live, though nothing configures its endpoint
	if dec := ask(e, "ann", now); dec.Session != affinity.SessionMoved {
		t.Errorf("the session is %v, want moved: its backend must know", dec.Session)
	}
}

func TestASnapshotUnderAnotherConfiguredKeyIsRefused(t *testing.T) {
	now := session.InstantOf(time.Unix(1000, 0))
	e, _ := start(t, affinity.Options{HashKey: [16]byte{1}}, nil, now)
	ask(e, "ann", now)
	e, err := start(t, affinity.Options{HashKey: [16]byte{2}, HashKeyFixed: true}, save(t, e, now), now)
	if err == nil || !strings.Contains(err.Error(), "another hash key") {
		t.Errorf("got %v", err)
	}
	if dec := ask(e, "ann", now); dec.Session != affinity.SessionNew {
		t.Errorf("the session is %v, want new: nothing was restored", dec.Session)
	}
}

func TestSnapshotsHoldNoNames(t *testing.T) {
	now := session.InstantOf(time.Unix(1000, 0))
	e, _ := start(t, affinity.Options{HashKey: [16]byte{1}}, nil, now)
	ask(e, "a-very-personal-name", now)
	if bytes.Contains(save(t, e, now), []byte("personal")) {
		t.Error("the user's name is in the snapshot")
	}
}

// A shared store is told how long a restored session lives: it must not be the default where the service says something else.
func TestARestoredSessionLivesAsLongAsItsServiceSaysAlsoWhenItsEndpointIsGone(t *testing.T) {
	now := session.InstantOf(time.Unix(1000, 0))
	e, _ := start(t, affinity.Options{HashKey: [16]byte{1}}, nil, now)
	dec := ask(e, "user", now)
	e.Release(dec, now)
	store := newStore()
	restored := affinity.New(affinity.Options{Store: store})
	if _, err := restored.Restore(bytes.NewReader(save(t, e, now)), now); err != nil {
		t.Fatal(err)
	}
	c := useCase(3, 4)
	for i := range c.Services {
		c.Services[i].IdleTimeout = 10 * time.Second
		c.Services[i].Endpoints = nil
	}
	s, err := affinity.Compile(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := restored.Apply(s, now); err != nil {
		t.Fatal(err)
	}
	restored.SweepAll(now.Add(9 * time.Second))
	if store.Len() != 1 {
		t.Error("the session ended before its time")
	}
	restored.SweepAll(now.Add(10 * time.Second))
	if store.Len() != 0 {
		t.Error("the session lives longer than 10 s")
	}
}
