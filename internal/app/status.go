package app

import (
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/remora-proxy/remora/internal/admin"
	"github.com/remora-proxy/remora/internal/diag"
)

// board is what the program tells of itself: the status that the admin API shows, and the metrics of the same things.
type board struct {
	mu     sync.Mutex
	status admin.Status

	reloads   *prometheus.CounterVec
	succeeded prometheus.Gauge
	appliedAt prometheus.Gauge
	invalid   prometheus.Gauge
	saves     *prometheus.CounterVec
	savedAt   prometheus.Gauge
	saveTook  prometheus.Gauge
}

func newBoard(o *Options, reg *prometheus.Registry, now time.Time) *board {
	gauge := func(name, help string) prometheus.Gauge {
		g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
		reg.MustRegister(g)
		return g
	}
	counter := func(name, help string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{"result"})
		reg.MustRegister(c)
		return c
	}
	b := &board{
		reloads:   counter("remora_config_reload_total", "Attempts to load the configuration, by result (applied, refused)."),
		succeeded: gauge("remora_config_last_reload_successful", "1 when the last attempt to load the configuration was applied, 0 when it was refused."),
		appliedAt: gauge("remora_config_applied_timestamp_seconds", "When the configuration in use was applied, in seconds since 1970."),
		invalid:   gauge("remora_config_refused_objects", "Objects of the cluster that are not used as they are, because an error is about them."),
		saves:     counter("remora_session_saves_total", "Saves of the sessions to their file, by result (saved, failed)."),
		savedAt:   gauge("remora_session_saved_timestamp_seconds", "When the sessions were last saved, in seconds since 1970."),
		saveTook:  gauge("remora_session_save_seconds", "How long the last save of the sessions took."),
	}
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "remora_build_info", Help: "1, with the version as a label."}, []string{"version"})
	info.WithLabelValues(o.Version).Set(1)
	reg.MustRegister(info)
	b.status = admin.Status{
		Version: o.Version, StartedAt: now, NotReady: "the gateway is starting", Listeners: []admin.Listener{},
		Config:   admin.ConfigStatus{Sources: []string{}, LastLoad: admin.LoadStatus{Diagnostics: []admin.Diagnostic{}}},
		Sessions: admin.SessionsStatus{Limit: o.MaxSessions, File: o.SessionFile},
	}
	return b
}

// read is the status now.
func (b *board) read() admin.Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	st := b.status
	st.Listeners = slices.Clone(st.Listeners)
	return st
}

// notReady says that the gateway takes no requests, and why; ready takes it back with an empty reason.
func (b *board) notReady(why string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.status.Ready, b.status.NotReady = why == "", why
}

// applied says that a configuration is in use.
func (b *board) applied(c *Loaded, listeners []admin.Listener, now time.Time) {
	b.reloads.WithLabelValues("applied").Inc()
	b.succeeded.Set(1)
	b.appliedAt.Set(float64(now.UnixMilli()) / 1000)
	b.invalid.Set(float64(c.Refused))
	b.mu.Lock()
	defer b.mu.Unlock()
	st := &b.status.Config
	st.Generation++
	st.AppliedAt, st.Sources = now, c.Sources.Files
	st.Routes, st.Services, st.Endpoints, st.RefusedObjects = c.Routes, c.Services, c.Endpoints, c.Refused
	st.LastLoad = admin.LoadStatus{At: now, Applied: true, Diagnostics: diagnosticsOf(c.Diagnostics)}
	b.status.Listeners = listeners
}

// readdressed says that the configuration in use has other endpoints.
func (b *board) readdressed(c *Loaded) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.status.Config.Endpoints = c.Endpoints
}

// refused says that a configuration is not used.
func (b *board) refused(diagnostics diag.List, now time.Time) {
	b.reloads.WithLabelValues("refused").Inc()
	b.succeeded.Set(0)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.status.Config.LastLoad = admin.LoadStatus{At: now, Diagnostics: diagnosticsOf(diagnostics)}
}

// saved says what became of a save of the sessions.
func (b *board) saved(err error, now time.Time, took time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil {
		b.saves.WithLabelValues("failed").Inc()
		b.status.Sessions.SaveError = err.Error()
		return
	}
	b.saves.WithLabelValues("saved").Inc()
	b.savedAt.Set(float64(now.UnixMilli()) / 1000)
	b.saveTook.Set(took.Seconds())
	b.status.Sessions.SavedAt, b.status.Sessions.SaveError = &now, ""
}

func diagnosticsOf(l diag.List) []admin.Diagnostic {
	out := make([]admin.Diagnostic, len(l))
	for i, d := range l {
		severity := "error"
		if d.Severity == diag.Warning {
			severity = "warning"
		}
		out[i] = admin.Diagnostic{Severity: severity, File: d.Pos.File, Line: d.Pos.Line, Object: d.Object, Field: d.Field, What: d.What, Remedy: d.Remedy}
	}
	return out
}

// broadcast wakes all who wait for the next time that something happens.
type broadcast struct {
	mu   sync.Mutex
	next chan struct{}
}

// wait gives a channel that is closed by the next tell.
func (b *broadcast) wait() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.next == nil {
		b.next = make(chan struct{})
	}
	return b.next
}

func (b *broadcast) tell() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.next != nil {
		close(b.next)
		b.next = nil
	}
}
