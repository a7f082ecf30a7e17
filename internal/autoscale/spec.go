package autoscale

import (
	"errors"
	"fmt"
	"slices"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
)

// Config is what Kubernetes sets for all autoscalers of a cluster, by flags of kube-controller-manager that begin with
// --horizontal-pod-autoscaler-. A field that is 0 has Kubernetes' default.
type Config struct {
	Tolerance               float64       // of the ratio of current to wanted use, from 0 to 1, where behavior has none; 0.1
	DownscaleStabilization  time.Duration // scaleDown.stabilizationWindowSeconds where behavior has none; 5 m
	CPUInitializationPeriod time.Duration // after its start, a pod's CPU counts only while it is ready and was for a whole window; 5 m
	InitialReadinessDelay   time.Duration // after its start, within which a pod that turns unready counts as never having been ready; 30 s
}

// Limits of the API (pkg/apis/autoscaling/validation).
const (
	maxWindow = 3600 // seconds
	maxPeriod = 1800 // seconds
)

// defaultUtilization is the target of a specification without metrics: CPU, in percent of the request.
const defaultUtilization = 80

// rules are behavior's rules for one direction.
type rules struct {
	window    time.Duration
	tolerance float64
	selects   autoscalingv2.ScalingPolicySelect
	policies  []autoscalingv2.HPAScalingPolicy
}

// metric is one metric to follow, in one of two forms: of the pods, or of something else with one value.
type metric struct {
	name    string
	title   string // as reasons name it
	failure string // reason of the condition when it cannot be had
	ofPods  bool
	cpu     bool // what pods use while they start does not count
	target  target
}

// New makes the autoscaler of a specification. Of that, it does not look at scaleTargetRef. The error names the fields that are
// wrong.
func New(spec autoscalingv2.HorizontalPodAutoscalerSpec, c Config) (*Autoscaler, error) {
	c.Tolerance = orDefault(c.Tolerance, 0.1)
	c.DownscaleStabilization = orDefault(c.DownscaleStabilization, 5*time.Minute)
	c.CPUInitializationPeriod = orDefault(c.CPUInitializationPeriod, 5*time.Minute)
	c.InitialReadinessDelay = orDefault(c.InitialReadinessDelay, 30*time.Second)

	a := &Autoscaler{config: c, min: 1, max: spec.MaxReplicas}
	if spec.MinReplicas != nil {
		a.min = *spec.MinReplicas
	}
	var f faults
	f.check(a.min >= 1, "minReplicas: %d: want at least 1", a.min)
	f.check(a.max >= a.min, "maxReplicas: %d: want at least minReplicas, %d", a.max, a.min)

	var behavior autoscalingv2.HorizontalPodAutoscalerBehavior
	if spec.Behavior != nil {
		behavior = *spec.Behavior
	}
	// The defaults are those of pkg/apis/autoscaling/v2/defaults.go.
	a.up = f.rules("behavior.scaleUp", behavior.ScaleUp, rules{0, c.Tolerance, autoscalingv2.MaxChangePolicySelect, []autoscalingv2.HPAScalingPolicy{
		{Type: autoscalingv2.PodsScalingPolicy, Value: 4, PeriodSeconds: 15},
		{Type: autoscalingv2.PercentScalingPolicy, Value: 100, PeriodSeconds: 15},
	}})
	a.down = f.rules("behavior.scaleDown", behavior.ScaleDown, rules{c.DownscaleStabilization, c.Tolerance, autoscalingv2.MaxChangePolicySelect, []autoscalingv2.HPAScalingPolicy{
		{Type: autoscalingv2.PercentScalingPolicy, Value: 100, PeriodSeconds: 15},
	}})
	for _, p := range slices.Concat(a.up.policies, a.down.policies) {
		a.longest = max(a.longest, time.Duration(p.PeriodSeconds)*time.Second)
	}
	for i, m := range spec.Metrics {
		a.metrics = append(a.metrics, f.metric(fmt.Sprintf("metrics[%d]", i), m))
	}
	if len(spec.Metrics) == 0 {
		a.metrics = []metric{resourceMetric(corev1.ResourceCPU, target{kind: autoscalingv2.UtilizationMetricType, value: defaultUtilization})}
	}
	if err := errors.Join(f...); err != nil {
		return nil, err
	}
	return a, nil
}

func orDefault[T float64 | time.Duration](v, otherwise T) T {
	if v == 0 {
		return otherwise
	}
	return v
}

// faults are what is wrong with a specification.
type faults []error

func (f *faults) check(ok bool, format string, args ...any) {
	if !ok {
		*f = append(*f, fmt.Errorf("spec."+format, args...))
	}
}

// rules reads the rules for one direction over the defaults.
func (f *faults) rules(at string, from *autoscalingv2.HPAScalingRules, to rules) rules {
	if from == nil {
		return to
	}
	if from.StabilizationWindowSeconds != nil {
		s := *from.StabilizationWindowSeconds
		f.check(s >= 0 && s <= maxWindow, "%s.stabilizationWindowSeconds: %d: want 0 to %d", at, s, maxWindow)
		to.window = time.Duration(s) * time.Second
	}
	if from.Tolerance != nil {
		to.tolerance = from.Tolerance.AsApproximateFloat64()
		f.check(to.tolerance >= 0, "%s.tolerance: %s: want at least 0", at, from.Tolerance)
	}
	if from.SelectPolicy != nil {
		to.selects = *from.SelectPolicy
		switch to.selects {
		case autoscalingv2.MaxChangePolicySelect, autoscalingv2.MinChangePolicySelect, autoscalingv2.DisabledPolicySelect:
		default:
			f.check(false, "%s.selectPolicy: %q: want Max, Min or Disabled", at, to.selects)
		}
	}
	if from.Policies != nil {
		to.policies = from.Policies
		f.check(len(to.policies) > 0, "%s.policies: want at least one, or no such field", at)
	}
	for i, p := range to.policies {
		at := fmt.Sprintf("%s.policies[%d]", at, i)
		f.check(p.Type == autoscalingv2.PodsScalingPolicy || p.Type == autoscalingv2.PercentScalingPolicy, "%s.type: %q: want Pods or Percent", at, p.Type)
		f.check(p.Value > 0, "%s.value: %d: want at least 1", at, p.Value)
		f.check(p.PeriodSeconds > 0 && p.PeriodSeconds <= maxPeriod, "%s.periodSeconds: %d: want 1 to %d", at, p.PeriodSeconds, maxPeriod)
	}
	return to
}

// metric reads one metric.
func (f *faults) metric(at string, m autoscalingv2.MetricSpec) metric {
	const utilization, average, value = autoscalingv2.UtilizationMetricType, autoscalingv2.AverageValueMetricType, autoscalingv2.ValueMetricType
	switch {
	case m.Type == autoscalingv2.ResourceMetricSourceType && m.Resource != nil:
		return resourceMetric(m.Resource.Name, f.target(at+".resource.target", m.Resource.Target, utilization, average))
	case m.Type == autoscalingv2.PodsMetricSourceType && m.Pods != nil:
		return metric{
			name: m.Pods.Metric.Name, title: "pods metric " + m.Pods.Metric.Name, failure: "FailedGetPodsMetric", ofPods: true,
			target: f.target(at+".pods.target", m.Pods.Target, average),
		}
	case m.Type == autoscalingv2.ObjectMetricSourceType && m.Object != nil:
		return metric{
			name: m.Object.Metric.Name, title: m.Object.DescribedObject.Kind + " metric " + m.Object.Metric.Name, failure: "FailedGetObjectMetric",
			target: f.target(at+".object.target", m.Object.Target, value, average),
		}
	case m.Type == autoscalingv2.ExternalMetricSourceType && m.External != nil:
		return metric{
			name: m.External.Metric.Name, title: "external metric " + m.External.Metric.Name, failure: "FailedGetExternalMetric",
			target: f.target(at+".external.target", m.External.Target, value, average),
		}
	}
	f.check(false, "%s: type %q: want Resource, Pods, Object or External, and the field of that name", at, m.Type)
	return metric{}
}

func resourceMetric(name corev1.ResourceName, t target) metric {
	m := metric{name: string(name), title: string(name) + " resource", failure: "FailedGetResourceMetric", ofPods: true, cpu: name == corev1.ResourceCPU, target: t}
	if t.kind == autoscalingv2.UtilizationMetricType {
		m.title += " utilization (percentage of request)"
	}
	return m
}

// target reads a target of one of the kinds that its metric may have.
func (f *faults) target(at string, t autoscalingv2.MetricTarget, kinds ...autoscalingv2.MetricTargetType) target {
	for _, kind := range kinds {
		if t.Type != kind {
			continue
		}
		got := target{kind: kind}
		switch {
		case kind == autoscalingv2.UtilizationMetricType && t.AverageUtilization != nil:
			got.value = int64(*t.AverageUtilization)
		case kind == autoscalingv2.AverageValueMetricType && t.AverageValue != nil:
			got.value = t.AverageValue.MilliValue()
		case kind == autoscalingv2.ValueMetricType && t.Value != nil:
			got.value = t.Value.MilliValue()
		}
		f.check(got.value > 0, "%s: want a value above 0 in the field of type %s", at, kind)
		return got
	}
	f.check(false, "%s.type: %q: want one of %v", at, t.Type, kinds)
	return target{}
}
