package demo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/remora-proxy/remora/internal/admin"
	"github.com/remora-proxy/remora/internal/affinity"
)

// step is one part of the tour. Its function sends requests, shows what comes back, and checks the rule. An error says why
// the rule could not be put to the test, which ends the tour; a rule that did not hold does not.
type step struct {
	title string
	show  func(context.Context, *tour) error
}

// steps is the tour. Later steps go on with the users that earlier ones have brought.
var steps = []step{
	{"By body", byBody},
	{"By header", byHeader},
	{"Body over header", bodyOverHeader},
	{"A user stays on one replica", stickiness},
	{"Scale-out moves nobody", scaleOut},
	{"A draining replica keeps its users and gets no new one", draining},
	{"A replica is killed: its users move, once, and nobody else", killed},
	{"Remora restarts and forgets nobody", restart},
	{"A session ends after its idle time", expiry},
	{"The CPU that is used brings replicas and takes them away again", autoscaling},
}

// tour is a walk through the rules, and what it knows by itself: where each user was, and how often it sent each user to each
// replica. Remora's word is held against that.
type tour struct {
	front  Front
	fleet  *fleet
	screen *screen
	admin  *admin.Client
	client *http.Client
	idle   time.Duration // shown in place of the default, which is too long to watch
	pace   pace

	seats  map[seat]string   // the replica that answered last
	order  []seat            // in the order of their first requests
	visits map[string]uint64 // replica and user → requests that it answered

	checks, failed int
	interrupted    bool // answers do not count any more
}

// seat is a user of a service: what a session is kept for.
type seat struct{ user, service string }

func newTour(front Front, f *fleet, s *screen, idle time.Duration, p pace) (*tour, error) {
	client, err := admin.NewClient(front.AdminURL())
	if err != nil {
		return nil, err
	}
	return &tour{
		front: front, fleet: f, screen: s, admin: client, idle: idle, pace: p,
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: maxCrowd}, Timeout: time.Minute},
		seats:  map[seat]string{}, visits: map[string]uint64{},
	}, nil
}

// run walks through steps. An error says which one could not be shown; unless ctx is done, it counts as a failed check too.
func (t *tour) run(ctx context.Context, steps []step) error {
	for i, s := range steps {
		t.screen.blank()
		t.screen.print(bold, 0, "%d. %s", i+1, s.title)
		err := s.show(ctx, t)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			t.check("the tour can go on", err)
			return fmt.Errorf("step %d, %s: %w", i+1, s.title, err)
		}
	}
	return nil
}

// check prints whether a rule held, and why not.
func (t *tour) check(rule string, err error) {
	if t.interrupted {
		return
	}
	t.checks++
	if err == nil {
		t.screen.print(green, 3, "✓ %s", rule)
		return
	}
	t.failed++
	t.screen.print(red, 3, "✗ %s: %v", rule, err)
}

// note prints what the tour does or sees beside requests.
func (t *tour) note(format string, args ...any) { t.screen.print(faint, 3, "· "+format, args...) }

// users is the users of a service, in the order of their first requests.
func (t *tour) users(service string) []seat {
	return slices.DeleteFunc(slices.Clone(t.order), func(s seat) bool { return s.service != service })
}

// at is those of a replica.
func (t *tour) at(replica string) []seat {
	return slices.DeleteFunc(slices.Clone(t.order), func(s seat) bool { return t.seats[s] != replica })
}

// busiest is the replica of a service with the most users.
func (t *tour) busiest(service string) (*replica, error) {
	replicas := t.fleet.of(service)
	if len(replicas) == 0 {
		return nil, fmt.Errorf("%s has no replica", service)
	}
	return slices.MaxFunc(replicas, func(a, b *replica) int { return len(t.at(a.name)) - len(t.at(b.name)) }), nil
}

// reload changes the configuration's files and says when they are in use.
func (t *tour) reload(ctx context.Context, change func() error) error {
	now, err := t.apply(ctx, change)
	if err == nil {
		t.note("the gateway has applied the changed files: configuration %d, %d replicas", now.Config.Generation, now.Config.Endpoints)
	}
	return err
}

// apply changes the configuration's files and waits until the gateway says that it has applied them.
func (t *tour) apply(ctx context.Context, change func() error) (now admin.Status, err error) {
	before, err := t.admin.Status(ctx)
	if err != nil {
		return now, err
	}
	if err := change(); err != nil {
		return now, err
	}
	err = poll(ctx, startLimit, func(ctx context.Context) (applied bool, err error) {
		if now, err = t.admin.Status(ctx); err != nil {
			return false, err
		}
		last := now.Config.LastLoad
		if !last.Applied && last.At.After(before.Config.LastLoad.At) {
			return false, refusal(last)
		}
		return now.Config.Generation > before.Config.Generation, nil
	})
	if err != nil {
		return now, fmt.Errorf("the gateway has not applied the changed configuration: %w", err)
	}
	return now, nil
}

func refusal(load admin.LoadStatus) error {
	var errs []error
	for _, d := range load.Diagnostics {
		errs = append(errs, fmt.Errorf("%s:%d: %s", d.File, d.Line, d.What))
	}
	return errors.Join(errs...)
}

// session is what the admin API says of a user's session; found is false when there is none.
func (t *tour) session(ctx context.Context, s seat) (view affinity.SessionView, found bool, err error) {
	view, err = t.admin.Session(ctx, admin.SessionRequest{Service: s.service, User: s.user})
	if problem := (*admin.Problem)(nil); errors.As(err, &problem) && problem.Code == noSession {
		return view, false, nil
	}
	return view, err == nil, err
}

// noSession is the admin API's code for a user without a live session.
const noSession = "admin_no_session"

// checkCounts holds the numbers of live sessions that the admin API gives for a service's replicas against the tour's own.
func (t *tour) checkCounts(ctx context.Context, service string) error {
	views, err := t.admin.Endpoints(ctx, service)
	if err != nil {
		return err
	}
	var counts []string
	var wrong []error
	for _, v := range views.Endpoints {
		count := fmt.Sprintf("%s %d", v.Name, v.Live)
		if v.State != affinity.Ready.String() {
			count += " (" + v.State + ")"
		}
		counts = append(counts, count)
		if want := len(t.at(v.Name)); v.Live != want {
			wrong = append(wrong, fmt.Errorf("%s has %d users and %d sessions", v.Name, want, v.Live))
		}
	}
	t.note("live sessions: %s", strings.Join(counts, ", "))
	t.check("as many live sessions at each replica as it has users", errors.Join(wrong...))
	return nil
}
