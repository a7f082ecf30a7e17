package kube_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/remora-proxy/remora/internal/kube"
	"github.com/remora-proxy/remora/internal/kubetest"
)

// TestTheRightsThatAreShippedAreThoseThatItTakes compares what `remora generate istio` writes with kube.Rules.
func TestTheRightsThatAreShippedAreThoseThatItTakes(t *testing.T) {
	path, err := program()
	must(t, err)
	text, err := exec.Command(path, "generate", "istio", "-f", filepath.Join(kubetest.Root(t), "examples", "hit-backend")).Output()
	must(t, err)
	if got, want := rulesIn(t, string(text), "ClusterRole"), written(kube.Rules(kube.Watching, kube.ScalingIn)); !slices.Equal(got, want) {
		t.Errorf("the ClusterRole has\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if got, want := rulesIn(t, string(text), "Role"), written(kube.Rules(kube.HoldingLease)); !slices.Equal(got, want) {
		t.Errorf("the Role has\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
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
