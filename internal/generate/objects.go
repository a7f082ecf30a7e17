package generate

import (
	"encoding/json"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/remora-proxy/remora/internal/resource"
)

// objectsOf writes the users' Gateways that are targets, all HTTPRoutes and all ReferenceGrants, as they were read.
func objectsOf(set *resource.Set, targets []target) []string {
	const v1 = "gateway.networking.k8s.io/v1"
	var out []string
	for _, g := range set.APIGateways {
		if isTarget(targets, g.Value.Namespace, g.Value.Name) {
			out = append(out, written(v1, "Gateway", &g.Value.ObjectMeta, &g.Value.Spec))
		}
	}
	for _, r := range set.HTTPRoutes {
		out = append(out, written(v1, "HTTPRoute", &r.Value.ObjectMeta, &r.Value.Spec))
	}
	for _, g := range set.ReferenceGrants {
		out = append(out, written(v1+"beta1", "ReferenceGrant", &g.Value.ObjectMeta, &g.Value.Spec))
	}
	return out
}

// written is an object as YAML, without what a cluster adds to it. That it cannot be written is a mistake of ours: it was read.
func written(apiVersion, kind string, meta *metav1.ObjectMeta, spec any) string {
	type metadata struct {
		Name        string            `json:"name"`
		Namespace   string            `json:"namespace"`
		Labels      map[string]string `json:"labels,omitempty"`
		Annotations map[string]string `json:"annotations,omitempty"`
	}
	m := metadata{meta.Name, meta.Namespace, meta.Labels, map[string]string{}}
	for name, value := range meta.Annotations {
		if name != corev1.LastAppliedConfigAnnotation {
			m.Annotations[name] = value
		}
	}
	text, err := json.Marshal(struct {
		APIVersion string   `json:"apiVersion"`
		Kind       string   `json:"kind"`
		Metadata   metadata `json:"metadata"`
		Spec       any      `json:"spec"`
	}{apiVersion, kind, m, spec})
	if err != nil {
		panic(fmt.Sprintf("generate: %v", err))
	}
	var node yaml.Node // JSON is YAML, and keeps the order of the fields
	if err := yaml.Unmarshal(text, &node); err != nil {
		panic(fmt.Sprintf("generate: %v", err))
	}
	inBlocks(&node)
	var out strings.Builder
	e := yaml.NewEncoder(&out)
	e.SetIndent(2)
	e.CompactSeqIndent()
	if err := e.Encode(&node); err != nil {
		panic(fmt.Sprintf("generate: %v", err))
	}
	return strings.TrimRight(out.String(), "\n")
}

// inBlocks takes the style of JSON from a document, but for strings that YAML would read as something else: kubectl's has more words for
// booleans than ours.
func inBlocks(n *yaml.Node) {
	n.Style = 0
	if n.Kind == yaml.ScalarNode && n.Tag == "!!str" {
		if text, err := yaml.Marshal(n.Value); err == nil && (text[0] == '"' || text[0] == '\'') {
			n.Style = yaml.DoubleQuotedStyle
		}
	}
	for _, kid := range n.Content {
		inBlocks(kid)
	}
}
