package scalein

import "github.com/prometheus/client_golang/prometheus"

var (
	leaderDesc   = prometheus.NewDesc("remora_scale_in_leader", "1 in the gateway that holds the Lease and writes pods, 0 in the others.", nil, nil)
	costsDesc    = prometheus.NewDesc("remora_scale_in_cost_writes_total", "Deletion costs written to pods, by result (written, failed).", []string{"result"}, nil)
	holdsDesc    = prometheus.NewDesc("remora_scale_in_hold_writes_total", "Times that this gateway has written to a terminating pod that it needs it, or not any more, by result (written, failed).", []string{"result"}, nil)
	releasesDesc = prometheus.NewDesc("remora_scale_in_releases_total", "Terminating pods without sessions that were deleted a second time, by result (released, failed).", []string{"result"}, nil)
	foreignDesc  = prometheus.NewDesc("remora_scale_in_foreign_costs", "Pods whose deletion cost somebody else has set, which stays as it is.", nil, nil)
	failingDesc  = prometheus.NewDesc("remora_scale_in_failing", "1 while the Lease cannot be had or pods cannot be written, else 0.", nil, nil)
)

// Describe implements prometheus.Collector.
func (s *Scaler) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{leaderDesc, costsDesc, holdsDesc, releasesDesc, foreignDesc, failingDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (s *Scaler) Collect(ch chan<- prometheus.Metric) {
	st := s.Status()
	flag := func(is bool) float64 {
		if is {
			return 1
		}
		return 0
	}
	ch <- prometheus.MustNewConstMetric(leaderDesc, prometheus.GaugeValue, flag(st.Leading))
	ch <- prometheus.MustNewConstMetric(failingDesc, prometheus.GaugeValue, flag(st.Error != nil))
	ch <- prometheus.MustNewConstMetric(foreignDesc, prometheus.GaugeValue, float64(st.Foreign))
	ch <- prometheus.MustNewConstMetric(costsDesc, prometheus.CounterValue, float64(st.Costs), "written")
	ch <- prometheus.MustNewConstMetric(costsDesc, prometheus.CounterValue, float64(st.CostErrors), "failed")
	ch <- prometheus.MustNewConstMetric(holdsDesc, prometheus.CounterValue, float64(st.Holds), "written")
	ch <- prometheus.MustNewConstMetric(holdsDesc, prometheus.CounterValue, float64(st.HoldErrors), "failed")
	ch <- prometheus.MustNewConstMetric(releasesDesc, prometheus.CounterValue, float64(st.Releases), "released")
	ch <- prometheus.MustNewConstMetric(releasesDesc, prometheus.CounterValue, float64(st.ReleaseErrors), "failed")
}
