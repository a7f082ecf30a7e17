package remotetest

import (
	"errors"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/remora-proxy/remora/internal/session"
	"github.com/remora-proxy/remora/internal/session/shared"
	"github.com/remora-proxy/remora/internal/session/shared/model"
)

var randomSpecs = []spec{
	{"any sequence of calls gives what a plain map gives", func(t *testing.T, s *store) {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		m := &comparison{store: s, rand: rand.New(rand.NewPCG(seed, 0)), now: begin, model: model.New(Grace)}
		hear := func(i int) func(shared.News) {
			return func(n shared.News) { m.want[i] = append(m.want[i], n) }
		}
		m.remotes = [2][2]shared.Remote{{s.a, m.model.Gateway(idA, hear(0))}, {s.b, m.model.Gateway(idB, hear(1))}}
		for step := range 1000 {
			m.step()
			if t.Failed() {
				t.Fatalf("at step %d", step)
			}
		}
		m.compareNews()
	}},
}

// comparison makes the same calls to a Remote and to the model.
type comparison struct {
	*store
	rand    *rand.Rand
	now     session.Instant
	full    bool
	model   *model.Store
	remotes [2][2]shared.Remote // for each gateway: the one that is tested, and the model's
	want    [2][]shared.News    // what the model says
}

// claim is of one of a few users, on one of a few endpoints, and may be a little late.
func (m *comparison) randomClaim() shared.Claim {
	seen := m.now - session.Instant(m.rand.IntN(300))
	if m.rand.IntN(10) == 0 {
		seen -= session.Instant(m.rand.IntN(idle + 1000))
	}
	c := shared.Claim{Key: m.key(), Owner: m.owner(), Claimed: seen - session.Instant(m.rand.IntN(2000)), Until: seen + idle}
	if m.rand.IntN(3) == 0 {
		c.From = m.owner()
	}
	return c
}

func (m *comparison) key() session.Key { return session.Key(m.rand.IntN(40)) * 0x0123456789abcdef }

func (m *comparison) owner() shared.Identity { return shared.Identity(1 + m.rand.IntN(4)) }

// step makes one call to both.
func (m *comparison) step() {
	switch m.rand.IntN(40) {
	case 0:
		m.now += session.Instant(m.rand.IntN(idle))
	case 1:
		m.full = !m.full
		m.Full(m.full)
		m.model.Full(m.full)
	default:
		m.now += session.Instant(m.rand.IntN(1000))
	}
	gateway := m.remotes[m.rand.IntN(2)]
	call := m.randomCall()
	var answers [2][]any
	for i, r := range gateway {
		answers[i] = call(r)
	}
	if !reflect.DeepEqual(answers[0], answers[1]) {
		m.t.Errorf("at %d: got %+v, want %+v", m.now-begin, answers[0], answers[1])
	}
}

// randomCall is a call that both are to answer alike.
func (m *comparison) randomCall() func(shared.Remote) []any {
	c, now := m.randomClaim(), m.now
	switch m.rand.IntN(10) {
	case 0, 1:
		return func(r shared.Remote) []any {
			b, first, err := r.Claim(now, c)
			return []any{"Claim", c, b, first, m.plain(err)}
		}
	case 2, 3:
		from := m.owner()
		return func(r shared.Remote) []any {
			b, moved, err := r.Move(now, c, from)
			return []any{"Move", c, from, b, moved, m.plain(err)}
		}
	case 4, 5, 6:
		cs := []shared.Claim{c}
		for range m.rand.IntN(8) {
			cs = append(cs, m.randomClaim())
		}
		return func(r shared.Remote) []any {
			bs, err := r.Renew(now, cs)
			return []any{"Renew", cs, bs, m.plain(err)}
		}
	case 7, 8:
		ks := []session.Key{m.key(), m.key(), m.key()}
		return func(r shared.Remote) []any {
			bs, err := r.Find(now, ks)
			return []any{"Find", ks, bs, m.plain(err)}
		}
	}
	if m.rand.IntN(20) > 0 { // to count all is much work
		forMillis := int64(m.rand.IntN(5000))
		return func(r shared.Remote) []any {
			leads, err := r.Lead(now, forMillis)
			return []any{"Lead", forMillis, leads, m.plain(err)}
		}
	}
	parts := 1 + m.rand.IntN(9)
	return func(r shared.Remote) []any { return []any{"Count", count(m.t, r, now, parts)} }
}

// plain is an error as the contract has it: ErrFull or none.
func (m *comparison) plain(err error) error {
	if errors.Is(err, shared.ErrFull) {
		return shared.ErrFull
	}
	if err != nil {
		m.t.Error(err)
	}
	return err
}

func (m *comparison) compareNews() {
	for i := range m.want {
		if got, want := sorted(m.heard(i, len(m.want[i]))), sorted(m.want[i]); !reflect.DeepEqual(got, want) {
			m.t.Errorf("gateway %d has heard %d news, want %d; they differ", i, len(got), len(want))
		}
	}
	m.told(m.want[0]...)
}
