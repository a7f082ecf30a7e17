package app

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/route"
	"github.com/remora-proxy/remora/internal/session"
)

// TestTheLogSaysOnceThatAReplicaCannotBeReached lets replicas fail and recover between looks a second apart.
func TestTheLogSaysOnceThatAReplicaCannotBeReached(t *testing.T) {
	const replicas = maxHealthLines + 5
	c := affinity.Config{
		Services: []affinity.ServiceConfig{{Name: "a"}},
		Routes: route.Config{Listeners: []route.Listener{{Port: 80, Hosts: []route.VirtualHost{{
			Domains: []string{"*"}, Rules: []route.Rule{{Destinations: []route.Destination{{Service: 0, Weight: 1}}}},
		}}}}},
	}
	for i := range replicas {
		c.Services[0].Endpoints = append(c.Services[0].Endpoints, affinity.EndpointConfig{Addr: fmt.Sprintf("127.0.0.1:%d", i+1)})
	}
	snapshot, err := affinity.Compile(c)
	must(t, err)
	var log bytes.Buffer
	p := &program{
		log: slog.New(slog.NewTextHandler(&log, nil)), clock: startClock(),
		engine: affinity.New(affinity.Options{Store: session.NewTable(session.Options{})}),
	}
	must(t, p.engine.Apply(snapshot, p.clock.instant()))
	decide := func() *affinity.Decision {
		dec := new(affinity.Decision)
		p.engine.Decide(&affinity.Request{Request: route.Request{Port: 80, Authority: "a", Path: "/"}}, dec, p.clock.instant())
		return dec
	}
	var health healthLog
	now := time.Now()
	look := func(reached, back int) {
		t.Helper()
		log.Reset()
		now = now.Add(healthInterval)
		health.look(p, now)
		got, again := strings.Count(log.String(), "cannot be reached"), strings.Count(log.String(), "can be reached again")
		if got != reached || again != back {
			t.Errorf("%d lines say that a replica cannot be reached, want %d; %d that one can be again, want %d:\n%s", got, reached, again, back, &log)
		}
	}
	look(0, 0)
	dec := decide()
	first := dec.Endpoint
	p.engine.Move(dec, p.clock.instant())
	look(1, 0)
	look(0, 0)
	for dec.Problem.IsZero() { // all of them
		p.engine.Move(dec, p.clock.instant())
	}
	look(maxHealthLines+1, 0)
	for reached := 0; reached < 1; {
		if dec := decide(); dec.Endpoint == first {
			p.engine.Connected(dec)
			reached++
		}
	}
	look(0, 1)
}
