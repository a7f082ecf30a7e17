package demo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// How the users of the step about CPU call. Busy ones make their replica work: a few are enough on a machine that has time, and
// the many that come are on one that has none.
const (
	burnFor    = 25 * time.Millisecond
	burnPause  = 175 * time.Millisecond
	firstBusy  = 6
	moreBusy   = 3 // for each look that finds fewer than five replicas
	mostBusy   = 60
	newcomers  = 5 // while replicas drain
	callsStill = 2 // of each user whose replica drains, before they leave
)

// remain is how many users remain at each replica when it becomes quiet, in the order of the replicas. It is not the order of
// their age: which are to go is told by their sessions alone.
var remain = [maxReplicas]int{1, 3, 1, 2, 3}

// autoscaling lets many users come to a service and leave it.
func autoscaling(ctx context.Context, t *tour) error {
	t.note("%s may have %d to %d replicas: Kubernetes' HPA formula, at %d %% of a CPU request of %dm, on what the processes use",
		backend3, minReplicas, maxReplicas, cpuUtilization, cpuRequest)
	t.note("to be watched: a look every %s (there: 15s), scale-down stabilization %ds (there: 300s), idleTimeout %s (default: 60s)",
		t.pace.sync, t.pace.window, t.idle)
	if _, err := t.apply(ctx, func() error { return t.fleet.config.setIdle(t.idle) }); err != nil {
		return err
	}
	s, err := newScaler(t, backend3)
	if err != nil {
		return err
	}
	c := &crowd{t: t, service: backend3}
	defer c.dismiss(everyone)
	if err := t.rise(ctx, s, c); err != nil {
		return err
	}
	if err := t.fall(ctx, s, c); err != nil {
		return err
	}
	c.dismiss(everyone)
	t.note("%d users made %d calls; %d came so late that their session may have ended before", len(c.callers), c.calls, c.lapses)
	t.check("no session was broken: no live one left its replica, and each replica counts its visits on", c.verdict())
	_, err = t.apply(ctx, func() error { return t.fleet.config.setIdle(0) })
	return err
}

// rise lets users come until there are five replicas, and all of these have enough of them.
func (t *tour) rise(ctx context.Context, s *scaler, c *crowd) error {
	busy := func(n int) (err error) {
		for i := 0; i < n && err == nil; i++ {
			err = errors.Join(c.join(ctx, burnFor, burnPause), t.calm(ctx, c))
		}
		return err
	}
	t.note("users come; every other one asks for CPU: burn=%s in each call, and the next call %s later", burnFor, burnPause)
	if err := busy(firstBusy); err != nil {
		return err
	}
	err := s.until(ctx, t.pace.sync, func(now change) (bool, error) {
		t.noteChange(now)
		if len(s.serving()) == maxReplicas || c.count(isBusy) >= mostBusy {
			return len(s.serving()) == maxReplicas, nil
		}
		return false, busy(moreBusy)
	})
	if err != nil {
		return fmt.Errorf("%d busy users, %d replicas of %s: %w", c.count(isBusy), len(s.serving()), s.service, err)
	}
	t.check("2 replicas became 5, and the gateway knows them", s.known(ctx, maxReplicas))
	for i, r := range s.serving() {
		for c.count(calmAt(r)) < remain[i] {
			if err := t.calm(ctx, c); err != nil {
				return fmt.Errorf("%d users without CPU are on %s: %w", c.count(calmAt(r)), r.name, err)
			}
		}
	}
	t.check("new users reached every new replica", nil)
	return nil
}

// fall lets most users leave, and watches the others until there are two replicas.
func (t *tour) fall(ctx context.Context, s *scaler, c *crowd) error {
	c.dismiss(isBusy)
	for i, r := range s.serving() {
		stay := remain[i]
		c.dismiss(func(m *caller) bool {
			if calmAt(r)(m) {
				stay--
			}
			return stay < 0 && calmAt(r)(m)
		})
	}
	t.note("most users leave; %d go on calling", c.count(stays))

	var drained []*replica
	var wrong []error
	err := s.until(ctx, t.pace.sync, func(now change) (bool, error) {
		t.noteChange(now)
		drained = append(drained, now.drained...)
		wrong = append(wrong, c.emptiest(now))
		return len(s.serving()) == minReplicas, nil
	})
	if err != nil {
		return fmt.Errorf("%d replicas of %s: %w", len(s.serving()), s.service, err)
	}
	t.check("5 replicas became 2: those with the fewest live sessions drain", errors.Join(wrong...))
	if err := t.callOn(ctx, c, drained); err != nil {
		return err
	}
	c.dismiss(atAny(drained))
	err = s.until(ctx, t.pace.sync, func(now change) (bool, error) {
		t.noteChange(now)
		return len(s.draining) == 0, nil
	})
	if err != nil {
		return fmt.Errorf("%d replicas still drain: %w", len(s.draining), err)
	}
	t.check("each of them ended when its users had left, and the gateway knows 2", s.known(ctx, minReplicas))
	return nil
}

// callOn lets users of the replicas that drain call a few times more, and new ones come.
func (t *tour) callOn(ctx context.Context, c *crowd, drained []*replica) error {
	before := map[string]int{}
	c.each(func(m *caller) { before[m.user] = m.calls })
	for range newcomers {
		if err := t.calm(ctx, c); err != nil {
			return err
		}
	}
	var wrong []error
	c.each(func(m *caller) {
		if _, known := before[m.user]; !known && atAny(drained)(m) {
			wrong = append(wrong, fmt.Errorf("%s was sent to %s", m.user, m.at))
		}
	})
	t.check("new users go elsewhere", errors.Join(wrong...))
	err := poll(ctx, scaleLimit, func(context.Context) (bool, error) {
		return c.count(func(m *caller) bool { return atAny(drained)(m) && stays(m) && m.calls < before[m.user]+callsStill }) == 0, nil
	})
	if err != nil {
		return fmt.Errorf("users of replicas that drain do not call any more: %w", err)
	}
	t.note("%d users have gone on calling the replicas that drain; now they leave as well", c.count(func(m *caller) bool { return atAny(drained)(m) && stays(m) }))
	return nil
}

// calm lets a user come who asks for nothing but an answer.
func (t *tour) calm(ctx context.Context, c *crowd) error { return c.join(ctx, 0, t.idle/4) }

// emptiest: no replica that was chosen to go had more live sessions than one that was not.
func (c *crowd) emptiest(now change) error {
	var wrong []error
	for _, d := range now.drained {
		for r := range now.live {
			if !slices.Contains(now.drained, r) && c.surely(d, now.at) > c.atMost(r, now.at) {
				wrong = append(wrong, fmt.Errorf("%s had %d, and %s only %d", d.name, c.surely(d, now.at), r.name, c.atMost(r, now.at)))
			}
		}
	}
	return errors.Join(wrong...)
}

// noteChange prints what has changed, if anything has.
func (t *tour) noteChange(now change) {
	switch {
	case len(now.came) > 0:
		t.note("cpu %d %% of the request: %d → %d replicas; new: %s", now.decision.Metrics[0].Current, now.from, now.decision.Replicas, names(now.came))
	case len(now.drained) > 0:
		var counts []string
		for r, n := range now.live {
			counts = append(counts, fmt.Sprintf("%s %d", r.name, n))
		}
		slices.Sort(counts)
		t.note("live sessions: %s", strings.Join(counts, ", "))
		t.note("cpu %d %% of the request: %d → %d replicas; to drain: %s", now.decision.Metrics[0].Current, now.from, now.decision.Replicas, names(now.drained))
	}
	if len(now.ended) > 0 {
		t.note("ended: %s", names(now.ended))
	}
}

func names(replicas []*replica) string {
	all := make([]string, len(replicas))
	for i, r := range replicas {
		all[i] = r.name
	}
	return strings.Join(all, ", ")
}

// What is so of a caller.

func everyone(*caller) bool { return true }

func stays(m *caller) bool { return !m.gone }

func isBusy(m *caller) bool { return m.burn > 0 }

func calmAt(r *replica) func(*caller) bool {
	return func(m *caller) bool { return stays(m) && !isBusy(m) && m.at == r.name }
}

func atAny(replicas []*replica) func(*caller) bool {
	return func(m *caller) bool {
		return slices.ContainsFunc(replicas, func(r *replica) bool { return r.name == m.at })
	}
}
