package cli

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/remora-proxy/remora/internal/admin"
	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/envoytest"
	"github.com/remora-proxy/remora/internal/programtest"
	"github.com/remora-proxy/remora/internal/redistest"
)

// pair is two processors that share their sessions in a real Redis, behind one Envoy or two, and users of which each has a session.
type pair struct {
	t          *testing.T
	store      *redistest.Server
	flags      []string
	processors [2]*served
	apis       [2]*admin.Client
	addresses  [2]string
	backends   []*programtest.Program
	doors      []string   // the Envoys' URLs
	at         [24]string // where users are, by the replica's name
}

// run starts a processor at an address that it gets back when it is started again.
func (p *pair) run(i int, listen string) {
	p.t.Helper()
	p.processors[i], p.addresses[i] = processor(p.t, append(p.flags, "--listen", listen)...)
	var err error
	p.apis[i], err = admin.NewClient(p.processors[i].admin)
	must(p.t, err)
}

// both waits for a line in the log of both processors.
func (p *pair) both(says string) {
	p.t.Helper()
	for _, g := range p.processors {
		g.Line(says)
	}
}

// ask has a user come through an Envoy.
func (p *pair) ask(i int, door string) reply {
	p.t.Helper()
	r, err := tryHit(door, user(i))
	must(p.t, err)
	return r
}

// stay has all users come through all Envoys: each is where it was.
func (p *pair) stay(when string) {
	p.t.Helper()
	for i := range p.at {
		for n, door := range p.doors {
			if r := p.ask(i, door); r.status != http.StatusOK || r.PodID != p.at[i] || r.Session != "existing" {
				p.t.Errorf("%s, user-%d through Envoy %d: %+v, was at %s", when, i, n, r, p.at[i])
			}
		}
	}
}

// stayUntilKnown does so until both processors have all sessions in their own memory.
func (p *pair) stayUntilKnown(when string) {
	p.t.Helper()
	eventually(p.t, "both processors are asked", func() error {
		for i, g := range p.processors {
			for n, door := range p.doors {
				if r := p.ask(0, door); r.status != http.StatusOK || r.PodID != p.at[0] {
					p.t.Errorf("%s, user-0 through Envoy %d: %+v, was at %s", when, n, r, p.at[0])
				}
			}
			if g.decided() == 0 {
				return fmt.Errorf("processor %d is not", i)
			}
		}
		return nil
	})
	eventually(p.t, "both processors know all users", func() error {
		p.stay(when)
		for i, api := range p.apis {
			st, err := api.Status(p.t.Context())
			must(p.t, err)
			if st.Sessions.Stored != len(p.at) {
				return fmt.Errorf("processor %d knows %d", i, st.Sessions.Stored)
			}
		}
		return nil
	})
}

// follow has the users of a replica that was killed come again: each is told once that it has moved, and both processors know where to.
func (p *pair) follow(dead string) {
	p.t.Helper()
	gone := 0
	for i := range p.at {
		if p.at[i] != dead {
			continue
		}
		gone++
		r := p.ask(i, p.doors[i%len(p.doors)])
		if r.status != http.StatusOK || r.Session != "moved" || r.PodID == dead {
			p.t.Errorf("when its replica was killed, user-%d: %+v", i, r)
		}
		p.at[i] = r.PodID
		eventually(p.t, "both processors have the user elsewhere", func() error {
			var found [2]affinity.SessionView
			for n, api := range p.apis {
				var err error
				found[n], err = api.Session(p.t.Context(), admin.SessionRequest{Service: "backend-1", User: fmt.Sprintf("user-%d", i)})
				must(p.t, err)
			}
			if found[0].Endpoint != found[1].Endpoint {
				return fmt.Errorf("it is at %s and %s", found[0].Endpoint, found[1].Endpoint)
			}
			return nil
		})
	}
	if gone == 0 {
		p.t.Errorf("nobody was on %s", dead)
	}
}

// TestProcessorsThatShareSessions has users come through Envoys whose processors share a store. The third replica appears when the sessions
// have begun, so that the hash alone would send a third of them there.
func TestProcessorsThatShareSessions(t *testing.T) {
	for name, test := range map[string]struct {
		ip     string  // of the processors: nobody else listens there, so that one can come back
		envoys [][]int // the processors of each
	}{
		"one Envoy that asks both":         {"127.0.12.1", [][]int{{0, 1}}},
		"two Envoys with a processor each": {"127.0.12.2", [][]int{{0}, {1}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &pair{t: t, store: redistest.Start(t, redistest.Options{})}
			all := replicas{service: "backend-1"}
			var names []string
			for i := range 3 {
				name := fmt.Sprintf("backend-1-%d", i)
				b := start(t, "backend", "--service", all.service, "--name", name, "--listen", "127.0.0.1:0", "--exit-on-eof")
				_, address, _ := strings.Cut(b.Line("listens on"), " listens on ")
				p.backends, names, all.addresses = append(p.backends, b), append(names, name), append(all.addresses, address)
			}
			folder, later := configure(t, replicas{all.service, all.addresses[:2]}), configure(t, all)
			p.flags = shares(p.store, folder, "--endpoint-delay", "0s")
			p.run(0, test.ip+":0")
			p.run(1, test.ip+":0")
			for _, asks := range test.envoys {
				args := []string{"envoy", "-f", later, "--port", "80=0", "--envoy-admin", "127.0.0.1:0"}
				for _, i := range asks {
					args = append(args, "--processor", p.addresses[i])
				}
				p.doors = append(p.doors, "http://"+envoytest.Start(t, patient(t, args...)).Addr)
			}

			for i := range p.at {
				r := p.ask(i, p.doors[i%len(p.doors)])
				if r.status != http.StatusOK || r.Session != "new" {
					t.Errorf("the first request of user-%d: %+v", i, r)
				}
				p.at[i] = r.PodID
			}
			must(t, os.Rename(filepath.Join(later, "endpoints.yaml"), filepath.Join(folder, "endpoints.yaml")))
			p.both("configuration applied")
			p.stayUntilKnown("with another replica")

			p.store.Stop()
			p.both("the store does not answer")
			p.stay("without the store")
			p.store.Continue()
			p.both("the store has been told all live sessions")
			p.stay("with the store again")

			p.backends[0].Kill()
			p.follow(names[0])
			p.stay("when they had moved")

			p.processors[1].Kill()
			doors := p.doors
			p.doors = p.doors[:1] // the other Envoy has no processor
			p.stay("when a processor was killed")
			p.doors = doors
			p.run(1, p.addresses[1])
			p.stayUntilKnown("when it was started again")
		})
	}
}
