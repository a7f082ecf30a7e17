package app

import (
	"context"
	"crypto/tls"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/remora-proxy/remora/internal/certificate"
	"github.com/remora-proxy/remora/internal/config"
)

// keptCertificate is the processor's certificate, which follows its files, and what is told of it.
type keptCertificate struct {
	*certificate.Server
	watcher *config.Watcher // nil: changes are not seen
	reloads *prometheus.CounterVec
}

// keepCertificate reads the processor's certificate, if it has one, and keeps it in step with its files until the program ends. nil is no TLS.
func (p *program) keepCertificate(files certificate.Files) (*tls.Config, error) {
	if files.Cert == "" {
		return nil, nil
	}
	k := &keptCertificate{reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "remora_extproc_certificate_reloads_total",
		Help: "Attempts to take over changed TLS files, by result (applied, refused).",
	}, []string{"result"})}
	var err error
	if k.watcher, err = config.NewWatcher(files.List()); err != nil { // before the first reading, so that no change falls between
		p.log.Warn("changes of the TLS files are not seen", "error", err)
	}
	if k.Server, err = certificate.New(files, p.clock.now); err != nil {
		k.close()
		return nil, fmt.Errorf("TLS for Envoy: %w", err)
	}
	k.reloads.WithLabelValues("refused") // so that it is there before it happens
	p.metrics.MustRegister(k.reloads, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "remora_extproc_certificate_expiry_timestamp_seconds",
		Help: "When the certificate that Envoys are shown, or one between it and its authority, expires, in seconds since 1970.",
	}, func() float64 { return float64(k.Expiry().Unix()) }))
	p.certificate = k
	p.log.Info("certificate", "file", files.Cert, "expires", k.Expiry())
	return k.Config(), nil
}

// close ends the watch of the files, if there is one.
func (k *keptCertificate) close() {
	if k != nil && k.watcher != nil {
		_ = k.watcher.Close() // nothing depends on it
	}
}

// followCertificate reloads the certificate when its files change.
func (p *program) followCertificate(ctx context.Context) {
	if p.certificate == nil || p.certificate.watcher == nil {
		return
	}
	if err := p.certificate.watcher.Run(ctx, p.reloadCertificate); err != nil {
		p.log.Warn("changes of the TLS files are no longer seen", "error", err)
	}
}

// reloadCertificate takes over what the TLS files hold now; what cannot be used changes nothing.
func (p *program) reloadCertificate() {
	if p.certificate == nil {
		return
	}
	switch changed, err := p.certificate.Reload(); {
	case err != nil:
		p.certificate.reloads.WithLabelValues("refused").Inc()
		p.log.Error("the TLS files have changed and cannot be used; the certificate is as it was before", "error", err, "expires", p.certificate.Expiry())
	case changed:
		p.certificate.reloads.WithLabelValues("applied").Inc()
		p.log.Info("certificate changed", "expires", p.certificate.Expiry())
	}
}
