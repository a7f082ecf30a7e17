package demo

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"go.yaml.in/yaml/v3"
)

// The files of the example that the tour changes. The others are copied as they are.
const (
	endpointsFile = "endpoints.yaml"
	policyFile    = "affinitypolicy.yaml"
)

// serviceLabel is how an EndpointSlice says which Service it is of.
const serviceLabel = "kubernetes.io/service-name"

// configuration is a copy of the example's files that the gateway reads and the tour changes. Changes keep the comments.
type configuration struct {
	dir       string
	endpoints []*yaml.Node // one EndpointSlice each
	policy    []*yaml.Node // one AffinityPolicy
}

// endpoint is one entry of an EndpointSlice.
type endpoint struct {
	service string
	name    string // of the pod
	uid     string // another one says that the replica has lost its state
	addr    netip.AddrPort
}

// newConfiguration copies the example to dir, with another port of the replicas.
func newConfiguration(source fs.FS, dir string, port uint16) (*configuration, error) {
	if err := os.CopyFS(dir, source); err != nil {
		return nil, err
	}
	c := &configuration{dir: dir}
	var err error
	if c.endpoints, err = readYAML(source, endpointsFile); err != nil {
		return nil, err
	}
	if c.policy, err = readYAML(source, policyFile); err != nil {
		return nil, err
	}
	for _, slice := range c.endpoints {
		ports := member(slice, "ports")
		if ports == nil || len(ports.Content) != 1 {
			return nil, errors.New(endpointsFile + ": an EndpointSlice of the example has not exactly one port")
		}
		set(ports.Content[0], "port", strconv.Itoa(int(port)))
	}
	return c, c.save(endpointsFile, c.endpoints)
}

// list is the endpoints of all services, in the files' order.
func (c *configuration) list() ([]endpoint, error) {
	var all []endpoint
	for _, slice := range c.endpoints {
		var s struct {
			Metadata  struct{ Labels map[string]string }
			Ports     []struct{ Port uint16 }
			Endpoints []struct {
				Addresses []netip.Addr
				TargetRef struct{ Name, UID string } `yaml:"targetRef"`
			}
		}
		if err := slice.Decode(&s); err != nil {
			return nil, fmt.Errorf("%s: %w", endpointsFile, err)
		}
		for _, e := range s.Endpoints {
			if len(e.Addresses) != 1 {
				return nil, fmt.Errorf("%s: endpoint %q has not exactly one address", endpointsFile, e.TargetRef.Name)
			}
			all = append(all, endpoint{
				service: s.Metadata.Labels[serviceLabel], name: e.TargetRef.Name, uid: e.TargetRef.UID,
				addr: netip.AddrPortFrom(e.Addresses[0], s.Ports[0].Port),
			})
		}
	}
	return all, nil
}

// put adds endpoints to their services' EndpointSlices, each in place of the one that has its address, if there is one.
func (c *configuration) put(all ...endpoint) error {
	for _, e := range all {
		list, err := c.slice(e.service)
		if err != nil {
			return err
		}
		i := indexOf(list, e)
		if i < 0 {
			i = len(list.Content)
			list.Content = append(list.Content, clone(list.Content[0]))
		}
		entry := list.Content[i]
		member(entry, "addresses").Content[0].Value = e.addr.Addr().String()
		pod := member(entry, "targetRef")
		set(pod, "name", e.name)
		set(pod, "uid", e.uid)
	}
	return c.save(endpointsFile, c.endpoints)
}

// remove takes endpoints out of their services' EndpointSlices.
func (c *configuration) remove(all ...endpoint) error {
	for _, e := range all {
		list, err := c.slice(e.service)
		if err != nil {
			return err
		}
		if i := indexOf(list, e); i >= 0 {
			list.Content = slices.Delete(list.Content, i, i+1)
		}
	}
	return c.save(endpointsFile, c.endpoints)
}

// slice is the endpoints in a service's EndpointSlice.
func (c *configuration) slice(service string) (*yaml.Node, error) {
	for _, slice := range c.endpoints {
		if text(member(member(member(slice, "metadata"), "labels"), serviceLabel)) == service {
			return member(slice, "endpoints"), nil
		}
	}
	return nil, fmt.Errorf("%s has no EndpointSlice of %s", endpointsFile, service)
}

// indexOf is where the entry with an endpoint's address is in a list, or -1.
func indexOf(list *yaml.Node, e endpoint) int {
	return slices.IndexFunc(list.Content, func(entry *yaml.Node) bool {
		return text(member(entry, "addresses").Content[0]) == e.addr.Addr().String()
	})
}

// setIdle sets the idle time of sessions; 0 takes the field away, which means its default.
func (c *configuration) setIdle(d time.Duration) error {
	value := ""
	if d != 0 {
		value = d.String()
	}
	set(member(c.policy[0], "spec"), "idleTimeout", value)
	return c.save(policyFile, c.policy)
}

// save replaces a file as a whole, so that the gateway never reads half of it.
func (c *configuration) save(name string, docs []*yaml.Node) error {
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	enc.CompactSeqIndent()
	for _, doc := range docs {
		if err := enc.Encode(doc); err != nil {
			return err
		}
	}
	if err := enc.Close(); err != nil {
		return err
	}
	next := filepath.Join(filepath.Dir(c.dir), name+".next") // beside the folder that the gateway watches
	if err := os.WriteFile(next, out.Bytes(), 0o600); err != nil {
		return err
	}
	return os.Rename(next, filepath.Join(c.dir, name))
}

// readYAML reads the documents of a file, each as its outermost mapping.
func readYAML(source fs.FS, name string) ([]*yaml.Node, error) {
	file, err := source.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var docs []*yaml.Node
	for dec := yaml.NewDecoder(file); ; {
		doc := new(yaml.Node)
		err := dec.Decode(doc)
		switch {
		case errors.Is(err, io.EOF) && len(docs) == 0:
			return nil, fmt.Errorf("%s is empty", name)
		case errors.Is(err, io.EOF):
			return docs, nil
		case err != nil:
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		docs = append(docs, doc.Content[0])
	}
}

// member is the value of a mapping's key, or nil.
func member(mapping *yaml.Node, key string) *yaml.Node {
	if mapping == nil {
		return nil
	}
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value == key {
			return mapping.Content[i+1]
		}
	}
	return nil
}

// set sets a key of a mapping to a plain value; an empty value takes the key away.
func set(mapping *yaml.Node, key, value string) {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		if mapping.Content[i].Value != key {
			continue
		}
		if value == "" {
			mapping.Content = append(mapping.Content[:i], mapping.Content[i+2:]...)
		} else {
			mapping.Content[i+1].Value = value
		}
		return
	}
	if value != "" {
		mapping.Content = append(mapping.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: key}, &yaml.Node{Kind: yaml.ScalarNode, Value: value})
	}
}

// text is the value of a scalar, or nothing.
func text(n *yaml.Node) string {
	if n == nil {
		return ""
	}
	return n.Value
}

// clone copies a node and what is below it.
func clone(n *yaml.Node) *yaml.Node {
	c := *n
	c.Content = make([]*yaml.Node, len(n.Content))
	for i, child := range n.Content {
		c.Content[i] = clone(child)
	}
	return &c
}
