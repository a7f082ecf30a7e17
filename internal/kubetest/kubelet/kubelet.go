package kubelet

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"github.com/remora-proxy/remora/internal/kubetest"
)

const (
	// nodeName is the one node's name.
	nodeName = "node-1"
	// hostIP is the node's address, which the API server has too.
	hostIP = "10.0.0.1"
	// retryPause is how long it waits before it asks an API server again that does not answer.
	retryPause = 500 * time.Millisecond
)

// pods numbers all pods of this process: each has an address that none had before it.
var pods atomic.Uint32

// Kubelet is a node of a cluster.
type Kubelet struct {
	images map[string]string // programs by the image's name
	core   rest.Interface
	leases rest.Interface
	probes *http.Client
	tasks  sync.WaitGroup

	mu   sync.Mutex
	pods map[types.UID]*pod
}

// Start adds a node to a cluster, and runs it until the test has ended; then no process of its pods is left. The images are the
// programs that containers' images stand for, by the image's name.
func Start(t testing.TB, c *kubetest.Cluster, images map[string]string) *Kubelet {
	t.Helper()
	k := &Kubelet{images: images, pods: map[types.UID]*pod{}}
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	k.core, k.leases = newClient(t, config, corev1.SchemeGroupVersion), newClient(t, config, coordinationv1.SchemeGroupVersion)
	k.probes = &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}, // as a real one does
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	k.addNode(t, c)
	k.serveMetrics(t, c)

	ctx, cancel := context.WithCancel(klog.NewContext(context.Background(), klog.Logger{})) // what client-go says of an API server that is away on purpose
	t.Cleanup(func() {
		cancel()
		k.tasks.Wait()
		k.logPods(t)
	})
	k.tasks.Go(func() { k.beat(ctx) })
	k.tasks.Go(func() { k.sample(ctx) })
	_, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: podsOfNode{cache.NewListWatchFromClient(k.core, "pods", "", fields.OneTermEqualSelector("spec.nodeName", nodeName))},
		ObjectType:    &corev1.Pod{},
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    func(o any) { k.update(ctx, o) },
			UpdateFunc: func(_, o any) { k.update(ctx, o) },
			DeleteFunc: k.forget,
		},
	})
	k.tasks.Go(func() { informer.RunWithContext(ctx) })
	return k
}

// Kill kills the processes of a pod, as the kernel does when memory runs out. Their containers are not started again until startAgain is
// called: it takes as long as the test wants.
func (k *Kubelet) Kill(t testing.TB, namespace, name string) (startAgain func()) {
	t.Helper()
	for _, p := range k.running() {
		if p.key == (types.NamespacedName{Namespace: namespace, Name: name}) {
			return p.kill()
		}
	}
	t.Fatalf("no pod %s/%s is on the node", namespace, name)
	return nil
}

// podsOfNode lists and watches the pods of the node.
type podsOfNode struct{ *cache.ListWatch }

// IsWatchListSemanticsUnSupported has the informer list before it watches: the other way, a watch that begins with all objects, retries
// without heeding its context.
func (podsOfNode) IsWatchListSemanticsUnSupported() bool { return true }

func newClient(t testing.TB, base *rest.Config, gv schema.GroupVersion) rest.Interface {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, coordinationv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	config := rest.CopyConfig(base)
	config.GroupVersion, config.APIPath = &gv, "/apis"
	if gv.Group == "" {
		config.APIPath = "/api"
	}
	config.QPS = -1 // the API server's own fair queuing bounds it
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	config.WarningHandler = rest.NoWarnings{}
	c, err := rest.RESTClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// update takes what the API server has of a pod.
func (k *Kubelet) update(ctx context.Context, o any) {
	object, is := o.(*corev1.Pod)
	if !is {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	p, known := k.pods[object.UID]
	switch {
	case known:
		p.update(object)
	case ctx.Err() == nil && !ended(object):
		n := pods.Add(1) - 1
		p = newPod(k, object, fmt.Sprintf("10.244.%d.%d", n/250, n%250+1))
		k.pods[object.UID] = p
		k.tasks.Go(func() {
			p.run(ctx)
			k.mu.Lock()
			defer k.mu.Unlock()
			delete(k.pods, object.UID)
		})
	}
}

// ended reports whether all containers of a pod have ended for good.
func ended(object *corev1.Pod) bool {
	return object.Status.Phase == corev1.PodSucceeded || object.Status.Phase == corev1.PodFailed
}

// forget takes that the API server has a pod no longer: what still runs of it is killed.
func (k *Kubelet) forget(o any) {
	if unknown, is := o.(cache.DeletedFinalStateUnknown); is {
		o = unknown.Obj
	}
	object, is := o.(*corev1.Pod)
	if !is {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if p, known := k.pods[object.UID]; known {
		p.forget()
	}
}

// running is all pods of the node.
func (k *Kubelet) running() []*pod {
	k.mu.Lock()
	defer k.mu.Unlock()
	all := make([]*pod, 0, len(k.pods))
	for _, p := range k.pods {
		all = append(all, p)
	}
	return all
}

// logPods says what the containers have said, when the test has failed.
func (k *Kubelet) logPods(t testing.TB) {
	t.Helper()
	if !t.Failed() {
		return
	}
	for _, p := range k.running() {
		for _, c := range p.containers {
			t.Logf("%s %s:\n%s", p.key, c.spec.Name, c.tail())
		}
	}
}

// insist asks the API server until it answers, with an error that does not pass or with none.
func insist(ctx context.Context, ask func() error) error {
	for {
		err := ask()
		if err == nil || ctx.Err() != nil || apierrors.IsNotFound(err) || apierrors.IsConflict(err) || apierrors.IsInvalid(err) {
			return err
		}
		if !pause(ctx, retryPause) {
			return err
		}
	}
}

// pause waits, and reports whether the context is still on.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}
