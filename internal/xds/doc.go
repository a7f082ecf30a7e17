// Package xds is where Envoys learn which services and endpoints there are: clusters (CDS) and their endpoints (EDS), on one
// aggregated stream in the incremental variant of Envoy's xDS protocol (envoy.service.discovery.v3, "delta ADS"). An Envoy that was
// configured with `remora generate envoy --xds` then follows every change without a restart.
//
// It is about getting resources there: it knows neither what is in them nor how requests are decided. Every Envoy gets the same.
//
//	server.go    what there is to send, who listens, and waiting until all have it
//	stream.go    one Envoy: what it has asked for, what it has, what it must be sent
//	collector.go metrics
package xds
