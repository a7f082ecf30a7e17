package cli

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/admin"
	"github.com/remora-proxy/remora/internal/programtest"
	"github.com/remora-proxy/remora/internal/redistest"
)

// drain runs `remora sessions drain … --wait`.
func (g *served) drain(address string, more ...string) *programtest.Program {
	g.t.Helper()
	return start(g.t, append([]string{"sessions", "drain", address, "--wait", "--gateway", g.admin}, more...)...)
}

func TestAReplicaIsNotEmptyWhileAnotherGatewayHasSessionsThere(t *testing.T) {
	t.Parallel()
	store := redistest.Start(t, redistest.Options{})
	backends := startBackends(t, "backend-1", 2)
	folder := configure(t, backends)
	second := serve(t, shares(store, folder)...)
	const users = 30
	var at [users]string
	for i := range users {
		second.hit(user(i))
		view, err := second.api.Session(t.Context(), admin.SessionRequest{Service: "backend-1", User: fmt.Sprintf("user-%d", i)})
		must(t, err)
		at[i] = view.Endpoint
	}
	from := at[0]
	left := len(slices.DeleteFunc(slices.Clone(at[:]), func(address string) bool { return address != from }))
	first := serve(t, shares(store, folder)...) // has heard of no count yet
	_, err := first.api.Drain(t.Context(), admin.DrainRequest{Endpoint: from})
	must(t, err)
	eventually(t, "the sessions are counted", func() error {
		got, err := first.api.WaitDrained(t.Context(), from, time.Second)
		must(t, err)
		if got.Drained {
			t.Fatalf("with %d sessions at the other gateway the replica is empty", left)
		}
		if got.Live != left {
			return fmt.Errorf("there are %+v, want %d sessions", got, left)
		}
		return nil
	})
	to := backends.addresses[1-slices.Index(backends.addresses, from)]
	for i := range users {
		if at[i] == from {
			_, err := second.api.Move(t.Context(), admin.MoveRequest{Service: "backend-1", User: fmt.Sprintf("user-%d", i), To: to})
			must(t, err)
		}
	}
	drained := first.drain(from)
	drained.Line(from + " is empty")
	if code := drained.ExitCode(); code != exitOK {
		t.Errorf("it ends with %d", code)
	}
}

func TestAReplicaIsNotEmptyWhileTheStoreDoesNotAnswer(t *testing.T) {
	t.Parallel()
	store := redistest.Start(t, redistest.Options{})
	backends := startBackends(t, "backend-1", 2)
	folder := configure(t, backends)
	first := serve(t, shares(store, folder)...)
	store.Stop()
	waits := first.drain(backends.addresses[0])
	waits.Line("the other gateways have not heard of it yet")
	waits.Line("waiting, for other gateways may have sessions on " + backends.addresses[0])
	if gives := first.drain(backends.addresses[0], "--timeout", "1s"); gives.ExitCode() != exitFailed {
		t.Error("it ends with status 0")
	}
	store.Continue()
	waits.Line(" is empty")
	if code := waits.ExitCode(); code != exitOK {
		t.Errorf("with the store again it ends with %d", code)
	}
}
