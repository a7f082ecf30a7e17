package extproc

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/remora-proxy/remora/internal/affinity"
	"github.com/remora-proxy/remora/internal/route"
)

// sourceAttribute is the attribute with the client's address, as Envoy understands it (its use_remote_address and
// xff_num_trusted_hops). x-forwarded-for is not read for it: who wrote which part of it, only Envoy knows.
const sourceAttribute = "source.address"

// describe makes the engine's view of a request. It reports whether the path is one that can be forwarded.
func (x *exchange) describe() bool {
	v := &x.view
	v.BodyState, v.Body = affinity.BodyNotRead, nil
	v.Request = route.Request{Port: x.port, Scheme: "http", Headers: v.Headers[:0]}
	for _, f := range x.in.Headers {
		name, value := f.Name, f.Value
		if !strings.HasPrefix(name, ":") {
			v.Headers = appendField(v.Headers, name, value)
			if name == "x-request-id" {
				x.id = value
			}
			continue
		}
		switch name {
		case ":method":
			v.Method = value
		case ":authority":
			v.Authority = value
		case ":scheme":
			v.Scheme = value
		case ":path":
			x.path, v.Query, _ = strings.Cut(value, "?")
		}
	}
	v.Source, v.Among = x.source(), x.subset()
	var ok bool
	v.Path, ok = route.NormalizePath(x.path)
	return ok
}

// appendField appends a field. Envoy joins several content-type fields to one with commas; they are taken apart again, so that
// the engine sees what the client sent. A comma inside quotes is part of a parameter.
func appendField(to []route.Header, name, value string) []route.Header {
	if name != "content-type" || strings.IndexByte(value, ',') < 0 {
		return append(to, route.Header{Name: name, Value: value})
	}
	quoted, from := false, 0
	for i := range len(value) {
		switch value[i] {
		case '"':
			quoted = !quoted
		case ',':
			if !quoted {
				to = append(to, route.Header{Name: name, Value: value[from:i]})
				from = i + 1
			}
		}
	}
	return append(to, route.Header{Name: name, Value: value[from:]})
}

// source is the client's address, if Envoy was asked to send it.
func (x *exchange) source() netip.Addr {
	v, ok := x.in.Attribute(sourceAttribute)
	if !ok {
		return netip.Addr{}
	}
	addr, err := netip.ParseAddrPort(v.Text)
	if err != nil {
		return netip.Addr{}
	}
	return addr.Addr()
}

// contentLength is the announced length of the body, where there is one.
func (x *exchange) contentLength() (n int64, known bool) {
	text, count := x.view.Header("content-length")
	if count == 0 {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	return n, err == nil
}

// isUpgrade reports whether the request asks for another protocol: what follows is that protocol's, and no body. Envoy describes
// an extended CONNECT of HTTP/2 in the same way.
func (x *exchange) isUpgrade() bool {
	_, n := x.view.Header("upgrade")
	return n > 0
}
