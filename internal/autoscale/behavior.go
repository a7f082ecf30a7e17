package autoscale

import (
	"math"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
)

// stabilize remembers what the metrics ask for, and moves the current number of replicas only as far as everything that they
// asked for within the windows agrees: up to the lowest of one window, down to the highest of the other.
func (a *Autoscaler) stabilize(now time.Time, current, proposed int32, d *Decision) int32 {
	lowest, highest := proposed, proposed
	upFrom, downFrom := now.Add(-a.up.window), now.Add(-a.down.window)
	a.recommendations = since(a.recommendations, now.Add(-max(a.up.window, a.down.window)))
	for _, r := range a.recommendations {
		if r.at.After(upFrom) {
			lowest = min(lowest, r.replicas)
		}
		if r.at.After(downFrom) {
			highest = max(highest, r.replicas)
		}
	}
	a.recommendations = append(a.recommendations, stamped{proposed, now})
	stable := min(max(current, lowest), highest)
	switch {
	case stable == proposed:
		d.set(autoscalingv2.AbleToScale, true, "ReadyForNewScale", "recommended size matches current size")
	case proposed >= current:
		d.set(autoscalingv2.AbleToScale, true, "ScaleUpStabilized", "recent recommendations were lower than current one, applying the lowest recent recommendation")
	default:
		d.set(autoscalingv2.AbleToScale, true, "ScaleDownStabilized", "recent recommendations were higher than current one, applying the highest recent recommendation")
	}
	return stable
}

// limit keeps a change within the policies, and within minReplicas and maxReplicas.
func (a *Autoscaler) limit(now time.Time, current, wanted int32, d *Decision) int32 {
	switch {
	case wanted > current:
		fastest := max(current, a.fastest(now, current, a.up, +1))
		if fastest < a.max && wanted > fastest {
			d.set(autoscalingv2.ScalingLimited, true, "ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate")
			return fastest
		}
		if wanted > a.max {
			d.set(autoscalingv2.ScalingLimited, true, "TooManyReplicas", "the desired replica count is more than the maximum replica count")
			return a.max
		}
	case wanted < current:
		fastest := min(current, a.fastest(now, current, a.down, -1))
		if fastest > a.min && wanted < fastest {
			d.set(autoscalingv2.ScalingLimited, true, "ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate")
			return fastest
		}
		if wanted < a.min {
			d.set(autoscalingv2.ScalingLimited, true, "TooFewReplicas", "the desired replica count is less than the minimum replica count")
			return a.min
		}
	}
	d.set(autoscalingv2.ScalingLimited, false, "DesiredWithinRange", "the desired count is within the acceptable range")
	return wanted
}

// fastest is how many replicas there may be at most after scaling up (direction +1), or at least after scaling down (-1), by
// the policies: each counts from what there was when its period began.
func (a *Autoscaler) fastest(now time.Time, current int32, r rules, direction float64) int32 {
	if r.selects == autoscalingv2.DisabledPolicySelect {
		return current
	}
	var result float64
	for i, p := range r.policies {
		from := now.Add(-time.Duration(p.PeriodSeconds) * time.Second)
		began := float64(current) - sum(a.added, from) + sum(a.removed, from)
		proposed := began + direction*float64(p.Value)
		if p.Type == autoscalingv2.PercentScalingPolicy {
			proposed = began * (1 + direction*float64(p.Value)/100)
			if direction > 0 {
				proposed = math.Ceil(proposed) // so that few replicas become more at all
			}
		}
		// Further in the direction is more change.
		if further := direction*proposed > direction*result; i == 0 || further == (r.selects == autoscalingv2.MaxChangePolicySelect) {
			result = proposed
		}
	}
	return whole(result)
}

// sum is how many replicas a direction has changed after a time.
func sum(events []stamped, after time.Time) float64 {
	total := 0.0
	for _, e := range events {
		if e.at.After(after) {
			total += float64(e.replicas)
		}
	}
	return total
}
