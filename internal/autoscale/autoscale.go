// Package autoscale is the algorithm of Kubernetes' Horizontal Pod Autoscaler, for replicas that Kubernetes does not run: from
// what the replicas use, it says how many there should be. It takes the specification that the autoscaler takes
// (autoscaling/v2), with its defaults, and gives the same numbers, reasons and conditions.
//
// The rules are those of https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/ and, where that is
// silent, of Kubernetes 1.37 (pkg/controller/podautoscaler: replica_calculator.go and horizontal.go). Three things are other
// than there. A specification without behavior is taken as one with an empty behavior: the defaults that are documented; the
// controller has an older rule for that case, which lets a single replica become four at once, where the documented default
// lets it become five. A change counts for as long as any policy looks back; the controller forgets it after the longest period
// of the policies for its own direction, though a policy for the other one may still count it. And there is no scaling to zero
// replicas.
//
// The package decides and nothing else: it has no clock, goroutine or I/O, measures nothing and starts nothing. Time and
// measurements come in as arguments.
package autoscale

import (
	"errors"
	"fmt"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
)

// Autoscaler decides for one target, such as a Deployment, and remembers what it recommended and what was done: at most one
// recommendation for each call within the longer stabilization window (an hour at most), and one event for each change within
// the longest period of a policy (half an hour at most). It is not safe for concurrent use.
type Autoscaler struct {
	config   Config
	min, max int32
	metrics  []metric
	up, down rules
	longest  time.Duration // period of any policy

	recommendations []stamped // what the metrics asked for
	added, removed  []stamped // how many replicas came and went
	begun           bool
}

// stamped is a number of replicas at a time.
type stamped struct {
	replicas int32
	at       time.Time
}

// Observation is what the target looks like when a decision is made.
type Observation struct {
	Replicas int32            // that it is asked to have: spec.replicas of its scale; not negative
	Pods     []Pod            // that are there, in any state
	Totals   map[string]int64 // values of the metrics of type Object and External, by name, in thousandths; one that is not here could not be had
}

// Decision is how many replicas there should be, and why.
type Decision struct {
	Replicas int32  // the observed number where nothing is to change
	Reason   string // of a change, as the event SuccessfulRescale has it
	Metrics  []MetricStatus
	// Conditions are AbleToScale and, where the decision says something about them, ScalingActive and ScalingLimited, with
	// the reasons and messages of the autoscaler's own status. They have no times.
	Conditions []autoscalingv2.HorizontalPodAutoscalerCondition
}

// MetricStatus is what one metric says.
type MetricStatus struct {
	Name string
	// Current is the mean of the pods that count: in percent of the request for a target of type Utilization, else in
	// thousandths. For a target of type Value it is the metric's value in thousandths.
	Current  int64
	Replicas int32 // that it asks for
	Err      error // why it could not be had; the other fields are empty then
}

// Condition is the condition of a type; its status is Unknown where the decision does not have it.
func (d *Decision) Condition(kind autoscalingv2.HorizontalPodAutoscalerConditionType) autoscalingv2.HorizontalPodAutoscalerCondition {
	for _, c := range d.Conditions {
		if c.Type == kind {
			return c
		}
	}
	return autoscalingv2.HorizontalPodAutoscalerCondition{Type: kind, Status: corev1.ConditionUnknown}
}

// set sets a condition.
func (d *Decision) set(kind autoscalingv2.HorizontalPodAutoscalerConditionType, status bool, reason, message string) {
	c := autoscalingv2.HorizontalPodAutoscalerCondition{Type: kind, Status: corev1.ConditionFalse, Reason: reason, Message: message}
	if status {
		c.Status = corev1.ConditionTrue
	}
	for i := range d.Conditions {
		if d.Conditions[i].Type == kind {
			d.Conditions[i] = c
			return
		}
	}
	d.Conditions = append(d.Conditions, c)
}

// Decide says how many replicas the target should have. Times must not go back from call to call. Whoever acts on the decision
// calls Scaled then. An error says which metrics could not be had; the decision holds even so: it is then to leave the target
// as it is, or to follow the metrics that there are where they ask for more.
func (a *Autoscaler) Decide(now time.Time, o Observation) (Decision, error) {
	d := Decision{Replicas: o.Replicas}
	d.set(autoscalingv2.AbleToScale, true, "SucceededGetScale", "the HPA controller was able to get the target's current scale")
	if !a.begun { // so that what runs already is not taken away before it was watched for a stabilization window
		a.begun = true
		a.recommendations = append(a.recommendations, stamped{o.Replicas, now})
	}
	switch {
	case o.Replicas == 0:
		d.set(autoscalingv2.ScalingActive, false, "ScalingDisabled", "scaling is disabled since the replica count of the target is zero")
		return d, nil
	case o.Replicas > a.max:
		d.Replicas, d.Reason = a.max, "Current number of replicas above Spec.MaxReplicas"
		return d, nil
	case o.Replicas < a.min:
		d.Replicas, d.Reason = a.min, "Current number of replicas below Spec.MinReplicas"
		return d, nil
	}
	proposed, by, err := a.measure(now, o, &d)
	if by == "" {
		return d, err
	}
	switch {
	case proposed > o.Replicas:
		d.Reason = by + " above target"
	case proposed < o.Replicas:
		d.Reason = "All metrics below target"
	}
	d.Replicas = a.limit(now, o.Replicas, a.stabilize(now, o.Replicas, proposed, &d), &d)
	if d.Replicas == o.Replicas {
		d.Reason = ""
	}
	return d, err
}

// Scaled is told that the target was asked to have another number of replicas than before.
func (a *Autoscaler) Scaled(now time.Time, from, to int32) {
	switch {
	case to > from:
		a.added = append(since(a.added, now.Add(-a.longest)), stamped{to - from, now})
	case to < from:
		a.removed = append(since(a.removed, now.Add(-a.longest)), stamped{from - to, now})
	}
}

// measure asks every metric and takes the highest number of replicas. by is the metric that asked for it, and empty when
// nothing may follow: when no metric could be had, or one could not and the others ask for fewer replicas.
func (a *Autoscaler) measure(now time.Time, o Observation, d *Decision) (proposed int32, by string, err error) {
	failed := 0
	var first metric
	for _, m := range a.metrics {
		status := MetricStatus{Name: m.name}
		status.Replicas, status.Current, status.Err = a.replicasFor(now, o, m)
		if status.Err != nil {
			if failed == 0 {
				first, err = m, fmt.Errorf("%s: %w", m.title, status.Err)
			}
			failed++
			status = MetricStatus{Name: m.name, Err: status.Err}
		} else if by == "" || status.Replicas > proposed {
			proposed, by = status.Replicas, m.title
		}
		d.Metrics = append(d.Metrics, status)
	}
	if failed > 0 {
		err = fmt.Errorf("invalid metrics (%d invalid out of %d), first error is: %w", failed, len(a.metrics), err)
	}
	if failed == len(a.metrics) || failed > 0 && proposed < o.Replicas {
		d.set(autoscalingv2.ScalingActive, false, first.failure, "the HPA was unable to compute the replica count: "+errors.Unwrap(err).Error())
		return 0, "", err
	}
	d.set(autoscalingv2.ScalingActive, true, "ValidMetricFound", "the HPA was able to successfully calculate a replica count from "+by)
	return proposed, by, err
}

// since is the entries that are not older than a time, of entries in order of time.
func since(all []stamped, cutoff time.Time) []stamped {
	for len(all) > 0 && all[0].at.Before(cutoff) {
		all = all[1:]
	}
	return all
}
