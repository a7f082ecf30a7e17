package kube_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/remora-proxy/remora/internal/kubetest"
)

// testStatus follows a policy through what can become of it.
func testStatus(t *testing.T, c *kubetest.Cluster) {
	c.Apply(t, useCase(t))
	const ours = "hit-backend"
	// In other namespaces are policies that other tests have left, whose status either gateway may find unwritten.
	only := []string{"--namespace", "default"}
	g := serve(t, c.Kubeconfig, only...)
	standsAs(t, c, ours, "Accepted True Accepted, ResolvedRefs True ResolvedRefs, Programmed True Programmed")
	first, version := conditionsOf(t, c, ours), resourceVersion(t, c, ours)

	t.Log("what changes elsewhere, another gateway, and a restart write nothing")
	c.Apply(t, slice("backend-1", endpoint{"10.244.1.1", "backend-1-a", "uid-a", ready}))
	g.until("the endpoint", state("backend-1-a", "warming", "ready"))
	other := serve(t, c.Kubeconfig, only...)
	for _, gateway := range []*gateway{g, other} {
		if text := gateway.metrics(); gateway == other && !strings.Contains(text, "\nremora_kubernetes_status_writes_total{result=\"written\"} 0\n") {
			t.Error("another gateway has written a status that said so already")
		}
	}
	if now := resourceVersion(t, c, ours); now != version {
		t.Errorf("the object was written: its version is %s, and was %s", now, version)
	}
	other.Stop()

	t.Log("a younger policy that sets the same, and one whose target is not there")
	younger := func(spec string) string {
		return "apiVersion: remora.dev/v1alpha1\nkind: AffinityPolicy\nmetadata: {name: younger}\nspec: " + spec + "\n"
	}
	t.Cleanup(func() { c.Delete(t, younger("{}")) })
	c.Apply(t, younger(`{targetRefs: [{group: networking.istio.io, kind: Gateway, name: hit-backend-gateway}], promote: [{field: user, header: x-user}]}`))
	standsAs(t, c, "younger", "Accepted False Conflicted, ResolvedRefs True ResolvedRefs, Programmed False Invalid")
	if got := conditionsOf(t, c, "younger")["Accepted"]; !strings.Contains(got.Message, "spec.promote: AffinityPolicy default/"+ours+" sets it") || !strings.Contains(got.Message, "set each field in one of the policies") {
		t.Errorf("its field and remedy are not told: %s", got.Message)
	}
	c.Apply(t, younger(`{targetRefs: [{kind: Service, name: backend-9}], idleTimeout: 10s}`))
	standsAs(t, c, "younger", "Accepted True Accepted, ResolvedRefs False TargetNotFound, Programmed False TargetNotFound")
	if got := conditionsOf(t, c, "younger")["Accepted"]; got.ObservedGeneration != 2 {
		t.Errorf("it is about generation %d", got.ObservedGeneration)
	}

	t.Log("kubectl shows it in columns")
	if got, want := columns(t, c), "Name, Target, Idle, Accepted, Programmed, Reason, Age\nyounger, backend-9, 10s, True, False, TargetNotFound"; got != want {
		t.Errorf("the table is\n%s\nwant\n%s", got, want)
	}

	t.Log("what is mended while no gateway runs is corrected by the next one")
	g.Stop()
	c.Apply(t, younger(`{targetRefs: [{kind: Service, name: backend-1}], idleTimeout: 10s}`))
	serve(t, c.Kubeconfig, only...)
	standsAs(t, c, "younger", "Accepted True Accepted, ResolvedRefs True ResolvedRefs, Programmed True Programmed")
	if now := conditionsOf(t, c, ours); fmt.Sprint(now) != fmt.Sprint(first) {
		t.Errorf("the conditions of the other policy are %v, and were %v", now, first)
	}
}

// awaitAnswer waits until something is so. There is nothing to wait for but the API server's answers.
func awaitAnswer(t *testing.T, what string, is func() (so bool, instead string)) {
	t.Helper()
	late := time.After(patience)
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for {
		so, instead := is()
		if so {
			return
		}
		select {
		case <-ticker.C:
		case <-late:
			t.Fatalf("there is no %s; there is %s", what, instead)
		}
	}
}

// standsAs waits until the conditions of a policy are as they should be.
func standsAs(t *testing.T, c *kubetest.Cluster, policy, want string) {
	t.Helper()
	awaitAnswer(t, want, func() (bool, string) {
		conditions := conditionsOf(t, c, policy)
		var all []string
		for _, name := range []string{"Accepted", "ResolvedRefs", "Programmed"} {
			all = append(all, fmt.Sprintf("%s %s %s", name, conditions[name].Status, conditions[name].Reason))
		}
		got := strings.Join(all, ", ")
		return got == want, got
	})
}

const policies = "/apis/remora.dev/v1alpha1/namespaces/default/affinitypolicies"

// conditionsOf are the conditions of a policy by their types.
func conditionsOf(t *testing.T, c *kubetest.Cluster, policy string) map[string]metav1.Condition {
	t.Helper()
	var o struct {
		Status struct{ Conditions []metav1.Condition }
	}
	c.Get(t, policies+"/"+policy, &o)
	all := map[string]metav1.Condition{}
	for _, condition := range o.Status.Conditions {
		all[condition.Type] = condition
	}
	return all
}

func resourceVersion(t *testing.T, c *kubetest.Cluster, policy string) string {
	t.Helper()
	var o metav1.PartialObjectMetadata
	c.Get(t, policies+"/"+policy, &o)
	return o.ResourceVersion
}

// columns is the policy "younger" as kubectl -o wide shows it, without its age.
func columns(t *testing.T, c *kubetest.Cluster) string {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	must(t, err)
	client, err := rest.HTTPClientFor(config)
	must(t, err)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.Server+policies+"/younger", http.NoBody)
	must(t, err)
	req.Header.Set("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io")
	resp, err := client.Do(req)
	must(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(t, err)
	var table metav1.Table
	must(t, json.Unmarshal(text, &table))
	var heads, cells []string
	for i, column := range table.ColumnDefinitions {
		if heads = append(heads, column.Name); column.Name != "Age" {
			cells = append(cells, fmt.Sprint(table.Rows[0].Cells[i]))
		}
	}
	return strings.Join(heads, ", ") + "\n" + strings.Join(cells, ", ")
}
