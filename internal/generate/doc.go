// Package generate writes the configuration that makes somebody else's proxy ask Remora: it turns what Remora was configured with
// into Envoy's own static configuration, or into objects for Istio and Envoy Gateway. The same input gives the same bytes, with
// comments that say why each part is there.
//
// It decides nothing about requests, reads no files and asks no network: it gets objects that were read and checked, and
// returns text. Of the processor it knows only the names that both sides must agree on.
//
//	filters.go, filters.yaml                the HTTP filters, which are the same everywhere
//	attempts.yaml                           the filters of each attempt to send a request, likewise
//	answers.go, answers.yaml                what Envoy answers itself, in the gateway's words, likewise
//	accesslog.yaml                          the access log, likewise
//	envoy.go, envoy.yaml                    a whole configuration of Envoy
//	clusters.go, clusters.yaml              the services in it, or as Envoy asks for them (xDS)
//	envoygateway.go, envoygateway.yaml      the policies for Envoy Gateway
//	istio.go, istio.yaml                    the objects for Istio
//	istio_patches.go, istio_patches.yaml    the patches of its EnvoyFilter
//	istio_check.go                          what would not work with them
package generate
