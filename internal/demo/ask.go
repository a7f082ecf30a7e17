package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/remora-proxy/remora/internal/problem"
	"github.com/remora-proxy/remora/internal/samplebackend"
)

// path is what every request of the tour asks for.
const path = "/hit_backend"

// maxReply bounds what is read of a reply.
const maxReply = 1 << 20

// request is one request of the tour: for a user of a service, as the rules understand it.
type request struct {
	seat
	headers []string // "name: value"
	body    string
	query   string // "?…": what the sample service should do besides
}

// inBody names service and user in the body.
func inBody(s seat) request {
	body, err := json.Marshal(struct {
		Username string `json:"username"`
		Target   string `json:"target"`
	}{s.user, s.service})
	if err != nil {
		panic(err) // two strings are always JSON
	}
	return request{seat: s, body: string(body)}
}

// inHeaders names them in headers, with no body.
func inHeaders(s seat) request {
	return request{seat: s, headers: []string{"target: " + s.service, "x-user: " + s.user}}
}

// String is the request as a person would write it.
func (r request) String() string {
	parts := r.headers
	if r.body != "" {
		parts = append(parts, r.body)
	}
	return strings.Join(parts, "  ")
}

// answer is what came back.
type answer struct {
	request
	reply  samplebackend.Reply
	before string // the replica that answered this user before; empty: none did
	visits uint64 // what the replica should count, by what the tour has sent there
	err    error  // no reply of a replica
}

// String is the answer on one line.
func (a answer) String() string {
	if a.err != nil {
		return a.err.Error()
	}
	return fmt.Sprintf("%s  session %s, visit %d", a.replica(), a.reply.Session, a.reply.Visits)
}

func (a answer) replica() string { return a.reply.PodID + " (" + a.reply.PodIP + ")" }

// ask sends a request and prints both.
func (t *tour) ask(ctx context.Context, r request) answer {
	t.screen.print(plain, 3, "%s", r)
	a := t.send(ctx, r)
	if !t.interrupted {
		t.screen.print(plain, 5, "→ %s", a)
	}
	return a
}

// send sends a request and enters into the tour's books what came back.
func (t *tour) send(ctx context.Context, r request) answer {
	a := answer{request: r, before: t.seats[r.seat]}
	if a.reply, a.err = t.exchange(ctx, r); a.err != nil {
		t.interrupted = ctx.Err() != nil
		a.err = fmt.Errorf("%s: %w", r.user, a.err)
		return a
	}
	if a.before == "" {
		t.order = append(t.order, r.seat)
	}
	t.seats[r.seat] = a.reply.PodID
	count := a.reply.PodID + " " + r.user
	t.visits[count]++
	a.visits = t.visits[count]
	return a
}

// exchange sends a request and reads the reply.
func (t *tour) exchange(ctx context.Context, r request) (reply samplebackend.Reply, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, t.front.URL()+path+r.query, strings.NewReader(r.body))
	if err != nil {
		return reply, err
	}
	if r.body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for _, h := range r.headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Set(name, value)
	}
	resp, err := t.client.Do(req)
	if err != nil {
		return reply, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxReply))
	if err != nil {
		return reply, err
	}
	if resp.StatusCode != http.StatusOK {
		return reply, refused(resp, text)
	}
	if err := json.Unmarshal(text, &reply); err != nil || reply.PodID == "" {
		return reply, fmt.Errorf("the reply is not that of the sample service: %.200q", text)
	}
	return reply, nil
}

// refused is an answer of another status as an error.
func refused(resp *http.Response, text []byte) error {
	var p struct {
		Code   problem.Code `json:"code"`
		Detail string       `json:"detail"`
	}
	if json.Unmarshal(text, &p) == nil && p.Code != "" {
		return fmt.Errorf("%d %s: %s", resp.StatusCode, p.Code, p.Detail)
	}
	return fmt.Errorf("%s: %.200q", resp.Status, text)
}

// round sends a request for each user, one after the other, and prints the answers by replica.
func (t *tour) round(ctx context.Context, seats []seat, form func(seat) request) []answer {
	switch others := len(seats) - 1; {
	case others < 0:
		return nil
	case others == 0:
		t.screen.print(plain, 3, "%s", form(seats[0]))
	default:
		t.screen.print(plain, 3, "%s  … and the same for %s", form(seats[0]), someOf(seats[1:]))
	}
	answers := make([]answer, len(seats))
	for i, s := range seats {
		answers[i] = t.send(ctx, form(s))
	}
	if !t.interrupted {
		t.printGroups(answers)
	}
	return answers
}

// someOf names a few users.
func someOf(seats []seat) string {
	if len(seats) > 4 {
		return fmt.Sprintf("%d more users", len(seats))
	}
	names := make([]string, len(seats))
	for i, s := range seats {
		names[i] = s.user
	}
	return strings.Join(names, ", ")
}

// printGroups prints one line for all answers of the same replica and session state, in the order of their first ones: the
// users, and behind each the visits that the replica counts.
func (t *tour) printGroups(answers []answer) {
	users := map[string][]string{}
	var order []string
	last := answer{}
	for _, a := range answers {
		if a.err != nil {
			t.screen.print(plain, 5, "→ %s", a)
			continue
		}
		what := fmt.Sprintf("%s  %s:", a.replica(), a.reply.Session)
		if users[what] == nil {
			order = append(order, what)
		}
		entry := fmt.Sprint(a.reply.Visits)
		if a.seat != last.seat {
			entry = a.user + " " + entry
		}
		users[what] = append(users[what], entry)
		last = a
	}
	for _, what := range order {
		t.screen.print(plain, 5, "→ %s %s", what, strings.Join(users[what], ", "))
	}
}

// The judgements below say nothing when what they are named after is so, and else what was there instead.

// served: the replica that answered is of the service, knows the user, and counts as many visits as were sent to it.
func (a answer) served() error {
	switch {
	case a.err != nil:
		return a.err
	case a.reply.Target != a.service:
		return fmt.Errorf("%s: %s answered, not %s", a.user, a.reply.Target, a.service)
	case a.reply.Username != a.user:
		return fmt.Errorf("the reply is for user %q, not %q", a.reply.Username, a.user)
	case a.reply.Visits != a.visits:
		return fmt.Errorf("%s: %s counts %d visits where %d were sent", a.user, a.reply.PodID, a.reply.Visits, a.visits)
	}
	return nil
}

// told: the replica was told this state of the session.
func (a answer) told(state string) error {
	if err := a.served(); err != nil {
		return err
	}
	if a.reply.Session != state {
		return fmt.Errorf("%s: %s was told %s, not %s", a.user, a.reply.PodID, a.reply.Session, state)
	}
	return nil
}

// began: a new session.
func (a answer) began() error { return a.told("new") }

// stayed: the session that was there, on the replica where it was.
func (a answer) stayed() error {
	if a.err == nil && a.reply.PodID != a.before {
		return fmt.Errorf("%s was on %s and is on %s", a.user, a.before, a.reply.PodID)
	}
	return a.told("existing")
}

// moved: the session that was there, on another replica, which knows that.
func (a answer) moved() error {
	if a.err == nil && a.reply.PodID == a.before {
		return fmt.Errorf("%s is still on %s", a.user, a.before)
	}
	return a.told("moved")
}

// each gives a judgement on several answers; of many that are wrong, it names three.
func each(answers []answer, judge func(answer) error) error {
	var wrong []error
	for _, a := range answers {
		if err := judge(a); err != nil {
			wrong = append(wrong, err)
		}
	}
	if more := len(wrong) - 3; more > 0 {
		wrong = append(wrong[:3], fmt.Errorf("and %d more", more))
	}
	return errors.Join(wrong...)
}
