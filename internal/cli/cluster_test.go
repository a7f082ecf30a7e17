package cli

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/remora-proxy/remora/internal/admin"
	"github.com/remora-proxy/remora/internal/affinity"
)

// TestAClusterThatDoesNotAnswerIsNotWaitedForForever asks an API server that takes connections and never says anything.
func TestAClusterThatDoesNotAnswerIsNotWaitedForForever(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	must(t, os.WriteFile(kubeconfig, fmt.Appendf(nil, `apiVersion: v1
kind: Config
clusters: [{name: silent, cluster: {server: "http://%s"}}]
users: [{name: me, user: {}}]
contexts: [{name: silent, context: {cluster: silent, user: me}}]
current-context: silent
`, l.Addr()), 0o600))
	for _, command := range []string{"validate", "explain"} {
		var stderr bytes.Buffer
		status := Main("test", []string{command, "--kubernetes", "--kubeconfig", kubeconfig, "--timeout", "50ms"}, Env{
			Stdout: &stderr, Stderr: &stderr, Getenv: func(string) string { return "" }, Notify: func(...os.Signal) <-chan os.Signal { return nil },
		})
		said := stderr.String()
		if want := "http://" + l.Addr().String() + ": gave up after 50ms (--timeout); its gateways, virtualservices, "; status != exitFailed || !strings.Contains(said, want) || !strings.Contains(said, "endpointslices") {
			t.Errorf("%s: exit %d and %s\nwant 1 and %s…", command, status, said, want)
		}
	}
}

func TestWhatSeveralGatewaysSayIsPutTogether(t *testing.T) {
	ep := func(addr, state string, live int) affinity.EndpointView {
		return affinity.EndpointView{Service: "cart", Addr: addr, Incarnation: "uid-" + addr, State: state, Live: live, Held: 1, InFlight: 2}
	}
	one := gatewayState{Status: admin.Status{Ready: true}, Endpoints: []affinity.EndpointView{ep("10.0.0.2:80", "draining", 3), ep("10.0.0.1:80", "ready", 4)}}
	two := gatewayState{Status: admin.Status{Ready: true}, Endpoints: []affinity.EndpointView{ep("10.0.0.1:80", "ready", 5), ep("10.0.0.2:80", "ready", 6), ep("10.0.0.3:80", "warming", 0)}}
	var out bytes.Buffer
	o := newOverview([]answer[gatewayState]{
		{Gateway: "ns/a", Answer: &one},
		{Gateway: "ns/b", Answer: &two},
		{Gateway: "ns/c", err: fmt.Errorf("the pod is gone")},
	})
	err := o.print(Env{Stdout: &out}, "text")
	if err == nil || err.Error() != "not all is well:\nns/c: the pod is gone" {
		t.Errorf("the error is %v", err)
	}
	const want = `GATEWAY  VERSION  STATE      UP  ROUTES  SERVICES  ENDPOINTS  LIVE  CONCERNS
ns/a              ready      0s  0       0         0          7     none
ns/b              ready      0s  0       0         0          11    none
ns/c     -        no answer  -   -       -         -          -     -
all      -        -          -   -       -         -          18    -

SERVICE  ENDPOINTS                            LIVE  HELD  IN-FLIGHT
cart     1 ready, 1 warming, 1 draining/ready  18    5     10

SERVICE  ENDPOINT     NAME  STATE           LIVE  HELD  IN-FLIGHT
cart     10.0.0.1:80  -     ready           9     2     4
cart     10.0.0.2:80  -     draining/ready  9     2     4
cart     10.0.0.3:80  -     warming         0     1     2
`
	if got := out.String(); strings.Join(strings.Fields(got), " ") != strings.Join(strings.Fields(want), " ") {
		t.Errorf("it prints\n%s\nwant\n%s", got, want)
	}
}

func TestWhatGatewaysOfOneStoreSayIsCountedOnce(t *testing.T) {
	ep := func(addr string, live int) affinity.EndpointView {
		return affinity.EndpointView{Service: "cart", Addr: addr, State: "ready", Live: live, Held: 1, InFlight: 2}
	}
	store := admin.StoreStatus{URL: "redis://store:6379", Prefix: "remora:", Answers: true, Sessions: new(9)}
	away := store
	away.Answers, away.Sessions = false, nil // it has not heard of a count
	uncounted := admin.StoreStatus{URL: "redis://other:6379", Prefix: "remora:", Answers: true}
	one := gatewayState{Status: admin.Status{Ready: true, Store: &store}, Endpoints: []affinity.EndpointView{ep("10.0.0.1:80", 4), ep("10.0.0.2:80", 5)}}
	two := gatewayState{
		Status:    admin.Status{Ready: true, Store: &away, Degraded: "the store does not answer for 5s: connection refused"},
		Endpoints: []affinity.EndpointView{ep("10.0.0.1:80", 5), ep("10.0.0.2:80", 4)},
	}
	apart := gatewayState{Status: admin.Status{Ready: true, Store: &uncounted}, Endpoints: []affinity.EndpointView{ep("10.0.0.1:80", 1)}}
	var out bytes.Buffer
	must(t, newOverview([]answer[gatewayState]{{Gateway: "a", Answer: &one}, {Gateway: "b", Answer: &two}, {Gateway: "c", Answer: &apart}}).print(Env{Stdout: &out}, "text"))
	const want = `GATEWAY  VERSION  STATE  UP  ROUTES  SERVICES  ENDPOINTS  LIVE  CONCERNS
a                 ready  0s  0       0         0          9     none
b                 ready  0s  0       0         0          9     the store does not answer for 5s: connection refused
c                 ready  0s  0       0         0          1     none
all      -        -      -   -       -         -          11    -

STORE               PREFIX   ANSWERS          LIVE
redis://other:6379  remora:  1 of 1 gateway   -
redis://store:6379  remora:  1 of 2 gateways  9

SERVICE  ENDPOINTS  LIVE  HELD  IN-FLIGHT
cart     2 ready    11    5     10

SERVICE  ENDPOINT     NAME  STATE  LIVE  HELD  IN-FLIGHT
cart     10.0.0.1:80  -     ready  6     3     6
cart     10.0.0.2:80  -     ready  5     2     4
`
	if got := out.String(); got != want {
		t.Errorf("it prints\n%s\nwant\n%s", got, want)
	}
}
