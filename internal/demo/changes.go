package demo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/remora-proxy/remora/internal/admin"
)

func scaleOut(ctx context.Context, t *tour) error {
	before := t.users(backend1)
	var third *replica
	err := t.reload(ctx, func() error {
		added, err := t.fleet.add(ctx, backend1, 1)
		if err == nil {
			third = added[0]
			t.note("%s gets a third replica: %s on %s, pid %d, now in %s", backend1, third.name, third.addr, third.PID(), endpointsFile)
		}
		return err
	})
	if err != nil {
		return err
	}
	t.check("nobody moved", each(t.round(ctx, before, inBody), answer.stayed))
	came := t.round(ctx, as(backend1, "hana", "ivan", "jun", "kofi", "lena"), inBody)
	t.check("new users begin new sessions", each(came, answer.began))
	t.check("the new replica gets its share of them", t.spread(backend1))
	return t.checkCounts(ctx, backend1)
}

func draining(ctx context.Context, t *tour) error {
	drained, err := t.busiest(backend1)
	if err != nil {
		return err
	}
	before := t.users(backend1)
	if err := t.drain(ctx, drained, true); err != nil {
		return err
	}
	t.check("its users stay on it, and all others where they were", each(t.round(ctx, before, inBody), answer.stayed))
	came := t.round(ctx, as(backend1, "mara", "nils", "omar"), inBody)
	t.check("new users go elsewhere", each(came, nobodyAt(drained)))
	if err := t.checkCounts(ctx, backend1); err != nil {
		return err
	}
	return t.drain(ctx, drained, false)
}

// drain marks a replica as draining, or takes the mark back, as `remora sessions drain` does.
func (t *tour) drain(ctx context.Context, r *replica, on bool) error {
	answer, err := t.admin.Drain(ctx, admin.DrainRequest{Endpoint: r.addr.String(), Undo: !on})
	if err != nil {
		return err
	}
	want, undo := "draining", ""
	if !on {
		want, undo = "ready", " --undo"
	}
	t.note("remora sessions drain %s%s", r.addr, undo)
	if views := answer.Endpoints; len(views) != 1 || views[0].Name != r.name || views[0].State != want {
		return fmt.Errorf("the admin API was asked to make %s %s, and answered %+v", r.name, want, views)
	}
	return nil
}

func killed(ctx context.Context, t *tour) error {
	victim, err := t.busiest(backend1)
	if err != nil {
		return err
	}
	all, bereft := t.users(backend1), t.at(victim.name)
	pid := victim.PID()
	victim.Kill()
	t.note("kill -9 %d: %s is gone, with what it remembered of its %d users", pid, victim.name, len(bereft))
	first := t.round(ctx, all, inBody)
	theirs := func(a answer) bool { return slices.Contains(bereft, a.seat) }
	t.check("its users move to other replicas, which are told so", each(only(first, theirs), answer.moved))
	t.check("nobody else moves", each(only(first, not(theirs)), answer.stayed))
	t.check("nobody moves a second time", each(t.round(ctx, all, inBody), answer.stayed))
	err = t.reload(ctx, func() error {
		next, err := t.fleet.replace(ctx, victim)
		if err == nil {
			t.note("another one takes its address: %s on %s, pid %d", next.name, next.addr, next.PID())
		}
		return err
	})
	if err != nil {
		return err
	}
	t.check("nobody moves back", each(t.round(ctx, all, inBody), answer.stayed))
	return t.checkCounts(ctx, backend1)
}

// only is the answers of which something is so.
func only(answers []answer, is func(answer) bool) []answer {
	return slices.DeleteFunc(slices.Clone(answers), not(is))
}

func not(is func(answer) bool) func(answer) bool { return func(a answer) bool { return !is(a) } }

func restart(ctx context.Context, t *tour) error {
	all := slices.Clone(t.order)
	t.front.Stop()
	t.client.CloseIdleConnections()
	t.note("SIGTERM: it has saved its sessions and ended")
	if err := t.front.Start(ctx); err != nil {
		return err
	}
	t.note("it is started again, and is ready")
	t.check("every user of every service is where they were", each(t.round(ctx, all, inBody), answer.stayed))
	return t.checkCounts(ctx, backend1)
}

// idleTries is how often the step about the idle time is begun anew when this machine was too busy for a user to call in time.
const idleTries = 10

func expiry(ctx context.Context, t *tour) error {
	t.note("idleTimeout: %s in the AffinityPolicy, for this step only: the default, 60s, is long to watch", t.idle)
	if err := t.reload(ctx, func() error { return t.fleet.config.setIdle(t.idle) }); err != nil {
		return err
	}
	for try := 1; ; try++ {
		inTime, err := t.waitIdle(ctx, seat{"ann", backend1}, seat{"bob", backend2})
		if err != nil {
			return err
		}
		if inTime {
			break
		}
		if try == idleTries {
			return fmt.Errorf("this machine is too busy for a request every %s", t.idle/4)
		}
		t.note("this machine was busy, and a request came too late; once more")
	}
	return t.reload(ctx, func() error { return t.fleet.config.setIdle(0) })
}

// waitIdle lets one user call again and again while another is silent for the idle time, and checks both. It is false when the
// calls came so late that they show nothing.
func (t *tour) waitIdle(ctx context.Context, busy, silent seat) (inTime bool, err error) {
	asked := time.Now()
	begins := t.round(ctx, []seat{busy, silent}, inBody)
	if err := each(begins, answer.served); err != nil {
		return false, err
	}
	ends, err := t.expires(ctx, silent)
	if err != nil {
		return false, err
	}
	calls, widest, err := t.keepCalling(ctx, busy, asked, ends)
	if err != nil || widest >= t.idle {
		return false, err
	}
	t.note("%s calls every %s, %s is silent until the session ends", busy.user, t.idle/4, silent.user)
	t.printGroups(calls)
	t.check(fmt.Sprintf("%s's session lives on: no two requests were %s apart", busy.user, t.idle), each(calls, answer.stayed))
	_, found, err := t.session(ctx, silent)
	if err != nil {
		return false, err
	}
	var wrong error
	if found {
		wrong = errors.New("it still shows one")
	}
	t.check(fmt.Sprintf("the admin API knows no session of %s any more", silent.user), wrong)
	t.check(fmt.Sprintf("%s begins anew, maybe elsewhere", silent.user), t.ask(ctx, inBody(silent)).began())
	return true, nil
}

// expires is when a user's session ends if no request comes, as the admin API says it.
func (t *tour) expires(ctx context.Context, s seat) (ends time.Time, err error) {
	err = poll(ctx, t.idle, func(ctx context.Context) (bool, error) {
		view, found, err := t.session(ctx, s)
		if err == nil && !found {
			err = fmt.Errorf("%s has no session right after a request", s.user)
		}
		ends = view.Expires
		return !ends.IsZero(), err // zero: the last request is not quite over
	})
	if err != nil {
		return ends, err
	}
	// What the API says is bounded by what the tour knows: a session that ends too late shows at the next request.
	if latest := time.Now().Add(t.idle); ends.After(latest) {
		ends = latest
	}
	return ends, nil
}

// keepCalling lets a user call four times in each idle time, until a moment. widest bounds the time between two requests, as
// the gateway saw it: from before one was sent until the next one was answered.
func (t *tour) keepCalling(ctx context.Context, s seat, last, until time.Time) (calls []answer, widest time.Duration, err error) {
	ticker := time.NewTicker(t.idle / 4)
	defer ticker.Stop()
	over := time.NewTimer(time.Until(until) + time.Millisecond)
	defer over.Stop()
	for done := false; !done; {
		select {
		case <-ticker.C:
		case <-over.C:
			done = true
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
		asked := time.Now()
		calls = append(calls, t.send(ctx, inBody(s)))
		widest = max(widest, time.Since(last))
		last = asked
	}
	return calls, widest, nil
}
