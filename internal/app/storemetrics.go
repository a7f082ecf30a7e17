package app

import (
	"github.com/prometheus/client_golang/prometheus"
)

// storeCollector turns what the store counts into metrics at the time of a scrape.
type storeCollector struct{ s *sharing }

var (
	descStoreUp = prometheus.NewDesc("remora_store_up",
		"1 while the store answers, 0 while this gateway decides alone.", nil, nil)
	descStoreFull = prometheus.NewDesc("remora_store_full",
		"1 when the store has refused a new session within the last 10 s because its memory is used up.", nil, nil)
	descStoreConflict = prometheus.NewDesc("remora_store_conflict",
		"1 when another gateway of the store has another hash key, so that both take a user for two.", nil, nil)
	descStoreOutages = prometheus.NewDesc("remora_store_outages_total",
		"Times that the store ceased to answer.", nil, nil)
	descStoreAnswer = prometheus.NewDesc("remora_store_last_answer_timestamp_seconds",
		"When a call of the store last succeeded, in seconds since 1970.", nil, nil)
	descStoreSessions = prometheus.NewDesc("remora_store_sessions",
		"Live sessions of all gateways, as of the last count. Absent until this gateway has heard of one.", nil, nil)
	descStoreClaims = prometheus.NewDesc("remora_store_claims_total",
		"Users without a session here that the store was asked about.", nil, nil)
	descStoreAdopted = prometheus.NewDesc("remora_store_adopted_total",
		"Those of them that had a session by another gateway.", nil, nil)
	descStoreRenewals = prometheus.NewDesc("remora_store_renewals_total",
		"Sessions renewed in the store.", nil, nil)
	descStorePending = prometheus.NewDesc("remora_store_renewals_pending",
		"Renewals that wait to be sent.", nil, nil)
	descStoreDropped = prometheus.NewDesc("remora_store_renewals_dropped_total",
		"Renewals for which there was no room; the session's next request renews it.", nil, nil)
	descStoreFollowed = prometheus.NewDesc("remora_store_followed_total",
		"Sessions moved because another gateway had moved them, or had an older claim.", nil, nil)
	descStoreAlone = prometheus.NewDesc("remora_store_decided_alone_total",
		"Sessions that began while the store could not be asked.", nil, nil)
	descStoreUndecided = prometheus.NewDesc("remora_store_decided_alone_pending",
		"Sessions that began or moved while the store could not be asked, and of which it has not heard yet.", nil, nil)
	descStoreForgotten = prometheus.NewDesc("remora_store_decided_alone_forgotten_total",
		"Those of which it never will, because there was no room to remember them: against another gateway's claim they lose.", nil, nil)
	descStoreResyncs = prometheus.NewDesc("remora_store_resyncs_total",
		"Times that the store was told all live sessions, because it was away or may have lost some.", nil, nil)
	descStoreResyncing = prometheus.NewDesc("remora_store_resyncing",
		"1 while it is being told.", nil, nil)
	descStoreNewsLost = prometheus.NewDesc("remora_store_news_lost_total",
		"News of other gateways that came faster than they could be taken; what they said is found out with the next renewal.", nil, nil)
)

// Describe implements prometheus.Collector.
func (c *storeCollector) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, ch) }

// Collect implements prometheus.Collector.
func (c *storeCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	counter := func(d *prometheus.Desc, v uint64) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v))
	}
	is := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	st := c.s.store.Status()
	gauge(descStoreUp, is(!st.Down))
	gauge(descStoreFull, is(c.s.full()))
	gauge(descStoreConflict, is(c.s.outside.Conflict() != nil))
	counter(descStoreOutages, st.Opens)
	gauge(descStoreAnswer, float64(st.LastAnswer)/1000)
	if st.Counted {
		gauge(descStoreSessions, float64(st.Total))
	}
	counter(descStoreClaims, st.Claims)
	counter(descStoreAdopted, st.Adopted)
	counter(descStoreRenewals, st.Renewals)
	gauge(descStorePending, float64(st.Pending))
	counter(descStoreDropped, st.Dropped)
	counter(descStoreFollowed, st.Followed)
	counter(descStoreAlone, st.DecidedHere)
	gauge(descStoreUndecided, float64(st.Undecided))
	counter(descStoreForgotten, st.Forgotten)
	counter(descStoreResyncs, st.Resyncs)
	gauge(descStoreResyncing, is(st.Telling))
	counter(descStoreNewsLost, c.s.outside.Lost())
}
