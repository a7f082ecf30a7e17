package extproc

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/remora-proxy/remora/internal/problem"
)

// stats are the server's counters.
type stats struct {
	streams        atomic.Int64
	decided        atomic.Uint64
	misuses        atomic.Uint64
	reports        atomic.Uint64
	uselessReports atomic.Uint64
	waited         atomic.Uint64
	alone          atomic.Uint64
	problems       []atomic.Uint64 // by problem.Index

	panics        atomic.Uint64
	refused       atomic.Uint64
	refusedLogged atomic.Int64 // nanoseconds since 1970; 0: never
}

func (s *stats) init() { s.problems = make([]atomic.Uint64, len(problem.All())) }

var (
	streamsDesc  = describe("requests_in_flight", "Requests in flight now, each with a gRPC stream of its own.")
	decidedDesc  = describe("decided_total", "Requests that Envoy was told an endpoint for.")
	problemsDesc = describe("problems_total", "Requests that Envoy was told to answer with a problem, by its code.", "code")
	reportsDesc  = describe("reports_total", "Requests that Envoy said it had not served with the endpoint picked.")
	uselessDesc  = describe("reports_useless_total", "Those of them that nothing could be done with: without metadata of Remora's, or about a service that is not configured any more.")
	waitedDesc   = describe("decisions_waited_total", "Times that a decision or a report waited for the session store that gateways share.")
	aloneDesc    = describe("decisions_alone_total", "Times that a decision or a report did not ask that store because as many as may waited for it.")
	misusesDesc  = describe("misconfigured_streams_total", "Streams refused because the Envoy is not configured as it must be; the log has the first one.")
	panicsDesc   = describe("panics_total", "Requests that ended by a fault in Remora itself; the log has the stack.")
	refusedDesc  = describe("refused_connections_total", "Connections of Envoys, or of others, that were closed at once: the TLS handshake failed, or there were too many; the log has one a minute.")
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("remora_extproc_"+name, help, labels, nil)
}

// Describe implements prometheus.Collector.
func (s *Server) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{streamsDesc, decidedDesc, problemsDesc, reportsDesc, uselessDesc, waitedDesc, aloneDesc, misusesDesc, refusedDesc, panicsDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (s *Server) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.MustNewConstMetric(streamsDesc, prometheus.GaugeValue, float64(s.stats.streams.Load()))
	ch <- prometheus.MustNewConstMetric(decidedDesc, prometheus.CounterValue, float64(s.stats.decided.Load()))
	ch <- prometheus.MustNewConstMetric(reportsDesc, prometheus.CounterValue, float64(s.stats.reports.Load()))
	ch <- prometheus.MustNewConstMetric(uselessDesc, prometheus.CounterValue, float64(s.stats.uselessReports.Load()))
	ch <- prometheus.MustNewConstMetric(waitedDesc, prometheus.CounterValue, float64(s.stats.waited.Load()))
	ch <- prometheus.MustNewConstMetric(aloneDesc, prometheus.CounterValue, float64(s.stats.alone.Load()))
	ch <- prometheus.MustNewConstMetric(misusesDesc, prometheus.CounterValue, float64(s.stats.misuses.Load()))
	ch <- prometheus.MustNewConstMetric(panicsDesc, prometheus.CounterValue, float64(s.stats.panics.Load()))
	ch <- prometheus.MustNewConstMetric(refusedDesc, prometheus.CounterValue, float64(s.stats.refused.Load()))
	for i, e := range problem.All() {
		if n := s.stats.problems[i].Load(); n > 0 {
			ch <- prometheus.MustNewConstMetric(problemsDesc, prometheus.CounterValue, float64(n), string(e.Code))
		}
	}
}
