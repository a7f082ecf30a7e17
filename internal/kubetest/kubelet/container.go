package kubelet

import (
	"context"
	"fmt"
	"os/exec"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/remora-proxy/remora/internal/programtest"
)

// The kubelet's own figures: how long a container may take at least to end after SIGTERM; the pauses before the restarts of one that
// ends again and again, the first of which is at once; and after how long a life that is forgotten.
const (
	leastGrace   = 2 * time.Second
	firstBackOff = 10 * time.Second
	maxBackOff   = 5 * time.Minute
	forgiven     = 2 * maxBackOff
)

// container is a container of a pod: one process after the other.
type container struct {
	pod     *pod
	spec    *corev1.Container
	stopped chan struct{} // closed when it has to end and is not to be started again

	// These are under pod.mu.
	stopping bool                 // stopped is closed
	process  *programtest.Process // nil: none runs
	log      *programtest.Process // the last that ran
	held     chan struct{}        // closed when a process may be started again; nil: at once
	status   corev1.ContainerStatus
	usage    []sample // of process
}

func newContainer(p *pod, spec *corev1.Container) *container {
	c := &container{pod: p, spec: spec, stopped: make(chan struct{})}
	c.status = corev1.ContainerStatus{Name: spec.Name, Image: spec.Image, ImageID: spec.Image, Started: new(bool)}
	c.status.State.Waiting = &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}
	return c
}

// set changes the container's state, which the status then says.
func (c *container) set(change func()) {
	c.pod.mu.Lock()
	change()
	c.pod.mu.Unlock()
	c.pod.change()
}

// current is the process that runs now, or nil.
func (c *container) current() *programtest.Process {
	c.pod.mu.Lock()
	defer c.pod.mu.Unlock()
	return c.process
}

func (c *container) tail() string {
	c.pod.mu.Lock()
	defer c.pod.mu.Unlock()
	if c.log == nil {
		return ""
	}
	return c.log.Tail()
}

// run starts the container's process, and starts it again as the pod's restartPolicy says, until it has ended for good. When ctx is
// done it is killed.
func (c *container) run(ctx context.Context) {
	var backOff time.Duration
	for {
		running, reason, err := c.launch()
		if err != nil {
			c.set(func() {
				c.status.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: err.Error()}}
			})
			c.wait(ctx, make(chan struct{}), 0)
			return
		}
		if running == nil {
			return
		}
		began := time.Now()
		c.attend(ctx, running)
		code := running.ExitCode()
		if time.Since(began) > forgiven {
			backOff = 0
		}
		again, held := false, (chan struct{})(nil)
		c.set(func() {
			again, held = c.again(code), c.held
			c.note(running, code, again && backOff > 0)
		})
		if !again || !c.wait(ctx, held, backOff) {
			return
		}
		backOff = min(max(firstBackOff, 2*backOff), maxBackOff)
	}
}

// wait waits before the next start, until held is closed if it is not nil, and then for d. It reports whether there is to be a start.
func (c *container) wait(ctx context.Context, held <-chan struct{}, d time.Duration) bool {
	if held != nil {
		select {
		case <-held:
		case <-c.stopped:
		case <-ctx.Done():
		}
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-c.stopped:
		return false
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// again says whether a process that has ended by itself is started again. The caller holds pod.mu.
func (c *container) again(code int) bool {
	switch c.pod.object.Spec.RestartPolicy {
	case corev1.RestartPolicyNever:
		return false
	case corev1.RestartPolicyOnFailure:
		return code != 0 && !c.stopping
	default:
		return !c.stopping
	}
}

// launch starts a process, or none when the container has to end. With an error it says the reason, as a container's state has it.
func (c *container) launch() (running *programtest.Process, reason string, err error) {
	c.pod.mu.Lock()
	defer c.pod.mu.Unlock()
	if c.stopping {
		return nil, "", nil
	}
	argv, env, reason, err := c.command()
	if err != nil {
		return nil, reason, err
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = "/", env
	if running, err = programtest.Start(cmd); err != nil {
		return nil, "RunContainerError", err
	}
	if c.log != nil {
		c.status.RestartCount++
	}
	c.process, c.log, c.usage = running, running, nil
	c.status.ContainerID = fmt.Sprintf("process://%s/%s/%d", c.pod.uid, c.spec.Name, c.status.RestartCount)
	c.status.State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}}
	c.pod.change()
	return running, "", nil
}

// note notes the end of a process. The caller holds pod.mu.
func (c *container) note(p *programtest.Process, code int, backOff bool) {
	end := &corev1.ContainerStateTerminated{
		ExitCode: int32(code), Reason: "Error", StartedAt: c.status.State.Running.StartedAt, FinishedAt: metav1.Now(), ContainerID: c.status.ContainerID,
	}
	if code == 0 {
		end.Reason = "Completed"
	}
	if code > 128 {
		end.Signal = int32(code - 128)
	}
	if tail := p.Tail(); code != 0 {
		end.Message = tail[max(0, len(tail)-1024):]
	}
	c.process, c.usage = nil, nil
	c.status.Ready, c.status.Started = false, new(bool)
	c.status.State = corev1.ContainerState{Terminated: end}
	c.status.LastTerminationState = corev1.ContainerState{}
	if backOff {
		c.status.LastTerminationState.Terminated = end
		c.status.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: "it has ended again and again"}}
	}
}

// attend probes a process until it has ended. When ctx is done it is killed.
func (c *container) attend(ctx context.Context, running *programtest.Process) {
	probing, cancel := context.WithCancel(ctx)
	var probes sync.WaitGroup
	probes.Go(func() { c.probe(probing) })
	select {
	case <-running.Ended():
	case <-ctx.Done():
	}
	cancel()
	probes.Wait()
	running.Kill()
}

// stop ends the container for good, within a time; with none it is killed.
func (c *container) stop(ctx context.Context, grace time.Duration) {
	c.pod.mu.Lock()
	if !c.stopping {
		c.stopping = true
		close(c.stopped)
	}
	c.pod.mu.Unlock()
	c.end(ctx, grace)
}

// end ends the process that runs now: preStop, SIGTERM, and what is left of the time; then SIGKILL. When ctx is done it leaves the rest
// to whoever ended that.
func (c *container) end(ctx context.Context, grace time.Duration) {
	running := c.current()
	if running == nil {
		return
	}
	if grace == 0 {
		running.Kill()
		return
	}
	began := time.Now()
	c.preStop(ctx, running, grace)
	if ctx.Err() != nil {
		return
	}
	running.Signal(syscall.SIGTERM)
	timer := time.NewTimer(max(leastGrace, grace-time.Since(began)))
	defer timer.Stop()
	select {
	case <-running.Ended():
	case <-ctx.Done():
	case <-timer.C:
		running.Kill()
	}
}

// preStop runs the hook before SIGTERM, for as long as the grace period. Whether it succeeds makes no difference.
func (c *container) preStop(ctx context.Context, running *programtest.Process, grace time.Duration) {
	if c.spec.Lifecycle == nil || c.spec.Lifecycle.PreStop == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		switch hook := c.spec.Lifecycle.PreStop; {
		case hook.Sleep != nil:
			pause(ctx, time.Duration(hook.Sleep.Seconds)*time.Second)
		case hook.HTTPGet != nil:
			c.get(ctx, hook.HTTPGet)
		case hook.Exec != nil:
			c.execute(ctx, hook.Exec.Command)
		}
	}()
	select {
	case <-done:
	case <-running.Ended():
		cancel()
		<-done
	}
}

// execute runs a command in the container until it ends, or ctx is done.
func (c *container) execute(ctx context.Context, argv []string) {
	c.pod.mu.Lock()
	_, env, _, err := c.command()
	c.pod.mu.Unlock()
	if err != nil || len(argv) == 0 {
		return
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = "/", env
	running, err := programtest.Start(cmd)
	if err != nil {
		return
	}
	select {
	case <-running.Ended():
	case <-ctx.Done():
	}
	running.Kill()
}
