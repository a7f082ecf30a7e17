package gateway

import (
	"context"
	"errors"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/gateway/loop"
	"github.com/remora-proxy/remora/internal/problem"
)

// statFields are the counters without labels.
var statFields = []struct {
	name, help string
	at         func(*stats) *uint64
}{
	{"client_connections_accepted_total", "Connections accepted from clients.", func(s *stats) *uint64 { return &s.accepted }},
	{"accept_pauses_total", "Times that accepting rested because the limit on connections was reached.", func(s *stats) *uint64 { return &s.acceptPauses }},
	{"accept_errors_total", "Times that a connection could not be accepted, for lack of file descriptors or memory.", func(s *stats) *uint64 { return &s.acceptErrors }},
	{"client_received_bytes_total", "Bytes of requests received from clients, heads included.", func(s *stats) *uint64 { return &s.clientBytes.received }},
	{"client_sent_bytes_total", "Bytes of responses sent to clients, heads included.", func(s *stats) *uint64 { return &s.clientBytes.delivered }},
	{"upstream_received_bytes_total", "Bytes of responses received from replicas, heads included.", func(s *stats) *uint64 { return &s.replicaBytes.received }},
	{"upstream_sent_bytes_total", "Bytes of requests sent to replicas, heads included.", func(s *stats) *uint64 { return &s.replicaBytes.delivered }},
	{"upstream_connections_opened_total", "Connections begun to replicas.", func(s *stats) *uint64 { return &s.upstreamOpened }},
	{"upstream_connections_reused_total", "Requests sent on a connection that had served another one before.", func(s *stats) *uint64 { return &s.upstreamReused }},
	{"upstream_idle_closed_total", "Idle connections that the replica ended.", func(s *stats) *uint64 { return &s.upstreamClosedIdle }},
	{"connect_failures_total", "Attempts to connect to a replica that failed.", func(s *stats) *uint64 { return &s.connectFailures }},
	{"connect_retries_total", "Attempts to connect to the same replica again after a failure.", func(s *stats) *uint64 { return &s.connectRetries }},
	{"moves_total", "Times that a request went on to another replica because its own could not be connected to.", func(s *stats) *uint64 { return &s.moves }},
	{"decisions_waited_total", "Times that a request waited for the session store that gateways share.", func(s *stats) *uint64 { return &s.decisionsWaited }},
	{"decisions_alone_total", "Times that a request did not ask that store because as many as may waited for it.", func(s *stats) *uint64 { return &s.decidedAlone }},
	{"resends_total", "Requests sent again on a new connection after one failed under them.", func(s *stats) *uint64 { return &s.resends }},
	{"smuggling_refused_total", "Requests refused because two readers could disagree on where they end.", func(s *stats) *uint64 { return &s.smuggling }},
}

var (
	statDescs = func() []*prometheus.Desc {
		out := make([]*prometheus.Desc, len(statFields))
		for i, f := range statFields {
			out[i] = describe(f.name, f.help)
		}
		return out
	}()
	requestsDesc     = describe("requests_total", "Requests that have ended, by service (empty: none was found), class of the status sent (none: the client left before; other: above 599), and state of the session.", "service", "code", "session")
	problemsDesc     = describe("problems_total", "Answers of the gateway itself, by problem code.", "code")
	endingsDesc      = describe("exchanges_total", "Requests that have ended, by how: forwarded, answered (by the gateway), client_gone, truncated, bad_request, stopped.", "ending")
	clientsDesc      = describe("client_connections", "Connections of clients now.")
	upstreamsDesc    = describe("upstream_connections", "Connections to replicas now, by state (busy includes those being established).", "state")
	durationDesc     = describe("request_duration_seconds", "From a request's first byte to the end of its response, to within the time of one round of the event loop.")
	firstByteDesc    = describe("upstream_first_byte_seconds", "From the last byte of a request sent to a replica to the first of its response.")
	buffersDesc      = describe("buffers_in_use", "Buffers that hold bytes of requests and responses now.")
	noCollectionDesc = describe("collect_error", "A worker did not answer the scrape in time.")
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("remora_gateway_"+name, help, labels, nil)
}

// Describe implements prometheus.Collector.
func (g *Gateway) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range statDescs {
		ch <- d
	}
	for _, d := range []*prometheus.Desc{
		requestsDesc, problemsDesc, endingsDesc, clientsDesc, upstreamsDesc, durationDesc, firstByteDesc, buffersDesc,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector: it asks each worker for its counters and adds them up. The metrics are
//
//	remora_gateway_requests_total{service,code,session}
//	remora_gateway_exchanges_total{ending}
//	remora_gateway_problems_total{code}
//	remora_gateway_request_duration_seconds          histogram
//	remora_gateway_upstream_first_byte_seconds       histogram
//	remora_gateway_client_connections                gauge
//	remora_gateway_upstream_connections{state}       gauge
//	remora_gateway_buffers_in_use                    gauge
//
// and the counters of statFields.
func (g *Gateway) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), collectTimeout)
	defer cancel()
	s, err := g.collect(ctx)
	if err != nil {
		ch <- prometheus.NewInvalidMetric(noCollectionDesc, err)
		return
	}
	count := func(d *prometheus.Desc, n uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	gauge := func(d *prometheus.Desc, n int, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), labels...)
	}
	for i, f := range statFields {
		count(statDescs[i], *f.at(s))
	}
	for name, counts := range s.services {
		for class := range counts {
			for state, n := range counts[class] {
				if n > 0 {
					count(requestsDesc, n, name, classLabel(class), affinity.SessionState(state).String())
				}
			}
		}
	}
	for i, e := range problem.All() {
		count(problemsDesc, s.problems[i], string(e.Code))
	}
	for i, n := range s.endings {
		count(endingsDesc, n, ending(i).String())
	}
	gauge(clientsDesc, s.clients)
	gauge(upstreamsDesc, s.upstreams-s.upstreamsIdle, "busy")
	gauge(upstreamsDesc, s.upstreamsIdle, "idle")
	gauge(buffersDesc, s.buffers)
	ch <- s.duration.metric(durationDesc)
	ch <- s.firstByte.metric(firstByteDesc)
}

func classLabel(class int) string {
	switch class {
	case 0:
		return "none"
	case statusClasses - 1:
		return "other"
	}
	return strconv.Itoa(class) + "xx"
}

// metric is the histogram as Prometheus takes it.
func (h *histogram) metric(d *prometheus.Desc) prometheus.Metric {
	buckets := make(map[float64]uint64, histogramBuckets-1)
	var n uint64
	for i, c := range h.counts {
		n += c
		if i < histogramBuckets-1 {
			buckets[float64(upperBound(i))/1e6] = n
		}
	}
	return prometheus.MustNewConstHistogram(d, n, h.sum.Seconds(), buckets)
}

func isStopped(err error) bool { return errors.Is(err, loop.ErrStopped) }
