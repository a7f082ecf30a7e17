package clustertest

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/admin"
)

// testSize reports what a cluster of many services costs. It asserts no figure.
func testSize(t *testing.T, s *stage, add func(row)) {
	const manyServices, endpointsEach, writers, changes = 1000, 10, 8, 10
	s.Apply(t, "apiVersion: v1\nkind: Namespace\nmetadata: {name: size}\n")
	s.Apply(t, manyRoutes(manyServices))
	var tasks sync.WaitGroup
	errs := make([]error, writers)
	for w := range writers {
		tasks.Go(func() {
			for i := w; i < manyServices && errs[w] == nil; i += writers {
				errs[w] = s.TryApply(oneService(i) + "---\n" + oneSlice(i, endpointsEach, 0))
			}
		})
	}
	tasks.Wait()
	for _, err := range errs {
		must(t, err)
	}

	began := time.Now()
	g := s.serve(t, "size", "--log-level", "debug")
	ready := time.Since(began)
	var st admin.Status
	g.ask(admin.PathStatus, &st)
	if st.Config.Services != manyServices || st.Config.Endpoints != manyServices*endpointsEach || st.Config.RefusedObjects != 0 {
		t.Errorf("the gateway has %d services and %d endpoints", st.Config.Services, st.Config.Endpoints)
	}
	memory := g.resident()

	before := g.cpu()
	var delays []time.Duration
	for i := range changes {
		loads := g.loads()
		must(t, s.TryApply(oneSlice(i, endpointsEach, 1)))
		applied := time.Now()
		until(t, "the change is in force", func() bool { return g.loads() > loads })
		delays = append(delays, time.Since(applied))
	}
	cost := (g.cpu() - before) / changes
	slices.Sort(delays)
	add(row{figures: fmt.Sprintf("ready after %s, %d MiB resident; one endpoint's change is in force after %s (median, looked every 50 ms) and takes %s of CPU",
		ready.Round(10*time.Millisecond), memory>>20, delays[len(delays)/2].Round(time.Millisecond), cost.Round(100*time.Microsecond))})
}

// manyRoutes is a Gateway, a policy, and a VirtualService with a rule for each service.
func manyRoutes(n int) string {
	var b strings.Builder
	b.WriteString(`apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: size, namespace: size}
spec: {selector: {istio: ingressgateway}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]}
---
apiVersion: remora.dev/v1alpha1
kind: AffinityPolicy
metadata: {name: size, namespace: size}
spec:
  targetRefs: [{group: networking.istio.io, kind: Gateway, name: size}]
  promote: [{field: target, header: target}, {field: username, header: x-user}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: size, namespace: size}
spec:
  hosts: ["*"]
  gateways: [size]
  http:
`)
	for i := range n {
		fmt.Fprintf(&b, "  - {match: [{headers: {target: {exact: service-%d}}}], route: [{destination: {host: service-%[1]d, port: {number: 80}}}]}\n", i)
	}
	return b.String()
}

func oneService(i int) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Service
metadata: {name: service-%d, namespace: size}
spec: {ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: service-%[1]d, namespace: size}
spec: {host: service-%[1]d, trafficPolicy: {loadBalancer: {consistentHash: {httpHeaderName: x-user}}}}
`, i)
}

// oneSlice is a service's replicas. With another life, the first one is another pod.
func oneSlice(i, n, life int) string {
	var b strings.Builder
	fmt.Fprintf(&b, `apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: service-%d, namespace: size, labels: {kubernetes.io/service-name: service-%[1]d}}
addressType: IPv4
ports: [{port: 8080, protocol: TCP, name: ""}]
endpoints:
`, i)
	for e := range n {
		uid := fmt.Sprintf("%d-%d", i, e)
		if e == 0 {
			uid += fmt.Sprintf("-%d", life)
		}
		fmt.Fprintf(&b, "- {addresses: [10.%d.%d.%d], conditions: {ready: true}, targetRef: {kind: Pod, namespace: size, name: pod-%s, uid: u-%[4]s}}\n",
			100+i/250, i%250, e+1, uid)
	}
	return b.String()
}
