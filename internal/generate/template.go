package generate

import (
	"embed"
	"fmt"
	"regexp"
	"strings"
	"text/template"

	"go.yaml.in/yaml/v3"
)

//go:embed accesslog.yaml answers.yaml attempts.yaml clusters.yaml envoy.yaml envoygateway.yaml filters.yaml istio.yaml istio_patches.yaml
var texts embed.FS

// templates are YAML with holes in it, so that what is printed can be read in them, comments and all.
var templates = template.Must(template.New("").Funcs(template.FuncMap{
	"yaml":    scalar,
	"indent":  indent,
	"address": address,
	"hash":    hashPolicy,
}).ParseFS(texts, "*.yaml"))

// render fills a template. It ends without a line break. That it cannot be filled is a mistake of ours, which any test finds.
func render(name string, data any) string {
	var out strings.Builder
	if err := templates.ExecuteTemplate(&out, name, data); err != nil {
		panic(fmt.Sprintf("generate: %v", err))
	}
	return strings.TrimRight(out.String(), "\n")
}

// plain is what the encoder may leave without quotes. Other strings may mean something in flow style, where some of these stand.
var plain = regexp.MustCompile(`^[A-Za-z0-9/_.][^{}\[\],?\n]*$`)

// scalar is a string as YAML has it on one line, in quotes where it would be read as something else without.
func scalar(s string) (string, error) {
	node := yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
	if !plain.MatchString(s) {
		node.Style = yaml.DoubleQuotedStyle
	}
	out, err := yaml.Marshal(&node)
	return strings.TrimRight(string(out), "\n"), err
}

// indent puts spaces before each line of a text that has something on it.
func indent(spaces int, text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if line != "" {
			lines[i] = strings.Repeat(" ", spaces) + line
		}
	}
	return strings.Join(lines, "\n")
}

// address is ip:port as the members of Envoy's SocketAddress.
func address(a fmt.Stringer) (string, error) {
	e, err := parseEndpoint(a.String())
	if err != nil {
		return "", err
	}
	host, err := scalar(e.Host)
	return fmt.Sprintf("{address: %s, port_value: %d}", host, e.Port), err
}
