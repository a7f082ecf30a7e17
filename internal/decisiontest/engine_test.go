package decisiontest_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/config"
	"github.com/remora-proxy/remora/internal/decisiontest"
	"github.com/remora-proxy/remora/internal/fields"
	"github.com/remora-proxy/remora/internal/problem"
	"github.com/remora-proxy/remora/internal/route"
	"github.com/remora-proxy/remora/internal/session"
)

// TestEngine runs the scripts on the engine alone, which is how a front door that had no HTTP would behave.
func TestEngine(t *testing.T) {
	decisiontest.Run(t, func(*testing.T) decisiontest.Door {
		return newEngineDoor(affinity.Options{Store: session.NewTable(session.Options{}), HashKey: [16]byte{1, 2, 3}})
	})
}

func newEngineDoor(o affinity.Options) *engineDoor {
	return &engineDoor{engine: affinity.New(o), epoch: session.InstantOf(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)), down: map[string]bool{}}
}

type engineDoor struct {
	engine     *affinity.Engine
	epoch, now session.Instant
	down       map[string]bool
	config     *affinity.Config // the last that was loaded
}

func (d *engineDoor) Load(t *testing.T, files map[string]string) {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set, _, list := (&config.Loader{Paths: []string{dir}}).Load()
	if list.HasErrors() {
		t.Fatal(list)
	}
	c, list := config.Compile(set, config.Options{})
	if list.HasErrors() {
		t.Fatal(list)
	}
	if err := d.engine.Apply(c.Snapshot, d.instant()); err != nil {
		t.Fatal(err)
	}
	d.config = &c.Config
}

func (d *engineDoor) instant() session.Instant { return d.epoch + d.now }

func (d *engineDoor) At(_ *testing.T, offset time.Duration) {
	d.now = session.Instant(offset / time.Millisecond)
	d.engine.SweepAll(d.instant())
}

func (d *engineDoor) Do(t *testing.T, r decisiontest.Request) decisiontest.Outcome {
	t.Helper()
	o, release := d.Hold(t, r)
	release()
	return o
}

func (d *engineDoor) Hold(t *testing.T, r decisiontest.Request) (decisiontest.Outcome, func()) {
	t.Helper()
	path, query, _ := strings.Cut(r.Path, "?")
	req := affinity.Request{Request: route.Request{
		Port: 80, Scheme: "http", Method: r.Method, Authority: r.Host, Path: path, Query: query,
		Source: netip.MustParseAddr("127.0.0.1"),
	}}
	for _, h := range r.Headers {
		req.Headers = append(req.Headers, route.Header{Name: h[0], Value: h[1]})
	}
	plan := d.engine.Plan(&req)
	if !plan.Problem.IsZero() {
		return refused(plan.Problem), func() {}
	}
	if plan.Spec != nil && r.HasBody {
		if len(r.Body) > plan.MaxBody {
			req.BodyState = affinity.BodyTooLarge
		} else if prob := scan(&req, plan.Spec, r.Body); !prob.IsZero() {
			return refused(prob), func() {}
		}
	}
	dec := new(affinity.Decision)
	d.engine.Decide(&req, dec, d.instant())
	for dec.Problem.IsZero() && d.down[dec.Endpoint.Addr] {
		d.engine.Move(dec, d.instant())
	}
	if !dec.Problem.IsZero() {
		return refused(dec.Problem), func() {}
	}
	d.engine.Connected(dec)
	dec.Sent = true
	o := decisiontest.Outcome{
		Status: 200, Service: shortName(dec.Service), Endpoint: dec.Endpoint.Addr, Session: dec.Session.String(),
	}
	return o, func() { d.engine.Release(dec, d.instant()) }
}

func scan(req *affinity.Request, spec *fields.Spec, body string) problem.Problem {
	req.Body, req.BodyState = new(fields.Scanner), affinity.BodyRead
	req.Body.Reset(spec)
	err := req.Body.Write([]byte(body))
	if err == nil {
		err = req.Body.Close()
	}
	if err != nil {
		return affinity.BodyProblem(err)
	}
	return problem.Problem{}
}

func refused(p problem.Problem) decisiontest.Outcome {
	return decisiontest.Outcome{Status: problem.Lookup(p.Code).Status, Problem: string(p.Code)}
}

// shortName is the first label of a service's host, with the subset.
func shortName(s *affinity.Service) string {
	name, _, _ := strings.Cut(s.Host, ".")
	if s.Subset != "" {
		name += "/" + s.Subset
	}
	return name
}

func (d *engineDoor) Drain(t *testing.T, endpoint string, on bool) {
	t.Helper()
	if len(d.engine.Drain(endpoint, on, d.instant())) == 0 {
		t.Fatalf("no endpoint %s", endpoint)
	}
}

func (d *engineDoor) Down(_ *testing.T, endpoint string, down bool) { d.down[endpoint] = down }
