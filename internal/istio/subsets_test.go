package istio_test

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"

	"github.com/remora-proxy/remora/internal/istio"
)

const subsets = `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: front}
spec: {servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: ["*"]
  gateways: [front]
  http: [{match: [{uri: {exact: /v1}}], route: [{destination: {host: reviews, subset: v1}}]}, {match: [{uri: {exact: /any}}], route: [{destination: {host: reviews, subset: any}}]}, {route: [{destination: {host: reviews}}]}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: reviews}
spec: {host: reviews, subsets: [{name: v1, labels: {version: v1}}, {name: any}]}
---
apiVersion: v1
kind: Service
metadata: {name: reviews}
spec: {ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: reviews, labels: {kubernetes.io/service-name: reviews, version: v1}}
addressType: IPv4
ports: [{port: 80, name: ""}]
endpoints:
- {addresses: [10.0.0.1], targetRef: {kind: Pod, name: one, uid: uid-1}}
- {addresses: [10.0.0.2], targetRef: {kind: Pod, name: two, uid: uid-2}}
- {addresses: [10.0.0.3], targetRef: {kind: Pod, name: unknown, uid: uid-3}}
- {addresses: [10.0.0.4]}
`

func TestSubsetsSelectByTheLabelsOfPods(t *testing.T) {
	// endpoints are the addresses' last numbers of a service's endpoints.
	endpoints := func(pods map[types.UID]map[string]string) map[string]string {
		set := loadFiles(t, map[string]string{"a.yaml": subsets})
		if pods != nil {
			set.PodLabels = func(uid types.UID) (map[string]string, bool) {
				labels, known := pods[uid]
				return labels, known
			}
		}
		c, diags := istio.Compile(set, istio.Options{})
		if diags.HasErrors() {
			t.Fatal(diags)
		}
		out := map[string]string{}
		for _, s := range c.Services {
			for _, e := range s.Endpoints {
				out[s.Subset] += strings.TrimSuffix(strings.TrimPrefix(e.Addr, "10.0.0."), ":80")
			}
		}
		return out
	}
	for name, test := range map[string]struct {
		pods        map[types.UID]map[string]string
		v1, any, no string
	}{
		"the pod's labels count, and those of the slice for what is no pod": {
			map[types.UID]map[string]string{"uid-1": {"version": "v1"}, "uid-2": {"version": "v2"}}, "14", "124", "1234",
		},
		"a pod whose labels have changed is in another subset": {
			map[types.UID]map[string]string{"uid-1": {}, "uid-2": {"version": "v1"}}, "24", "124", "1234",
		},
		"a slice that is there before its pods: they are in no subset": {map[types.UID]map[string]string{}, "4", "4", "1234"},
		"files have no pods: the slice's labels count for all":         {nil, "1234", "1234", "1234"},
	} {
		t.Run(name, func(t *testing.T) {
			got := endpoints(test.pods)
			if got["v1"] != test.v1 || got["any"] != test.any || got[""] != test.no {
				t.Errorf("v1 has %q, any %q, no subset %q; want %q, %q, %q", got["v1"], got["any"], got[""], test.v1, test.any, test.no)
			}
		})
	}
}
