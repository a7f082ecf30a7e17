package generate

import (
	"maps"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
	"golang.org/x/tools/txtar"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/diag"
	"github.com/remora-proxy/remora/internal/resource"
)

func TestIstio(t *testing.T) {
	testArchives(t, "testdata/istio", func(t *testing.T, options []option, set *resource.Set, c *affinity.Config) (diag.List, func() string) {
		t.Helper()
		o := istioOptions(t, options)
		return CheckIstio(set, c, o), func() string { return Istio(set, c, o) }
	})
}

func istioOptions(t *testing.T, options []option) IstioOptions {
	t.Helper()
	o := IstioOptions{Namespace: "remora-system", GatewayNamespace: "istio-system", Image: "remora:latest", Replicas: 1, ListenerPorts: map[uint16]uint16{}}
	for _, set := range options {
		switch value := set.value; set.name {
		case "namespace":
			o.Namespace = value
		case "gateway-namespace":
			o.GatewayNamespace = value
		case "image":
			o.Image = value
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
		case "listener-port":
			from, to, _ := strings.Cut(value, "=")
			f, _ := strconv.Atoi(from)
			n, _ := strconv.Atoi(to)
			o.ListenerPorts[uint16(f)] = uint16(n)
		default:
			t.Fatalf("there is no option %q", set.name)
		}
	}
	return o
}

// TestTheLabelsOfPodsAreOnlyLabels has a selector that tries to be more.
func TestTheLabelsOfPodsAreOnlyLabels(t *testing.T) {
	labels := map[string]string{"istio: x\n  evil": "gate\"way\n\x01{{.}}", "app": "true"}
	archive := txtar.Parse([]byte("-- gateway.yaml --\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: gw}\nspec:\n" +
		`  selector: {"istio: x\n  evil": "gate\"way\n\x01{{.}}", app: "true"}` + "\n  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]\n"))
	set, c, text := compile(t, archive)
	if c == nil {
		t.Fatal(text)
	}
	var filter struct {
		Spec struct {
			Selector struct {
				Labels map[string]string `yaml:"labels"`
			} `yaml:"workloadSelector"`
		} `yaml:"spec"`
	}
	if err := yaml.Unmarshal([]byte(documents(Istio(set, c, IstioOptions{Namespace: "r", GatewayNamespace: "g", Image: "i", Replicas: 1}), []string{"EnvoyFilter"})), &filter); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(filter.Spec.Selector.Labels, labels) {
		t.Errorf("the labels are %q, want %q", filter.Spec.Selector.Labels, labels)
	}
}
