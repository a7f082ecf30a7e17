package kube_test

import (
	"cmp"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/remora-proxy/remora/internal/kube"
	"github.com/remora-proxy/remora/internal/kubetest"
	"github.com/remora-proxy/remora/internal/programtest"
)

// TestTheRightsThatAreShippedAreThoseThatItTakes compares what `remora generate` writes with kube.Rules.
func TestTheRightsThatAreShippedAreThoseThatItTakes(t *testing.T) {
	path := programtest.Remora(t)
	for what, example := range map[string]string{"istio": "", "envoy-gateway": "gateway-api"} {
		text, err := exec.Command(path, "generate", what, "-f", filepath.Join(kubetest.Root(t), "examples", "hit-backend", example)).Output()
		must(t, err)
		if got, want := rulesIn(t, string(text), "ClusterRole"), written(kube.Rules(kube.Watching, kube.WritingStatus, kube.ScalingIn)); !slices.Equal(got, want) {
			t.Errorf("the ClusterRole for %s has\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		if got, want := rulesIn(t, string(text), "Role"), written(kube.Rules(kube.HoldingLease)); !slices.Equal(got, want) {
			t.Errorf("the Role for %s has\n%s\nwant\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

// testEachRight takes each right away that there is, and one at a time.
func testEachRight(t *testing.T, c *kubetest.Cluster) {
	type right struct{ group, resource, verb string }
	var all []right
	for _, r := range kube.Rules(kube.Watching, kube.WritingStatus) {
		for _, resource := range r.Resources {
			for _, verb := range r.Verbs {
				all = append(all, right{r.APIGroups[0], resource, verb})
			}
		}
	}
	c.Apply(t, useCase(t))
	c.Apply(t, "apiVersion: v1\nkind: Namespace\nmetadata: {name: rights}\n")
	for without := range len(all) + 1 { // the last one lacks none
		role := fmt.Sprintf("kind: ClusterRole\nmetadata: {name: without-%d}\nrules:", without)
		for i, r := range all {
			if i != without {
				role += fmt.Sprintf("\n- {apiGroups: [%q], resources: [%q], verbs: [%s]}", r.group, r.resource, r.verb)
			}
		}
		c.Apply(t, "apiVersion: rbac.authorization.k8s.io/v1\n"+role+fmt.Sprintf(`
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: without-%[1]d}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: without-%[1]d}
subjects: [{kind: ServiceAccount, name: without-%[1]d, namespace: rights}]
`, without))
	}
	for without := range len(all) + 1 {
		name, want := "none is missing", ""
		if without < len(all) {
			r := all[without]
			name = r.verb + " " + r.resource
			verbs := map[string]string{"list": "list and watch", "watch": "list and watch"}
			want = "not allowed to " + cmp.Or(verbs[r.verb], r.verb) + " " + r.resource + "; add to its ClusterRole the rule"
		}
		t.Run(name, func(t *testing.T) {
			watched := connect(t, kube.Options{Kubeconfig: c.As(t, fmt.Sprintf("system:serviceaccount:rights:without-%d", without))})
			awaitFailure(t, c, watched, fmt.Sprintf("reported by %d", without), want)
		})
	}
}

// awaitFailure has something reported of all policies, and waits until the only thing that fails is what is wanted; if that is nothing,
// until it stands.
func awaitFailure(t *testing.T, c *kubetest.Cluster, watched *kube.Cluster, message, want string) {
	t.Helper()
	awaitAnswer(t, "failure "+want, func() (bool, string) {
		reports := watched.Policies()
		for i := range reports {
			reports[i].Conditions = []metav1.Condition{{Type: "Accepted", Status: "True", Reason: "Accepted", Message: message}}
		}
		watched.Report(reports)
		h := watched.Health()
		var failures []string
		for _, k := range h.Kinds {
			if k.Failure != nil {
				failures = append(failures, k.Failure.Error())
			}
		}
		if h.Status != nil {
			failures = append(failures, h.Status.Error())
		}
		all := strings.Join(failures, "; ")
		if want != "" {
			return len(failures) == 1 && strings.Contains(all, want), all
		}
		return len(failures) == 0 && len(reports) > 0 && conditionsOf(t, c, reports[0].Name)["Accepted"].Message == message, all
	})
}

// rulesIn are the rules of the ClusterRoles or Roles in a manifest, as written writes them.
func rulesIn(t *testing.T, text, kind string) []string {
	t.Helper()
	var all []string
	for doc := range strings.SplitSeq(text, "\n---") {
		var o struct {
			Kind  string
			Rules []struct {
				Groups    []string `yaml:"apiGroups"`
				Resources []string
				Verbs     []string
			}
		}
		must(t, yaml.Unmarshal([]byte(doc), &o))
		if o.Kind != kind {
			continue
		}
		for _, r := range o.Rules {
			all = append(all, written([]rbacv1.PolicyRule{{APIGroups: r.Groups, Resources: r.Resources, Verbs: r.Verbs}})...)
		}
	}
	return all
}

// written writes each rule on a line.
func written(rules []rbacv1.PolicyRule) []string {
	var all []string
	for _, r := range rules {
		all = append(all, fmt.Sprintf("%q %q %q", r.APIGroups, r.Resources, r.Verbs))
	}
	return all
}
