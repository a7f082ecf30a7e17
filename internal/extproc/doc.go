// Package extproc is the front door for Envoy: an external processor (gRPC, envoy.service.ext_proc.v3) that asks affinity.Engine
// where each request goes and tells Envoy, which moves the bytes. It decides nothing about routes and sessions, and knows
// neither configuration files nor Envoy's own configuration.
//
// It works with request_header_mode SEND, and goes by the request_body_mode that Envoy says it has. With NONE it asks for the bodies that it has to
// read (allow_mode_override); with BUFFERED it says which it does not want; with FULL_DUPLEX_STREAMED, where modes cannot be changed,
// all bodies come in pieces and go back in pieces. One gRPC stream is one request:
//
//	rpc/         the gRPC server, for very many short streams
//	wire/        the messages, as they are on the wire
//	server.go    limits, health, graceful stop
//	tls.go       what an operator gets to know of handshakes that fail
//	fault.go     what a panic ends
//	exchange.go  one stream: Plan, wait for the body if the plan says so, Decide, Release
//	duplex.go    bodies in pieces
//	picker.go    what an endpoint picker says and hears besides
//	request.go   the engine's view of the request that Envoy describes
//	reply.go     what Envoy is told: header mutations, or an answer of Remora's own
//	wait.go      decisions that wait for a store that gateways share
//	served.go    what Envoy tells of requests that it did not serve as decided
//
// # What Envoy is told
//
// Promoted fields, the session header for the replica, and two headers of Envoy's own use: EndpointHeader, which the filter
// envoy.filters.http.stateful_session with a header-based session state reads to pick the host, and ServiceHeader, which a route
// with cluster_header can pick the cluster by. Envoy must remove both before the request leaves it (docs/envoy.md has the
// filters). Fields of these names that the client sent are overwritten or removed, and so is all that begins with "x-remora-" or
// "x-gateway-".
//
// # Bodies in pieces
//
// In mode FULL_DUPLEX_STREAMED Envoy waits for the answer to the headers and sends the body meanwhile. The answer comes when the body has
// ended, behind it the body that was held, behind that the trailers: the order in which Envoy takes them. It takes nothing after an
// answer of Remora's own, although pieces that were on their way still come. The decision is made from the whole body, so it
// does not depend on where the pieces end; a body that has grown over the limit is decided at once as one that is not read.
//
// # Holds
//
// A request holds its session until its gRPC stream ends. When Envoy ends it depends on the modes (seen with Envoy 1.40): where
// neither the request's body nor anything of the response is to be sent, right after the answer to the request's headers; with
// response_header_mode SEND alone, no later than with the response's headers. With response_trailer_mode SEND the stream stays open
// until the request is over: until the response's last byte, the end of an upgraded connection, or the client's departure.
// That is exact, and costs a message only where a response has trailers. So every decision made on headers sets this mode for
// its request (which needs allow_mode_override), and Envoy's configuration should have it for the others, although Envoy keeps
// the stream of a request with a buffered body open without it. Where the response's body comes in pieces too, the stream ends
// with the last of them. A stream that broke because Envoy is gone ends the hold as well, by
// the connection's end or by the keepalive.
//
// # Served and picked
//
// Envoy may use another host than the one that it was told: after a failed connection (previous_hosts makes it turn to another one), or
// because it does not know the host, or holds it unhealthy. Then, and only then, stateful_session puts its header into the
// response. A second ext_proc filter ("served") hears of these responses, and of those that Envoy made itself, and opens a stream that
// begins with the response's headers: a report. The extension that lets it do so is the match delegate (ExtensionWithMatcher, seen with
// Envoy 1.40 to evaluate response headers, local replies and metadata, and to open no stream for anything else), so requests
// that went well cost nothing.
//
// A report may come to another processor than the one that decided. So what was decided goes along with the decision as dynamic
// metadata, which Envoy gives back with the report: the pick, in which no user's name is, and which neither client nor replica can write.
// The host used, the number of attempts and whether any host was reached come from Envoy's attributes, for a replica could write
// the header. affinity.Engine.Served does the rest, before the client has the response.
//
// The request stays counted at the endpoint that was picked until it has ended; its session's hold goes with the session. A client that
// leaves before the response has begun leaves no report.
package extproc
