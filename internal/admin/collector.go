package admin

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/session"
)

// engineCollector turns what an engine counts into metrics at the time of a scrape, so that a decision pays for none.
type engineCollector struct {
	engine *affinity.Engine
	now    func() time.Time
}

// NewEngineCollector makes the collector of an engine's metrics.
func NewEngineCollector(e *affinity.Engine, now func() time.Time) prometheus.Collector {
	return &engineCollector{engine: e, now: now}
}

var (
	descStored = prometheus.NewDesc("remora_sessions_stored",
		"Sessions in the table, those included that have expired and that no sweep has met.", nil, nil)
	descDecisions = prometheus.NewDesc("remora_decisions_total",
		"Requests decided, by service and by what became of the session (new, existing, moved, none).", []string{"service", "session"}, nil)
	descPassed = prometheus.NewDesc("remora_passed_total",
		"Requests left to Envoy, which answers them by itself: the rule has a redirect or a directResponse.", nil, nil)
	descMovedAway = prometheus.NewDesc("remora_moved_away_total",
		"Requests taken away from an endpoint that could not be connected to.", []string{"service"}, nil)
	descRefused = prometheus.NewDesc("remora_decisions_refused_total",
		"Requests answered with a problem after their service was known.", []string{"service"}, nil)
	descFull = prometheus.NewDesc("remora_sessions_table_full_total",
		"Requests decided without a session because the table was at its limit.", []string{"service"}, nil)
	descDiverted = prometheus.NewDesc("remora_diverted_total",
		"Requests that Envoy did not serve with the endpoint picked, by reason (retry, fallback, unserved) and by what became of the session.",
		[]string{"service", "reason", "session"}, nil)
	descLive = prometheus.NewDesc("remora_endpoint_sessions",
		"Sessions bound to the endpoint; with --store, of all gateways.", []string{"service", "endpoint"}, nil)
	descInFlight = prometheus.NewDesc("remora_endpoint_requests_in_flight",
		"Requests at the endpoint now.", []string{"service", "endpoint"}, nil)
	descState = prometheus.NewDesc("remora_endpoint_state",
		"1 for the state that the endpoint is in (ready, warming, draining, unhealthy, gone).", []string{"service", "endpoint", "state"}, nil)
)

func (c *engineCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descStored, descDecisions, descPassed, descMovedAway, descRefused, descFull, descDiverted, descLive, descInFlight, descState} {
		ch <- d
	}
}

func (c *engineCollector) Collect(ch chan<- prometheus.Metric) {
	counter := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge := func(d *prometheus.Desc, v int, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(v), labels...)
	}
	st := c.engine.Stats()
	gauge(descStored, st.Sessions)
	counter(descPassed, st.Passed)
	for i := range st.Services {
		s := &st.Services[i]
		for state, n := range s.Decisions {
			counter(descDecisions, n, s.Service, state.String())
		}
		counter(descMovedAway, s.MovedAway, s.Service)
		counter(descRefused, s.Refused, s.Service)
		counter(descFull, s.TableFull, s.Service)
		for _, d := range s.Diverted {
			counter(descDiverted, d.N, s.Service, d.Why.String(), d.Then.String())
		}
	}
	// Two incarnations of one address are one series: the sum of their loads, and the better of their states.
	type id struct{ service, addr string }
	merged := make(map[id]affinity.EndpointStats)
	for _, ep := range c.engine.EndpointStats(session.InstantOf(c.now())) {
		k := id{ep.Service, ep.Addr}
		if old, ok := merged[k]; ok {
			ep.Live += old.Live
			ep.InFlight += old.InFlight
			ep.State = min(ep.State, old.State)
		}
		merged[k] = ep
	}
	for k, ep := range merged {
		gauge(descLive, ep.Live, k.service, k.addr)
		gauge(descInFlight, ep.InFlight, k.service, k.addr)
		gauge(descState, 1, k.service, k.addr, ep.State.String())
	}
}
