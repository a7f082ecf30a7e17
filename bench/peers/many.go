package peers

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// ManyEndpoints is the number of endpoints of each service that WriteMany makes.
const ManyEndpoints = 10

// WriteMany writes n services that nobody calls, each with a route of its own, which is looked at before those of the use case, and
// ManyEndpoints endpoints, and returns the file's path, "" for none: to see how the cost grows with them.
func WriteMany(dir string, n int) (string, error) {
	if n == 0 {
		return "", nil
	}
	var b strings.Builder
	b.WriteString("apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a-many}\n" +
		"spec:\n  hosts: [\"*\"]\n  gateways: [hit-backend-gateway]\n  http:\n")
	for i := range n {
		fmt.Fprintf(&b, "  - match: [{headers: {target: {exact: many-%d}}}]\n    route: [{destination: {host: many-%[1]d.default.svc.cluster.local, port: {number: 8080}}}]\n", i)
	}
	for i := range n {
		fmt.Fprintf(&b, "---\napiVersion: v1\nkind: Service\nmetadata: {name: many-%d}\nspec: {ports: [{port: 8080}]}\n---\n"+
			"apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: many-%[1]d, labels: {kubernetes.io/service-name: many-%[1]d}}\n"+
			"addressType: IPv4\nports: [{port: 8080}]\nendpoints:\n", i)
		for e := range ManyEndpoints {
			fmt.Fprintf(&b, "- {addresses: [10.%d.%d.%d], conditions: {ready: true}, targetRef: {kind: Pod, name: many-%[4]d-%[3]d, uid: many-%[4]d-%[3]d}}\n", i>>8, i&255, e+1, i)
		}
	}
	path := filepath.Join(dir, fmt.Sprintf("many-%d.yaml", n))
	return path, os.WriteFile(path, []byte(b.String()), 0o600)
}
