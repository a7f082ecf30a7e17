package kubelet

import (
	"cmp"
	"context"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// probe probes the process that runs now, until ctx is done: first whether it has started, then whether it is ready and alive.
func (c *container) probe(ctx context.Context) {
	if p := c.spec.StartupProbe; p != nil {
		c.poll(ctx, p, func(ok bool) bool {
			if !ok {
				c.restart(ctx, p)
			}
			return false
		})
	}
	if ctx.Err() != nil {
		return
	}
	c.set(func() {
		started := true
		c.status.Started = &started
		c.status.Ready = c.spec.ReadinessProbe == nil
	})
	var probes sync.WaitGroup
	if p := c.spec.ReadinessProbe; p != nil {
		probes.Go(func() {
			c.poll(ctx, p, func(ok bool) bool {
				c.set(func() { c.status.Ready = ok })
				return true
			})
		})
	}
	if p := c.spec.LivenessProbe; p != nil {
		probes.Go(func() {
			c.poll(ctx, p, func(ok bool) bool {
				if !ok {
					c.restart(ctx, p)
				}
				return ok
			})
		})
	}
	probes.Wait()
}

// restart ends a process that does not start or live, unless the pod is deleted: then it is to be left alone. It is started
// again as one that has ended by itself.
func (c *container) restart(ctx context.Context, p *corev1.Probe) {
	if _, deleted, _ := c.pod.deletion(); deleted {
		return
	}
	seconds := *c.pod.object.Spec.TerminationGracePeriodSeconds
	if p.TerminationGracePeriodSeconds != nil {
		seconds = *p.TerminationGracePeriodSeconds
	}
	c.end(ctx, time.Duration(seconds)*time.Second)
}

// poll asks once each period, and tells an outcome when it has come as often in a row as the probe's threshold for it says.
func (c *container) poll(ctx context.Context, p *corev1.Probe, tell func(ok bool) (goOn bool)) {
	if !pause(ctx, time.Duration(p.InitialDelaySeconds)*time.Second) {
		return
	}
	ticker := time.NewTicker(time.Duration(p.PeriodSeconds) * time.Second)
	defer ticker.Stop()
	last, times := false, int32(0)
	for {
		asked, cancel := context.WithTimeout(ctx, time.Duration(p.TimeoutSeconds)*time.Second)
		ok := c.get(asked, p.HTTPGet)
		cancel()
		if ctx.Err() != nil {
			return
		}
		if ok != last {
			last, times = ok, 0
		}
		times++
		if (ok && times == p.SuccessThreshold || !ok && times == p.FailureThreshold) && !tell(ok) {
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// get makes an HTTP request to the container, and reports whether its answer is one of success.
func (c *container) get(ctx context.Context, g *corev1.HTTPGetAction) bool {
	url := strings.ToLower(string(cmp.Or(g.Scheme, corev1.URISchemeHTTP))) + "://" +
		net.JoinHostPort(cmp.Or(g.Host, c.pod.ip), strconv.Itoa(c.port(g.Port))) + "/" + strings.TrimPrefix(g.Path, "/")
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return false
	}
	req.Header.Set("User-Agent", "kube-probe/1.37")
	for _, h := range g.HTTPHeaders {
		req.Header.Add(h.Name, h.Value)
	}
	resp, err := c.pod.kubelet.probes.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	return resp.StatusCode >= 200 && resp.StatusCode < 400
}

// port is a port's number, which a probe may give by the name that the container has for it.
func (c *container) port(p intstr.IntOrString) int {
	for _, named := range c.spec.Ports {
		if p.Type == intstr.String && named.Name == p.StrVal {
			return int(named.ContainerPort)
		}
	}
	return p.IntValue()
}
