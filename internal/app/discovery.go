package app

import (
	"context"
	"slices"
	"time"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/generate"
	"github.com/remora-proxy/remora/internal/xds"
)

// discoveryPatience is how long a new configuration waits until Envoys know its endpoints. One that takes longer is left behind: it
// sends requests to another endpoint than the one that it is told, until it knows that.
const discoveryPatience = time.Second

// announce tells Envoys of the endpoints that next adds, before any decision can name them: those of the configuration in force stay
// as they are. settle has to follow.
func (p *program) announce(next *Loaded) {
	if p.discovery == nil || p.current == nil {
		return
	}
	p.discover(both(next.Config, p.current.Config))
	ctx, cancel := context.WithTimeout(context.Background(), discoveryPatience)
	defer cancel()
	if err := p.discovery.Wait(ctx); err != nil {
		p.log.Warn("an Envoy has not confirmed the new endpoints in time", "limit", discoveryPatience)
	}
}

// settle tells Envoys of the configuration in force, which no decision goes beyond any more.
func (p *program) settle() {
	if p.discovery != nil && p.current != nil {
		p.discover(p.current.Config)
	}
}

func (p *program) discover(c *affinity.Config) {
	p.discovery.Update(func() (xds.Resources, error) {
		clusters, endpoints, err := generate.Discovery(c)
		return xds.Resources{Clusters: clusters, Endpoints: endpoints}, err
	})
}

// both is next with the services and endpoints that only before has. It serves to tell of endpoints, and nothing else.
func both(next, before *affinity.Config) *affinity.Config {
	out := &affinity.Config{Services: slices.Clone(next.Services)}
	at := make(map[string]int, len(out.Services))
	for i := range out.Services {
		at[out.Services[i].Name] = i
	}
	for i := range before.Services {
		old := &before.Services[i]
		j, is := at[old.Name]
		switch {
		case !is:
			out.Services = append(out.Services, *old)
			continue
		case out.Services[j].Missing != "":
			out.Services[j] = *old
			continue
		}
		known := out.Services[j].Endpoints
		out.Services[j].Endpoints = slices.Clone(known)
		for _, ep := range old.Endpoints {
			if !slices.ContainsFunc(known, func(e affinity.EndpointConfig) bool { return e.Addr == ep.Addr }) {
				out.Services[j].Endpoints = append(out.Services[j].Endpoints, ep)
			}
		}
	}
	return out
}
