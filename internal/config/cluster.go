package config

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/remora-proxy/remora/internal/diag"
	"github.com/remora-proxy/remora/internal/resource"
)

// Decode reads one object as an API server gives it, decoded from JSON, as strictly as one from a file. The set has the
// object, or when the list has errors, none.
func Decode(content map[string]any) (*resource.Set, diag.List) {
	ld := newLoad()
	n, err := fromJSON("", content)
	if err != nil {
		ld.report.errorAt(diag.Position{}, "", "", "the object cannot be read: "+err.Error(), "")
		return ld.set, ld.report.done()
	}
	apiVersion, kind := n.string("apiVersion"), n.string("kind")
	meta := n.member("metadata")
	name := meta.string("namespace") + "/" + meta.string("name")
	u, fits := find(apiVersion, kind)
	if !fits {
		name = kind + " " + name
		ld.report.errorAt(diag.Position{File: name}, name, "", abbreviated(kind)+" ("+abbreviated(apiVersion)+") is not a kind that Remora uses", "")
		return ld.set, ld.report.done()
	}
	name = u.label + " " + name
	c := &checker{report: ld.report, file: name, object: name}
	if c.value(&n, u.schema()); c.failed {
		return ld.set, ld.report.done()
	}
	if err := u.add(ld.set, &n, resource.InCluster(name)); err != nil {
		ld.report.errorAt(diag.Position{File: name}, name, "", "cannot be read: "+err.Error(), "")
	}
	return ld.set, ld.report.done()
}

// fromJSON makes a node of a decoded JSON value, members in the order of their names.
func fromJSON(key string, value any) (node, error) {
	n := node{key: key}
	switch v := value.(type) {
	case nil:
		n.kind = null
	case bool:
		n.kind, n.text = boolean, strconv.FormatBool(v)
	case int64:
		n.kind, n.text = integer, strconv.FormatInt(v, 10)
	case float64:
		text, err := json.Marshal(v)
		if err != nil {
			return n, err
		}
		n.kind, n.text = float, string(text)
	case string:
		n.kind, n.text = text, v
	case []any:
		n.kind, n.kids = list, make([]node, 0, len(v))
		for _, e := range v {
			kid, err := fromJSON("", e)
			if err != nil {
				return n, err
			}
			n.kids = append(n.kids, kid)
		}
	case map[string]any:
		n.kind, n.kids = mapping, make([]node, 0, len(v))
		for _, name := range slices.Sorted(maps.Keys(v)) {
			kid, err := fromJSON(name, v[name])
			if err != nil {
				return n, err
			}
			n.kids = append(n.kids, kid)
		}
	default:
		return n, fmt.Errorf("a value of type %T", value)
	}
	return n, nil
}
