package autoscale

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
)

// oracle keeps all that ever was asked for and all numbers of replicas that there ever were, and looks every rule up in them:
// it knows no events and forgets nothing.
type oracle struct {
	min, max int32
	up, down rules
	asked    []stamped
	there    []stamped // numbers of replicas, from a time on
}

// at is how many replicas there were at a time: after what happened then.
func (o *oracle) at(t time.Time) float64 {
	n := o.there[0].replicas
	for _, s := range o.there {
		if !s.at.After(t) {
			n = s.replicas
		}
	}
	return float64(n)
}

// decide is what becomes of a number that the metrics ask for.
func (o *oracle) decide(now time.Time, proposed int32) int32 {
	o.asked = append(o.asked, stamped{proposed, now})
	lowest, highest := proposed, proposed
	for _, a := range o.asked {
		if now.Sub(a.at) < o.up.window {
			lowest = min(lowest, a.replicas)
		}
		if now.Sub(a.at) < o.down.window {
			highest = max(highest, a.replicas)
		}
	}
	current := int32(o.at(now))
	switch {
	case current < lowest:
		return int32(min(float64(o.max), float64(lowest), max(float64(current), o.reach(now, o.up, +1))))
	case current > highest:
		return int32(max(float64(o.min), float64(highest), min(float64(current), o.reach(now, o.down, -1))))
	}
	return current
}

// reach is the number of replicas that the policies allow in a direction.
func (o *oracle) reach(now time.Time, r rules, direction int) float64 {
	if r.selects == autoscalingv2.DisabledPolicySelect {
		return o.at(now)
	}
	var all []float64
	for _, p := range r.policies {
		began := o.at(now.Add(-time.Duration(p.PeriodSeconds) * time.Second))
		switch pods := p.Type == autoscalingv2.PodsScalingPolicy; {
		case pods:
			all = append(all, began+float64(direction)*float64(p.Value))
		case direction > 0:
			all = append(all, math.Ceil(began*(1+float64(p.Value)/100)))
		default:
			all = append(all, math.Trunc(began*(1-float64(p.Value)/100)))
		}
	}
	least, most := all[0], all[0]
	for _, n := range all {
		least, most = min(least, n), max(most, n)
	}
	if (direction > 0) == (r.selects == autoscalingv2.MaxChangePolicySelect) {
		return most
	}
	return least
}

// TestRandomHistories compares the autoscaler with the oracle: same rules, same proposals, same times.
func TestRandomHistories(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for range 400 {
		low := 1 + r.Int32N(5)
		a := bounded(t, low, low+r.Int32N(60), randomRules(r), randomRules(r))
		now, current := noon, a.min+r.Int32N(a.max-a.min+1)
		o := oracle{min: a.min, max: a.max, up: a.up, down: a.down, there: []stamped{{current, noon.Add(-time.Hour)}}}
		for step := range 150 {
			now = now.Add(time.Duration(r.IntN(6)) * 5 * time.Second) // often exactly the end of a window or period
			proposed := 1 + r.Int32N(a.max+10)
			if r.IntN(3) == 0 {
				proposed = current
			}
			want := o.decide(now, proposed)
			var d Decision
			got := a.limit(now, current, a.stabilize(now, current, proposed, &d), &d)
			if got != want {
				t.Fatalf("seed %d: step %d at %s: %d replicas, %d asked for: got %d, want %d\nup %+v\ndown %+v", seed, step, now.Sub(noon), current, proposed, got, want, a.up, a.down)
			}
			if got < a.min || got > a.max {
				t.Fatalf("seed %d: step %d: %d replicas are outside %d to %d", seed, step, got, a.min, a.max)
			}
			if got != current && r.IntN(8) > 0 { // now and then it cannot be done
				a.Scaled(now, current, got)
				o.there = append(o.there, stamped{got, now})
				current = got
			}
		}
	}
}

func randomRules(r *rand.Rand) *autoscalingv2.HPAScalingRules {
	if r.IntN(4) == 0 {
		return nil
	}
	window := r.Int32N(25) * 5
	selects := []autoscalingv2.ScalingPolicySelect{
		autoscalingv2.MaxChangePolicySelect, autoscalingv2.MaxChangePolicySelect, autoscalingv2.MinChangePolicySelect, autoscalingv2.DisabledPolicySelect,
	}[r.IntN(4)]
	rules := &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: &window, SelectPolicy: &selects}
	for range 1 + r.IntN(3) {
		p := autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PodsScalingPolicy, Value: 1 + r.Int32N(9), PeriodSeconds: 5 * (1 + r.Int32N(24))}
		if r.IntN(2) == 0 {
			p.Type, p.Value = autoscalingv2.PercentScalingPolicy, 1+r.Int32N(150)
		}
		rules.Policies = append(rules.Policies, p)
	}
	return rules
}
