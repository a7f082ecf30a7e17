package generate

import (
	"strconv"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/diag"
	"github.com/remora-proxy/remora/internal/resource"
)

func TestEnvoyGateway(t *testing.T) {
	testArchives(t, "testdata/envoy-gateway", func(t *testing.T, options []option, set *resource.Set, c *affinity.Config) (diag.List, func() string) {
		t.Helper()
		o := envoyGatewayOptions(t, options)
		return CheckEnvoyGateway(set, c, o), func() string { return EnvoyGateway(set, c, o) }
	})
}

func envoyGatewayOptions(t *testing.T, options []option) EnvoyGatewayOptions {
	t.Helper()
	o := EnvoyGatewayOptions{GatewayNamespace: "default", Namespace: "remora-system", Image: "remora:latest", Replicas: 1, MessageTimeout: time.Second}
	for _, set := range options {
		switch value := set.value; set.name {
		case "gateway":
			o.Gateway = value
		case "gateway-namespace":
			o.GatewayNamespace = value
		case "namespace":
			o.Namespace = value
		case "replicas":
			o.Replicas, _ = strconv.Atoi(value)
		case "store":
			o.Store.URL = value
		case "store-secret":
			o.Store.Secret = value
		case "fail-open":
			o.FailOpen = true
		case "message-timeout":
			o.MessageTimeout, _ = time.ParseDuration(value)
		default:
			t.Fatalf("there is no option %q", set.name)
		}
	}
	return o
}
