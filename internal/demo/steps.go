package demo

import (
	"context"
	"errors"
	"fmt"
)

// The services of the use case.
const (
	backend1 = "backend-1"
	backend2 = "backend-2"
	backend3 = "backend-3"
)

// as makes users of a service.
func as(service string, users ...string) []seat {
	seats := make([]seat, len(users))
	for i, u := range users {
		seats[i] = seat{u, service}
	}
	return seats
}

func byBody(ctx context.Context, t *tour) error {
	a := t.ask(ctx, inBody(seat{"ann", backend1}))
	t.check("the body's field target named the service", a.served())
	t.check("the first request of a user begins a session, and the replica is told so", a.began())
	return t.checkSeat(ctx, a)
}

func byHeader(ctx context.Context, t *tour) error {
	a := t.ask(ctx, inHeaders(seat{"bob", backend2}))
	t.check("the header target named the service, and x-user the user", a.began())
	return t.checkSeat(ctx, a)
}

func bodyOverHeader(ctx context.Context, t *tour) error {
	r := inBody(seat{"user", backend1})
	r.headers = []string{"target: " + backend2, "x-user: kaleeswaran"}
	a := t.ask(ctx, r)
	t.check("the body's target won over the header's, and its username over x-user", a.began())
	if err := t.checkSeat(ctx, a); err != nil {
		return err
	}
	_, found, err := t.session(ctx, seat{"kaleeswaran", backend2})
	if err != nil {
		return err
	}
	var wrong error
	if found {
		wrong = errors.New("kaleeswaran has one at " + backend2)
	}
	t.check("whom the header named has no session", wrong)
	return nil
}

// checkSeat asks the admin API where a user is, and holds it against the replica's own reply.
func (t *tour) checkSeat(ctx context.Context, a answer) error {
	view, found, err := t.session(ctx, a.seat)
	if err != nil {
		return err
	}
	switch {
	case !found:
		err = fmt.Errorf("it knows no session of %s at %s", a.user, a.service)
	case view.Name != a.reply.PodID:
		err = fmt.Errorf("it says that %s is on %s", a.user, view.Name)
	}
	t.check("the admin API knows the session, on that replica", err)
	return nil
}

func stickiness(ctx context.Context, t *tour) error {
	t.note("more users come to %s, and then all call in turn; behind each: the visits that the replica counts", backend1)
	came := t.round(ctx, as(backend1, "carla", "dev", "emma", "femi", "goro"), inBody)
	t.check("sessions began", each(came, answer.began))
	t.check("both replicas got users", t.spread(backend1))
	users := t.users(backend1)
	again := t.round(ctx, users, inHeaders)
	again = append(again, t.round(ctx, users, inBody)...)
	t.check("each user found the same replica every time, and it counts their visits on", each(again, answer.stayed))
	return t.checkCounts(ctx, backend1)
}

// spread: every replica of a service has a user.
func (t *tour) spread(service string) error {
	var idle []error
	for _, r := range t.fleet.of(service) {
		if len(t.at(r.name)) == 0 {
			idle = append(idle, fmt.Errorf("%s has none", r.name))
		}
	}
	return errors.Join(idle...)
}

// nobodyAt: none of the answers came from a replica.
func nobodyAt(r *replica) func(answer) error {
	return func(a answer) error {
		if a.err == nil && a.reply.PodID == r.name {
			return fmt.Errorf("%s was sent to %s", a.user, r.name)
		}
		return a.served()
	}
}
