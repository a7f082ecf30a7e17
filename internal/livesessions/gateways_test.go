package livesessions

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestAServiceOfGatewaysIsWrittenAsNamespaceNamePort(t *testing.T) {
	if s, err := ParseService("remora-system/remora-gateway:9090"); err != nil || s != (Service{"remora-system", "remora-gateway", 9090}) {
		t.Errorf("it is %+v, %v", s, err)
	}
	for _, wrong := range []string{"", "remora", "remora:9090", "a/b", "a/b:", "a/b:0", "a/b:65536", "a/b:http", "A/b:1", "a/-:1", "a/b/c:1", "a/:1", "/b:1"} {
		if s, err := ParseService(wrong); err == nil || !strings.Contains(err.Error(), "is not namespace/name:port") {
			t.Errorf("%q is %+v, %v", wrong, s, err)
		}
	}
}

func TestGatewaysAreTheReadyPodsOfTheirServices(t *testing.T) {
	yes, no := true, false
	endpoint := func(uid, address string, ready *bool) discoveryv1.Endpoint {
		e := discoveryv1.Endpoint{Addresses: []string{address}, Conditions: discoveryv1.EndpointConditions{Ready: ready}}
		if uid != "" {
			e.TargetRef = &corev1.ObjectReference{Kind: "Pod", UID: types.UID(uid)}
		}
		return e
	}
	slices := map[string][]discoveryv1.EndpointSlice{
		"remora-system kubernetes.io/service-name=remora": {
			{Endpoints: []discoveryv1.Endpoint{endpoint("a", "10.1.0.1", &yes), endpoint("b", "10.1.0.2", nil), endpoint("c", "10.1.0.3", &no), endpoint("", "10.1.0.9", &yes)}},
			{Endpoints: []discoveryv1.Endpoint{endpoint("a", "fd00::1", &yes), endpoint("b", "fd00::2", &yes)}},
		},
		"istio kubernetes.io/service-name=extproc": {
			{Endpoints: []discoveryv1.Endpoint{endpoint("b", "10.1.0.2", &yes), endpoint("d", "fd00::4", &yes)}},
		},
	}
	var broken error
	list := func(_ context.Context, namespace string, o metav1.ListOptions) (*discoveryv1.EndpointSliceList, error) {
		return &discoveryv1.EndpointSliceList{Items: slices[namespace+" "+o.LabelSelector]}, broken
	}
	find := InServices(list, []Service{{"remora-system", "remora", 9090}, {"istio", "extproc", 9091}, {"nobody", "here", 1}})
	found, err := find(t.Context())
	want := "[10.1.0.1:9090 10.1.0.2:9090 10.1.0.9:9090 [fd00::4]:9091]"
	if err != nil || fmt.Sprint(found) != want {
		t.Errorf("they are %v, %v; want %s", found, err, want)
	}

	slices["istio kubernetes.io/service-name=extproc"][0].Endpoints[0].Addresses = []string{"gateway.example"}
	if found, err := find(t.Context()); err == nil || !strings.Contains(err.Error(), "istio/extproc") {
		t.Errorf("with an address that is none they are %v, %v", found, err)
	}
	broken = context.DeadlineExceeded
	if _, err := find(t.Context()); !errors.Is(err, broken) {
		t.Errorf("the error is %v", err)
	}
}
