package kube

import "github.com/prometheus/client_golang/prometheus"

var (
	watchingDesc = prometheus.NewDesc("remora_kubernetes_watching", "1 when all kinds are watched, 0 when the API server does not answer as it should.", nil, nil)
	objectsDesc  = prometheus.NewDesc("remora_kubernetes_objects", "Objects that are known, by kind.", []string{"kind"}, nil)
	statusDesc   = prometheus.NewDesc("remora_kubernetes_status_writes_total", "Writes of the status of AffinityPolicies, by result (written, failed).", []string{"result"}, nil)
	eventsDesc   = prometheus.NewDesc("remora_kubernetes_events_total", "Changes that the API server has told, by kind.", []string{"kind"}, nil)
)

// Describe implements prometheus.Collector.
func (c *Cluster) Describe(ch chan<- *prometheus.Desc) {
	ch <- watchingDesc
	ch <- objectsDesc
	ch <- eventsDesc
	ch <- statusDesc
}

// Collect implements prometheus.Collector.
func (c *Cluster) Collect(ch chan<- prometheus.Metric) {
	h := c.Health()
	watching := 1.0
	if h.Failure != nil {
		watching = 0
	}
	ch <- prometheus.MustNewConstMetric(watchingDesc, prometheus.GaugeValue, watching)
	for _, k := range h.Kinds {
		ch <- prometheus.MustNewConstMetric(objectsDesc, prometheus.GaugeValue, float64(k.Objects), k.Kind)
		ch <- prometheus.MustNewConstMetric(eventsDesc, prometheus.CounterValue, float64(k.Events), k.Kind)
	}
	written, failed := c.status.counts()
	ch <- prometheus.MustNewConstMetric(statusDesc, prometheus.CounterValue, float64(written), "written")
	ch <- prometheus.MustNewConstMetric(statusDesc, prometheus.CounterValue, float64(failed), "failed")
}
