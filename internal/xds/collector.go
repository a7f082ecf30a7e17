package xds

import "github.com/prometheus/client_golang/prometheus"

var (
	streamsDesc  = prometheus.NewDesc("remora_xds_envoys", "Envoys that are being told of services and endpoints.", nil, nil)
	rejectedDesc = prometheus.NewDesc("remora_xds_rejections_total", "Responses about services and endpoints that an Envoy has refused.", nil, nil)
)

// Describe implements prometheus.Collector.
func (s *Server) Describe(ch chan<- *prometheus.Desc) {
	ch <- streamsDesc
	ch <- rejectedDesc
}

// Collect implements prometheus.Collector.
func (s *Server) Collect(ch chan<- prometheus.Metric) {
	s.mu.Lock()
	streams := len(s.streams)
	s.mu.Unlock()
	ch <- prometheus.MustNewConstMetric(streamsDesc, prometheus.GaugeValue, float64(streams))
	ch <- prometheus.MustNewConstMetric(rejectedDesc, prometheus.CounterValue, float64(s.rejected.Load()))
}
