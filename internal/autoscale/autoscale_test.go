package autoscale

import (
	"fmt"
	"strings"
	"testing"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
)

// conditions writes those of a decision as "Type=Status Reason".
func conditions(d Decision) string {
	var all []string
	for _, c := range d.Conditions {
		all = append(all, fmt.Sprintf("%s=%s %s", c.Type, c.Status, c.Reason))
	}
	return strings.Join(all, ", ")
}

// TestADecision has the cases of Kubernetes' horizontal_test.go that are about the whole of a decision: TestReplicaLimits,
// TestScaleUpOneMetricEmpty, TestNoScaleDownOneMetricEmpty, TestScaleDownStabilizeInitialSize, TestScaleCPU.
func TestADecision(t *testing.T) {
	const able = "AbleToScale=True ReadyForNewScale, ScalingActive=True ValidMetricFound, "
	const cpu = "cpu resource utilization (percentage of request)"
	for _, c := range []struct {
		name       string
		metrics    []autoscalingv2.MetricSpec
		min, max   int32
		replicas   int32
		pods       string
		totals     map[string]int64
		want       int32
		reason     string
		conditions string
		err        string
	}{
		{
			"the use case, at 50 %: two replicas with much to do become five",
			[]autoscalingv2.MetricSpec{utilization(50)},
			2, 5,
			2, "160@100 150@100", nil, 5, cpu + " above target", able + "ScalingLimited=True TooManyReplicas", "",
		},
		{
			"above maxReplicas", nil, 2, 5, 4, "2000 2000 2000 2000", nil, 5, cpu + " above target", able + "ScalingLimited=True TooManyReplicas", "",
		},
		{
			"below minReplicas", nil, 2, 5, 3, "10 10 10", nil, 2, "All metrics below target", able + "ScalingLimited=True TooFewReplicas", "",
		},
		{
			"as it should be", nil, 2, 5, 3, "800 800 800", nil, 3, "", able + "ScalingLimited=False DesiredWithinRange", "",
		},
		{
			"more replicas than maxReplicas, whatever they do", nil, 2, 5, 9, "", nil, 5, "Current number of replicas above Spec.MaxReplicas", "AbleToScale=True SucceededGetScale", "",
		},
		{
			"fewer than minReplicas, whatever they do", nil, 2, 5, 1, "", nil, 2, "Current number of replicas below Spec.MinReplicas", "AbleToScale=True SucceededGetScale", "",
		},
		{
			"none: someone has switched it off", nil, 2, 5, 0, "", nil, 0, "", "AbleToScale=True SucceededGetScale, ScalingActive=False ScalingDisabled", "",
		},
		{
			"nothing measured", nil, 2, 5, 3, "- - -", nil, 3, "", "AbleToScale=True SucceededGetScale, ScalingActive=False FailedGetResourceMetric",
			"invalid metrics (1 invalid out of 1), first error is: " + cpu + ": did not receive metrics for targeted pods (pods might be unready)",
		},
		{
			"of several metrics the highest",
			[]autoscalingv2.MetricSpec{utilization(50), external(value(1000)), external(average(1000))},
			1, 100,
			3, "500 500 500",
			map[string]int64{"qps": 4200},
			7, "external metric qps above target", able + "ScalingLimited=True ScaleUpLimit", "",
		},
		{
			"one that cannot be had does not hold up more replicas",
			[]autoscalingv2.MetricSpec{external(value(100)), utilization(30)},
			2, 6,
			3, "300 400 500", nil, 4, cpu + " above target", able + "ScalingLimited=False DesiredWithinRange",
			"invalid metrics (1 invalid out of 2), first error is: external metric qps: it was not measured",
		},
		{
			"but it holds up fewer",
			[]autoscalingv2.MetricSpec{utilization(50), external(value(100))},
			2, 6,
			5, "100 300 500 250 250", nil, 5, "", "AbleToScale=True SucceededGetScale, ScalingActive=False FailedGetExternalMetric",
			"invalid metrics (1 invalid out of 2), first error is: external metric qps: it was not measured",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			zero := int32(0)
			a, err := New(autoscalingv2.HorizontalPodAutoscalerSpec{
				MinReplicas: &c.min, MaxReplicas: c.max, Metrics: c.metrics,
				Behavior: &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleDown: &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: &zero}},
			}, Config{})
			if err != nil {
				t.Fatal(err)
			}
			d, err := a.Decide(noon, Observation{Replicas: c.replicas, Pods: pods(t, "cpu", c.pods), Totals: c.totals})
			if d.Replicas != c.want || d.Reason != c.reason || conditions(d) != c.conditions {
				t.Errorf("got %d because %q: %s\nwant %d because %q: %s", d.Replicas, d.Reason, conditions(d), c.want, c.reason, c.conditions)
			}
			if got := fmt.Sprint(err); got != c.err && (err != nil || c.err != "") {
				t.Errorf("got error %s\nwant %s", got, c.err)
			}
		})
	}
}

func TestADecisionSaysWhatEachMetricIs(t *testing.T) {
	a, err := New(autoscalingv2.HorizontalPodAutoscalerSpec{
		MaxReplicas: 100, Metrics: []autoscalingv2.MetricSpec{utilization(50), perPod(1500), external(value(100))},
	}, Config{})
	if err != nil {
		t.Fatal(err)
	}
	all := pods(t, "cpu", "300 500")
	all[0].Metrics["qps"], all[1].Metrics["qps"] = Sample{Value: 4000}, Sample{Value: 2000}
	d, err := a.Decide(noon, Observation{Replicas: 2, Pods: all})
	if got, want := fmt.Sprint(d.Metrics), "[{cpu 40 2 <nil>} {qps 3000 4 <nil>} {qps 0 0 it was not measured}]"; got != want || err == nil {
		t.Errorf("got %s, error %v; want %s", got, err, want)
	}
	if got := d.Condition("Other"); got.Status != corev1.ConditionUnknown {
		t.Errorf("a condition that there is not is %s", got.Status)
	}
}

// TestOverTime decides again and again, with the defaults, and does what was decided at once.
func TestOverTime(t *testing.T) {
	for _, c := range []struct {
		name   string
		begin  int32
		script string // when, what each replica uses of its 100m, how many there should be, reason of AbleToScale
	}{
		{"what runs already is watched for five minutes before any of it goes", 5, `
			0s    10  5 ScaleDownStabilized
			299s  10  5 ScaleDownStabilized
			300s  10  1 ReadyForNewScale`},
		{"a quiet minute takes nothing away", 2, `
			0s   100  4 ReadyForNewScale
			15s  100  8 ReadyForNewScale
			30s  5    8 ScaleDownStabilized
			90s  50   8 ReadyForNewScale
			391s 5    1 ReadyForNewScale`},
		{"within a period, only so many come", 2, `
			0s   500  6  ReadyForNewScale
			5s   500  6  ReadyForNewScale
			14s  500  6  ReadyForNewScale
			15s  500  12 ReadyForNewScale
			16s  500  12 ReadyForNewScale
			30s  500  24 ReadyForNewScale`},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, err := New(autoscalingv2.HorizontalPodAutoscalerSpec{MaxReplicas: 100, Metrics: []autoscalingv2.MetricSpec{utilization(50)}}, Config{})
			if err != nil {
				t.Fatal(err)
			}
			replicas := c.begin
			for line := range strings.Lines(strings.TrimSpace(c.script)) {
				var after, used, reason string
				var want int32
				if _, err := fmt.Sscan(line, &after, &used, &want, &reason); err != nil {
					t.Fatalf("%q: %v", line, err)
				}
				passed, err := time.ParseDuration(after)
				if err != nil {
					t.Fatal(err)
				}
				now := noon.Add(passed)
				d, err := a.Decide(now, Observation{Replicas: replicas, Pods: pods(t, "cpu", strings.Repeat(used+"@100 ", int(replicas)))})
				if got := d.Condition(autoscalingv2.AbleToScale).Reason; err != nil || d.Replicas != want || got != reason {
					t.Errorf("%s: got %d %s %v", strings.TrimSpace(line), d.Replicas, got, err)
				}
				a.Scaled(now, replicas, d.Replicas)
				replicas = d.Replicas
			}
		})
	}
}

func TestASpecificationThatCannotBeIsRefused(t *testing.T) {
	n := func(v int32) *int32 { return &v }
	most := autoscalingv2.ScalingPolicySelect("Most")
	_, err := New(autoscalingv2.HorizontalPodAutoscalerSpec{
		MinReplicas: n(0), MaxReplicas: -1,
		Behavior: &autoscalingv2.HorizontalPodAutoscalerBehavior{
			ScaleUp: &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: n(3601), Tolerance: quantity("-1"), SelectPolicy: &most, Policies: []autoscalingv2.HPAScalingPolicy{}},
			ScaleDown: &autoscalingv2.HPAScalingRules{Policies: []autoscalingv2.HPAScalingPolicy{
				{Type: autoscalingv2.PodsScalingPolicy, Value: 1, PeriodSeconds: 1800}, {Type: "Some", Value: 0, PeriodSeconds: 1801},
			}},
		},
		Metrics: []autoscalingv2.MetricSpec{
			{Type: autoscalingv2.ContainerResourceMetricSourceType},
			{Type: autoscalingv2.ResourceMetricSourceType},
			utilization(0),
			{Type: autoscalingv2.PodsMetricSourceType, Pods: &autoscalingv2.PodsMetricSource{Target: value(1)}},
			{Type: autoscalingv2.ObjectMetricSourceType, Object: &autoscalingv2.ObjectMetricSource{Target: average(0)}},
		},
	}, Config{})
	want := `spec.minReplicas: 0: want at least 1
spec.maxReplicas: -1: want at least minReplicas, 0
spec.behavior.scaleUp.stabilizationWindowSeconds: 3601: want 0 to 3600
spec.behavior.scaleUp.tolerance: -1: want at least 0
spec.behavior.scaleUp.selectPolicy: "Most": want Max, Min or Disabled
spec.behavior.scaleUp.policies: want at least one, or no such field
spec.behavior.scaleDown.policies[1].type: "Some": want Pods or Percent
spec.behavior.scaleDown.policies[1].value: 0: want at least 1
spec.behavior.scaleDown.policies[1].periodSeconds: 1801: want 1 to 1800
spec.metrics[0]: type "ContainerResource": want Resource, Pods, Object or External, and the field of that name
spec.metrics[1]: type "Resource": want Resource, Pods, Object or External, and the field of that name
spec.metrics[2].resource.target: want a value above 0 in the field of type Utilization
spec.metrics[3].pods.target.type: "Value": want one of [AverageValue]
spec.metrics[4].object.target: want a value above 0 in the field of type AverageValue`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}
