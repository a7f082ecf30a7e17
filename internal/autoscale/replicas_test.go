package autoscale

import (
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// noon is when the tests' decisions are made.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// pods reads pods from words: what each uses, a / for each thing that is said of it, an @ and its request if that is not 1000.
// A pod of which nothing is said runs and has been ready for an hour; "-" has no measurement.
func pods(t *testing.T, name, text string) []Pod {
	t.Helper()
	var all []Pod
	for i, word := range strings.Fields(text) {
		facts := strings.Split(word, "/")
		used, request, has := strings.Cut(facts[0], "@")
		if !has {
			request = "1000"
		}
		p := Pod{
			Name: "pod-" + strconv.Itoa(i), Phase: corev1.PodRunning, Ready: true,
			StartTime: noon.Add(-time.Hour), Turned: noon.Add(-time.Hour),
			Requests: map[string]int64{name: number(t, request)}, Metrics: map[string]Sample{},
		}
		if used != "-" {
			p.Metrics[name] = Sample{number(t, used), noon, 30 * time.Second}
		}
		for _, fact := range facts[1:] {
			describe(t, &p, fact)
		}
		all = append(all, p)
	}
	return all
}

func describe(t *testing.T, p *Pod, fact string) {
	t.Helper()
	switch fact {
	case "unready": // and never was ready
		p.Ready, p.Turned = false, p.StartTime
	case "hot": // it became ready less than a window ago
		p.StartTime, p.Turned = noon.Add(-20*time.Second), noon.Add(-10*time.Second)
	case "pending":
		p.Phase, p.StartTime, p.Turned = corev1.PodPending, time.Time{}, time.Time{}
	case "failed":
		p.Phase = corev1.PodFailed
	case "deleting":
		p.Deleting = true
	case "norequest":
		p.Requests = nil
	default:
		t.Fatalf("%q is not something that can be said of a pod", fact)
	}
}

func number(t *testing.T, s string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// with makes an autoscaler without limits for one metric.
func with(t *testing.T, m autoscalingv2.MetricSpec, down, up string) *Autoscaler {
	t.Helper()
	behavior := &autoscalingv2.HorizontalPodAutoscalerBehavior{
		ScaleUp: &autoscalingv2.HPAScalingRules{Tolerance: quantity(up)}, ScaleDown: &autoscalingv2.HPAScalingRules{Tolerance: quantity(down)},
	}
	a, err := New(autoscalingv2.HorizontalPodAutoscalerSpec{MaxReplicas: math.MaxInt32, Metrics: []autoscalingv2.MetricSpec{m}, Behavior: behavior}, Config{
		CPUInitializationPeriod: 2 * time.Minute, InitialReadinessDelay: 10 * time.Second, // as Kubernetes' tests have it
	})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func quantity(s string) *resource.Quantity {
	if s == "" {
		return nil
	}
	q := resource.MustParse(s)
	return &q
}

func utilization(percent int32) autoscalingv2.MetricSpec {
	return autoscalingv2.MetricSpec{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
		Name: corev1.ResourceCPU, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &percent},
	}}
}

func perPod(target int64) autoscalingv2.MetricSpec {
	return autoscalingv2.MetricSpec{Type: autoscalingv2.PodsMetricSourceType, Pods: &autoscalingv2.PodsMetricSource{
		Metric: autoscalingv2.MetricIdentifier{Name: "qps"}, Target: average(target),
	}}
}

func external(target autoscalingv2.MetricTarget) autoscalingv2.MetricSpec {
	return autoscalingv2.MetricSpec{Type: autoscalingv2.ExternalMetricSourceType, External: &autoscalingv2.ExternalMetricSource{
		Metric: autoscalingv2.MetricIdentifier{Name: "qps"}, Target: target,
	}}
}

func average(milli int64) autoscalingv2.MetricTarget {
	return autoscalingv2.MetricTarget{Type: autoscalingv2.AverageValueMetricType, AverageValue: resource.NewMilliQuantity(milli, resource.DecimalSI)}
}

func value(milli int64) autoscalingv2.MetricTarget {
	return autoscalingv2.MetricTarget{Type: autoscalingv2.ValueMetricType, Value: resource.NewMilliQuantity(milli, resource.DecimalSI)}
}

// TestCPUAsAShareOfTheRequest has the cases of Kubernetes' documentation ("Algorithm details") and of its own tests
// (replica_calculator_test.go of 1.37: TestReplicaCalcResourceScale, …ResourceTolerance, …ResourceMissingMetrics).
func TestCPUAsAShareOfTheRequest(t *testing.T) {
	for _, c := range []struct {
		name     string
		replicas int32
		pods     string
		percent  int32
		down, up string // tolerances
		want     int32
		current  int64
	}{
		{"documented: twice the wanted use doubles them", 2, "200@200 200@200", 50, "", "", 4, 100},
		{"documented: half of it halves them", 4, "50@200 50@200 50@200 50@200", 50, "", "", 2, 25},

		{"scale up", 3, "300 500 700", 30, "", "", 5, 50},
		{"an unready pod scales less", 3, "300/unready 500 700", 30, "", "", 4, 60},
		{"a pod that starts scales less", 3, "300/hot 500 700", 30, "", "", 4, 60},
		{"unready pods are ignored, and nothing is left to do", 3, "400 500/unready 700/unready", 30, "", "", 3, 40},
		{"failed pods are ignored", 2, "500 700 -/failed -/failed", 30, "", "", 4, 60},
		{"pods being deleted are ignored", 2, "500 700 -/deleting -/deleting", 30, "", "", 4, 60},

		{"scale down", 5, "100 300 500 250 250", 50, "", "", 3, 28},
		{"unready pods do not count for fewer", 5, "100 300 500 250/unready 250/unready", 50, "", "", 2, 30},
		{"pods that are not scheduled do not either", 5, "100 -/pending -/pending -/pending -/pending", 50, "", "", 1, 10},
		{"nor pods that start", 5, "100 300 500 250/hot 250/hot", 50, "", "", 2, 30},
		{"failed pods are ignored for fewer", 5, "100 300 500 250 250 -/failed -/failed", 50, "", "", 3, 28},
		{"pods being deleted are ignored for fewer", 5, "100 300 500 250 250 250/deleting 250/deleting", 50, "", "", 3, 28},

		{"within the default tolerance", 3, "1010@900 1030@1000 1020@1100", 100, "", "", 3, 102},
		{"a hundredth is outside no tolerance", 3, "909@900 1010@1000 1111@1100", 100, "0", "0", 4, 101},
		{"within 200 % for more", 3, "1890@900 1910@1000 1900@1100", 100, "", "2", 3, 190},
		{"outside 8 % for more, whatever it is for fewer", 3, "1100@900 1080@1000 1090@1100", 100, "2", "0.08", 4, 109},
		{"within 36 % for fewer", 3, "660@900 640@1000 650@1100", 100, "0.36", "", 3, 65},
		{"outside 34 % for fewer", 3, "660@900 640@1000 650@1100", 100, "0.34", "", 2, 65},

		{"far above", 4, "4000 9500 3000 7000", 100, "", "", 24, 587},
		{"pods that are missing are taken to use all when there are too many", 4, "400 95 - -", 100, "", "", 3, 24},
		{"at the target, a missing pod changes nothing", 2, "1000 -", 100, "", "", 2, 100},
		{"above it, a missing pod is taken to use nothing", 2, "1900 -", 100, "", "", 2, 190},
		{"below it, a missing pod is taken to use all", 2, "600 -", 100, "", "", 2, 60},
		{"one unready and one missing", 3, "100/unready 450 -", 50, "", "", 3, 45},
		{"one that starts and one missing", 3, "100/hot 450 -", 50, "", "", 3, 45},
		{"scale up with one unready and one missing", 3, "100/unready 2000 -", 50, "", "", 4, 200},
		{"scale up with one that starts and one missing", 3, "100/hot 2000 -", 50, "", "", 4, 200},
		{"scale down with one unready and one missing", 4, "100/unready 100 100 -", 50, "", "", 3, 10},
		{"a missing pod is taken to use a target above 100 %", 4, "200/unready 100 100@2000 -@2000", 300, "", "", 2, 6},
		{"a rolling update's extra pod is missing", 2, "100 100 -", 50, "", "", 2, 10},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := with(t, utilization(c.percent), c.down, c.up)
			o := Observation{Replicas: c.replicas, Pods: pods(t, "cpu", c.pods)}
			got, current, err := a.replicasFor(noon, o, a.metrics[0])
			if err != nil || got != c.want || current != c.current {
				t.Errorf("got %d replicas at %d %%, %v; want %d at %d %%", got, current, err, c.want, c.current)
			}
		})
	}
}

// TestOtherMetrics has the cases of TestReplicaCalcPodMetric, …ObjectMetric, …ObjectPerPodMetric, …ExternalMetric and
// …ExternalPerPodMetric.
func TestOtherMetrics(t *testing.T) {
	for _, c := range []struct {
		name     string
		metric   autoscalingv2.MetricSpec
		replicas int32
		pods     string
		total    int64
		up       string // tolerance
		want     int32
		current  int64
	}{
		{"of pods: scale up", perPod(15000), 3, "20000 10000 30000", 0, "", 4, 20000},
		{"of pods: one that is not ready counts", perPod(15000), 3, "50000 10000 30000/unready", 0, "", 6, 30000},
		{"of pods: and those that start", perPod(15000), 3, "50000/hot 15000 30000/hot", 0, "", 7, 31666},
		{"of pods: scale down", perPod(20000), 5, "12000 12000 12000 12000 12000", 0, "", 3, 12000},
		{"of pods: within the default tolerance", perPod(20000), 3, "20000 21000 21000", 0, "", 3, 20666},
		{"of pods: outside 1 %", perPod(20000), 3, "20000 21000 21000", 0, "0.01", 4, 20666},
		{"of pods: two are missing", perPod(20000), 5, "20000 19000 21000 - -", 0, "", 5, 20000},
		{"of pods: a rolling update's extra pod is missing", perPod(17000), 2, "10000 10000 -", 0, "", 2, 10000},

		{"a value: scale up", external(value(15000)), 3, "- - -", 20000, "", 4, 20000},
		{"a value: more than a number can hold", external(value(1)), 3, "- - -", math.MaxInt64, "", math.MaxInt32, math.MaxInt64},
		{"a value: pods that are not ready do not count", external(value(10000)), 3, "-/unready - -/unready", 50000, "", 5, 50000},
		{"a value: which may turn the direction", external(value(4400)), 3, "-/unready - -/unready", 8600, "", 2, 8600},
		{"a value: scale down", external(value(20000)), 5, "- - - - -", 12000, "", 3, 12000},
		{"a value: scale down by far", external(value(14334)), 5, "- - - - -", 8600, "", 3, 8600},
		{"a value: within the default tolerance", external(value(8888)), 3, "- - -", 8600, "", 3, 8600},
		{"a value: outside 1 %", external(value(8800)), 3, "- - -", 8900, "0.01", 4, 8900},
		{"a value: a huge one that was to be expected", external(value(math.MaxInt64)), 3, "- - -", math.MaxInt64, "", 3, math.MaxInt64},

		{"a share: scale up", external(average(5000)), 3, "- - -", 20000, "", 4, 6667},
		{"a share: scale up from an uneven one", external(average(2150)), 3, "- - -", 8600, "", 4, 2867},
		{"a share: scale down", external(average(2000)), 5, "- - - - -", 6000, "", 3, 1200},
		{"a share: scale down to an uneven one", external(average(2867)), 5, "- - - - -", 8600, "", 3, 1720},
		{"a share: within the default tolerance", external(average(5000)), 4, "- - - -", 20166, "", 4, 5042},
		{"a share: outside 1 %", external(average(5000)), 4, "- - - -", 20208, "0.01", 5, 5052},
		{"a share: more than a number can hold", external(average(1)), 1, "-", math.MaxInt64, "", math.MaxInt32, math.MaxInt64},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := with(t, c.metric, "", c.up)
			o := Observation{Replicas: c.replicas, Pods: pods(t, "qps", c.pods), Totals: map[string]int64{"qps": c.total}}
			got, current, err := a.replicasFor(noon, o, a.metrics[0])
			if err != nil || got != c.want || current != c.current {
				t.Errorf("got %d replicas at %d, %v; want %d at %d", got, current, err, c.want, c.current)
			}
		})
	}
}

// TestWhatAPodSaysWhileItStarts has the cases of TestGroupPods about CPU.
func TestWhatAPodSaysWhileItStarts(t *testing.T) {
	ago := func(d time.Duration) time.Time { return noon.Add(-d) }
	for _, c := range []struct {
		name    string
		started time.Time
		ready   bool
		turned  time.Time
		sample  Sample
		starts  bool
	}{
		{"nobody has looked whether it is ready", ago(time.Hour), true, time.Time{}, Sample{}, true},
		{"it has not started", time.Time{}, true, ago(time.Hour), Sample{}, true},
		{"ready in its first minutes, with a window since then", ago(time.Minute), true, ago(30 * time.Second), Sample{1, noon, 30 * time.Second}, false},
		{"ready in its first minutes, with a window that began before", ago(time.Minute), true, ago(30 * time.Second), Sample{1, noon, time.Minute}, true},
		{"not ready in its first minutes", ago(time.Minute), false, ago(30 * time.Second), Sample{1, noon, time.Second}, true},
		{"ready later on, with an old sample", ago(3 * time.Minute), true, ago(3 * time.Minute), Sample{1, ago(2 * time.Minute), time.Minute}, false},
		{"not ready later on, but it was once", ago(10 * time.Minute), false, ago(9 * time.Minute), Sample{}, false},
		{"not ready later on, and never was", ago(10 * time.Minute), false, ago(9*time.Minute + 54*time.Second), Sample{}, true},
		{"it turned unready just after the initial delay", ago(10 * time.Minute), false, ago(9*time.Minute + 50*time.Second), Sample{}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := with(t, utilization(50), "", "")
			if got := a.starts(noon, Pod{StartTime: c.started, Ready: c.ready, Turned: c.turned}, c.sample); got != c.starts {
				t.Errorf("starts: %t, want %t", got, c.starts)
			}
		})
	}
}

func TestAMetricThatCannotBeHadIsAnError(t *testing.T) {
	for _, c := range []struct {
		name   string
		metric autoscalingv2.MetricSpec
		pods   string
		want   string
	}{
		{"no pod", utilization(50), "", "there is no pod"},
		{"none measured", utilization(50), "- -", "did not receive metrics for targeted pods (pods might be unready)"},
		{"none ready", utilization(50), "100/unready -", "did not receive metrics for targeted pods (pods might be unready)"},
		{"one has no request", utilization(50), "100 100/norequest", "missing request for cpu of pod pod-1"},
		{"requests of nothing", utilization(50), "100@0", "the pods request no cpu, of which their use would be a share"},
		{"no value", external(value(1000)), "-", "it was not measured"},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := with(t, c.metric, "", "")
			if _, _, err := a.replicasFor(noon, Observation{Replicas: 2, Pods: pods(t, "cpu", c.pods)}, a.metrics[0]); err == nil || err.Error() != c.want {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
	for _, m := range []autoscalingv2.MetricSpec{external(value(1000)), external(average(1000))} {
		a := with(t, m, "", "")
		if _, _, err := a.replicasFor(noon, Observation{Replicas: 1, Totals: map[string]int64{"qps": 9000}}, a.metrics[0]); err == nil {
			t.Error("a total was divided among no pods")
		}
	}
}
