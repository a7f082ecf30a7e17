package generate

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/extproc"
)

// EnvoyOptions are what a configuration of Envoy needs beyond Remora's own.
type EnvoyOptions struct {
	Listen     func(gateway uint16) netip.AddrPort // where Envoy listens for a port of the Gateways' servers
	Admin      netip.AddrPort                      // of Envoy's admin API; the zero value: none
	Processors []string                            // HOST:PORT or unix:/path of each external processor, at least one
	TLS        *ProcessorTLS                       // nil: the processors are spoken to in plain text
	// ResponseTimeout is how long a replica may take from the request's last byte to the response's head; then the client gets 504.
	// 0: as long as the connection lives. A request that goes on, as a WebSocket's does, is not bound by it.
	ResponseTimeout time.Duration
	// AccessLog has Envoy write a line of JSON on its standard output for each request.
	AccessLog bool
	// XDS has Envoy ask the processor for the services and their endpoints; otherwise both stand in the configuration.
	XDS bool
	// Names are what some addresses of endpoints stand for: host names that Envoy resolves itself.
	Names map[netip.Addr]string
}

// ProcessorTLS is how Envoy and the processors trust each other. Files are on Envoy's machine.
type ProcessorTLS struct {
	CA               string // file with the certificates that the processors' are checked by
	Name             string // DNS name in the processors' certificates
	Certificate, Key string // files with Envoy's own; empty: it shows none
}

// processorCluster is Envoy's name of the processors' cluster.
const processorCluster = "remora"

// Envoy is the whole static configuration of an Envoy (YAML) for Remora's configuration c.
func Envoy(c *affinity.Config, o EnvoyOptions) (string, error) {
	if len(c.Listeners) == 0 {
		return "", errors.New("no Gateway has a server, so there is nothing to listen for; add a Gateway")
	}
	p, err := newProcessor(o)
	if err != nil {
		return "", err
	}
	data := envoyData{Processor: p, XDS: o.XDS, Answers: answers(false), Attempts: attemptFilters(sessionHeaders(c)), ServiceHeader: extproc.ServiceHeader}
	if data.Hashes, err = hashes(c); err != nil {
		return "", err
	}
	if o.ResponseTimeout > 0 {
		data.ResponseTimeout = seconds(o.ResponseTimeout)
	}
	if o.AccessLog {
		data.AccessLog = accessLog()
	}
	if o.Admin.IsValid() {
		data.Admin = &o.Admin
	}
	for _, l := range c.Listeners {
		data.Listeners = append(data.Listeners, envoyListener{l.Port, o.Listen(l.Port), filters(filterOptions{
			Cluster: processorCluster, Port: l.Port, SessionHeaders: sessionHeaders(c),
			SourceAddress: usesKey(c, func(k affinity.Key) bool { return k.Kind == affinity.SourceIPKey }),
		})})
	}
	if !o.XDS {
		if data.Clusters, err = clusters(c, false, o.Names); err != nil {
			return "", err
		}
	}
	return render("envoy.yaml", data) + "\n", nil
}

// envoyData is what envoy.yaml is filled with.
type envoyData struct {
	Admin     *netip.AddrPort
	XDS       bool
	Listeners []envoyListener
	Answers   string // YAML
	AccessLog string // YAML; empty: none
	// ResponseTimeout is a google.protobuf.Duration; empty: none.
	ResponseTimeout string
	Attempts        string // YAML
	Hashes          []string
	ServiceHeader   string
	Processor       *processor
	Clusters        string // YAML; empty: none
}

type envoyListener struct {
	Gateway uint16 // port of the Gateway's server
	Listen  netip.AddrPort
	Filters string // YAML
}

// processor is the cluster of the processors.
type processor struct {
	Name, Type string
	Several    bool
	TLS        *ProcessorTLS
	Endpoints  []envoyEndpoint
}

// CheckProcessors says what is wrong with Processors.
func (o EnvoyOptions) CheckProcessors() error {
	_, err := newProcessor(o)
	return err
}

func newProcessor(o EnvoyOptions) (*processor, error) {
	p := &processor{Name: processorCluster, Type: "STATIC", Several: len(o.Processors) > 1, TLS: o.TLS}
	for _, at := range o.Processors {
		if path, ok := strings.CutPrefix(at, "unix:"); ok && strings.HasPrefix(path, "/") {
			p.Endpoints = append(p.Endpoints, envoyEndpoint{Path: path})
			continue
		}
		e, err := parseEndpoint(at)
		if err != nil || e.Port == 0 {
			return nil, fmt.Errorf("%q is not the address of a processor; give HOST:PORT or unix:/path, for example 127.0.0.1:9002", at)
		}
		p.Endpoints = append(p.Endpoints, e)
	}
	if slices.ContainsFunc(p.Endpoints, envoyEndpoint.isName) {
		p.Type = "STRICT_DNS"
		if slices.ContainsFunc(p.Endpoints, func(e envoyEndpoint) bool { return e.Path != "" }) {
			return nil, errors.New("processors cannot be at both a host's name and a Unix socket; give an IP address in place of the name")
		}
	}
	return p, nil
}

// envoyEndpoint is one address that Envoy connects to.
type envoyEndpoint struct {
	Path     string // of a Unix socket; otherwise empty
	Host     string // IP address or name
	Port     uint16
	Weight   uint32 // 0: as all others
	Draining bool
}

func parseEndpoint(addr string) (envoyEndpoint, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return envoyEndpoint{}, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if host == "" || err != nil {
		return envoyEndpoint{}, fmt.Errorf("%q is not HOST:PORT", addr)
	}
	return envoyEndpoint{Host: host, Port: uint16(n)}, nil
}

// sessionHeaders are the headers that tell replicas of sessions, each once.
func sessionHeaders(c *affinity.Config) []string {
	var names []string
	for i := range c.Services {
		names = append(names, cmp.Or(c.Services[i].SessionHeader, affinity.DefaultSessionHeader))
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func usesKey(c *affinity.Config, is func(affinity.Key) bool) bool {
	return slices.ContainsFunc(c.Services, func(s affinity.ServiceConfig) bool { return is(s.Key) })
}

// hashes are hash policies of a route for all services: of each key that sessions stick by, in flow style. Where services have
// different keys, a request may be hashed by one that is not its service's; that too finds the same replica for the same request.
func hashes(c *affinity.Config) ([]string, error) {
	var out []string
	for i := range c.Services {
		policy, err := hashPolicy(c.Services[i].Key)
		if err != nil {
			return nil, err
		}
		if policy != "" && !slices.Contains(out, policy) {
			out = append(out, policy)
		}
	}
	slices.Sort(out)
	return out, nil
}

// hashPolicy is the hash policy of a route for sessions that stick by a key, in flow style. Without a key there is none.
func hashPolicy(key affinity.Key) (string, error) {
	name, err := scalar(key.Name)
	switch key.Kind {
	case affinity.HeaderKey:
		return "{header: {header_name: " + name + "}}", err
	case affinity.CookieKey:
		return "{cookie: {name: " + name + "}}", err
	case affinity.QueryKey:
		return "{query_parameter: {name: " + name + "}}", err
	case affinity.SourceIPKey:
		return "{connection_properties: {source_ip: true}}", nil
	}
	return "", nil
}
