package demo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"

	"github.com/remora-proxy/remora/internal/admin"
	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/autoscale"
)

// What the autoscaler of the tour is set to. The request is small, so that a replica that gets little of a busy machine still
// uses more than its half.
const (
	minReplicas    = 2
	maxReplicas    = 5
	cpuUtilization = 50 // percent of the request
	cpuRequest     = 50 // thousandths of a core
	drainDeadline  = time.Minute
)

// pace is how fast the autoscaler goes, which is faster than Kubernetes' so that one can watch.
type pace struct {
	sync   time.Duration // between two looks; 15 s there
	window int32         // scaleDown.stabilizationWindowSeconds; 300 there
}

// shownPace is that of the demo.
var shownPace = pace{sync: time.Second, window: 3}

// scaler starts and ends replicas of a service as the algorithm of Kubernetes' Horizontal Pod Autoscaler says, on the CPU that
// their processes use. Those that are to go are the ones with the fewest live sessions; each drains first: it ends when its last
// session has ended, or at the drain deadline.
type scaler struct {
	fleet    *fleet
	service  string
	admin    *admin.Client
	apply    func(context.Context, func() error) (admin.Status, error) // changes the configuration, and waits until it is in use
	auto     *autoscale.Autoscaler
	readings map[*replica]reading
	draining map[*replica]time.Time // until when at the latest
}

// reading is what a process had used at a time.
type reading struct {
	used time.Duration
	at   time.Time
}

// change is what one look has led to.
type change struct {
	at       time.Time // when the look began
	decision autoscale.Decision
	from     int              // replicas before
	came     []*replica       // have been started, and are known
	drained  []*replica       // get no new session any more
	live     map[*replica]int // by which they were chosen: the sessions of each replica that did not drain yet
	ended    []*replica       // have ended
}

func newScaler(t *tour, service string) (*scaler, error) {
	least, percent := int32(minReplicas), int32(cpuUtilization)
	auto, err := autoscale.New(autoscalingv2.HorizontalPodAutoscalerSpec{
		MinReplicas: &least, MaxReplicas: maxReplicas,
		Metrics: []autoscalingv2.MetricSpec{{
			Type: autoscalingv2.ResourceMetricSourceType,
			Resource: &autoscalingv2.ResourceMetricSource{
				Name: corev1.ResourceCPU, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: &percent},
			},
		}},
		Behavior: &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleDown: &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: &t.pace.window}},
	}, autoscale.Config{})
	if err != nil {
		return nil, err
	}
	s := &scaler{
		fleet: t.fleet, service: service, admin: t.admin, apply: t.apply, auto: auto,
		readings: map[*replica]reading{}, draining: map[*replica]time.Time{},
	}
	_, err = s.observe() // CPU is used between two readings
	return s, err
}

// serving is the replicas that do not drain.
func (s *scaler) serving() []*replica {
	return slices.DeleteFunc(s.fleet.of(s.service), func(r *replica) bool { return !s.draining[r].IsZero() })
}

// look measures, decides and acts once.
func (s *scaler) look(ctx context.Context) (c change, err error) {
	observed, err := s.observe()
	if err != nil {
		return c, err
	}
	now := time.Now()
	c.at, c.from = now, int(observed.Replicas)
	if c.decision, err = s.auto.Decide(now, observed); err != nil {
		return c, err
	}
	switch more := int(c.decision.Replicas - observed.Replicas); {
	case more > 0:
		_, err = s.apply(ctx, func() (err error) {
			c.came, err = s.fleet.add(ctx, s.service, more)
			return err
		})
	case more < 0:
		c.drained, c.live, err = s.scaleIn(ctx, -more)
	}
	if err != nil {
		return c, err
	}
	s.auto.Scaled(now, observed.Replicas, c.decision.Replicas)
	c.ended, err = s.end(ctx)
	return c, err
}

// observe reads what each process has used since the last time.
func (s *scaler) observe() (autoscale.Observation, error) {
	o := autoscale.Observation{Replicas: int32(len(s.serving()))}
	for _, r := range s.fleet.of(s.service) {
		used, err := r.CPU()
		if err != nil {
			return o, fmt.Errorf("the CPU of %s: %w", r.name, err)
		}
		now := reading{used, time.Now()}
		pod := autoscale.Pod{
			Name: r.name, Phase: corev1.PodRunning, Deleting: !s.draining[r].IsZero(),
			StartTime: r.began, Ready: true, Turned: r.began,
			Requests: map[string]int64{string(corev1.ResourceCPU): cpuRequest},
		}
		if before, ok := s.readings[r]; ok {
			window := now.at.Sub(before.at)
			pod.Metrics = map[string]autoscale.Sample{
				string(corev1.ResourceCPU): {Value: int64(1000 * (used - before.used) / window), Timestamp: now.at, Window: window},
			}
		}
		s.readings[r] = now
		o.Pods = append(o.Pods, pod)
	}
	return o, nil
}

// scaleIn drains as many replicas, of those with the fewest live sessions; of equal ones the younger, as Kubernetes does.
func (s *scaler) scaleIn(ctx context.Context, fewer int) (chosen []*replica, live map[*replica]int, err error) {
	views, err := s.views(ctx)
	if err != nil {
		return nil, nil, err
	}
	live = map[*replica]int{}
	all := s.serving()
	for _, r := range all {
		live[r] = views[r.name].Live
	}
	slices.SortStableFunc(all, func(a, b *replica) int {
		return cmp.Or(cmp.Compare(live[a], live[b]), b.began.Compare(a.began))
	})
	chosen = all[:fewer]
	for _, r := range chosen {
		if _, err := s.admin.Drain(ctx, admin.DrainRequest{Endpoint: r.addr.String()}); err != nil {
			return nil, nil, err
		}
		s.draining[r] = time.Now().Add(drainDeadline)
	}
	return chosen, live, nil
}

// end ends the draining replicas whose last session has ended, or whose time is up: first nobody knows them any more, then
// they finish what is in flight.
func (s *scaler) end(ctx context.Context) (ended []*replica, err error) {
	if len(s.draining) == 0 {
		return nil, nil
	}
	views, err := s.views(ctx)
	if err != nil {
		return nil, err
	}
	for r, deadline := range s.draining {
		if v := views[r.name]; v.Live == 0 && v.InFlight == 0 || time.Now().After(deadline) {
			ended = append(ended, r)
		}
	}
	if len(ended) == 0 {
		return nil, nil
	}
	if _, err := s.apply(ctx, func() error { return s.fleet.withdraw(ended) }); err != nil {
		return nil, err
	}
	for _, r := range ended {
		s.fleet.end(r)
		delete(s.draining, r)
		delete(s.readings, r)
	}
	return ended, nil
}

// views is what the admin API says of the service's replicas, by name.
func (s *scaler) views(ctx context.Context) (map[string]affinity.EndpointView, error) {
	all, err := s.admin.Endpoints(ctx, s.service)
	if err != nil {
		return nil, err
	}
	byName := map[string]affinity.EndpointView{}
	for _, v := range all.Endpoints {
		byName[v.Name] = v
	}
	for _, r := range s.fleet.of(s.service) {
		if _, ok := byName[r.name]; !ok {
			return nil, fmt.Errorf("the admin API does not know %s", r.name)
		}
	}
	return byName, nil
}

// known: the admin API has exactly so many replicas, and they are the ones that run.
func (s *scaler) known(ctx context.Context, n int) error {
	views, err := s.views(ctx)
	if err == nil && (len(views) != n || len(s.fleet.of(s.service)) != n) {
		err = fmt.Errorf("it has %d, and %d run", len(views), len(s.fleet.of(s.service)))
	}
	return err
}

// scaleLimit is how long the replicas may take to become as many as they should.
const scaleLimit = 2 * time.Minute

// until looks again and again until something is so.
func (s *scaler) until(ctx context.Context, every time.Duration, is func(change) (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, scaleLimit, errors.New("it did not happen within "+scaleLimit.String()))
	defer cancel()
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		c, err := s.look(ctx)
		done := false
		if err == nil {
			done, err = is(c)
		}
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case done || err != nil:
			return err
		}
	}
}
