package app

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/remora-proxy/remora/internal/redisstore"
	"github.com/remora-proxy/remora/internal/session"
	"github.com/remora-proxy/remora/internal/session/shared"
)

// remote is the store outside as the sessions' store sees it: not there until the gateways have agreed on a hash key, and measured.
type remote struct {
	s        *sharing
	agreed   atomic.Bool
	full     atomic.Int64  // session.Instant of the last call for which the store had no memory
	epoch    atomic.Uint64 // the last one; Epoch's, which one goroutine calls
	empty    time.Time     // since when the store was seen without a hash key; zero: it was not. Epoch's
	calls    *prometheus.HistogramVec
	failures *prometheus.CounterVec
}

func newRemote(s *sharing) *remote {
	return &remote{
		s: s,
		calls: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "remora_store_call_duration_seconds", Help: "How long calls of the store took, by call, failed ones included.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1},
		}, []string{"call"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "remora_store_errors_total",
			Help: "Calls of the store that failed, by call and kind (timeout, unreachable, busy: too many calls waited, full: its memory is used up, other).",
		}, []string{"call", "kind"}),
	}
}

var errNotAgreed = errors.New("the gateways have not agreed on a hash key yet")

// call makes a call.
func call[T any](r *remote, name string, now session.Instant, f func() (T, error)) (T, error) {
	if !r.agreed.Load() {
		var none T
		return none, errNotAgreed
	}
	began := time.Now()
	answer, err := f()
	r.calls.WithLabelValues(name).Observe(time.Since(began).Seconds())
	if err != nil {
		r.failures.WithLabelValues(name, kindOf(err)).Inc()
	}
	if errors.Is(err, shared.ErrFull) {
		r.full.Store(int64(now))
	}
	return answer, err
}

// kindOf is the kind of an error, as the metrics have it.
func kindOf(err error) string {
	var connection *net.OpError
	switch {
	case errors.Is(err, shared.ErrFull):
		return "full"
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.Is(err, redisstore.ErrUnreachable), errors.As(err, &connection), errors.Is(err, io.EOF):
		return "unreachable"
	case errors.Is(err, redisstore.ErrBusy):
		return "busy"
	}
	return "other"
}

// won is the answer to Claim and Move.
type won struct {
	binding shared.Binding
	here    bool // this call made it so
}

// Claim implements shared.Remote.
func (r *remote) Claim(now session.Instant, c shared.Claim) (shared.Binding, bool, error) {
	a, err := call(r, "claim", now, func() (a won, err error) {
		a.binding, a.here, err = r.s.outside.Claim(now, c)
		return a, err
	})
	return a.binding, a.here, err
}

// Move implements shared.Remote.
func (r *remote) Move(now session.Instant, c shared.Claim, from shared.Identity) (shared.Binding, bool, error) {
	a, err := call(r, "move", now, func() (a won, err error) {
		a.binding, a.here, err = r.s.outside.Move(now, c, from)
		return a, err
	})
	return a.binding, a.here, err
}

// Renew implements shared.Remote.
func (r *remote) Renew(now session.Instant, cs []shared.Claim) ([]shared.Binding, error) {
	return call(r, "renew", now, func() ([]shared.Binding, error) { return r.s.outside.Renew(now, cs) })
}

// Find implements shared.Remote.
func (r *remote) Find(now session.Instant, ks []session.Key) ([]shared.Binding, error) {
	return call(r, "find", now, func() ([]shared.Binding, error) { return r.s.outside.Find(now, ks) })
}

// Count implements shared.Remote.
func (r *remote) Count(now session.Instant, part, parts int) (map[shared.Identity]int, error) {
	return call(r, "count", now, func() (map[shared.Identity]int, error) { return r.s.outside.Count(now, part, parts) })
}

// Lead implements shared.Remote.
func (r *remote) Lead(now session.Instant, forMillis int64) (bool, error) {
	return call(r, "lead", now, func() (bool, error) { return r.s.outside.Lead(now, forMillis) })
}

// Epoch implements shared.Remote. It is the first call when the store is tried, so the gateways agree here where they could not at the start, or
// do not any more: no session may be told to the store under another hash key than the others'.
func (r *remote) Epoch(now session.Instant) (epoch uint64, err error) {
	if !r.agreed.Load() {
		err = r.agree()
	}
	if err == nil {
		epoch, err = call(r, "epoch", now, func() (uint64, error) { return r.s.outside.Epoch(now) })
	}
	if err == nil && r.s.outside.Conflict() != nil && !r.s.configured() {
		r.agreed.Store(false)
		err = r.agree()
	}
	if err != nil {
		return 0, err
	}
	if before := r.epoch.Load(); before != 0 && before != epoch {
		r.s.drains.again.Store(true) // first: who sees the new epoch is to see that the store may have lost the marks
	}
	r.epoch.Store(epoch)
	return epoch, nil
}

// agree agrees with the other gateways after the start. Only Epoch calls it.
func (r *remote) agree() error {
	ctx, cancel := context.WithTimeout(context.Background(), r.s.o.Timeout)
	defer cancel()
	now := time.Now()
	err := r.s.agree(ctx, !r.empty.IsZero() && now.Sub(r.empty) >= yieldFor)
	if !errors.Is(err, redisstore.ErrNoKey) {
		r.empty = time.Time{}
	} else if r.empty.IsZero() {
		r.empty = now
	}
	return err
}

// Announce implements shared.Remote.
func (r *remote) Announce(n shared.News) error {
	_, err := call(r, "announce", 0, func() (struct{}, error) { return struct{}{}, r.s.outside.Announce(n) })
	return err
}
