package kube

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
)

// GatewaySelector finds the pods of gateways and of processors for Envoy, by the labels that the chart and `remora generate istio` give
// them.
const GatewaySelector = "app.kubernetes.io/name in (remora, remora-gateway)"

// The rights of a person who looks at the gateways of a cluster.
var (
	podsRule    = rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"list"}}
	forwardRule = rbacv1.PolicyRule{APIGroups: []string{""}, Resources: []string{"pods/portforward"}, Verbs: []string{"get", "create"}}
)

// Access reaches the admin APIs of the gateways that run in a cluster. They listen on their pods' loopback interfaces, so the way there
// is a port-forward, which ends at the pod's own: the kubelet connects to the port inside the pod's network.
type Access struct {
	Server string // the API server's URL

	config     *rest.Config
	namespaces []string
	pods       *builtInClient

	mu      sync.Mutex
	tunnels map[GatewayPod]*tunnel
}

// GatewayPod is a pod in which a gateway runs.
type GatewayPod struct{ Namespace, Name string }

func (p GatewayPod) String() string { return p.Namespace + "/" + p.Name }

// Reach prepares to reach the gateways of a cluster. It asks the API server nothing yet.
func Reach(o Options) (*Access, error) {
	config, _, namespaces, err := o.connection()
	if err != nil {
		return nil, err
	}
	pods, err := newBuiltInClient(config, schema.GroupVersion{Version: "v1"}, "pods")
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", config.Host, err)
	}
	return &Access{Server: config.Host, config: config, namespaces: namespaces, pods: pods, tunnels: map[GatewayPod]*tunnel{}}, nil
}

// Gateways lists the running pods that a label selector finds, in the order of namespace and name. There is at least one.
func (a *Access) Gateways(ctx context.Context, selector string) ([]GatewayPod, error) {
	if _, err := labels.Parse(selector); err != nil {
		return nil, fmt.Errorf("%q is not a label selector: %w", selector, err)
	}
	where := a.namespaces
	if len(where) == 0 {
		where = []string{""}
	}
	var found []GatewayPod
	others := 0
	for _, namespace := range where {
		list, err := a.pods.list(ctx, namespace, metav1.ListOptions{LabelSelector: selector})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", a.Server, unanswered(ctx, explain(err, podsRule, namespace)))
		}
		pods, is := list.(*corev1.PodList)
		if !is {
			return nil, fmt.Errorf("%s lists pods as %T", a.Server, list)
		}
		for i := range pods.Items {
			if p := &pods.Items[i]; p.Status.Phase == corev1.PodRunning {
				found = append(found, GatewayPod{p.Namespace, p.Name})
			} else {
				others++
			}
		}
	}
	if len(found) > 0 {
		return found, nil
	}
	place := "any namespace"
	if len(a.namespaces) > 0 {
		place = "namespace " + strings.Join(a.namespaces, " or ")
	}
	if others > 0 {
		return nil, fmt.Errorf("none of the %d pods with the labels %q in %s is running; see: kubectl get pods", others, selector, place)
	}
	return nil, fmt.Errorf("there is no pod with the labels %q in %s; give --namespace and --selector", selector, place)
}

// unanswered is the error when the time is up, or what it was before.
func unanswered(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		return errors.New("the API server has not answered in time")
	}
	return err
}

// Dial connects to a port of a pod's loopback interface.
func (a *Access) Dial(ctx context.Context, pod GatewayPod, port uint16) (net.Conn, error) {
	a.mu.Lock()
	t := a.tunnels[pod]
	if t == nil {
		t = &tunnel{}
		a.tunnels[pod] = t
	}
	a.mu.Unlock()
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result, 1) // client-go's dialers know no context
	go func() {
		conn, err := t.dial(a.config, a.pods.forwardURL(pod), pod, port)
		done <- result{conn, err}
	}()
	select {
	case r := <-done:
		switch {
		case apierrors.IsForbidden(r.err):
			return nil, explain(r.err, forwardRule, pod.Namespace)
		case apierrors.IsNotFound(r.err):
			return nil, errors.New("the pod is gone")
		}
		return r.conn, r.err
	case <-ctx.Done():
		go func() {
			if r := <-done; r.err == nil {
				_ = r.conn.Close() // nobody waits for it
			}
		}()
		return nil, ctx.Err()
	}
}

// forwardURL is where a port-forward to a pod is asked for.
func (c *builtInClient) forwardURL(pod GatewayPod) *url.URL {
	return c.rest.Post().Namespace(pod.Namespace).Resource(c.resource).Name(pod.Name).SubResource("portforward").URL()
}

// closeGrace is how long a connection that ends waits for the reason, which comes on a stream of its own.
const closeGrace = time.Second

// Close ends all connections.
func (a *Access) Close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, t := range a.tunnels {
		t.close()
	}
}
