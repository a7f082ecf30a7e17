package generate

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"github.com/remora-proxy/remora/deploy"
	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/istio"
	"github.com/remora-proxy/remora/internal/resource"
)

// processorPort is where the processor listens in a cluster.
const processorPort = 9002

// metricsPort is where it is scraped.
const metricsPort = 9090

// shutdownTimeout is how long a processor that was told to stop waits for requests in flight.
const shutdownTimeout = 20 * time.Second

// IstioOptions say what the objects do not. All fields but FailOpen, MessageTimeout, AccessLog and ListenerPorts must be set.
type IstioOptions struct {
	Namespace        string // of the processor
	GatewayNamespace string // of the gateway's pods
	Image            string // of the processor
	Replicas         int    // of the processor
	Store            Store  // of the processors
	FailOpen         bool   // without a processor, Istio's own routing goes on; otherwise requests get 503
	MessageTimeout   time.Duration
	AccessLog        bool // the gateway writes a line of JSON on its standard output for each request, beside what Istio has it write
	// ListenerPorts is what the gateway's pods listen on, by the port of the Gateway's server, where it is not what istioctl's
	// own ingress gateway has: 8080 for 80, 8443 for 443, the same for others.
	ListenerPorts map[uint16]uint16
}

// host is the processor's name in the cluster.
func (o *IstioOptions) host() string { return "remora." + o.Namespace + ".svc.cluster.local" }

// istioCluster is the name that istiod gives to the cluster of a service's port, or of a subset of it.
func istioCluster(host string, port uint16, subset string) string {
	return fmt.Sprintf("outbound|%d|%s|%s", port, subset, host)
}

// Store is where processors share their sessions; its zero value: they do not.
type Store struct {
	URL    string
	Secret string // with files for the URL to name, and hash-key; empty: none
}

// deployment is what the part about the processor is written from, which stands in the objects for Istio and for Envoy Gateway.
type deployment struct {
	Namespace, Image               string
	Replicas                       int
	Store                          Store
	ClusterName                    string // of its objects without a namespace
	AffinityPolicy                 string // the kind's definition
	Port, MetricsPort, GracePeriod int
	ShutdownTimeout                string
	Istio                          bool   // asked by Istio's Envoys, else by Envoy Gateway's
	GatewayPort                    uint16 // for Envoy Gateway
}

func newDeployment(namespace, image string, replicas int, store Store) deployment {
	d := deployment{
		Namespace: namespace, Image: image, Replicas: replicas, Store: store, ClusterName: "remora", AffinityPolicy: strings.Trim(deploy.AffinityPolicy, "-\n"),
		Port: processorPort, MetricsPort: metricsPort, ShutdownTimeout: shutdownTimeout.String(), GracePeriod: int((shutdownTimeout + 10*time.Second).Seconds()),
	}
	if namespace != "remora-system" { // objects without a namespace: each installation has its own
		d.ClusterName += "-" + namespace
	}
	return d
}

// Istio writes the objects that make the gateway of a mesh ask Remora: documents of YAML that kubectl can apply. The set must
// have passed CheckIstio without errors, and c be what it was compiled to.
func Istio(set *resource.Set, c *affinity.Config, o IstioOptions) string {
	data := struct {
		deployment
		GatewayNamespace, Host, DrainingLabel string
		FailOpen                              bool
		Filters                               []envoyFilter
		Unlabelled                            []serviceName
	}{
		deployment: newDeployment(o.Namespace, o.Image, o.Replicas, o.Store), GatewayNamespace: o.GatewayNamespace, FailOpen: o.FailOpen,
		Host: o.host(), DrainingLabel: istio.DrainingLabel, Unlabelled: unlabelled(set, c),
	}
	data.Istio = true
	for _, w := range workloads(set) {
		data.Filters = append(data.Filters, w.envoyFilter(c, &o))
	}
	if len(data.Filters) > 1 {
		for i := range data.Filters {
			data.Filters[i].Name = "remora-" + data.Filters[i].gateway
		}
	}
	return render("istio.yaml", &data) + "\n"
}

// workload is the pods of a gateway, as the selectors of Gateways name them.
type workload struct {
	labels   map[string]string
	gateways []resource.Object[*networkingv1.Gateway]
	ports    []uint16 // of the servers, ascending
}

// workloads sorts the Gateways that serve HTTP by their selectors, in the order of the first of each.
func workloads(set *resource.Set) []*workload {
	var out []*workload
	for _, g := range set.Gateways {
		if !slices.ContainsFunc(g.Value.Spec.Servers, istio.ServesHTTP) {
			continue
		}
		selector := g.Value.Spec.Selector
		i := slices.IndexFunc(out, func(w *workload) bool { return maps.Equal(w.labels, selector) })
		if i < 0 {
			i = len(out)
			out = append(out, &workload{labels: selector})
		}
		out[i].gateways = append(out[i].gateways, g)
		for _, s := range g.Value.Spec.Servers {
			if istio.ServesHTTP(s) {
				out[i].ports = append(out[i].ports, uint16(s.GetPort().GetNumber()))
			}
		}
	}
	for _, w := range out {
		slices.Sort(w.ports)
		w.ports = slices.Compact(w.ports)
	}
	return out
}

type serviceName struct{ Namespace, Name string }

// unlabelled lists the Services that requests are routed to and that lack the label for draining.
func unlabelled(set *resource.Set, c *affinity.Config) []serviceName {
	routed := map[string]bool{}
	for i := range c.Services {
		routed[c.Services[i].Host] = true
	}
	var out []serviceName
	for _, s := range set.Services {
		name := serviceName{s.Value.Namespace, s.Value.Name}
		if !istio.KeepsDraining(s.Value.Labels) && routed[name.host()] {
			out = append(out, name)
		}
	}
	slices.SortFunc(out, func(a, b serviceName) int { return strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name) })
	return out
}

func (n serviceName) host() string { return n.Name + "." + n.Namespace + ".svc.cluster.local" }
