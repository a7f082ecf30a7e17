package app

import (
	"maps"
	"time"

	"github.com/remora-proxy/remora/internal/affinity"
)

// healthInterval is the time between two looks at the replicas' health. Looking costs some nanoseconds for each replica.
const healthInterval = time.Second

// maxHealthLines bounds what is logged of one look: when a network fails, replicas do by the thousand.
const maxHealthLines = 20

// healthLog says which replicas cannot be reached, once, and which can be again. Engines have no logger.
type healthLog struct {
	looked time.Time
	ailing map[replica]bool
}

type replica struct{ service, address string }

// look compares the replicas with those of the last look.
func (h *healthLog) look(p *program, now time.Time) {
	if now.Sub(h.looked) < healthInterval {
		return
	}
	h.looked = now
	ailing := make(map[replica]bool)
	var fell []affinity.EndpointStats
	for _, ep := range p.engine.Ailing(p.clock.instant()) {
		r := replica{ep.Service, ep.Addr}
		if ailing[r] = true; !h.ailing[r] {
			fell = append(fell, ep)
		}
	}
	rose := maps.Clone(h.ailing)
	maps.DeleteFunc(rose, func(r replica, _ bool) bool { return ailing[r] })
	h.ailing = ailing
	for i, ep := range fell {
		if i == maxHealthLines {
			p.log.Warn("more replicas cannot be reached", "more", len(fell)-i)
			break
		}
		p.log.Warn("a replica cannot be reached; it gets no new session while another is ready, and is tried again",
			"service", ep.Service, "endpoint", ep.Addr, "name", ep.Name, "sessions", ep.Live)
	}
	lines := 0
	for r := range rose {
		if lines++; lines > maxHealthLines {
			p.log.Info("more replicas can be reached again, or are gone", "more", len(rose)-maxHealthLines)
			break
		}
		p.log.Info("a replica can be reached again, or is gone", "service", r.service, "endpoint", r.address)
	}
}
