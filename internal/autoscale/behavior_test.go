package autoscale

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
)

// policies reads words such as "4/15s" (pods) and "100%/15s", and what is selected: "Min", "Disabled"; else Max.
func policies(t *testing.T, text string) *autoscalingv2.HPAScalingRules {
	t.Helper()
	if text == "" {
		return nil
	}
	var r autoscalingv2.HPAScalingRules
	for _, word := range strings.Fields(text) {
		amount, period, has := strings.Cut(word, "/")
		if !has {
			selects := autoscalingv2.ScalingPolicySelect(word)
			r.SelectPolicy = &selects
			continue
		}
		d, err := time.ParseDuration(period)
		if err != nil {
			t.Fatal(err)
		}
		p := autoscalingv2.HPAScalingPolicy{Type: autoscalingv2.PodsScalingPolicy, PeriodSeconds: int32(d / time.Second)}
		if percent, is := strings.CutSuffix(amount, "%"); is {
			p.Type, amount = autoscalingv2.PercentScalingPolicy, percent
		}
		p.Value = int32(number(t, amount))
		r.Policies = append(r.Policies, p)
	}
	return &r
}

// history reads words such as "5@60s": a number, and how long ago that was.
func history(t *testing.T, text string) []stamped {
	t.Helper()
	var all []stamped
	for _, word := range strings.Fields(text) {
		n, ago, _ := strings.Cut(word, "@")
		d, err := time.ParseDuration(ago)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, stamped{int32(number(t, n)), noon.Add(-d)})
	}
	return all
}

func bounded(t *testing.T, min, max int32, up, down *autoscalingv2.HPAScalingRules) *Autoscaler {
	t.Helper()
	a, err := New(autoscalingv2.HorizontalPodAutoscalerSpec{
		MinReplicas: &min, MaxReplicas: max, Behavior: &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: up, ScaleDown: down},
	}, Config{})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestAChangeKeepsToThePolicies has the cases of Kubernetes' documentation ("Scaling policies", "Default behavior") and of
// TestScalingWithRules in horizontal_test.go of 1.37.
func TestAChangeKeepsToThePolicies(t *testing.T) {
	const inRange, tooFew, tooMany, upLimit, downLimit = "DesiredWithinRange", "TooFewReplicas", "TooManyReplicas", "ScaleUpLimit", "ScaleDownLimit"
	for _, c := range []struct {
		name           string
		min, max       int32
		up, down       string // policies
		added, removed string // before
		current        int32
		wanted         int32
		want           int32
		reason         string
	}{
		// Documentation, "Scaling policies": 4 pods or 10 % a minute. Percent win above 40, pods below.
		{"documented: of 80, 8 are 10 %", 1, 100, "", "4/60s 10%/60s", "", "", 80, 10, 72, downLimit},
		{"documented: of 72, 8 again in the next minute", 1, 100, "", "4/60s 10%/60s", "", "8@61s", 72, 10, 64, downLimit},
		{"documented: of 40 and fewer, 4", 1, 100, "", "4/60s 10%/60s", "", "", 38, 10, 34, downLimit},
		{"documented: the least change", 1, 100, "", "4/60s 10%/60s Min", "", "", 80, 10, 76, downLimit},
		{"documented: no change", 1, 100, "", "4/60s Disabled", "", "", 80, 10, 80, downLimit},
		{"documented: by default, four more are more than twice as many", 1, 100, "", "", "", "", 1, 50, 5, upLimit},
		{"documented: by default, twice as many are more than four more", 1, 100, "", "", "", "", 10, 50, 20, upLimit},
		{"documented: by default, all may go at once", 1, 100, "", "", "", "", 100, 1, 1, inRange},

		{"within range", 3, 8, "", "", "", "", 5, 7, 7, inRange},
		{"below minReplicas", 2, 8, "", "", "", "", 3, 1, 2, tooFew},
		{"above maxReplicas already", 1, 10, "", "", "", "", 20, 1000, 10, tooMany},
		{"above maxReplicas", 100, 150, "", "", "", "", 100, 1000, 150, tooMany},
		{"a policy below maxReplicas", 1, 2000, "1%/60s", "", "", "", 3, 1000, 4, upLimit},
		{"up: more pods than percent", 1, 1000, "100/60s 100%/60s", "", "", "", 10, 500, 110, upLimit},
		{"up: more percent than pods", 1, 1000, "2/60s 100%/60s", "", "", "", 10, 500, 20, upLimit},
		{"up: a policy that lets all in", 1, 1000, "100/60s", "", "", "", 10, 50, 50, inRange},
		{"up: pods", 1, 1000, "30/60s", "", "", "", 10, 50, 40, upLimit},
		{"up: percent", 1, 1000, "200%/60s", "", "", "", 10, 50, 30, upLimit},
		{"down: more pods than percent", 1, 1000, "", "20/60s 1%/60s", "", "", 100, 2, 80, downLimit},
		{"down: fewer pods", 1, 1000, "", "2/60s 1%/60s", "", "", 100, 2, 98, downLimit},
		{"down: pods to minReplicas", 1, 1000, "", "100/60s", "", "", 10, 0, 1, tooFew},
		{"down: percent to minReplicas", 5, 1000, "", "100%/60s", "", "", 10, 2, 5, tooFew},
		{"down: pods", 1, 1000, "", "5/60s", "", "", 10, 2, 5, downLimit},
		{"down: percent, just enough", 1, 1000, "", "50%/60s", "", "", 10, 5, 5, inRange},

		{"up: pods after changes that leave enough", 1, 200, "300/60s", "", "1@100s 5@60s 9@20s", "", 100, 500, 200, tooMany},
		{"up: percent after changes that leave enough", 1, 200, "10000%/60s", "", "1@100s 5@60s 9@20s", "", 100, 500, 200, tooMany},
		{"up: more has come than the policy allows now", 1, 1000, "5/120s", "", "1@100s 5@60s 9@20s", "", 100, 500, 100, upLimit},
		{"up: pods, less those that came", 1, 1000, "150/120s", "", "1@100s 5@60s 9@20s", "", 100, 500, 235, upLimit},
		{"up: percent of what there was", 1, 1000, "200%/120s", "", "1@100s 5@60s 9@20s", "", 100, 500, 255, upLimit},
		{"up: after changes in both directions", 1, 1000, "300%/300s", "", "4@60s", "2@60s", 6, 24, 16, upLimit},
		{"down: the default policy does not look back", 1, 1000, "", "", "", "1@100s 5@60s 9@20s", 10, 5, 5, inRange},
		{"down: pods after changes that leave enough", 1, 1000, "", "115/120s", "", "1@100s 5@60s 9@20s", 100, 0, 1, tooFew},
		{"down: the same with a higher minReplicas", 5, 1000, "", "130/120s", "", "1@100s 5@60s 9@20s", 100, 0, 5, tooFew},
		{"down: percent with a higher minReplicas", 5, 1000, "", "100%/120s", "", "1@100s 5@60s 9@20s", 100, 2, 5, tooFew},
		{"down: more has gone than the policy allows now", 1, 1000, "", "5/120s", "", "1@100s 5@60s 9@20s", 100, 2, 100, downLimit},
		{"down: percent of what there was", 1, 1000, "", "50%/120s", "", "2@100s 4@60s 6@20s", 100, 0, 56, downLimit},
		{"down: after changes in both directions", 1, 1000, "", "50%/180s", "2@60s", "4@60s", 10, 1, 6, downLimit},
		{"down: percent, and more has gone", 1, 1000, "", "10%/120s", "", "10@100s 10@60s 10@20s", 100, 0, 100, downLimit},
		{"down: more than all", 1, 1000, "", "1000%/120s", "", "10@100s 10@60s 10@20s", 10, 5, 5, inRange},
		{"up: two periods", 1, 1000, "1000/30s 100%/60s", "", "8@105s 12@75s 9@45s 11@15s", "", 100, 200, 200, inRange},
		{"down: two periods", 1, 1000, "", "1000/30s 100%/60s", "", "8@105s 12@75s 9@45s 11@15s", 100, 5, 5, inRange},

		// Percent are counted in binary floating point: 25 × 1.12 is a little more than 28, and 20 × (1 - 0.8) a little less than 4.
		{"up: rounded as Kubernetes does", 1, 1000, "12%/60s", "", "", "", 25, 50, 29, upLimit},
		{"down: rounded as Kubernetes does", 1, 1000, "", "80%/60s", "", "", 20, 1, 3, downLimit},

		{"nothing to do", 1, 10, "", "", "", "", 5, 5, 5, inRange},
		{"up: as much as a number can hold", 1, 2147483647, "2147483647/60s", "", "", "", 2147483646, 2147483647, 2147483647, inRange},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := bounded(t, c.min, c.max, policies(t, c.up), policies(t, c.down))
			a.added, a.removed = history(t, c.added), history(t, c.removed)
			var d Decision
			got := a.limit(noon, c.current, c.wanted, &d)
			condition := d.Condition(autoscalingv2.ScalingLimited)
			if got != c.want || condition.Reason != c.reason || string(condition.Status) != map[bool]string{true: "False", false: "True"}[c.reason == inRange] {
				t.Errorf("got %d, %s %s; want %d, %s", got, condition.Status, condition.Reason, c.want, c.reason)
			}
		})
	}
}

// TestWhatWasAskedForBeforeHoldsAChangeBack has the cases of TestNormalizeDesiredReplicasWithBehavior.
func TestWhatWasAskedForBeforeHoldsAChangeBack(t *testing.T) {
	const ready, heldUp, heldDown = "ReadyForNewScale", "ScaleUpStabilized", "ScaleDownStabilized"
	for _, c := range []struct {
		name     string
		before   string // recommendations
		up, down int32  // seconds
		current  int32
		proposed int32
		want     int32
		reason   string
		kept     int // recommendations
	}{
		{"down: nothing was asked for", "", 0, 0, 100, 5, 5, ready, 1},
		{"down: to the highest", "4@2m 5@1m", 0, 180, 100, 3, 5, heldDown, 3},
		{"up: to the lowest", "4@2m 5@1m", 300, 0, 1, 7, 4, heldUp, 3},
		{"down: the window of the other direction does not matter", "1@2m 2@1m", 300, 0, 100, 3, 3, ready, 3},
		{"up: the window of the other direction does not matter", "4@2m 5@1m", 0, 300, 1, 3, 3, ready, 3},
		{"down: all of it is too old", "10@10m 9@9m", 0, 0, 100, 3, 3, ready, 1},
		{"up: all of it is too old", "10@10m 9@9m", 0, 0, 1, 100, 100, ready, 1},
		{"down: some of it is too old", "10@10m 9@9m 5@2m 4@1m", 0, 180, 100, 3, 5, heldDown, 3},
		{"up: some of it is too old", "10@100m 9@3m 5@2m 6@1m", 300, 0, 1, 100, 5, heldUp, 4},
		{"up: not when it goes down just now", "2@100m 3@3m", 300, 300, 2, 1, 2, heldDown, 2},
		{"down: not when it goes up just now", "2@100m 1@3m", 300, 300, 2, 3, 2, heldUp, 2},
		{"at the end of the window it is over", "9@60s", 0, 60, 5, 3, 3, ready, 2},
		{"just before that it is not", "9@59999ms", 0, 60, 5, 3, 5, heldDown, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := bounded(t, 1, 1000, &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: &c.up}, &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: &c.down})
			a.recommendations = history(t, c.before)
			var d Decision
			got := a.stabilize(noon, c.current, c.proposed, &d)
			if condition := d.Condition(autoscalingv2.AbleToScale); got != c.want || condition.Reason != c.reason {
				t.Errorf("got %d, %s; want %d, %s", got, condition.Reason, c.want, c.reason)
			}
			if len(a.recommendations) != c.kept {
				t.Errorf("%d recommendations are kept, want %d", len(a.recommendations), c.kept)
			}
		})
	}
}

func TestEventsAreForgottenAfterTheLongestPeriod(t *testing.T) {
	a := bounded(t, 1, 100, policies(t, "1/10s 1/60s"), policies(t, "1/30s"))
	for i := range 1000 {
		now := noon.Add(time.Duration(i) * time.Second)
		a.Scaled(now, 1, 2)
		a.Scaled(now, 2, 1)
		a.Scaled(now, 1, 1)
		if len(a.added) > 61 || len(a.removed) > 61 {
			t.Fatalf("after %d changes, %d and %d are kept", i+1, len(a.added), len(a.removed))
		}
	}
	var first []string
	for _, e := range a.added[:2] {
		first = append(first, fmt.Sprint(strconv.Itoa(int(e.replicas)), "@", noon.Add(999*time.Second).Sub(e.at)))
	}
	if got := strings.Join(first, " "); got != "1@1m0s 1@59s" {
		t.Errorf("the oldest that are kept are %s", got)
	}
}
