package istiotest

import (
	"fmt"
	"net"
	"testing"

	"github.com/remora-proxy/remora/internal/envoytest"
)

// Gateway is an Envoy that gets its configuration as the ingress gateway of a mesh does.
type Gateway struct {
	*envoytest.Envoy // Addr is where it stands for the Gateway's port 80

	xds *xds
}

// bootstrap is what Envoy begins with.
const bootstrap = `
node: {id: %q, cluster: istio-ingressgateway}
dynamic_resources:
  ads_config: {api_type: GRPC, transport_api_version: V3, grpc_services: [{envoy_grpc: {cluster_name: xds-grpc}}]}
  lds_config: {ads: {}, resource_api_version: V3}
  cds_config: {ads: {}, resource_api_version: V3}
static_resources:
  clusters:
  - name: xds-grpc
    type: STATIC
    connect_timeout: 1s
    load_assignment:
      cluster_name: xds-grpc
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: %s}}}}]}]
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
`

// Start runs a gateway of a mesh until the test has ended.
func Start(t testing.TB, m *Mesh) *Gateway {
	t.Helper()
	g := &Gateway{xds: serveXDS(t)}
	versions := g.publish(t, m)
	_, port, err := net.SplitHostPort(g.xds.addr)
	if err != nil {
		t.Fatal(err)
	}
	g.Envoy = envoytest.Start(t, fmt.Sprintf(bootstrap, nodeID, port))
	g.xds.await(t, versions)
	return g
}

// Apply changes the mesh, and waits until the gateway has taken it over.
func (g *Gateway) Apply(t testing.TB, m *Mesh) {
	t.Helper()
	g.xds.await(t, g.publish(t, m))
}

func (g *Gateway) publish(t testing.TB, m *Mesh) (versions map[string]string) {
	t.Helper()
	r, err := m.resources()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.onFreePort(); err != nil {
		t.Fatal(err)
	}
	return g.xds.publish(t, r)
}
