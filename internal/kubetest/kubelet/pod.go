package kubelet

import (
	"context"
	"math"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// pod is a pod of the node, from its start to the end of its object in the API server.
type pod struct {
	kubelet    *Kubelet
	key        types.NamespacedName
	uid        types.UID
	ip         string
	began      metav1.Time
	containers []*container
	dirty      chan struct{} // has a token when the status has to be written

	mu         sync.Mutex    // also for the containers' states
	object     *corev1.Pod   // as the API server had it last
	gone       bool          // the API server has it no longer
	updated    chan struct{} // closed with each change of object and gone, and made anew
	conditions []corev1.PodCondition
}

func newPod(k *Kubelet, object *corev1.Pod, ip string) *pod {
	p := &pod{
		kubelet: k, key: types.NamespacedName{Namespace: object.Namespace, Name: object.Name}, uid: object.UID, ip: ip, began: metav1.Now(),
		dirty: make(chan struct{}, 1), object: object, updated: make(chan struct{}),
	}
	for i := range object.Spec.Containers {
		p.containers = append(p.containers, newContainer(p, &object.Spec.Containers[i]))
	}
	return p
}

func (p *pod) update(object *corev1.Pod) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.object = object
	p.tell()
}

func (p *pod) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gone = true
	p.tell()
}

// tell wakes who waits for updated. The caller holds p.mu.
func (p *pod) tell() {
	close(p.updated)
	p.updated = make(chan struct{})
}

// change notes that the status has to be written.
func (p *pod) change() {
	select {
	case p.dirty <- struct{}{}:
	default: // it is noted already
	}
}

// deletion is how long the pod's containers may take to end, whether they have to at all, and a channel that is closed when that may
// have changed.
func (p *pod) deletion() (grace time.Duration, deleted bool, changed <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return 0, true, p.updated
	}
	if p.object.DeletionTimestamp == nil {
		return 0, false, p.updated
	}
	return time.Duration(*p.object.DeletionGracePeriodSeconds) * time.Second, true, p.updated
}

// run is the pod's life. It ends when the API server has the pod no longer.
func (p *pod) run(ctx context.Context) {
	lived := make(chan struct{})
	var life sync.WaitGroup
	life.Go(func() {
		defer close(lived)
		p.live(ctx)
	})
	defer life.Wait()
	p.change()
	for alive := true; alive; {
		select {
		case <-p.dirty:
		case <-lived:
			alive = false
		}
		p.report(ctx)
	}
	for {
		_, deleted, changed := p.deletion()
		if deleted {
			p.remove(ctx)
			return
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// live runs the containers until they have ended for good: by themselves, or because the pod is deleted. A second delete that
// leaves them less time than the first takes its place.
func (p *pod) live(ctx context.Context) {
	ended := make(chan struct{})
	var tasks, containers sync.WaitGroup
	defer tasks.Wait()
	for _, c := range p.containers {
		containers.Go(func() { c.run(ctx) })
	}
	tasks.Go(func() {
		defer close(ended)
		containers.Wait()
	})
	least := time.Duration(math.MaxInt64)
	abandon := func() {}
	defer func() { abandon() }()
	for {
		grace, deleted, changed := p.deletion()
		if deleted && grace < least {
			abandon()
			least = grace
			stopping, cancel := context.WithCancel(ctx)
			abandon = cancel
			for _, c := range p.containers {
				tasks.Go(func() { c.stop(stopping, grace) })
			}
		}
		select {
		case <-ended:
			return
		case <-changed:
		case <-ctx.Done():
			<-ended
			return
		}
	}
}

// report writes the status, unless the API server has the pod no longer.
func (p *pod) report(ctx context.Context) {
	_ = insist(ctx, func() error { // the pod is gone, or ctx is done: there is nobody to tell
		patch, err := p.statusPatch()
		if err != nil {
			return err
		}
		return p.kubelet.core.Patch(types.StrategicMergePatchType).Namespace(p.key.Namespace).Resource("pods").Name(p.key.Name).
			SubResource("status").Body(patch).Do(ctx).Error()
	})
}

// remove removes the pod from the API server, once nothing of it runs.
func (p *pod) remove(ctx context.Context) {
	now := int64(0)
	options := &metav1.DeleteOptions{GracePeriodSeconds: &now, Preconditions: &metav1.Preconditions{UID: &p.uid}}
	_ = insist(ctx, func() error { // it is gone already, or ctx is done
		return p.kubelet.core.Delete().Namespace(p.key.Namespace).Resource("pods").Name(p.key.Name).Body(options).Do(ctx).Error()
	})
}

// kill kills the pod's processes, and holds up that they are started again.
func (p *pod) kill() (startAgain func()) {
	held := make(chan struct{})
	for _, c := range p.containers {
		p.mu.Lock()
		c.held = held
		running := c.process
		p.mu.Unlock()
		if running != nil {
			running.Kill()
		}
	}
	return sync.OnceFunc(func() { close(held) })
}
