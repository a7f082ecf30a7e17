package kube

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// paper is an API server on paper: it has the status of objects, and notes when it was written.
type paper struct {
	mu      sync.Mutex
	objects map[string]standing
	refuse  error
	tried   []time.Duration // since the start
	began   time.Time
	log     strings.Builder
	writer  *statusWriter
}

// newPaper starts a writer, which ends with the test. It has n objects, policy-0 and so on.
func newPaper(t *testing.T, n int) *paper {
	t.Helper()
	p := &paper{objects: map[string]standing{}, began: time.Now()}
	for i := range n {
		p.objects[fmt.Sprintf("shop/policy-%d", i)] = standing{uid: types.UID(fmt.Sprint(i)), generation: 1}
	}
	p.writer = &statusWriter{
		apply: p.apply, standing: p.standing, stood: func(string, standing) {}, scope: func(string) string { return "" },
		log: slog.New(slog.NewTextHandler(&p.log, nil)), wake: make(chan struct{}, 1), failed: map[string]error{},
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); p.writer.run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return p
}

func (p *paper) standing(key string) (standing, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	st, known := p.objects[key]
	return st, known
}

func (p *paper) apply(_ context.Context, r *Report, conditions []metav1.Condition) (standing, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tried = append(p.tried, time.Since(p.began))
	if p.refuse != nil {
		return standing{}, p.refuse
	}
	st := p.objects[r.key()]
	st.conditions = conditions
	p.objects[r.key()] = st
	return st, nil
}

// change is what the API server tells of an object.
func (p *paper) change(key string, change func(*standing)) {
	p.mu.Lock()
	st := p.objects[key]
	change(&st)
	p.objects[key] = st
	p.mu.Unlock()
	nudge(p.writer.wake)
}

// say reports one condition of the first n objects.
func (p *paper) say(n int, status metav1.ConditionStatus, message string) {
	var all []Report
	for i := range n {
		all = append(all, Report{
			Namespace: "shop", Name: fmt.Sprintf("policy-%d", i), UID: types.UID(fmt.Sprint(i)), Generation: 1,
			Conditions: []metav1.Condition{{Type: "Accepted", Status: status, Reason: "Accepted", Message: message}},
		})
	}
	p.writer.report(all)
	synctest.Wait()
}

// writes is how many writes were tried.
func (p *paper) writes() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.tried)
}

func (p *paper) expect(t *testing.T, what string, writes int) {
	t.Helper()
	synctest.Wait()
	if got := p.writes(); got != writes {
		t.Errorf("%s: %d writes, want %d", what, got, writes)
	}
}

func TestAStatusIsWrittenWhenItSaysSomethingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPaper(t, 2)
		key := "shop/policy-0"
		p.say(1, "True", "the policy is valid")
		p.expect(t, "one of two objects is reported of", 1)
		first := p.objects[key].conditions[0]
		if first.ObservedGeneration != 1 || !first.LastTransitionTime.Time.Equal(p.began) {
			t.Errorf("it stands as %+v", first)
		}
		<-time.After(time.Hour)
		for range 1000 {
			p.say(1, "True", "the policy is valid")
		}
		p.expect(t, "the same is reported a thousand times", 1)

		p.say(1, "True", "the policy is valid, still")
		p.expect(t, "with another message", 2)
		if c := p.objects[key].conditions[0]; !c.LastTransitionTime.Equal(&first.LastTransitionTime) {
			t.Error("another message is a transition")
		}
		<-time.After(time.Hour)
		p.say(1, "False", "the policy is valid, still")
		p.expect(t, "with another status", 3)
		if c := p.objects[key].conditions[0]; !c.LastTransitionTime.Time.Equal(time.Now().Truncate(time.Second)) {
			t.Errorf("the transition was %s ago", time.Since(c.LastTransitionTime.Time))
		}

		p.change(key, func(st *standing) { st.generation = 2 })
		p.say(1, "False", "about generation 1")
		p.expect(t, "of a generation that is no more", 3)
		p.change(key, func(st *standing) { st.uid, st.generation = "another", 1 })
		p.expect(t, "of an object of that name that is no more", 3)
	})
}

func TestWritesOfAStatusAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPaper(t, 100)
		p.say(100, "True", "")
		<-time.After(time.Minute)
		p.expect(t, "a hundred objects", 100)
		if took, want := p.tried[99], 99*writePause; took != want {
			t.Errorf("they took %s, want %s", took, want)
		}
		before := p.writes()
		for i := range 1000 { // ten seconds
			p.say(1, "True", fmt.Sprint(i))
			<-time.After(10 * time.Millisecond)
		}
		if got := p.writes() - before; got < 9 || got > 11 {
			t.Errorf("an object whose status changes a hundred times a second is written %d times in ten seconds", got)
		}
		<-time.After(time.Minute)
		synctest.Wait()
		if c := p.objects["shop/policy-0"].conditions[0]; c.Message != "999" {
			t.Errorf("what stands in the end is %q", c.Message)
		}
	})
}

func TestTwoWhoWriteTheSameStatusDoNotFight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPaper(t, 1)
		p.say(1, "True", "mine")
		for range 24 * 60 * 60 { // a day, and each second the other one has written
			p.change("shop/policy-0", func(st *standing) { st.conditions = []metav1.Condition{{Type: "Accepted", Message: "theirs"}} })
			<-time.After(time.Second)
		}
		if got := p.writes(); got > 24*6+20 {
			t.Errorf("%d writes in a day", got)
		}
		if n := strings.Count(p.log.String(), "another program has overwritten"); n != 1 {
			t.Errorf("that is said %d times:\n%s", n, p.log.String())
		}
		<-time.After(time.Hour)
		synctest.Wait()
		if c := p.objects["shop/policy-0"].conditions[0]; c.Message != "mine" {
			t.Errorf("when the other one has ended, %q stands there", c.Message)
		}
	})
}

func TestAFailureToWriteAStatusIsSaidOnceAndTriedAgain(t *testing.T) {
	policies := schema.GroupResource{Group: "remora.dev", Resource: "affinitypolicies"}
	for name, test := range map[string]struct {
		err  error
		says string // in the log; empty: nothing
		most int    // writes in an hour
	}{
		"a right is missing": {
			apierrors.NewForbidden(policies, "policy-0", errors.New("no")),
			`not allowed to patch affinitypolicies/status; add to its ClusterRole the rule {apiGroups: [\"remora.dev\"], resources: [\"affinitypolicies/status\"], verbs: [patch]}`, 70,
		},
		"the API server is away":     {errors.New("connection refused"), "connection refused", 70},
		"the object is gone":         {apierrors.NewNotFound(policies, "policy-0"), "", 3 * 20},
		"the object is another one":  {apierrors.NewConflict(policies, "policy-0", errors.New("uid")), "", 3 * 20},
		"the API server is too busy": {apierrors.NewTooManyRequests("slow down", 1), "slow down", 70},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPaper(t, 3)
				p.refuse = test.err
				p.say(3, "True", "")
				<-time.After(time.Hour)
				synctest.Wait()
				if got := p.writes(); got < 10 || got > test.most {
					t.Errorf("%d writes in an hour", got)
				}
				log := p.log.String()
				if want := map[bool]int{true: 0, false: 1}[test.says == ""]; strings.Count(log, "is not written") != want || !strings.Contains(log, test.says) {
					t.Errorf("the log says\n%s\nwant %d times %s", log, want, test.says)
				}
				if failure := p.writer.failure(); (failure != nil) != (test.says != "") {
					t.Errorf("the failure is %v", failure)
				}
				p.mu.Lock()
				p.refuse = nil
				p.mu.Unlock()
				<-time.After(longestTurn)
				synctest.Wait()
				for key, st := range p.objects {
					if len(st.conditions) != 1 {
						t.Errorf("%s has no status in the end", key)
					}
				}
				if failure := p.writer.failure(); failure != nil {
					t.Errorf("in the end the failure is %v", failure)
				}
			})
		})
	}
}
