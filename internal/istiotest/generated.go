package istiotest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	networking "istio.io/api/networking/v1alpha3"

	"github.com/remora-proxy/remora/internal/config"
	"github.com/remora-proxy/remora/internal/resource"
)

// generated is what `remora generate istio` wrote, as far as istiod looks at it.
type generated struct {
	set        *resource.Set // the processor's Service and DestinationRule
	patches    []*patch      // for the ingress gateway
	referenced []string      // hosts that the EnvoyFilters name
}

// readGenerated reads the objects as an API server would: strictly, by their definitions.
func readGenerated(text string) (*generated, error) {
	out := &generated{set: &resource.Set{}}
	if text == "" {
		return out, nil
	}
	var plain bytes.Buffer
	documents := yaml.NewDecoder(strings.NewReader(text))
	for {
		var object map[string]any
		err := documents.Decode(&object)
		switch {
		case errors.Is(err, io.EOF):
			set, _, found := (&config.Loader{Paths: []string{config.Stdin}, Stdin: &plain}).Load()
			if found.HasErrors() {
				return nil, found
			}
			out.set = set
			return out, nil
		case err != nil:
			return nil, err
		}
		switch object["kind"] {
		case "EnvoyFilter":
			err = out.envoyFilter(object)
		case "Service", "DestinationRule":
			var document []byte
			document, err = yaml.Marshal(object)
			plain.WriteString("---\n")
			plain.Write(document)
		}
		if err != nil {
			return nil, err
		}
	}
}

// envoyFilter takes the patches of an EnvoyFilter, if it is for the ingress gateway.
func (g *generated) envoyFilter(object map[string]any) error {
	spec, err := json.Marshal(object["spec"])
	if err != nil {
		return err
	}
	var f networking.EnvoyFilter
	if err := protojson.Unmarshal(spec, &f); err != nil {
		return fmt.Errorf("EnvoyFilter: %w", err)
	}
	if !selects(&f) {
		return nil
	}
	for i, p := range f.GetConfigPatches() {
		patch, err := readPatch(p)
		if err != nil {
			return fmt.Errorf("spec.configPatches[%d]: %w", i, err)
		}
		g.patches = append(g.patches, patch)
	}
	meta, _ := object["metadata"].(map[string]any)
	annotations, _ := meta["annotations"].(map[string]any)
	hosts, _ := annotations["envoyfilter.istio.io/referenced-services"].(string)
	g.referenced = append(g.referenced, strings.Split(hosts, ",")...)
	return nil
}
