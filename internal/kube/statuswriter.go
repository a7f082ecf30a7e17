package kube

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What is written is bounded: of all objects one after the other with writePause in between, of one object once in shortestTurn, and
// more and more seldom, down to once in longestTurn, where another program overwrites it again and again with something else. After a
// failure nothing is written for shortestTurn, and with more failures in a row for up to longestFailure.
const (
	writePause     = 50 * time.Millisecond
	shortestTurn   = time.Second
	longestTurn    = 10 * time.Minute
	longestFailure = time.Minute
	writeTimeout   = 30 * time.Second // of one write
)

// statusWriter brings the status of objects to what was reported of them.
type statusWriter struct {
	apply    func(ctx context.Context, r *Report, conditions []metav1.Condition) (standing, error)
	standing func(key string) (standing, bool)
	stood    func(key string, st standing)
	scope    func(namespace string) string // the namespaces that the same rights are for have the same one
	log      *slog.Logger
	wake     chan struct{} // holds a token while something has changed

	mu      sync.Mutex
	reports map[string]*Report
	failed  map[string]error // by scope
	written uint64
	refused uint64

	// Of run alone.
	turns  map[string]*turn // by object
	pauses map[string]*turn // after failures, by scope
}

// turn is when the next write is allowed.
type turn struct {
	next  time.Time
	pause time.Duration
	wrote []metav1.Condition // last time
}

// lengthen puts the next turn off: by the first pause, or if it is put off again by twice as much as before.
func (t *turn) lengthen(now time.Time, first, longest time.Duration) {
	t.pause = min(max(first, 2*t.pause), longest)
	t.next = now.Add(t.pause)
}

func (w *statusWriter) report(all []Report) {
	reports := make(map[string]*Report, len(all))
	for i := range all {
		reports[all[i].key()] = &all[i]
	}
	w.mu.Lock()
	w.reports = reports
	w.mu.Unlock()
	nudge(w.wake)
}

// failure is why the status is not written; nil: it is.
func (w *statusWriter) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, scope := range slices.Sorted(maps.Keys(w.failed)) {
		return w.failed[scope]
	}
	return nil
}

// counts are the writes that the API server has taken, and those that it has not.
func (w *statusWriter) counts() (written, refused uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.written, w.refused
}

func (w *statusWriter) run(ctx context.Context) {
	w.turns, w.pauses = map[string]*turn{}, map[string]*turn{}
	for {
		var again <-chan time.Time
		if next := w.round(ctx); !next.IsZero() {
			again = time.After(time.Until(next))
		}
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
		case <-again:
		}
	}
}

// round writes what is due, and says when something will be; the zero time: nothing, unless something changes.
func (w *statusWriter) round(ctx context.Context) (next time.Time) {
	w.mu.Lock()
	reports := w.reports
	w.mu.Unlock()
	for key := range w.turns {
		if reports[key] == nil {
			delete(w.turns, key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(reports)) {
		r, now := reports[key], time.Now()
		before, known := w.standing(key)
		if !known || before.uid != r.UID || before.generation > r.Generation {
			continue // it is gone or has changed, and there will be another report
		}
		wanted := r.conditions(before.conditions, now)
		if stand(before.conditions, wanted) {
			continue
		}
		due := w.due(key, r)
		if now.Before(due) {
			if next.IsZero() || due.Before(next) {
				next = due
			}
			continue
		}
		w.write(ctx, r, wanted)
		select {
		case <-ctx.Done():
			return time.Time{}
		case <-time.After(writePause):
		}
		if t := w.due(key, r); next.IsZero() || t.Before(next) {
			next = t
		}
	}
	return next
}

// due is when a report may be written.
func (w *statusWriter) due(key string, r *Report) (due time.Time) {
	for _, t := range []*turn{w.turns[key], w.pauses[w.scope(r.Namespace)]} {
		if t != nil && t.next.After(due) {
			due = t.next
		}
	}
	return due
}

func (w *statusWriter) write(ctx context.Context, r *Report, wanted []metav1.Condition) {
	key, scope := r.key(), w.scope(r.Namespace)
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	st, err := w.apply(ctx, r, wanted)
	now := time.Now()
	if err != nil && !ofObject(err) {
		if !errors.Is(ctx.Err(), context.Canceled) { // the end of the program is no failure
			w.fail(scope, explain(err, statusRule, scope))
		}
		if w.pauses[scope] == nil {
			w.pauses[scope] = &turn{}
		}
		w.pauses[scope].lengthen(now, shortestTurn, longestFailure)
		return
	}
	delete(w.pauses, scope)
	w.recover(scope, err == nil)
	t := w.turns[key]
	if t == nil {
		t = &turn{}
		w.turns[key] = t
	}
	overwritten := stand(t.wrote, wanted)
	if !overwritten || now.Sub(t.next) > longestTurn {
		t.pause = 0
	}
	t.wrote = wanted
	t.lengthen(now, shortestTurn, longestTurn)
	if err != nil {
		w.log.Debug("the status of an AffinityPolicy is not written", "policy", key, "error", err)
		return
	}
	w.stood(key, st)
	if overwritten && t.pause == 2*shortestTurn {
		w.log.Warn("another program has overwritten the status of an AffinityPolicy; give each installation of Remora namespaces of its own", "policy", key)
	}
}

// fail notes why nothing can be written, and says it when that is news.
func (w *statusWriter) fail(scope string, err error) {
	w.mu.Lock()
	first := w.failed[scope] == nil
	w.failed[scope] = err
	w.refused++
	w.mu.Unlock()
	if first {
		w.log.Warn("the status of AffinityPolicies is not written; all else goes on", "error", err)
	}
}

// recover notes that the API server has taken a write, or refused it for the sake of its object alone.
func (w *statusWriter) recover(scope string, written bool) {
	w.mu.Lock()
	failed := w.failed[scope] != nil
	delete(w.failed, scope)
	if written {
		w.written++
	} else {
		w.refused++
	}
	w.mu.Unlock()
	if failed {
		w.log.Info("the status of AffinityPolicies is written again")
	}
}
