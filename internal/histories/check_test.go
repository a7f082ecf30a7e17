package histories

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// checkLimit is how long an order of one user's calls is searched for. A history that is in order takes milliseconds.
const checkLimit = time.Minute

// verdict is the outcome of a check.
type verdict struct {
	users    int
	checked  int // calls of which the outcome is known
	failed   int // calls that may have had an effect, or not
	diverged int // of those that were checked: calls by users who were on several replicas at the time, in an outage
	parted   int // those users
	refused  []refusal

	objections []string // that are not to the order of calls
}

// refusal is a user whose calls are in no order that the models allow.
type refusal struct {
	user string
	why  string // the rule, and the user's calls
	html []byte // Porcupine's picture
}

// operations are calls as Porcupine takes them. A call that failed may be carried out a while after.
func (h *history) operations(calls []*call) []porcupine.Operation {
	var out []porcupine.Operation
	for _, c := range calls {
		end := c.end
		if c.replica == "" {
			end = h.released(c) + lateSlack
		}
		out = append(out, porcupine.Operation{ClientId: c.client, Input: c, Call: int64(c.start), Output: c, Return: int64(end)})
	}
	return out
}

// sessions is the model of a user's session.
func (h *history) sessions() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return register{} },
		Step: func(state, input, _ any) (bool, any) {
			j := h.step(state.(register), input.(*call))
			return j.refused == "", j.next
		},
		DescribeOperation: func(input, _ any) string { return input.(*call).String() },
		DescribeState:     func(state any) string { return state.(register).String() },
	}
}

// memory is the model of what one replica remembers of one user: a counter.
func memory() porcupine.Model {
	m := porcupine.NondeterministicModel{
		Init: func() []any { return []any{uint64(0)} },
		Step: func(state, input, _ any) []any {
			n, c := state.(uint64), input.(*call)
			switch {
			case c.replica == "": // it may have come here
				return []any{n, n + 1}
			case c.visits == n+1:
				return []any{n + 1}
			}
			return nil
		},
		DescribeOperation: func(input, _ any) string { return input.(*call).String() },
	}
	return m.ToModel()
}

// check looks for an order of each user's calls.
func (h *history) check() verdict {
	v := verdict{objections: h.objections()}
	users := h.byUser()
	for _, user := range slices.Sorted(maps.Keys(users)) {
		calls := users[user]
		v.users++
		for _, c := range calls {
			if c.replica == "" {
				v.failed++
			} else {
				v.checked++
			}
		}
		order, refused := h.order(user, "the session", h.sessions(), calls)
		if refused != nil {
			refused.why += h.firstRefused(order)
			v.refused = append(v.refused, *refused)
			continue
		}
		h.count(&v, order)
		for replica, here := range byReplica(calls) {
			if _, refused := h.order(user, "the memory of "+replica, memory(), here); refused != nil {
				v.refused = append(v.refused, *refused)
			}
		}
	}
	return v
}

// order finds an order of the calls that the model allows, or the longest beginning of one.
func (h *history) order(user, what string, m porcupine.Model, calls []*call) ([]*call, *refusal) {
	result, info := porcupine.CheckOperationsVerbose(m, h.operations(calls), checkLimit)
	var longest []*call
	for _, ops := range info.PartialLinearizationsOperations()[0] {
		if len(ops) > len(longest) {
			longest = nil
			for _, op := range ops {
				longest = append(longest, op.Input.(*call))
			}
		}
	}
	if result == porcupine.Ok {
		return longest, nil
	}
	r := refusal{user: user, why: fmt.Sprintf("user %s, %s: there is no such order (%s)\n%s", user, what, result, h.describe(calls))}
	var html bytes.Buffer
	if err := porcupine.Visualize(m, info, &html); err == nil {
		r.html = html.Bytes()
	}
	return longest, &r
}

// firstRefused says how far an order goes.
func (h *history) firstRefused(order []*call) string {
	var r register
	for _, c := range order {
		r = h.step(r, c).next
	}
	return fmt.Sprintf("as far as it goes (%d calls), the session is on: %s\n", len(order), r)
}

// count counts what was excused in an order.
func (h *history) count(v *verdict, order []*call) {
	var r register
	diverged := 0
	for _, c := range order {
		if r = h.step(r, c).next; r.differs(c) {
			diverged++
		}
	}
	if v.diverged += diverged; diverged > 0 {
		v.parted++
	}
}

// byReplica are the calls that each replica answered, and those that it may have.
func byReplica(calls []*call) map[string][]*call {
	out := map[string][]*call{}
	for _, c := range calls {
		if c.replica != "" {
			out[c.replica] = nil
		}
	}
	for replica := range out {
		for _, c := range calls {
			if c.replica == replica || c.replica == "" {
				out[replica] = append(out[replica], c)
			}
		}
	}
	return out
}

// keep writes the pictures of what was refused into a folder, and gives its name.
func (v *verdict) keep(folder, name string) (string, error) {
	if folder == "" {
		var err error
		if folder, err = os.MkdirTemp("", "remora-histories-"); err != nil {
			return "", err
		}
	} else if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", err
	}
	for i, r := range v.refused[:min(len(v.refused), 10)] {
		base := filepath.Join(folder, fmt.Sprintf("%s-%d-%s", strings.ReplaceAll(name, " ", "-"), i, r.user))
		if err := os.WriteFile(base+".html", r.html, 0o600); err != nil {
			return "", err
		}
		if err := os.WriteFile(base+".txt", []byte(r.why), 0o600); err != nil {
			return "", err
		}
	}
	return folder, nil
}
