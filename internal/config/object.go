package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/remora-proxy/remora/api/v1alpha1"
	"github.com/remora-proxy/remora/internal/diag"
	"github.com/remora-proxy/remora/internal/istio"
)

// object takes one object into the set, leaves it out, or refuses it.
func (ld *load) object(path string, n *node, apiVersion, kind string) {
	u, fits := find(apiVersion, kind)
	if !fits {
		ld.other(path, n, apiVersion, kind, u)
		return
	}
	id := identity{group: u.group, kind: kind, namespace: DefaultNamespace, name: n.member("metadata").string("name")}
	if ns := n.member("metadata").string("namespace"); ns != "" {
		id.namespace = ns
	}
	c := &checker{report: ld.report, file: path, object: u.label + " " + id.namespace + "/" + id.name}
	if id.name == "" {
		c.object = u.label
	}
	c.value(n, u.schema())
	c.names(n, u, id)
	if c.failed {
		return
	}
	where := newLocator(path, n)
	if first, is := ld.defined[id]; is {
		ld.report.errorAt(where.Locate("metadata.name"), c.object, "metadata.name", "defined twice; first at "+first.String(), "remove one of them")
		return
	}
	ld.defined[id] = where.Locate("metadata.name")
	if err := u.add(ld.set, n, where); err != nil {
		ld.report.errorAt(where.Locate("spec"), c.object, "", "cannot be read: "+err.Error(), "")
	}
}

// names checks what an API server would check of the object's name.
func (c *checker) names(n *node, u *use, id identity) {
	meta := n.member("metadata")
	name, field := meta.member("name"), "metadata.name"
	at := n
	if meta != nil {
		at = meta
	}
	rule := validation.IsDNS1123Subdomain
	if u.kind == "Service" {
		rule = validation.IsDNS1123Label
	}
	switch {
	case (name == nil || name.kind == null) && meta.member("generateName") != nil:
		c.refuse(at, field, "the object has no name", "names cannot be generated here: give metadata.name")
	case name == nil || name.kind == null:
		c.refuse(at, field, "the object has no name", "")
	case name.kind != text: // reported as the wrong type
	default:
		if wrong := rule(id.name); len(wrong) > 0 {
			c.refuse(name, field, quoted(id.name)+" is not a name", "use lower case letters, digits, '-' and, in a name with several parts, '.'")
		}
	}
	if ns := meta.member("namespace"); ns != nil && ns.kind == text && ns.text != "" {
		if wrong := validation.IsDNS1123Label(ns.text); len(wrong) > 0 {
			c.refuse(ns, "metadata.namespace", quoted(ns.text)+" is not the name of a namespace", "use lower case letters, digits and '-'")
		}
	}
}

func (c *checker) refuse(n *node, field, what, remedy string) {
	c.failed = true
	c.report.errorAt(diag.Position{File: c.file, Line: int(n.at)}, c.object, field, what, remedy)
}

// other judges an object of a kind or version that Remora does not use. named is the used kind of the same name, if any.
func (ld *load) other(path string, n *node, apiVersion, kind string, named *use) {
	group, _ := splitVersion(apiVersion)
	refuse := func(field, what, remedy string) {
		at := n
		if m := n.member(field); m != nil {
			at = m
		}
		ld.report.errorAt(diag.Position{File: path, Line: int(at.at)}, "", field, what, remedy)
	}
	near := similar(group, kind)
	switch {
	case named != nil && (named.group == group || !isRefused(group, kind)):
		refuse("apiVersion", fmt.Sprintf("%s is not a version of %s that is supported", quoted(apiVersion), kind), "use "+strings.Join(named.apiVersions(), ", "))
	case near != nil:
		refuse("kind", "unknown kind "+quoted(kind)+" of "+quoted(apiVersion), "did you mean "+strconv.Quote(near.kind)+"?")
	case group == v1alpha1.Group:
		refuse("kind", "unknown kind "+quoted(kind)+" of "+quoted(apiVersion), "there is only "+v1alpha1.Kind)
	case kind == "Endpoints" && group == "":
		refuse("kind", "Endpoints are not supported", "write an EndpointSlice ("+discoveryGroup+"/v1)")
	case isRefused(group, kind) && !(ld.proxied && isForProxy(group, kind)):
		remedy := "Remora cannot do what it asks for: remove it, or keep it in a file of its own that is not given here"
		switch {
		case !isForProxy(group, kind):
		case group == gatewayGroup || group == envoyGroup:
			remedy += "; behind Envoy Gateway's Envoy, give --envoy-gateway"
		default:
			remedy += istio.ProxiedRemedy
		}
		refuse("kind", fmt.Sprintf("%s (%s) is not supported yet", abbreviated(kind), abbreviated(apiVersion)), remedy)
	default:
		ld.leaveOut(path, n, apiVersion, kind)
	}
}

func (ld *load) leaveOut(path string, n *node, apiVersion, kind string) {
	key := apiVersion + " " + kind
	l := ld.unused[key]
	if l == nil {
		l = &leftOut{kind: abbreviated(kind) + " (" + abbreviated(apiVersion) + ")", first: diag.Position{File: path, Line: int(n.at)}}
		ld.unused[key] = l
		ld.order = append(ld.order, l)
	}
	l.count++
}

// warnUnused says once for each kind that was left out, and where its first object is.
// Beside a proxy, where the files have what is for it too, one finding tells of all.
func (ld *load) warnUnused() {
	if ld.proxied && len(ld.order) > 1 {
		kinds, total := make([]string, len(ld.order)), 0
		for i, l := range ld.order {
			kinds[i], total = fmt.Sprintf("%d %s", l.count, l.kind), total+l.count
		}
		ld.report.add(diag.Diagnostic{
			Severity: diag.Warning, Pos: ld.order[0].first,
			What: fmt.Sprintf("%d objects, the first of them here, are of kinds that Remora does not read: %s", total, strings.Join(kinds, ", ")),
		})
		return
	}
	for _, l := range ld.order {
		what := l.kind + " is not used by Remora"
		if l.count > 1 {
			what = fmt.Sprintf("%s is not used by Remora: %d objects, the first of them here", l.kind, l.count)
		}
		ld.report.add(diag.Diagnostic{Severity: diag.Warning, Pos: l.first, What: what})
	}
}

// decodeGo decodes an object into a Go type, without the members that are left out.
func decodeGo(n *node, into any, without ...string) error {
	rest := node{kind: mapping, kids: make([]node, 0, len(n.kids))}
next:
	for _, kid := range n.kids {
		for _, w := range without {
			if kid.key == w {
				continue next
			}
		}
		rest.kids = append(rest.kids, kid)
	}
	d := json.NewDecoder(bytes.NewReader(rest.appendJSON(nil)))
	d.DisallowUnknownFields()
	return d.Decode(into)
}

// decodeProto decodes a message.
func decodeProto(n *node, into proto.Message) error {
	return protojson.UnmarshalOptions{DiscardUnknown: false}.Unmarshal(n.appendJSON(nil), into)
}
