package generate

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/extproc"
)

// envoyFilter is one EnvoyFilter of istio.yaml.
type envoyFilter struct {
	Name    string
	gateway string            // namespace-name of the first Gateway that it is for
	Labels  map[string]string // of the gateway's pods
	Order   []string          // of the HTTP filters
	Patches []string          // as YAML
}

// bufferLimit is what Envoy holds of a body by itself, in bytes.
const bufferLimit = 1 << 20

// envoyFilter makes the patches for the gateway's pods.
func (w *workload) envoyFilter(c *affinity.Config, o *IstioOptions) envoyFilter {
	first := w.gateways[0].Value
	f := envoyFilter{Name: "remora", gateway: first.Namespace + "-" + first.Name, Labels: w.labels}
	p := patcher{workload: w, config: c, options: o, out: &f}
	p.httpFilters()
	p.bodies()
	p.add("retries", nil)
	p.add("attempts", attemptFilters(sessionHeaders(p.config)))
	p.add("answers", answers(o.FailOpen))
	if o.AccessLog {
		p.add("accesslog", accessLog())
	}
	p.splits()
	if o.Replicas > 1 {
		p.add("processors", o.host())
	}
	return f
}

// patcher makes the patches of one EnvoyFilter.
type patcher struct {
	workload *workload
	config   *affinity.Config
	options  *IstioOptions
	out      *envoyFilter
}

// add executes one of the templates of istio_patches.yaml.
func (p *patcher) add(name string, data any) {
	p.out.Patches = append(p.out.Patches, strings.Trim(render(name, data), "\n"))
}

// filterPatch is the data of the template "filter".
type filterPatch struct {
	Comment, Value string // as YAML
	ListenerPort   uint16 // 0: all listeners
	First          bool
}

// httpFilters adds the patches for Remora's filters: those up to the one that asks Remora stand before all others, the rest
// right before the router. Each patch with INSERT_FIRST puts its filter before those that are there already, so they come from
// the last to the first.
func (p *patcher) httpFilters() {
	o := filterOptions{
		Cluster:  istioCluster(p.options.host(), processorPort, ""),
		FailOpen: p.options.FailOpen, MessageTimeout: p.options.MessageTimeout,
		SessionHeaders: sessionHeaders(p.config),
		SourceAddress:  usesKey(p.config, func(k affinity.Key) bool { return k.Kind == affinity.SourceIPKey }),
	}
	var byPort [][]*yaml.Node
	for _, port := range p.workload.ports {
		o.Port = port
		byPort = append(byPort, httpFilters(o))
	}
	filters := byPort[0]
	asks := slices.IndexFunc(filters, asksRemora)
	for i := asks; i >= 0; i-- {
		p.httpFilter(byPort, i, true)
	}
	for i := asks + 1; i < len(filters); i++ {
		p.httpFilter(byPort, i, false)
	}
	for i, f := range filters {
		if p.out.Order = append(p.out.Order, member(f, "name").Value); i == asks {
			p.out.Order = append(p.out.Order, "Istio's own")
		}
	}
	p.out.Order = append(p.out.Order, "router")
}

// asksRemora reports whether a filter is the one that asks the processor.
func asksRemora(filter *yaml.Node) bool {
	return strings.HasSuffix(member(member(filter, "typed_config"), "@type").Value, ".ext_proc.v3.ExternalProcessor")
}

// member is the value of a mapping's member. A member that is not there is empty.
func member(of *yaml.Node, name string) *yaml.Node {
	for i := 0; i+1 < len(of.Content); i += 2 {
		if of.Content[i].Value == name {
			return of.Content[i+1]
		}
	}
	return &yaml.Node{}
}

// httpFilter adds the patches for the i-th filter: one for all listeners, unless it is another one for each port.
func (p *patcher) httpFilter(byPort [][]*yaml.Node, i int, first bool) {
	var patches []filterPatch
	differ := false
	for n, port := range p.workload.ports {
		filter := byPort[n][i]
		comment := "  " + strings.ReplaceAll(filter.HeadComment, "\n", "\n  ")
		filter.HeadComment = ""
		value := indent(8, block(filter))
		patches = append(patches, filterPatch{Comment: comment, Value: value, First: first, ListenerPort: p.options.listenerPort(port)})
		differ = differ || value != patches[0].Value
	}
	if len(patches) == 1 || !differ {
		patches[0].ListenerPort = 0
		patches = patches[:1]
	}
	for _, patch := range patches {
		p.add("filter", patch)
	}
}

// block is a node as YAML in block style.
func block(n *yaml.Node) string {
	var out strings.Builder
	e := yaml.NewEncoder(&out)
	e.SetIndent(2)
	if err := e.Encode(n); err != nil {
		panic(fmt.Sprintf("generate: %v", err)) // it was read from YAML
	}
	return strings.TrimSuffix(out.String(), "\n")
}

// listenerPort is where the gateway's pods listen for a port of a Gateway's server.
func (o *IstioOptions) listenerPort(port uint16) uint16 {
	if p, is := o.ListenerPorts[port]; is {
		return p
	}
	switch port { // the ingress gateway of istioctl and of Istio's operator
	case 80:
		return 8080
	case 443:
		return 8443
	}
	return port
}

// bodies raises what Envoy holds of a body, where the policy's limit reaches it.
func (p *patcher) bodies() {
	for _, l := range p.config.Listeners {
		if l.MaxBody < bufferLimit || !slices.Contains(p.workload.ports, l.Port) {
			continue
		}
		data := struct {
			ListenerPort uint16
			Limit        int
		}{Limit: 2 * bufferLimit}
		if len(p.workload.ports) > 1 {
			data.ListenerPort = p.options.listenerPort(l.Port)
		}
		p.add("buffer", data)
	}
}

// splits adds a route to each service that is one of several that a rule splits requests among.
func (p *patcher) splits() {
	lead := true
	for _, i := range splitServices(p.config) {
		s := &p.config.Services[i]
		p.add("split", struct {
			Lead                     bool
			Service, Header, Cluster string
			Key                      affinity.Key
		}{lead, s.Name, extproc.ServiceHeader, istioCluster(s.Host, s.Port, s.Subset), s.Key})
		lead = false
	}
}

// splitServices lists the services that rules with weights lead to, in the order of the configuration.
func splitServices(c *affinity.Config) []int {
	var out []int
	for _, l := range c.Routes.Listeners {
		for _, h := range l.Hosts {
			for _, r := range h.Rules {
				if len(r.Destinations) < 2 {
					continue
				}
				for _, d := range r.Destinations {
					out = append(out, d.Service)
				}
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
