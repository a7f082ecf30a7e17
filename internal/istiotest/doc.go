// Package istiotest runs a real Envoy that stands as the ingress gateway of a mesh: with the listeners, routes and clusters that
// istiod makes of users' objects, changed by the EnvoyFilters that `remora generate istio` writes, over xDS. It knows nothing of
// how Remora decides.
//
// testdata has what a real istiod (1.32 line, August 2026) sent to its ingress gateway for the use case, and what it sent with
// filters for an external processor, as Envoy's admin API dumps it. Where tests need services or routes beyond that, mesh.go
// makes them as istiod does; a test holds what it makes for the use case against the dump. An istiod itself cannot be built into
// tests.
//
//	mesh.go        what istiod makes of objects
//	patch.go       how istiod applies EnvoyFilters
//	generated.go   what `remora generate istio` wrote, read back
//	server.go      the xDS server
//	gateway.go     Envoy
package istiotest
