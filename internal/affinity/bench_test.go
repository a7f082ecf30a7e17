package affinity_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/fields"
	"github.com/remora-proxy/remora/internal/route"
	"github.com/remora-proxy/remora/internal/session"
)

// useCase is the use case's configuration with as many services and replicas as asked for.
func useCase(services, replicas int) affinity.Config {
	c := affinity.Config{Listeners: []affinity.Listener{{
		Port:    80,
		Promote: []affinity.Promotion{{Field: "target", Header: "target"}, {Field: "username", Header: "x-user"}},
	}}}
	host := route.VirtualHost{Domains: []string{"*"}}
	for i := range services {
		name := fmt.Sprintf("backend-%d", i+1)
		sc := affinity.ServiceConfig{
			Name: name + ".default.svc.cluster.local:8080", Key: affinity.Key{Kind: affinity.HeaderKey, Name: "x-user"},
			DrainDeadline: affinity.DefaultDrainDeadline,
		}
		for j := range replicas {
			sc.Endpoints = append(sc.Endpoints, affinity.EndpointConfig{Addr: fmt.Sprintf("127.%d.%d.%d:8080", i/250, i%250+1, j+1)})
		}
		c.Services = append(c.Services, sc)
		host.Rules = append(host.Rules, route.Rule{
			Matches: []route.Match{{Headers: []route.NamedMatch{{
				Name: "target", StringMatch: route.StringMatch{Kind: route.Exact, Value: name},
			}}}},
			Destinations: []route.Destination{{Service: i, Weight: 100}},
		})
	}
	c.Routes.Listeners = []route.Listener{{Port: 80, Hosts: []route.VirtualHost{host}}}
	return c
}

// BenchmarkDecision is a whole decision for an existing session: the body's fields, the route, the session, and its release.
func BenchmarkDecision(b *testing.B) {
	for _, size := range []struct{ services, replicas int }{{3, 2}, {1000, 10}} {
		b.Run(fmt.Sprintf("services=%d/replicas=%d", size.services, size.replicas), func(b *testing.B) {
			e := affinity.New(affinity.Options{Store: newStore(), HashKey: [16]byte{1}})
			s, err := affinity.Compile(useCase(size.services, size.replicas))
			if err != nil {
				b.Fatal(err)
			}
			if err := e.Apply(s, 1); err != nil {
				b.Fatal(err)
			}
			bodies := make([][]byte, 1000)
			for i := range bodies {
				bodies[i] = fmt.Appendf(nil, `{"username":"user-%d","target":"backend-%d"}`, i, i%size.services+1)
			}
			now := session.InstantOf(time.Unix(1, 0))
			var scanner fields.Scanner
			var dec affinity.Decision
			headers := make([]route.Header, 0, 8)
			req := affinity.Request{Request: route.Request{
				Port: 80, Scheme: "http", Method: "POST", Authority: "127.0.0.1:8080", Path: "/hit_backend",
			}}
			decide := func(i int) {
				req.Headers = append(headers[:0],
					route.Header{Name: "host", Value: "127.0.0.1:8080"},
					route.Header{Name: "content-type", Value: "application/json"},
					route.Header{Name: "content-length", Value: "45"})
				plan := e.Plan(&req)
				scanner.Reset(plan.Spec)
				_ = scanner.Write(bodies[i%len(bodies)])
				_ = scanner.Close()
				req.Body, req.BodyState = &scanner, affinity.BodyRead
				e.Decide(&req, &dec, now)
				dec.Sent = true
				e.Release(&dec, now)
			}
			for i := range bodies {
				if decide(i); !dec.Problem.IsZero() {
					b.Fatal(dec.Problem)
				}
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				i++
				decide(i)
			}
		})
	}
}
