package istiotest

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/remora-proxy/remora/internal/generate"
	"github.com/remora-proxy/remora/internal/problem"
)

// forged is what only Remora may say.
var forged = []string{
	"X-Remora-Endpoint: MTI3LjAuMC4xOjE=", "X-Remora-Service: backend-2.default.svc.cluster.local:8080", "X-Remora-Session: moved",
	"X-Gateway-Destination-Endpoint: 127.0.0.1:1",
}

// expectUnforged says of a request with the forged headers what the replica and the client must not have seen.
func expectUnforged(t *testing.T, a answer, session bool) {
	t.Helper()
	for _, header := range a.header.Values("saw") {
		if strings.HasPrefix(header, "x-remora-") && !(session && header == "x-remora-session") || strings.HasPrefix(header, "x-gateway-") {
			t.Errorf("the replica saw %s", header)
		}
	}
	for name := range a.header {
		if strings.HasPrefix(strings.ToLower(name), "x-remora-") || strings.HasPrefix(strings.ToLower(name), "x-gateway-") {
			t.Errorf("the client saw %s: %s", name, a.header.Get(name))
		}
	}
}

func encoded(addr string) string { return base64.StdEncoding.EncodeToString([]byte(addr)) }

func TestNothingCanBeForgedAndNothingLeaks(t *testing.T) {
	w := newWorld(t, false, nil)
	first := w.ask(body("ann", "backend-1"))
	for _, replica := range []string{"1a", "1b", "2a"} {
		a := w.ask(body("ann", "backend-1"), append(forged, "X-Remora-Endpoint: "+encoded(w.replicas[replica]))...)
		if a.replica != first.replica || a.session != "existing" {
			t.Errorf("asking for %s, ann's session at %s got %d %q", replica, first.replica, a.status, a.text)
		}
		expectUnforged(t, a, true)
	}
	a := w.ask(`{"target":"backend-1"}`, forged...)
	if a.status != http.StatusOK || a.session != "" {
		t.Errorf("without a session, got %d %q", a.status, a.text)
	}
	expectUnforged(t, a, false)
	a = w.ask(`{"username":"ann","target":"backend-9"}`, forged...)
	if a.status != http.StatusNotFound {
		t.Errorf("for no service, got %d %q", a.status, a.text)
	}
	expectUnforged(t, a, false)
}

// TestWithoutTheProcessorItIsAsChosen is about the two ways to go on without Remora: not at all, or by Istio's own routing.
func TestWithoutTheProcessorItIsAsChosen(t *testing.T) {
	t.Run("closed: 503, whatever decides", func(t *testing.T) {
		w := newWorld(t, false, nil)
		w.remora.close()
		for _, a := range []answer{w.ask(body("ann", "backend-1")), w.ask("", "Target: backend-1", "X-User: ann"), w.ask("", forged[0], forged[1], "Target: backend-1")} {
			if a.status != http.StatusServiceUnavailable || !strings.Contains(a.text, `"code":"undecided"`) || a.header.Get("Content-Type") != problem.ContentType ||
				a.header.Get("Retry-After") != "1" { // as docs/istio.md says
				t.Errorf("got %d %v %q", a.status, a.header, a.text)
			}
		}
	})
	t.Run("open: VirtualService and ring, and nothing for bodies", func(t *testing.T) {
		w := newWorld(t, false, func(o *generate.IstioOptions) { o.FailOpen = true })
		w.remora.close()
		if a := w.ask(body("ann", "backend-1")); a.status != http.StatusNotFound {
			t.Errorf("by the body alone, got %d %q", a.status, a.text)
		}
		for user := range 5 {
			header := fmt.Sprintf("X-User: user-%d", user)
			first := w.ask("", append(forged, "Target: backend-2", header)...)
			if first.status != http.StatusOK || !strings.HasPrefix(first.replica, "2") {
				t.Errorf("by headers, got %d %q", first.status, first.text)
			}
			expectUnforged(t, first, false)
			if again := w.ask("", "Target: backend-2", header); again.replica != first.replica {
				t.Errorf("%s went to %s, and then to %s", header, first.replica, again.replica)
			}
		}
	})
}

// TestAReplicaThatEnvoyDoesNotKnowYet is what happens when Remora is ahead of istiod.
func TestAReplicaThatEnvoyDoesNotKnowYet(t *testing.T) {
	w := newWorld(t, false, nil)
	three := w.objects("a", "b", "c")
	w.decide(three)
	sessions := map[string]string{}
	for user := range 12 {
		name := fmt.Sprintf("user-%d", user)
		sessions[name] = w.ask(body(name, "backend-1")).replica
		if sessions[name] == "1c" {
			t.Error("a request got to a replica that Envoy does not know")
		}
	}
	for name, at := range sessions {
		a := w.ask(body(name, "backend-1"))
		if a.replica != at {
			t.Errorf("%s was at %s, and is at %s", name, at, a.replica)
		}
	}
	w.gateway.Apply(t, w.mesh(three, true))
	for name, at := range sessions {
		w.expect("when Envoy knows all of them", name, at, "existing")
	}
}

// TestAReplicaThatDrains is served as long as Envoy has it, which is where its Service has the label.
func TestAReplicaThatDrains(t *testing.T) {
	for _, labelled := range []bool{true, false} {
		t.Run(fmt.Sprintf("the Service has the label: %v", labelled), func(t *testing.T) {
			w := newWorld(t, labelled, nil)
			user := ""
			for i := 0; user == ""; i++ {
				if name := fmt.Sprintf("user-%d", i); w.ask(body(name, "backend-1")).replica == "1a" {
					user = name
				}
			}
			draining := w.objects("b") + sliceOf("backend-1", "ready: false, serving: true, terminating: true", w.replicas["1a"])
			w.gateway.Apply(t, w.mesh(draining, true))
			w.decide(draining)
			if labelled {
				w.expect("on a draining replica", user, "1a", "existing")
			} else {
				w.expect("on a replica that Envoy has forgotten", user, "1b", "moved")
			}
			for i := range 10 {
				w.expect("new while one drains", fmt.Sprintf("late-%d", i), "1b", "new")
			}
		})
	}
}

// TestAReplicaThatDies has users who get an answer all the same, and a new home.
func TestAReplicaThatDies(t *testing.T) {
	w := newWorld(t, false, nil)
	at := map[string]string{}
	for user := range 12 {
		name := fmt.Sprintf("user-%d", user)
		at[name] = w.expect("at first", name, "", "new")
	}
	w.stop["1a"]()
	for name, replica := range at {
		session := "existing"
		if replica == "1a" {
			session = "moved"
		}
		w.expect("right after its death", name, "1b", session)
	}
	for name := range at {
		w.expect("from then on", name, "1b", "existing")
	}
}
