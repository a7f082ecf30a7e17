package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/remora-proxy/remora/internal/session"
)

// saveShare bounds how much of the time goes into saving: a save that took t is followed by at least saveShare·t without one.
const saveShare = 10

// restore reads the sessions that an earlier process saved. A file that cannot be used is no reason not to start: without
// their sessions the users can still be served.
func (p *program) restore() error {
	if p.sessions == nil {
		return nil
	}
	var restored session.Loaded
	err := p.sessions.read(func(r io.Reader) (err error) {
		restored, err = p.engine.Restore(r, p.clock.instant())
		return err
	})
	if unreadable := (*unreadableError)(nil); errors.As(err, &unreadable) {
		p.log.Error("starting without sessions", "error", err)
		return nil
	}
	if err == nil {
		p.restored = &restored
	}
	return err
}

// dropOutdated removes the restored sessions that have expired, which can be told only when a configuration says how long they
// live, and says what was restored.
func (p *program) dropOutdated() {
	r := p.restored
	if p.restored = nil; r == nil {
		return
	}
	p.engine.SweepAll(p.clock.instant())
	live := p.engine.Stats().Sessions
	p.log.Info("sessions restored", "file", p.o.SessionFile, "sessions", live,
		"outdated", r.Outdated+r.Sessions-live, "unknown", r.Unknown, "excess", r.Excess)
}

// saveRegularly saves the sessions again and again, so that a crash loses little.
func (p *program) saveRegularly(ctx context.Context) {
	if p.sessions == nil {
		return
	}
	timer := time.NewTimer(p.o.SaveInterval)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			began := time.Now()
			_ = p.save() // said in the log, the metrics and the status; the next one may succeed
			timer.Reset(max(p.o.SaveInterval, saveShare*time.Since(began)))
		}
	}
}

// save writes the sessions to their file.
func (p *program) save() error {
	if p.sessions == nil {
		return nil
	}
	began, sessions := time.Now(), 0
	err := p.sessions.write(func(w io.Writer) (err error) {
		sessions, err = p.engine.Save(w, p.clock.instant())
		return err
	})
	took := time.Since(began)
	p.board.saved(err, began, took)
	if err != nil {
		p.log.Error("the sessions were not saved", "file", p.o.SessionFile, "error", err)
		return fmt.Errorf("the sessions were not saved: %w", err)
	}
	p.log.Debug("sessions saved", "file", p.o.SessionFile, "sessions", sessions, "took", took)
	return nil
}
