package app

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"syscall"

	"github.com/remora-proxy/remora/internal/admin"
	"github.com/remora-proxy/remora/internal/diag"
)

// Addresses says where to listen for the ports of the Gateways' servers, and refuses two ports at one address.
func (p Ports) Addresses(bind netip.Addr, gatewayPorts []uint16) (map[uint16]netip.AddrPort, error) {
	out := make(map[uint16]netip.AddrPort, len(gatewayPorts))
	taken := make(map[uint16]uint16, len(gatewayPorts))
	for _, port := range slices.Sorted(slices.Values(gatewayPorts)) {
		listen := p.Listen(port)
		if other, ok := taken[listen]; ok && listen != 0 {
			return nil, fmt.Errorf("the Gateways' ports %d and %d would both be listened for on %d; give one of them another: --port %d=PORT", other, port, listen, port)
		}
		taken[listen] = port
		out[port] = netip.AddrPortFrom(bind, listen)
	}
	return out, nil
}

// listen opens addr for a port of the Gateways' servers. The error says which flag helps.
func listen(addr netip.AddrPort, gatewayPort uint16) (net.Listener, error) {
	l, err := net.Listen("tcp", addr.String())
	switch {
	case err == nil:
		return l, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("%s is in use by another process; stop that, or listen elsewhere: --port %d=PORT, or --bind for another address", addr, gatewayPort)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("no permission to listen on %s; listen on a port of 1024 or higher: --port %d=PORT", addr, gatewayPort)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("%s is not an address of this machine; give one that is with --bind, or 0.0.0.0 for all", addr.Addr())
	}
	return nil, fmt.Errorf("listen for port %d: %w", gatewayPort, err)
}

// openPorts is the listening sockets of the gateway, by the port of the Gateways' servers.
type openPorts map[uint16]net.Listener

// open opens the ports of want that are not open yet. They queue connections, which nobody accepts until they are handed to
// the gateway. When one cannot be opened, none is.
func (p openPorts) open(want map[uint16]netip.AddrPort) (openPorts, error) {
	opened := openPorts{}
	for _, port := range slices.Sorted(maps.Keys(want)) {
		if _, ok := p[port]; ok {
			continue
		}
		l, err := listen(want[port], port)
		if err != nil {
			opened.close()
			return nil, err
		}
		opened[port] = l
	}
	return opened, nil
}

// place says where c's ports are listened for, and opens those that are new. With files, a port that cannot be had refuses c as a whole.
func (p *program) place(c *Loaded) (map[uint16]netip.AddrPort, openPorts, error) {
	switch {
	case p.gateway == nil: // Envoy has the ports
		return nil, nil, nil
	case p.source.cluster != nil:
		return p.placeEach(c)
	}
	addresses, err := p.o.Ports.Addresses(p.o.Bind, c.Ports)
	if err != nil {
		return nil, nil, err
	}
	opened, err := p.ports.open(addresses)
	return addresses, opened, err
}

// placeEach is place for a cluster, where the Gateways have many owners: a port that cannot be had is left out, which c's findings say, and
// is tried again with the next load. It is an error only when the program begins without any.
func (p *program) placeEach(c *Loaded) (map[uint16]netip.AddrPort, openPorts, error) {
	addresses, opened, unserved := map[uint16]netip.AddrPort{}, openPorts{}, map[uint16]string{}
	var served, fresh []uint16
	for _, port := range slices.Sorted(slices.Values(c.Ports)) {
		if _, ok := p.ports[port]; ok {
			served = append(served, port)
		} else {
			fresh = append(fresh, port)
		}
	}
	var failed error
	var had []uint16
	for _, port := range slices.Concat(served, fresh) { // what is new does not take the place of what is there
		all, err := p.o.Ports.Addresses(p.o.Bind, append(slices.Clone(had), port))
		var l openPorts
		if err == nil {
			l, err = p.ports.open(map[uint16]netip.AddrPort{port: all[port]})
		}
		if err != nil {
			failed, unserved[port] = err, err.Error()
			if p.unserved[port] != err.Error() {
				p.log.Error("a port is not served", "port", port, "error", err)
			}
			c.Diagnostics.Add(diag.Diagnostic{Severity: diag.Error, What: err.Error(), Remedy: "until then the port is not served"})
			continue
		}
		had, addresses[port] = append(had, port), all[port]
		maps.Copy(opened, l)
	}
	p.unserved = unserved
	if p.current == nil && len(opened) == 0 && failed != nil {
		return nil, nil, failed
	}
	return addresses, opened, nil
}

func (p openPorts) close() {
	for _, l := range p {
		l.Close()
	}
}

// list says where the gateway listens for what.
func (p openPorts) list() []admin.Listener {
	out := make([]admin.Listener, 0, len(p))
	for _, port := range slices.Sorted(maps.Keys(p)) {
		out = append(out, admin.Listener{Door: "gateway", Port: port, Address: p[port].Addr().String()})
	}
	return out
}
