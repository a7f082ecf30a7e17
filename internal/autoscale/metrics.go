package autoscale

import (
	"errors"
	"fmt"
	"math"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
)

// Pod is one replica. Outside Kubernetes it may as well be a process: one that serves is Running.
type Pod struct {
	Name      string
	Phase     corev1.PodPhase // Pending, Running, Succeeded or Failed
	Deleting  bool            // it ends as soon as it may, and does not count
	StartTime time.Time       // zero: it has not started
	Ready     bool
	Turned    time.Time         // when Ready last changed (lastTransitionTime); zero: nobody has looked
	Requests  map[string]int64  // what it asked for of each resource, in thousandths of a core, of a byte…
	Metrics   map[string]Sample // by the name of the resource or metric; one that is not here could not be had
}

// Sample is a measurement of a pod.
type Sample struct {
	Value     int64 // in thousandths of the unit: of a core for cpu
	Timestamp time.Time
	Window    time.Duration // over which it was taken, and which ended at Timestamp
}

// target is what a metric should be: percent of the request for Utilization, thousandths otherwise.
type target struct {
	kind  autoscalingv2.MetricTargetType
	value int64
}

// load is what several pods use together.
type load struct {
	used, requested int64
	pods            int
}

func (l load) plus(used, requested int64) load {
	return load{l.used + used, l.requested + requested, l.pods + 1}
}

// of is how much of the target is used, and what the metric is now. Kubernetes cuts the fraction off what it is now, of percent
// or thousandths, before it divides by the target.
func (t target) of(l load) (ratio float64, current int64) {
	if t.kind == autoscalingv2.UtilizationMetricType {
		current = l.used * 100 / l.requested
	} else {
		current = l.used / int64(l.pods)
	}
	return float64(current) / float64(t.value), current
}

// assumed is what a pod without a measurement is taken to use when the others use less than the target: so much that it is no
// reason to take one away.
func (t target) assumed(request int64) int64 {
	if t.kind == autoscalingv2.UtilizationMetricType {
		return request * max(100, t.value) / 100
	}
	return t.value
}

// replicasFor is how many replicas a metric asks for, and what it is now.
func (a *Autoscaler) replicasFor(now time.Time, o Observation, m metric) (replicas int32, current int64, err error) {
	if m.ofPods {
		return a.replicasByPods(now, o, m)
	}
	total, ok := o.Totals[m.name]
	if !ok {
		return 0, 0, errors.New("it was not measured")
	}
	if m.target.kind == autoscalingv2.ValueMetricType {
		return a.replicasByValue(o, total, m.target.value)
	}
	return a.replicasByAverage(o, total, m.target.value)
}

// replicasByPods follows the mean of a metric that each pod has.
func (a *Autoscaler) replicasByPods(now time.Time, o Observation, m metric) (replicas int32, current int64, err error) {
	g, err := a.group(now, o.Pods, m)
	if err != nil {
		return 0, 0, err
	}
	ratio, current := m.target.of(g.counted)
	starting := len(g.unready) > 0 && ratio > 1
	if !starting && len(g.missing) == 0 {
		if a.within(ratio) {
			return o.Replicas, current, nil
		}
		return ceil(ratio * float64(g.counted.pods)), current, nil
	}

	// Pods of which nothing is known are taken to use what dampens the change: nothing where there are too few pods, all where
	// there are too many. Those that are not ready dampen only the first.
	all := g.counted
	for _, request := range g.missing {
		switch {
		case ratio < 1:
			all = all.plus(m.target.assumed(request), request)
		case ratio > 1:
			all = all.plus(0, request)
		}
	}
	if starting {
		for _, request := range g.unready {
			all = all.plus(0, request)
		}
	}
	again, _ := m.target.of(all)
	replicas = ceil(again * float64(all.pods))
	turns := ratio < 1 && again > 1 || ratio > 1 && again < 1
	crosses := again < 1 && replicas > o.Replicas || again > 1 && replicas < o.Replicas
	if a.within(again) || turns || crosses {
		return o.Replicas, current, nil
	}
	return replicas, current, nil
}

// groups are the pods by what is known of their use of a metric: of those that do not count, what they requested.
type groups struct {
	counted          load
	unready, missing []int64
}

func (a *Autoscaler) group(now time.Time, pods []Pod, m metric) (groups, error) {
	var g groups
	if len(pods) == 0 {
		return g, errors.New("there is no pod")
	}
	for _, p := range pods {
		request, ok := p.Requests[m.name]
		if !ok && m.target.kind == autoscalingv2.UtilizationMetricType {
			return g, fmt.Errorf("missing request for %s of pod %s", m.name, p.Name)
		}
		sample, measured := p.Metrics[m.name]
		switch {
		case p.Deleting || p.Phase == corev1.PodFailed:
		case p.Phase == corev1.PodPending:
			g.unready = append(g.unready, request)
		case !measured:
			g.missing = append(g.missing, request)
		case m.cpu && a.starts(now, p, sample):
			g.unready = append(g.unready, request)
		default:
			g.counted = g.counted.plus(sample.Value, request)
		}
	}
	switch {
	case g.counted.pods == 0:
		return g, errors.New("did not receive metrics for targeted pods (pods might be unready)")
	case m.target.kind == autoscalingv2.UtilizationMetricType && g.counted.requested == 0:
		return g, fmt.Errorf("the pods request no %s, of which their use would be a share", m.name)
	}
	return g, nil
}

// starts reports whether a pod's CPU says nothing yet of its load, because it starts.
func (a *Autoscaler) starts(now time.Time, p Pod, s Sample) bool {
	if p.StartTime.IsZero() || p.Turned.IsZero() {
		return true
	}
	if p.StartTime.Add(a.config.CPUInitializationPeriod).After(now) {
		return !p.Ready || s.Timestamp.Before(p.Turned.Add(s.Window)) // not one window since it became ready
	}
	return !p.Ready && p.StartTime.Add(a.config.InitialReadinessDelay).After(p.Turned) // it never was ready
}

// replicasByValue follows a value that the target's replicas share.
func (a *Autoscaler) replicasByValue(o Observation, total, want int64) (replicas int32, current int64, err error) {
	ratio := float64(total) / float64(want)
	if a.within(ratio) {
		return o.Replicas, total, nil
	}
	ready := 0
	for _, p := range o.Pods {
		if p.Phase == corev1.PodRunning && p.Ready {
			ready++
		}
	}
	if len(o.Pods) == 0 {
		return 0, 0, errors.New("there is no pod")
	}
	return ceil(ratio * float64(ready)), total, nil
}

// replicasByAverage follows a value of which each replica should have an equal share.
func (a *Autoscaler) replicasByAverage(o Observation, total, want int64) (replicas int32, current int64, err error) {
	there := int64(0)
	for _, p := range o.Pods {
		if !p.Deleting && p.Phase != corev1.PodFailed && p.Phase != corev1.PodSucceeded {
			there++
		}
	}
	if there == 0 {
		return 0, 0, errors.New("there is no pod")
	}
	current = total / there
	if total%there > 0 {
		current++
	}
	if a.within(float64(total) / (float64(want) * float64(there))) {
		return int32(there), current, nil
	}
	return ceil(float64(total) / float64(want)), current, nil
}

// within reports whether a ratio is too near to 1 to act.
func (a *Autoscaler) within(ratio float64) bool {
	return 1-a.down.tolerance <= ratio && ratio <= 1+a.up.tolerance
}

// ceil is the next whole number of replicas.
func ceil(replicas float64) int32 { return whole(math.Ceil(replicas)) }

// whole cuts off a fraction, and what an int32 cannot hold.
func whole(replicas float64) int32 {
	return int32(max(math.MinInt32, min(math.MaxInt32, replicas)))
}
