package decisiontest_test

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/remora-proxy/remora/internal/config"
	"github.com/remora-proxy/remora/internal/decisiontest"
	"github.com/remora-proxy/remora/internal/generate"
	"github.com/remora-proxy/remora/internal/istiotest"
)

// TestIstio runs the scripts through an Envoy that stands as the ingress gateway of a mesh with the objects of `remora generate
// istio`: the scripts' own VirtualServices route there, by the headers that Remora promotes.
func TestIstio(t *testing.T) {
	decisiontest.Run(t, func(t *testing.T) decisiontest.Door {
		d := &istioDoor{wireDoor: newWireDoor(t)}
		d.asked = d.processor(t, nil)
		return d
	})
}

type istioDoor struct {
	*wireDoor
	asked   string // the processor's address
	gateway *istiotest.Gateway
}

// Load changes the configuration of Remora and the mesh, which is written anew as its user would do.
func (d *istioDoor) Load(t *testing.T, files map[string]string) {
	t.Helper()
	d.wireDoor.Load(t, files)
	moved := d.moved(files)
	var text []string
	for _, name := range slices.Sorted(maps.Keys(moved)) {
		text = append(text, moved[name])
	}
	set, _, list := (&config.Loader{Paths: []string{config.Stdin}, Stdin: strings.NewReader(strings.Join(text, "\n---\n"))}).Load()
	if list.HasErrors() {
		t.Fatal(list)
	}
	for _, g := range set.Gateways {
		g.Value.Spec.Selector = map[string]string{"istio": "ingressgateway"} // which some scripts leave out
	}
	c, list := config.Compile(set, config.Options{})
	if list.HasErrors() {
		t.Fatal(list)
	}
	o := generate.IstioOptions{Namespace: "remora-system", GatewayNamespace: "istio-system", Image: "remora:latest", Replicas: 1, MessageTimeout: time.Minute}
	if list := generate.CheckIstio(set, &c.Config, o); list.HasErrors() {
		t.Fatal(list)
	}
	mesh := &istiotest.Mesh{Set: set, Generated: generate.Istio(set, &c.Config, o), Processors: []string{d.asked}}
	if d.gateway != nil {
		d.gateway.Apply(t, mesh)
		return
	}
	d.gateway = istiotest.Start(t, mesh)
	d.addr = d.gateway.Addr
}
