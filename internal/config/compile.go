package config

import (
	"net/netip"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/diag"
	"github.com/remora-proxy/remora/internal/gatewayapi"
	"github.com/remora-proxy/remora/internal/istio"
	"github.com/remora-proxy/remora/internal/resource"
)

// Options say what a Set does not.
type Options struct {
	// Addresses gives the addresses that are known now of one of DNSNames. nil: none are known.
	Addresses func(name string) []netip.Addr
	// NoSlices says that the EndpointSlices are elsewhere: Services without endpoints are no finding.
	NoSlices bool
	// Proxied says that a proxy forwards the requests by its own reading of the same objects: what only says how is accepted.
	Proxied bool
	// DrainingLabelled says that draining endpoints are there only of Services with the label istio.DrainingLabel.
	DrainingLabelled bool
}

func (o Options) istio() istio.Options {
	return istio.Options{Addresses: o.Addresses, NoSlices: o.NoSlices, Proxied: o.Proxied, DrainingLabelled: o.DrainingLabelled}
}

// Compiled is a configuration that can be applied, and the terms that it was made from.
type Compiled struct {
	Config   affinity.Config
	Snapshot *affinity.Snapshot
}

// DNSNames lists the host names whose addresses DNS has to give.
func DNSNames(set *resource.Set) []string { return istio.DNSNames(set) }

// Compile makes the configuration of a set that was loaded without errors. When the list has errors there is none.
func Compile(set *resource.Set, o Options) (*Compiled, diag.List) {
	c, found := compile(set, o)
	r := &reporter{}
	for _, d := range found {
		r.add(d)
	}
	if r.errors > 0 {
		return nil, r.done()
	}
	snapshot, err := affinity.Compile(c)
	if err != nil {
		r.add(uncompilable(err))
		return nil, r.done()
	}
	return &Compiled{Config: c, Snapshot: snapshot}, r.done()
}

// compile hands the objects to the packages that know their kinds: Istio's, which has the services and the policies too, and the Gateway
// API's, whose routes lead to the same services.
func compile(set *resource.Set, o Options) (affinity.Config, diag.List) {
	c := istio.Begin(set, o.istio())
	gatewayapi.Compile(set, gatewayapi.Options{Proxied: o.Proxied}, c)
	return c.Finish()
}

// uncompilable tells of an error in the core's own terms. What the users wrote has been judged before: it is a mistake of ours, told as
// well as it can be.
func uncompilable(err error) diag.Diagnostic {
	return diag.Diagnostic{Severity: diag.Error, What: "the configuration cannot be compiled: " + err.Error()}
}
